"""What people read: lines that fit, say what failed and what became of it, and carry nothing hostile."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace.query.lines import ASCII, STYLES, UNICODE, Glyphs, Span, fit_line, line_width, render_plain
from agenttrace.query.render_event import render_event
from agenttrace.query.render_summary import describe_fates, render_header
from agenttrace.query.render_timeline import render_timeline
from agenttrace.query.render_tree import render_tree
from agenttrace.query.table import Column, render_table
from agenttrace.query.text import sanitize
from agenttrace.query.tree import Tree, build_tree
from agenttrace.query.viewer import TraceViewer
from agenttrace.store.rows import Failure
from tests.query.factory import Story, audit, event_of
from tests.query.test_tree import events_of

__all__: list[str] = []

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n[bold red]x[/] \u202eabc \u009b31m"
FATES = {
    "c0ff000000000001": "swallowed",
    "c0ff000000000002": "retried",
    "c0ff000000000003": "retried",
    "c0ff000000000004": "escaped",
}


def tree_of(story: Story) -> Tree:
    """Give the tree of a story, with the fates of ``audit``."""
    return build_tree(events_of(story), fates=FATES)


class TestTree:
    def test_reads_as_people_tell_it(self) -> None:
        """Agents, calls, turns, times, attempts, errors and their fates at a glance, at 80 columns."""
        assert render_plain(render_tree(tree_of(audit()), width=80)) == (
            'lead "audit the json package" ✘ 567 ms\n'
            "├─ turn 1 planner-1 ✔ 500 ms · tokens 1,204 in, 96 out\n"
            '├─ list_files(folder=".") ✔ 3 ms\n'
            '├─ reader "read every file" ✔ 27 ms (subagent)\n'
            '│  ├─ read_file(path="module_0.py") ✔ 1 ms\n'
            '│  ├─ read_file(path="module_1.py") ✔ 1 ms\n'
            "│  ├─ … 5 more read_file ✔ · 5 ms in all\n"
            '│  └─ parse(path="bad.py") ✘ 1 ms\n'
            "│        ✘ SyntaxError: invalid syntax · swallowed at audit.py:88 · #23\n"
            '├─ fetch(url="…example.org/rules") ✔ 24 ms · 3 attempts, 2 failed (TimeoutError)\n'
            '└─ publish(report="rrrrrr…") ✘ 2 ms · PermissionError: read-only · escaped · #34\n'
        )

    def test_does_without_unicode(self) -> None:
        """Where the terminal knows only ASCII, words stand for symbols."""
        text = render_plain(render_tree(tree_of(audit()), width=80, glyphs=ASCII))
        assert text.isascii()
        assert "`- publish" in text
        assert "FAILED" in text

    @pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
    @pytest.mark.parametrize("width", [32, 40, 60, 80, 120, 200])
    def test_fits_the_width(self, width: int, glyphs: Glyphs) -> None:
        """No line is wider than asked, at any width."""
        for line in render_tree(tree_of(audit()), width=width, glyphs=glyphs):
            assert line_width(line) <= width

    def test_keeps_fate_and_type_beside_a_long_argument(self) -> None:
        """However long an argument or a message is, the type and the fate of the failure stay readable."""
        story = Story()
        agent = story.start("a")
        story.call(agent, "t" * 30, {"x": "y" * 500, "z": "w" * 500}, error=("LongishError", "m" * 500))
        text = render_plain(
            render_tree(build_tree(events_of(story), fates={"c0ff000000000001": "swallowed"}))
        )
        assert "LongishError: mmm" in text
        assert "swallowed" in text

    def test_counts_what_it_leaves_out(self) -> None:
        """A long run of equal siblings is one line with a count; one that differs is never in it."""
        story = Story()
        agent = story.start("a")
        for number in range(50):
            failed = ("ValueError", "x") if number == 30 else None
            story.call(agent, "read", {"n": number}, error=failed)
        lines = render_plain(render_tree(build_tree(events_of(story)))).splitlines()
        assert [line for line in lines if "more read" in line] == [
            "├─ … 28 more read ✔ · 84 ms in all",
            "└─ … 17 more read ✔ · 51 ms in all",
        ]
        assert any("ValueError" in line for line in lines)

    def test_shows_everything_when_asked(self) -> None:
        """``full`` leaves nothing out."""
        story = Story()
        agent = story.start("a")
        for number in range(300):
            story.call(agent, f"tool_{number % 2}", {"n": number})
        tree = build_tree(events_of(story))
        assert len(list(render_tree(tree, full=True))) == 301
        short = list(render_tree(tree, limit=100))
        assert len(short) <= 105
        assert "calls folded (--all)" in render_plain(short)

    def test_never_hides_a_failure_without_counting_it(self) -> None:
        """Failures in the middle of thousands of siblings are shown."""
        story = Story()
        agent = story.start("a")
        for number in range(3000):
            story.call(agent, f"tool_{number % 2}", error=("E", "x") if number % 100 == 50 else None)
        text = render_plain(render_tree(build_tree(events_of(story))))
        assert text.count("✘") == 30

    def test_says_how_a_call_ended(self) -> None:
        """Each status has a symbol or word of its own, so that colour is never needed."""
        story = Story()
        agent = story.start("a")
        for status in ("ok", "error", "cancelled", "stopped_early", "interrupted"):
            span_id = story.open_call(agent, f"t_{status}")
            story.add("tool_result", agent, {}, span_id=span_id, tool_name=f"t_{status}", status=status)
        text = render_plain(render_tree(build_tree(events_of(story))))
        for word in ("✔", "✘", "⊘ cancelled", "◼ stopped early", "‼ interrupted", "● running"):
            assert word in text

    def test_shows_switches_notes_and_dropped_results(self) -> None:
        """What is not in the final context is still visible (S0.21)."""
        story = Story()
        agent = story.start("a")
        story.add(
            "model_switched",
            agent,
            {"from_model": "x", "to_model": "y", "reason": "cheap"},
            span_id=agent.span_id,
        )
        story.add("result_dropped", agent, {"reason": "context full"}, span_id=agent.span_id)
        story.add("budget_warning", agent, {"left_usd": 1}, span_id=agent.span_id)
        text = render_plain(render_tree(build_tree(events_of(story))))
        assert "model_switched x → y (cheap)" in text
        assert "result_dropped context full" in text
        assert "budget_warning left_usd=1" in text

    def test_of_any_depth_stays_in_the_width(self) -> None:
        """A chain of 5,000 agents is drawn with its depth as a number, not with 15,000 spaces."""
        parent: str | None = None
        events = []
        for number in range(5_000):
            events.append(
                event_of(
                    number + 1,
                    kind="agent_start",
                    agent_id=f"a{number}",
                    span_id=f"s{number}",
                    parent_span_id=parent,
                )
            )
            parent = f"s{number}"
        tree = build_tree(events)
        assert "… 4,750 agents folded (--all)" in render_plain(render_tree(tree, width=80))
        lines = list(render_tree(tree, width=80, full=True))
        assert len(lines) == 5_000
        assert all(line_width(line) <= 80 for line in lines)
        assert "»4999 a4999" in render_plain(lines[-1:])


class TestHostileText:
    def story(self) -> Story:
        """Tell of an agent that put escape sequences wherever it could."""
        story = Story()
        agent = story.start(HOSTILE, given=HOSTILE)
        story.call(
            agent,
            HOSTILE,
            {HOSTILE: HOSTILE},
            error=(HOSTILE, HOSTILE),
            handled_at={"file": HOSTILE, "line": 1},
        )
        story.add("note", agent, {"text": HOSTILE}, span_id=agent.span_id)
        story.add(
            "model_switched", agent, {"from_model": HOSTILE, "to_model": HOSTILE}, span_id=agent.span_id
        )
        story.turn(agent, HOSTILE)
        return story

    def test_reaches_no_line(self) -> None:
        """No control character of a payload, a name or a type is in any rendered line."""
        events = events_of(self.story())
        lines = [
            *render_tree(build_tree(events, fates={"c0ff000000000001": "swallowed"})),
            *render_timeline(events),
        ]
        for event in events:
            lines += render_event(event)
        for line in lines:
            for span in line:
                assert span.text == sanitize(span.text)
                assert span.style in STYLES


class TestTimeline:
    @given(st.integers(60, 200))
    @settings(max_examples=20)
    def test_is_a_line_per_event_that_fits(self, width: int) -> None:
        """Each event is one line of at most the width, and names its row."""
        events = events_of(audit())
        lines = list(render_timeline(events, width=width, fates=FATES))
        assert len(lines) == len(events)
        for event, line in zip(events, lines, strict=True):
            assert line_width(line) <= width
            assert line[0].text.strip() == f"#{event.id}"

    def test_tells_call_result_error_and_fate(self) -> None:
        """A line says who did what, what came back, and what became of a failure."""
        text = render_plain(render_timeline(events_of(audit()), width=110, fates=FATES))
        assert 'reader     tool_call   parse(path="bad.py")' in text
        assert "error       SyntaxError: invalid syntax · swallowed" in text
        assert "model_turn  ✔ 500 ms planner-1 · tokens 1,204 in, 96 out, $0.0123" in text


class TestHeader:
    def test_tells_what_it_is_and_how_it_stands(self, audited: TraceViewer) -> None:
        """Id, task, status, length, agents, calls and the fates, worst first, within the width."""
        conversation = audited.conversation("c0ffee00")
        fates = {"retried": 2, "swallowed": 1, "escaped": 1}
        text = render_plain(render_header(conversation, "failed", fates, width=80))
        assert text == (
            "conversation c0ffee00 · audit the json package\n"
            "✘ failed · 2026-01-01 00:00:00 UTC · 568 ms · 2 agents · 11 calls\n"
            "tokens 1,204 in, 96 out, $0.0123 · 4 failures: 1 escaped, 1 swallowed, 2 retried\n"
        )

    def test_says_when_nothing_failed(self) -> None:
        """No failure is said in words."""
        assert describe_fates({}) == "no failures"
        assert describe_fates({"open": 1}) == "1 failure: 1 open"


class TestEvent:
    def test_shows_every_column_and_the_payload(self) -> None:
        """Whatever has a value is shown, with the payload as indented JSON."""
        event = event_of(7, kind="tool_call", tool_name="t", payload={"arguments": {"a": ["é"]}})
        empty: dict[str, Any] = dict.fromkeys(Failure.__slots__)
        failure = Failure(**{**empty, "fate": "swallowed", "handled_at": "a.py:7 f"})
        text = render_plain(render_event(event, failure=failure))
        for part in ("#7 tool_call", "tool_name         t", "2026-01-01 00:00:00.007 UTC", '"é"'):
            assert part in text
        assert "fate              swallowed\nhandled_at        a.py:7 f\n" in text

    def test_survives_a_payload_that_is_no_object(self) -> None:
        """Text that is no JSON is shown as it is."""
        assert render_plain(render_event(event_of(1, payload="no json")))


class TestTable:
    @given(
        st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30), st.integers()), max_size=5),
        st.integers(30, 100),
    )
    def test_fits_by_shrinking_what_may_shrink(self, rows: list[tuple[str, str, int]], width: int) -> None:
        """Columns that may shrink give way down to their narrowest; no other does."""
        columns = [Column("A", shrinks=True), Column("B", shrinks=True), Column("C", right=True)]
        lines = list(render_table(columns, [(a, b, str(c)) for a, b, c in rows], width=width))
        assert len(lines) == len(rows) + 1
        longest = max([1, *(len(str(c)) for _, _, c in rows)])
        for line in lines:
            assert line_width(line) <= max(width, 6 + 6 + longest + 4)

    def test_cuts_nothing_without_a_width(self) -> None:
        """For a pipe every cell is whole."""
        long = "x" * 500
        assert long in render_plain(render_table([Column("A", shrinks=True)], [[long]], width=0))

    def test_sanitises_cells(self) -> None:
        """Cells are shown, never obeyed."""
        columns = [Column("\x1b[2J")]
        assert "\x1b" not in render_plain(render_table(columns, [[Span("\x1b[0m")], ["\x1b"]]))


class TestLine:
    @given(st.lists(st.text(max_size=12), max_size=6), st.integers(0, 40))
    def test_is_cut_to_the_width(self, texts: list[str], width: int) -> None:
        """A cut line is never wider than asked, and an unneeded cut changes nothing."""
        line = tuple(Span(sanitize(text)) for text in texts)
        cut = fit_line(line, width)
        assert line_width(cut) <= width
        if line_width(line) <= width:
            assert cut == line

    def test_has_one_set_of_marks(self) -> None:
        """Both sets of glyphs know the same statuses."""
        assert UNICODE.marks.keys() == ASCII.marks.keys()
        assert random.choice([*ASCII.marks.values()]).isascii()
