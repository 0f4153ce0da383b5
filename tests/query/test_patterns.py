"""Runs grouped by what they did, and how those that failed begin."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agenttrace.query import patterns as patterns_module
from agenttrace.query.lines import ASCII, render_plain
from agenttrace.query.patterns import FailingPrefix, Patterns
from agenttrace.query.render_patterns import render_patterns
from agenttrace.query.viewer import TraceViewer
from agenttrace.store import EventSink
from agenttrace.store.event_store import TraceStore
from tests.query.factory import START_MS, Story


def tell(sink: EventSink, name: str, number: int, words: str, *, is_open: bool = False) -> None:
    """Record a run: small letters are calls that work, capital ones fail, and so does a run with ``!``."""
    story = Story(name, start_ms=START_MS + number * 60_000, process_id=f"{number + 1:08x}00000001")
    lead = story.start("lead")
    for word in words.rstrip("!"):
        error = ("ValueError", "no") if word.isupper() else None
        story.call(lead, word.lower(), {"number": number}, error=error)
    if not is_open:
        failed = words.endswith("!")
        story.end(lead, "error" if failed else "ok", error=("e" * 16, "ValueError") if failed else None)
    story.write(sink, ended=not is_open)


def found(*runs: str) -> Patterns:
    """Record runs and group them."""
    sink = EventSink(":memory:")
    for number, words in enumerate(runs):
        tell(sink, f"run{number:03}", number, words)
    patterns = TraceViewer(TraceStore(sink)).patterns()
    sink.close()
    return patterns


def prefix_of(*runs: str) -> FailingPrefix | None:
    return found(*runs).failing_prefix


class TestPatterns:
    """``TraceViewer.patterns``."""

    def test_groups_by_shape(self) -> None:
        """How often, how long, with what and whether it failed is no part of a shape."""
        patterns = found("abc", "abbbc", "abbc", "aBbc!", "ac").patterns
        assert [(each.shape, each.runs, each.failed) for each in patterns] == [
            ("lead(a → b*n → c)", 3, 1),
            ("lead(a → b → c)", 1, 0),
            ("lead(a → c)", 1, 0),
        ]
        assert patterns[0].failed_share == pytest.approx(1 / 3)
        assert (patterns[0].example, patterns[1].example) == ("run003", "run000")
        assert patterns[0].duration_p50_ms is not None and patterns[0].steps == 4

    def test_has_agents_and_calls_inside_each_other(self, sink: EventSink, viewer: TraceViewer) -> None:
        """A subagent, and a call inside a call, stands with what it did where it was."""
        story = Story("run")
        lead = story.start("lead")
        story.call(lead, "plan")
        outer = story.open_call(lead, "research")
        inner = story.open_call(lead, "fetch", parent_span_id=outer)
        for span, around, tool, ms in ((inner, outer, "fetch", 1.0), (outer, lead.span_id, "research", 3.0)):
            where = {"span_id": span, "parent_span_id": around, "tool_name": tool}
            story.add("tool_result", lead, {"output": 1}, status="ok", duration_ms=ms, **where)
        helper = story.start("helper", lead)
        story.call(helper, "look")
        story.call(helper, "look")
        story.end(helper)
        story.call(lead, "write")
        story.end(lead)
        story.write(sink)
        (pattern,) = viewer.patterns().patterns
        assert pattern.shape == "lead(plan → research(fetch) → helper(look*n) → write)"

    def test_of_open_runs(self, sink: EventSink, viewer: TraceViewer) -> None:
        """A run that is not over counts, and is neither failed nor ok."""
        tell(sink, "one", 1, "ab", is_open=True)
        tell(sink, "two", 2, "ab")
        (pattern,) = viewer.patterns().patterns
        assert (pattern.runs, pattern.ended, pattern.failed) == (2, 1, 0)

    @pytest.mark.parametrize(
        ("options", "runs"),
        [
            ({}, 3),
            ({"since": START_MS + 60_000}, 2),
            ({"until": START_MS}, 1),
            ({"agent": "nobody"}, 0),
            ({"task": "x"}, 0),
        ],
    )
    def test_filters(self, sink: EventSink, viewer: TraceViewer, options: dict[str, Any], runs: int) -> None:
        """Only the runs that are meant."""
        for number in range(3):
            tell(sink, f"run{number}", number, "ab")
        patterns = viewer.patterns(**options)
        assert patterns.runs == sum(each.runs for each in patterns.patterns) == runs

    def test_reads_in_batches(
        self, sink: EventSink, viewer: TraceViewer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As many statements for many runs as for few; where rows are too many to hold, the same answer."""
        for number in range(30):
            tell(sink, f"run{number:02}", number, "abc" if number % 3 else "abC!")
        counts = []
        rows = viewer.reader.rows
        monkeypatch.setattr(viewer.reader, "rows", lambda *given: counts.append(1) or rows(*given))
        whole = viewer.patterns()
        assert len(counts) == 4
        monkeypatch.setattr(patterns_module, "_BATCH_CALLS", 10)
        assert viewer.patterns() == whole

    def test_has_a_bound(self, sink: EventSink, viewer: TraceViewer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a run with very many calls the first are looked at, and it says so."""
        monkeypatch.setattr(patterns_module, "CALLS_LIMIT", 5)
        tell(sink, "run", 1, "abcdefgh")
        (pattern,) = viewer.patterns().patterns
        assert pattern.is_cut and pattern.shape == "lead(a → b → c → d → e)"

    def test_of_deep_and_cyclic_parents(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Hundreds of agents below each other, and two that are each other's parents, still have a shape."""
        story = Story("deep")
        agent = None
        for number in range(300):
            agent = story.start(f"a{number}", agent, agent_id=f"a{number}")
        story.write(sink)
        other = Story("cycle", process_id="cccccccc00000001")
        for name, parent in (("x", "y"), ("y", "x")):
            other.add(
                "agent_start",
                None,
                {},
                agent_id=name,
                agent_name=name,
                parent_agent_id=parent,
                span_id=other.new_span(),
            )
        other.write(sink)
        patterns = viewer.patterns()
        assert patterns.runs == 2 and any(
            "x" in each.shape and "y" in each.shape for each in patterns.patterns
        )


class TestFailingPrefix:
    """How failed runs begin, and no ok run does."""

    def test_ends_where_failed_ones_part(self) -> None:
        """The longest beginning that most failed runs share and no ok one has; where ok ones left."""
        prefix = prefix_of("abcd", "abce", "abxyC!", "abxyd!", "qq!")
        assert prefix is not None
        assert prefix.steps == ("lead", "lead » a", "lead » b", "lead » x", "lead » y")
        assert (prefix.left_at, prefix.ok_goes_on) == (3, "lead » c")
        assert (prefix.failed, prefix.failed_in_all, prefix.example) == (2, 3, "run003")

    def test_knows_a_step_that_failed_from_one_that_did_not(self) -> None:
        """Runs of one shape are told apart by what failed in them."""
        prefix = prefix_of("abc", "abc", "aBc!", "aBc!")
        assert prefix is not None and prefix.left_at == 2
        assert prefix.steps[2:] == ("lead » b ✘", "lead » c", "lead » (fails)", "(the run fails)")

    def test_knows_a_run_that_ended_too_soon(self) -> None:
        """What failed after the same steps differs by its end."""
        prefix = prefix_of("abc", "ab!", "ab!")
        assert prefix is not None and (prefix.steps[prefix.left_at], prefix.ok_goes_on) == (
            "lead » (fails)",
            "lead » c",
        )

    @pytest.mark.parametrize("runs", [("ab", "ac"), (), ("ab!", "cd!", "ab", "cd")])
    def test_is_none_where_there_is_nothing_to_say(self, runs: tuple[str, ...]) -> None:
        """Where no run failed, or no two failed ones share a beginning of their own."""
        if "ab!" in runs:
            assert prefix_of(*runs, "x", "ax") is None
        else:
            assert prefix_of(*runs) is None

    def test_of_failed_runs_alone(self) -> None:
        """Without any ok run it is what all failed ones begin with."""
        prefix = prefix_of("abc!", "abd!")
        assert prefix is not None and prefix.steps == ("lead", "lead » a", "lead » b")
        assert (prefix.left_at, prefix.ok_goes_on) == (0, None)

    @pytest.mark.slow
    @given(st.lists(st.from_regex(r"[abAB]{0,5}!?", fullmatch=True), min_size=1, max_size=8))
    @settings(max_examples=60, deadline=None)
    def test_agrees_with_trying_all(self, runs: list[str]) -> None:
        """Every beginning of every run tried by hand gives the same count and the same length."""
        rows = []
        for words in runs:
            steps = re.sub(r"(.)\1+", r"\1+", words.rstrip("!"))
            assume(not re.search(r"(\w\+?\w\+?)+\1|(\w\w)\2|(\w)\W?(\w)\W?\3\W?\4", steps))  # rounds
            ends = ("lead fails", "run fails") if words.endswith("!") else ("run ends ok",)
            rows.append(("lead", *re.findall(r"\w\+?", steps), *ends))
        failed = [row for row in rows if row[-1] == "run fails"]
        ok = [row for row in rows if row[-1] != "run fails"]
        best = (0, 0)
        for row in failed:
            for length in range(1, len(row) + 1):
                if not any(each[:length] == row[:length] for each in ok):
                    best = max(best, (sum(each[:length] == row[:length] for each in failed), length))
        prefix = prefix_of(*runs)
        if best[0] < min(2, len(failed)) or not failed:
            assert prefix is None
        else:
            assert prefix is not None and (prefix.failed, len(prefix.steps)) == best


class TestRendering:
    """What a terminal shows."""

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_fits(self, sink: EventSink, viewer: TraceViewer, width: int) -> None:
        """No line is too wide but a command, and nothing of a name is obeyed."""
        for number in range(14):
            story = Story(f"run{number}", start_ms=START_MS + number, process_id=f"{number + 1:08x}00000001")
            lead = story.start("le\x1b[2Jad")
            for at in range(30):
                story.call(lead, f"tool_{(at * number) % 31}\x1b[31m", error=("E", "x") if at == 29 else None)
            failed = number % 2
            story.end(lead, "error" if failed else "ok", error=("e" * 16, "E") if failed else None)
            story.write(sink)
        text = render_plain(render_patterns(viewer.patterns(), width, ASCII, limit=3))
        assert "\x1b" not in text and text.isascii()
        assert all(len(line) <= width or "agenttrace " in line for line in text.splitlines())
        assert "more shapes" in text
