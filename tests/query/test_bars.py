"""Duration bars: where in the run each operation lay, told by shape and word, never by colour alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace.query.bars import BARS_FROM_WIDTH, Waterfall
from agenttrace.query.critical_path import find_waits, own_ns_of
from agenttrace.query.lines import ASCII, UNICODE, Glyphs, line_width, render_plain
from agenttrace.query.render_tree import render_tree
from agenttrace.query.tree import Tree, build_tree
from agenttrace.store import Event
from tests.query.factory import Story, event_of
from tests.query.test_folding import broken_events
from tests.query.test_tree import events_of

__all__: list[str] = []


def two_in_a_row() -> Tree:
    """Tell of a run of 100 ms: 20 of its own, 30 in one call, 50 in another."""
    rows = [
        (0, "agent_start", "r", None, None),
        (0, "tool_call", "a", "r", None),
        (30, "tool_result", "a", "r", 30.0),
        (50, "tool_call", "b", "r", None),
        (100, "tool_result", "b", "r", 50.0),
        (100, "agent_end", "r", None, 100.0),
    ]
    return build_tree(
        event_of(
            number,
            kind=kind,
            ts_ms=1000 + at,
            ts_ns=(1000 + at) * 1_000_000,
            span_id=span,
            parent_span_id=parent,
            tool_name=None if kind.startswith("agent") else span,
            agent_name="run",
            status="ok" if duration_ms else None,
            duration_ms=duration_ms,
        )
        for number, (at, kind, span, parent, duration_ms) in enumerate(rows, 1)
    )


def bars_of(tree: Tree, width: int = 100, glyphs: Glyphs = UNICODE) -> list[str]:
    """Give the lines, without what stands to the left of the bars."""
    lines = render_plain(render_tree(tree, width=width, bars=True, glyphs=glyphs)).splitlines()
    room = Waterfall(tree, width, glyphs).width
    return [line[width - room :] for line in lines]


class TestBar:
    def test_lies_where_the_operation_ran(self) -> None:
        """Offset and length are those of the operation; its own time is thick, what it called is thin."""
        _, scale, *bars = bars_of(two_in_a_row())
        assert scale == "0             100 ms"
        assert bars == [
            "──────━━━━──────────",
            "━━━━━━",
            "          ━━━━━━━━━━",
        ]

    def test_is_told_without_colour_or_unicode(self) -> None:
        """In ASCII the shapes are others, and still two."""
        assert bars_of(two_in_a_row(), glyphs=ASCII)[2] == "------====----------"
        assert render_plain(render_tree(two_in_a_row(), width=100, bars=True, glyphs=ASCII)).isascii()

    def test_names_what_the_run_waited_for(self) -> None:
        """The longest waits stand above the tree, and the critical path is marked at its bars."""
        text = render_plain(render_tree(two_in_a_row(), width=100, bars=True))
        assert text.startswith("▸ waited for b 50 ms (50 %), a 30 ms (30 %), run itself 20 ms (20 %)\n")
        assert text.count("▸") == 2 + 3
        assert "run ✔ 100 ms, own 20 ms" in text

    def test_of_something_short_is_a_tick(self) -> None:
        """What is shorter than half a cell is not drawn as if it took one."""
        story = Story()
        agent = story.start("a")
        story.call(agent, "quick", ms=0)
        story.wait(10_000)
        story.end(agent)
        assert bars_of(build_tree(events_of(story)))[-1] == "▏"

    def test_of_an_unknown_end_is_a_question(self) -> None:
        """An interrupted operation has a start, and no length is made up for it."""
        story = Story()
        agent = story.start("a")
        story.call(agent, "t", ms=100)
        span_id = story.open_call(agent, "cut")
        story.add("tool_result", agent, {}, span_id=span_id, tool_name="cut", status="interrupted")
        story.end(agent)
        assert bars_of(build_tree(events_of(story)))[-1].strip() == "?"

    @pytest.mark.parametrize("width", [40, 60, BARS_FROM_WIDTH - 1])
    def test_gives_way_in_a_narrow_terminal(self, width: int) -> None:
        """Below 70 columns the tree is what it is without bars."""
        tree = two_in_a_row()
        assert list(render_tree(tree, width=width, bars=True)) == list(render_tree(tree, width=width))

    @given(broken_events(), st.integers(20, 220), st.sampled_from([UNICODE, ASCII]))
    @settings(max_examples=120, deadline=None)
    def test_never_makes_a_line_too_wide(self, events: list[Event], width: int, glyphs: Glyphs) -> None:
        """Whatever the times and parents, no line is wider than the terminal."""
        for line in render_tree(build_tree(events), width=width, bars=True, glyphs=glyphs):
            assert line_width(line) <= max(width, 32)


class TestOwnTime:
    @given(broken_events())
    @settings(max_examples=120, deadline=None)
    def test_is_between_nothing_and_all(self, events: list[Event]) -> None:
        """However children overlap or stick out, own time is neither negative nor longer than the whole."""
        tree = build_tree(events)
        for at, node in enumerate(tree.nodes):
            own_ns = own_ns_of(tree.nodes, at)
            if own_ns is not None:
                assert own_ns >= 0
                assert node.duration_ms is None or own_ns <= max(0.0, node.duration_ms) * 1e6

    def test_counts_overlapping_calls_once(self) -> None:
        """Two calls at the same time are waited for once."""
        tree = two_in_a_row()
        assert own_ns_of(tree.nodes, 0) == 20_000_000


class TestWaits:
    def test_add_up_to_no_more_than_the_run(self) -> None:
        """The shares of what was waited for are those of the run's time."""
        marked, waits = find_waits(two_in_a_row())
        assert marked == {0, 1, 2}
        assert [(wait.name, wait.times, round(wait.share, 2)) for wait in waits] == [
            ("b", 1, 0.5),
            ("a", 1, 0.3),
            ("run", 1, 0.2),
        ]

    def test_are_told_by_name(self) -> None:
        """Three hundred short calls are what the run waited for, not the one that was a little longer."""
        story = Story()
        agent = story.start("a")
        for number in range(300):
            story.call(agent, "fetch", {"n": number}, ms=10)
        story.call(agent, "slow", ms=100)
        story.end(agent)
        text = render_plain(render_tree(build_tree(events_of(story)), width=100, bars=True))
        assert text.startswith("▸ waited for fetch 3.3 s in 300 (")
