"""Two runs side by side where it is hard: parallel work, loops, cuts, holes, open runs, hostile names."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agenttrace
from agenttrace import TraceStore, TraceViewer, agent_scope, conversation_scope, traced_tool
from agenttrace.query.diff import RunDiff
from agenttrace.query.lines import ASCII, render_plain
from agenttrace.query.render_diff import render_diff
from agenttrace.store import EventSink
from tests.query.factory import START_MS, Agent, Story

Tell = Callable[[Story], None]


@pytest.fixture
def told(sink: EventSink, viewer: TraceViewer) -> Callable[[Tell, Tell], RunDiff]:
    """Record two stories and compare them."""

    numbers = itertools.count(1)

    def compare(a: Tell, b: Tell) -> RunDiff:
        names = []
        for tell in (a, b):
            number = next(numbers)
            names.append(f"run{number}")
            process_id = f"{number:08x}00000001"
            story = Story(names[-1], start_ms=START_MS + number * 3_600_000, process_id=process_id)
            tell(story)
            story.write(sink)
        return viewer.diff(*names)

    return compare


def kinds(diff: RunDiff) -> list[str]:
    return [each.kind for each in diff.differences]


def overlapping(story: Story, agent: Agent, tool: str, words: list[str]) -> None:
    """Let calls run at the same time, begun in the order that is given."""
    spans = {word: story.open_call(agent, tool, {"word": word}) for word in words}
    for word, span in sorted(spans.items()):
        story.add(
            "tool_result",
            agent,
            {"output": f"about {word}"},
            span_id=span,
            parent_span_id=agent.span_id,
            tool_name=tool,
            status="ok",
        )


class TestParallelWork:
    """What ran at the same time has no order."""

    @pytest.mark.slow
    @given(st.permutations(["a", "b", "c", "d"]))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=24)
    def test_calls(self, words: list[str]) -> None:
        """Calls that began in another order are no difference."""
        sink = EventSink(":memory:")

        def tell(name: str, words: list[str]) -> None:
            story = Story(name, process_id=f"{name * 8}00000001")
            lead = story.start("lead")
            overlapping(story, lead, "look", words)
            story.call(lead, "write", {"n": 1})
            story.end(lead)
            story.write(sink)

        tell("a", ["a", "b", "c", "d"])
        tell("b", words)
        diff = TraceViewer(TraceStore(sink)).diff("a", "b")
        sink.close()
        assert diff.is_same, kinds(diff)

    def test_calls_one_after_another(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """Of calls that ran one after another, another order is a difference: one, and not two."""

        def tell(words: str) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("lead")
                for word in words:
                    story.call(lead, "look", {"word": word}, output=word)
                story.end(lead)

            return run

        diff = told(tell("abcd"), tell("dabc"))
        assert kinds(diff) == ["order"]
        assert diff.first is not None and diff.first.a is not None and '"d"' in diff.first.a.arguments

    def test_agents(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """Subagents of one name are told apart by what they were asked, not by who began first."""

        def tell(words: list[str]) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("lead")
                agents = [(word, story.start("search", lead, given=word)) for word in words]
                for word, agent in agents:
                    story.call(agent, "look", {"word": word})
                for word, agent in sorted(agents, key=lambda each: each[0]):
                    story.end(agent, output=f"about {word}")
                story.end(lead)

            return run

        assert told(tell(["figs", "dates", "plums"]), tell(["plums", "figs", "dates"])).is_same

    def test_agents_that_were_asked_nothing(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """Without an input they are told apart by what they did."""

        def tell(words: str) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("lead")
                agents = [(word, story.start("search", lead)) for word in words]
                for word, agent in agents:
                    story.call(agent, "look", {"word": word})
                for _, agent in agents:
                    story.end(agent)
                story.end(lead)

            return run

        assert told(tell("xyz"), tell("zxy")).is_same

    def test_one_of_them_fails(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """A failure among them is found, under the number that it has in A."""

        def tell(words: list[str], bad: str) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("lead")
                agents = [(word, story.start("search", lead, given=word)) for word in words]
                for word, agent in agents:
                    error = ("TimeoutError", "slow") if word == bad else None
                    story.call(agent, "look", {"word": word}, error=error)
                for _, agent in agents:
                    story.end(agent)
                story.end(lead)

            return run

        diff = told(tell(["figs", "dates"], ""), tell(["dates", "figs"], "dates"))
        assert [(each.kind, each.agent) for each in diff.differences] == [("outcome", "lead/search#2")]


class TestLoopsAndAttempts:
    """The same again and again."""

    def test_one_round_more(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """Of rounds that are alike the one that is more is the last, and nothing else differs."""

        def tell(rounds: int) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("lead")
                for _ in range(rounds):
                    story.call(lead, "poll", {"job": 1}, output="wait")
                story.call(lead, "fetch", {"job": 1})
                story.end(lead)

            return run

        diff = told(tell(5), tell(7))
        assert kinds(diff) == ["only in B", "only in B"]
        assert [each.b.row_id for each in diff.differences if each.b] == [26, 28]

    def test_attempts_by_hand(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """What a call gave is what its last attempt gave; how often it was tried differs by itself."""

        def tell(attempts: int, output: str) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("lead")
                first = None
                for number in range(1, attempts + 1):
                    error = ("TimeoutError", "slow") if number < attempts else None
                    more = {"retry_of": first, "attempt": number} if first else {}
                    span, _ = story.call(lead, "fetch", {"u": 1}, output=output, error=error, **more)
                    first = first or span
                story.end(lead)

            return run

        assert kinds(told(tell(3, "x"), tell(3, "y"))) == ["result"]
        assert kinds(told(tell(2, "x"), tell(3, "x"))) == ["attempts"]


class TestFailures:
    """What failed, and what did not end anything."""

    def test_of_the_run_itself(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """That the root agent failed is a difference, though all that it did is the same."""

        def good(story: Story) -> None:
            lead = story.start("lead")
            story.call(lead, "look")
            story.end(lead, output="fine")

        def bad(story: Story) -> None:
            lead = story.start("lead")
            story.call(lead, "look")
            error_id = story.fail(lead, lead.span_id, ("ValueError", "at the end"))
            story.end(lead, "error", error=(error_id, "ValueError"))

        diff = told(good, bad)
        assert kinds(diff) == ["outcome"]
        assert diff.first is not None and diff.first.b is not None
        assert (diff.first.agent, diff.first.b.error) == ("lead", "ValueError: at the end")

    def test_caught_inside(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """A failure that somebody caught is a difference, though nothing else shows of it."""

        def tell(message: str) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("lead")
                span = story.open_call(lead, "look")
                if message:
                    story.fail(lead, span, ("KeyError", message), tool="look")
                end = {"span_id": span, "parent_span_id": lead.span_id, "tool_name": "look", "status": "ok"}
                story.add("tool_result", lead, {"output": None}, **end)
                story.end(lead)

            return run

        diff = told(tell(""), tell("gone"))
        assert kinds(diff) == ["caught"]
        assert "caught KeyError: gone" in render_plain(render_diff(diff, 80, ASCII))
        assert told(tell("object at 0x7f00aa11"), tell("object at 0x7f99bb22")).is_same
        assert told(tell("no '/tmp/a1b2c3d4/x.py'"), tell("no '/tmp/zz_9/x.py'")).is_same
        assert not told(tell("no '/tmp/a1b2c3d4/x.py'"), tell("no '/tmp/zz_9/y.py'")).is_same
        assert not told(tell("no /srv/a/x.py"), tell("no /srv/b/x.py")).is_same

    def test_of_one_type_with_other_words(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """Of two long messages the part that differs is shown."""

        def tell(end: str) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("lead")
                story.call(lead, "look", error=("ValueError", "the same words " * 20 + end))
                story.end(lead)

            return run

        text = render_plain(render_diff(told(tell("one"), tell("two")), 80, ASCII))
        assert "FAILED ValueError: ... same words one" in text and "words two" in text


class TestAgentsThatAreMissing:
    """Agents that only one of the runs has."""

    def test_is_one_difference(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """What is below it is counted, and is no difference of its own."""

        def tell(has_critic: bool) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("lead")
                if has_critic:
                    critic = story.start("critic", lead)
                    helper = story.start("helper", critic)
                    for number in range(5):
                        story.call(helper, "look", {"n": number})
                    story.end(helper)
                    story.end(critic)
                story.end(lead)

            return run

        diff = told(tell(True), tell(False))
        assert [(each.kind, each.inside) for each in diff.differences] == [("only in A", 6)]
        assert kinds(told(tell(False), tell(True))) == ["only in B"]

    def test_others_keep_their_partners(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """That the first of three is missing does not shift the others."""

        def tell(words: list[str]) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("lead")
                for word in words:
                    agent = story.start("search", lead, given=word)
                    story.call(agent, "look", {"word": word})
                    story.end(agent)
                story.end(lead)

            return run

        assert kinds(told(tell(["figs", "dates", "plums"]), tell(["dates", "plums"]))) == ["only in A"]

    def test_another_root(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """A root agent with another name is still the root: one difference."""

        def tell(name: str) -> Tell:
            def run(story: Story) -> None:
                lead = story.start(name)
                story.call(lead, "look", {"n": 1})
                story.end(lead)

            return run

        diff = told(tell("lead"), tell("boss"))
        assert kinds(diff) == ["name"]
        text = render_plain(render_diff(diff, 80, ASCII))
        assert "agent lead" in text and "agent boss" in text

    def test_no_agent_at_all(self, viewer: TraceViewer, sink: EventSink) -> None:
        """An empty conversation beside another: all of the other is only there."""
        for name in ("a", "b"):
            story = Story(name)
            story.conversation("nothing")
            if name == "b":
                lead = story.start("lead")
                story.end(lead)
            story.write(sink)
        assert viewer.diff("a", "a").is_same
        assert kinds(viewer.diff("a", "b")) == ["only in B"]


class TestOpenRuns:
    """Runs that are not over."""

    def test_beside_itself(self, sink: EventSink, viewer: TraceViewer) -> None:
        """An open run is the same as itself; beside the whole run, what is open and missing is told."""
        for name, is_whole in (("a", True), ("b", False)):
            story = Story(name)
            lead = story.start("lead")
            story.call(lead, "look", {"n": 1})
            if is_whole:
                story.call(lead, "write", {"n": 2})
                story.end(lead)
            else:
                story.open_call(lead, "write", {"n": 2})
            story.write(sink, ended=is_whole)
        assert viewer.diff("b", "b").is_same
        assert kinds(viewer.diff("a", "b")) == ["outcome", "outcome"]


class TestPayloads:
    """Payloads that were cut, and rows that others wrote."""

    @pytest.fixture
    def record(self, tmp_path: Path) -> Callable[..., TraceViewer]:
        """Record runs of a tool with long texts, each with its own settings."""

        @traced_tool
        def put(text: str) -> str:
            return text

        def run(*runs: tuple[str, str, dict[str, Any]]) -> TraceViewer:
            for name, text, options in runs:
                agenttrace.configure(tmp_path / "t.db", install=(), **options)
                with conversation_scope(name), agent_scope("lead"):
                    put(text)
                agenttrace.shutdown()
            return TraceViewer(TraceStore(tmp_path / "t.db"))

        return run

    def test_differ_behind_the_cut(self, record: Callable[..., TraceViewer]) -> None:
        """What was cut off is compared too, and what is shown is where they differ."""
        viewer = record(("a", "x" * 9000 + "1", {}), ("b", "x" * 9000 + "2", {}))
        diff = viewer.diff("a", "b")
        assert kinds(diff) == ["arguments", "result"]
        text = render_plain(render_diff(diff, 80, ASCII))
        assert 'xxx1")' in text and 'xxx2")' in text and text.isascii()

    def test_differ_where_nothing_was_kept(self, record: Callable[..., TraceViewer]) -> None:
        """Where no whole is kept, its length still tells."""
        options = {"max_blob_bytes": 0}
        viewer = record(("a", "x" * 9000, options), ("b", "x" * 9001, options))
        assert kinds(viewer.diff("a", "b")) == ["arguments", "result"]

    def test_cut_at_another_length(self, record: Callable[..., TraceViewer]) -> None:
        """The same text, cut in the one run and whole in the other, is the same."""
        viewer = record(
            ("a", "x" * 2000, {"max_payload_bytes": 512}), ("b", "x" * 2000, {"max_payload_bytes": 4096})
        )
        assert viewer.diff("a", "b").is_same

    def test_rows_without_spans(self, tmp_path: Path) -> None:
        """Results of rows that name no span are compared too."""
        with TraceStore(tmp_path / "t.db") as store:
            for name, output in (("a", 1), ("b", 2)):
                store.record_many(
                    {"conversation_id": name, "agent_id": "lead", "tool_name": "look", **row}
                    for row in (
                        {"kind": "tool_call", "payload": {"arguments": {"n": 1}}},
                        {"kind": "tool_result", "payload": {"output": output}, "status": "ok"},
                    )
                )
            viewer = TraceViewer(store)
            assert kinds(viewer.diff("a", "b")) == ["result"]
            assert viewer.diff("a", "a").is_same


class TestHostileNames:
    """Names that look like paths and numbers."""

    def test_are_kept_apart(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """An agent that is called as another one's number is not that one."""

        def tell(order: list[str]) -> Tell:
            def run(story: Story) -> None:
                lead = story.start("le/ad")
                for name in order:
                    agent = story.start(name, lead)
                    story.call(agent, "look", {"in": name})
                    story.end(agent)
                story.end(lead)

            return run

        assert told(tell(["s", "s", "s#2", "s/x\x1b[2J"]), tell(["s", "s", "s#2", "s/x\x1b[2J"])).is_same
        diff = told(tell(["s", "s#2"]), tell(["s", "s"]))
        text = render_plain(render_diff(diff, 80, ASCII))
        assert not diff.is_same and "\x1b" not in text

    def test_deep_chain(self, told: Callable[[Tell, Tell], RunDiff]) -> None:
        """A chain of a thousand agents, each below the one before, ends soon."""

        def run(story: Story) -> None:
            agent: Agent | None = None
            for number in range(1000):
                agent = story.start("deep", agent, agent_id=f"deep-{number}")

        began_s = time.process_time()
        assert told(run, run).is_same
        print(f"{time.process_time() - began_s:.2f} s")


class TestSameProgramTwice:
    """The law: what is recorded twice differs in nothing."""

    @pytest.mark.slow
    @given(st.recursive(st.sampled_from("xyz"), lambda inner: st.lists(inner, max_size=4), max_leaves=12))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
    def test_any_tree(self, shape: Any) -> None:
        """Whatever agents and calls it has, under other ids and at another speed."""
        sink = EventSink(":memory:")
        for number, name in enumerate("ab"):
            story = Story(name, start_ms=START_MS + number, process_id=f"{name * 8}00000001")
            _tell_shape(story, shape if isinstance(shape, list) else [shape], None, 1 + 5 * number)
            story.write(sink)
        diff = TraceViewer(TraceStore(sink)).diff("a", "b")
        sink.close()
        assert diff.is_same, kinds(diff)


def _tell_shape(story: Story, shape: list[Any], parent: Agent | None, ms: float) -> None:
    agent = story.start("worker" if parent else "lead", parent)
    for one in shape:
        if isinstance(one, list):
            _tell_shape(story, one, agent, ms)
        else:
            story.call(agent, one, {"n": 1}, ms=ms)
    story.end(agent)
