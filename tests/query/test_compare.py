"""Many runs in groups: who stands where, what is counted, and what few runs say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agenttrace.errors import ConfigError
from agenttrace.query.compare import Comparison, Group
from agenttrace.query.fates import count_swallowed
from agenttrace.query.lines import ASCII, render_plain
from agenttrace.query.render_compare import render_comparison, render_markdown
from agenttrace.query.viewer import TraceViewer
from agenttrace.store import EventSink
from tests.query.factory import START_MS, Story, audit

PLACE = {"file": "/app/a.py", "line": 3, "function": "run"}


def tell(
    sink: EventSink,
    name: str,
    *models: str,
    is_ok: bool = True,
    metadata: Any = None,
    task: str | None = None,
    swallowed: int = 0,
    ms: float = 10,
    is_open: bool = False,
    number: int = 0,
) -> None:
    """Record a run of an agent with a subagent that does the work."""
    story = Story(name, start_ms=START_MS + number * 60_000, process_id=f"aaaaaaaa{number:08x}")
    story.conversation(task, metadata)
    lead = story.start("lead")
    worker = story.start("worker", lead)
    for model in models:
        story.turn(worker, model, tokens=(100, 20))
    for _ in range(swallowed):
        story.call(worker, "fetch", error=("TimeoutError", "no answer"), handled_at=PLACE)
    story.wait(ms)
    story.end(worker)
    if not is_open:
        story.end(lead, "ok" if is_ok else "error", error=None if is_ok else ("e" * 16, "ValueError"))
    story.write(sink, ended=not is_open)


def keyed(comparison: Comparison) -> dict[str | None, Group]:
    return {group.key: group for group in comparison.groups}


class TestByModel:
    """``compare(by="model")``."""

    def test_counts_a_run_once(self, sink: EventSink, viewer: TraceViewer) -> None:
        """A run with several models is in the group of them all, whichever came first."""
        tell(sink, "r1", "a", number=1)
        tell(sink, "r2", "b", "a", number=2)
        tell(sink, "r3", "a", "b", is_ok=False, number=3)
        tell(sink, "r4", number=4)
        found = keyed(viewer.compare())
        assert {key: group.runs for key, group in found.items()} == {"a": 1, "a + b": 2, None: 1}
        assert (found["a + b"].ok, found["a + b"].ok_share) == (1, 0.5)
        assert (found["a + b"].newest, found["a + b"].newest_failed) == ("r3", "r3")
        assert found["a"].newest_failed is None

    def test_sums_up(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Tokens, cost, calls, errors and swallowed ones are those of the whole run, subagents and all."""
        tell(sink, "r1", "a", "a", swallowed=2, number=1)
        tell(sink, "r2", "a", number=2)
        (group,) = viewer.compare().groups
        assert (group.tokens, group.turns, group.calls, group.failed_calls) == (360, 3, 2, 2)
        assert (group.errors, group.swallowed, group.retries) == (2, 2, 0)
        assert group.cost_usd == pytest.approx(3 * 0.0123)

    def test_of_an_unknown_price(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Where no price is known there is no cost, and not a cost of 0."""
        tell(sink, "r1")
        (group,) = viewer.compare().groups
        assert group.cost_usd is None

    def test_of_an_open_run(self, sink: EventSink, viewer: TraceViewer) -> None:
        """A run that is not over is counted, and is neither well nor ill nor short."""
        tell(sink, "r1", "a", number=1)
        tell(sink, "r2", "a", is_open=True, ms=90_000, number=2)
        tell(sink, "r3", "b", is_open=True, number=3)
        found = keyed(viewer.compare())
        assert (found["a"].runs, found["a"].ended, found["a"].ok_share) == (2, 1, 1.0)
        assert found["a"].duration_p95_ms is not None and found["a"].duration_p95_ms < 10_000
        assert (found["b"].ended, found["b"].ok_share, found["b"].ok_low) == (0, None, None)

    def test_puts_sure_ones_first(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Three lucky runs do not stand before many good ones."""
        for number in range(20):
            tell(sink, f"many{number:02}", "many", is_ok=number > 0, number=number)
        for number in range(3):
            tell(sink, f"few{number}", "few", number=30 + number)
        many, few = viewer.compare().groups
        assert (many.key, few.key) == ("many", "few")
        assert few.ok_share == 1.0 and many.ok_share == 0.95

    def test_takes_percentiles(self, sink: EventSink, viewer: TraceViewer) -> None:
        """The middle and the slow end of how long runs took."""
        for number, ms in enumerate((100, 200, 9_000)):
            tell(sink, f"r{number}", ms=ms, number=number)
        (group,) = viewer.compare().groups
        assert group.duration_p50_ms == pytest.approx(200, abs=20)
        assert group.duration_p95_ms == pytest.approx(9_000, abs=20)


class TestByOthers:
    """The other things that runs are grouped by."""

    def test_agent_names(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Agents are compared, root and sub, each with what it did itself."""
        tell(sink, "r1", "a", swallowed=1, is_ok=False, number=1)
        tell(sink, "r2", "a", number=2)
        comparison = viewer.compare("agent_name")
        found = keyed(comparison)
        assert comparison.unit == "agent" and comparison.runs == 4
        assert (found["worker"].ok_share, found["lead"].ok_share) == (1.0, 0.5)
        assert (found["worker"].tokens, found["lead"].tokens) == (240, 0)
        assert (found["worker"].swallowed, found["lead"].swallowed) == (1, 0)

    def test_root_agents_and_tasks(self, sink: EventSink, viewer: TraceViewer) -> None:
        """By the name of the root agent, and by the task."""
        tell(sink, "r1", task="sum", number=1)
        tell(sink, "r2", number=2)
        assert {group.key: group.runs for group in viewer.compare("root_agent").groups} == {"lead": 2}
        assert set(keyed(viewer.compare("task"))) == {"sum", None}

    @pytest.mark.parametrize(
        ("metadata", "key", "expected"),
        [
            ({"variant": "b"}, "variant", "b"),
            ({"t": 0.5}, "t", "0.5"),
            ({"on": True}, "on", "true"),
            ({"a": {"b": "deep"}}, "a.b", "deep"),
            ({"a.b": "flat", "a": {"b": "deep"}}, "a.b", "flat"),
            ({"a": {"y": 1, "x": 2}}, "a", '{"x": 2, "y": 1}'),
            ({"a": None}, "a", None),
            ({"other": 1}, "a", None),
            ({"a": "x"}, "a.b", None),
            (["no object"], "a", None),
            ({"a": {"$agenttrace": "redacted", "rule": "api_key"}}, "a", "(redacted)"),
        ],
    )
    def test_metadata(
        self, sink: EventSink, viewer: TraceViewer, metadata: Any, key: str, expected: str | None
    ) -> None:
        """The key as it is written, else along its dots; what is no text as JSON; nothing is nothing."""
        tell(sink, "r1", metadata=metadata)
        assert [group.key for group in viewer.compare(f"metadata.{key}").groups] == [expected]

    def test_metadata_of_the_root_agent(self, sink: EventSink, viewer: TraceViewer) -> None:
        """What the conversation does not say its root agent may."""
        story = Story("r1")
        story.add(
            "agent_start",
            None,
            {"input": None, "metadata": {"variant": "b"}},
            agent_id="lead-1",
            agent_name="lead",
            span_id="aaaaaaaa00000009",
        )
        story.write(sink)
        assert [group.key for group in viewer.compare("metadata.variant").groups] == ["b"]

    @pytest.mark.parametrize("by", ["", "metadata", "metadata.", "models", "agent"])
    def test_refuses_others(self, viewer: TraceViewer, by: str) -> None:
        """What runs cannot be grouped by is refused, with what they can be."""
        with pytest.raises(ConfigError, match="root_agent"):
            viewer.compare(by)


class TestFilters:
    """Which runs."""

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, 3),
            ({"since": START_MS + 120_000}, 2),
            ({"until": START_MS + 120_000}, 2),
            ({"since": START_MS + 100_000, "until": START_MS + 130_000}, 1),
            ({"task": "SUM"}, 1),
            ({"task": "100%"}, 1),
            ({"task": "%"}, 1),
            ({"agent": "worker"}, 3),
            ({"agent": "nobody"}, 0),
        ],
    )
    @pytest.mark.parametrize("by", ["model", "task", "agent_name"])
    def test_filter(
        self, sink: EventSink, viewer: TraceViewer, options: dict[str, Any], expected: int, by: str
    ) -> None:
        """By time, by task, by agent; of agents only those of that name, with the same numbers as without."""
        for number, task in enumerate(("sum up", "100% sure", None), 1):
            tell(sink, f"r{number}", "a", task=task, swallowed=1, number=number)
        groups = viewer.compare(by, **options).groups
        agents = 2 if by == "agent_name" and "agent" not in options else 1
        assert sum(group.runs for group in groups) == expected * agents
        assert sum(group.swallowed for group in groups) == expected


class TestSwallowed:
    """How many failures nobody was told of, counted in bulk."""

    def test_agrees_with_the_view(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Also where failures are raised from others, or came back as data."""
        audit("plain000").write(sink)
        story = Story("chained0", start_ms=START_MS + 60_000, process_id="bbbbbbbb00000001")
        lead = story.start("lead")
        span = story.open_call(lead, "fetch")
        first = story.fail(lead, span, ("OSError", "the disk is away"), tool="fetch")
        second = story.fail(lead, span, ("ValueError", "cannot"), tool="fetch", cause_error_id=first)
        story.add(
            "tool_result",
            lead,
            {},
            span_id=span,
            tool_name="fetch",
            status="error",
            error_id=second,
            parent_span_id=lead.span_id,
        )
        story.call(lead, "drop", error=("KeyError", "gone"), handled_at=PLACE)
        story.end(lead)
        story.write(sink)
        expected = {
            (conversation_id, agent_id): count
            for conversation_id, agent_id, count in viewer.reader.rows(
                "SELECT conversation_id, agent_id, count(*) FROM failures"
                " WHERE fate = 'swallowed' GROUP BY 1, 2"
            )
        }
        assert len(expected) == 2 and expected["chained0", lead.agent_id] == 3
        assert count_swallowed(viewer.reader, "1", ()) == expected
        assert count_swallowed(viewer.reader, "c.id = ?", ["plain000"]).total() == 1


class TestRendering:
    """What a terminal, and a page, shows."""

    @pytest.fixture
    def comparison(self, sink: EventSink, viewer: TraceViewer) -> Comparison:
        """Give two groups, one with a long and hostile name."""
        tell(sink, "r1", "a", number=1)
        tell(sink, "r2", "evil\x1b[31m|`<b>" + "x" * 60, is_ok=False, number=2)
        tell(sink, "r3", is_open=True, number=3)
        return viewer.compare()

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_fits(self, comparison: Comparison, width: int) -> None:
        """No line is too wide, nothing of a name is obeyed, and what is not known is a question mark."""
        text = render_plain(render_comparison(comparison, width, ASCII))
        assert max(map(len, text.splitlines())) <= width
        assert "\x1b" not in text
        assert "(none)" in text and " ? " in text

    def test_names_stay_whole(self, comparison: Comparison) -> None:
        """At 80 columns a long name has a line of its own; in a wide terminal it stands in the table."""
        narrow = render_plain(render_comparison(comparison, 80, ASCII))
        assert "x" * 60 in narrow and re.search(r" 1 +0 % +0-79 ", narrow)
        wide = render_plain(render_comparison(comparison, 200, ASCII)).splitlines()
        assert any("x" * 60 in line and "0 %" in line for line in wide)

    def test_counts_what_it_leaves_out(self, comparison: Comparison) -> None:
        """Of more groups than asked for the best are shown, and the others counted."""
        text = render_plain(render_comparison(comparison, 80, ASCII, limit=1))
        assert "3 runs in 3 groups" in text and "2 more groups: -n 3" in text and "(none)" not in text

    def test_says_what_few_runs_say(self, comparison: Comparison) -> None:
        """Where intervals overlap, nobody is called the better one; open runs are said."""
        text = render_plain(render_comparison(comparison, 80, ASCII))
        assert "cannot be told apart" in text and "1 run not over yet" in text

    def test_names_a_better_one(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Where they do not overlap, it says so."""
        for number in range(20):
            tell(sink, f"r{number:02}", "good" if number % 2 else "bad", is_ok=number % 2 == 1, number=number)
        assert "do not overlap" in render_plain(render_comparison(viewer.compare(), 80, ASCII))

    def test_markdown(self, comparison: Comparison) -> None:
        """A row for each group, and no name leaves its cell."""
        lines = render_markdown(comparison).splitlines()
        assert lines[0].startswith("| model | runs | ok |")
        rows = [line for line in lines if line.startswith("|")]
        assert len(rows) == 2 + 3
        assert {line.replace("\\|", "").count("|") for line in rows} == {12}
        assert "<b>" not in "".join(rows) and "\x1b" not in "".join(rows)
