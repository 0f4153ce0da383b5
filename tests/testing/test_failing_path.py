"""The part of a tree that is shown when a claim fails."""

from __future__ import annotations

import pytest

from agenttrace import agent_scope, traced_tool
from agenttrace.query.lines import ASCII, UNICODE
from agenttrace.query.text import cell_width
from agenttrace.testing import Trajectory, memory_recorder
from agenttrace.testing.failing_path import LINES_LIMIT, Marks, mark_failures, render_path


@traced_tool
def step(number: int, note: str = "") -> int:
    if number < 0:
        raise ValueError("below zero")
    return number


def record(depth: int, calls: int, *, bad: bool = False) -> Trajectory:
    """Record agents inside agents, each with some calls before the next."""
    with memory_recorder() as recorder:
        scopes = [agent_scope(f"level-{number}") for number in range(depth)]
        for scope in scopes:
            scope.__enter__()
            for number in range(calls):
                step(number)
        if bad:
            try:
                step(-1)
            except ValueError:
                pass
        for scope in reversed(scopes):
            scope.__exit__(None, None, None)
    return Trajectory(recorder)


def rows_of(trajectory: Trajectory, name: str) -> list[int]:
    """Give the rows of the calls of a tool."""
    return list(trajectory.calls(name).rows)


class TestReduced:
    def test_keeps_what_leads_there_and_counts_the_rest(self) -> None:
        """The marked call, two before, one after; siblings elsewhere are numbers."""
        trajectory = record(2, 9)
        row = rows_of(trajectory, "step")[4]
        lines = render_path(trajectory.trees(), Marks({row: "look"}), glyphs=UNICODE).splitlines()
        shown = [line.split(" ✔")[0].strip("> ├└─│") for line in lines]
        assert shown == [
            "level-0",
            "… 2 more",
            "step(number=2)",
            "step(number=3)",
            "step(number=4)",
            "step(number=5)",
            "… 13 more",
        ]
        assert [line for line in lines if line.startswith(">")] == [lines[4]]
        assert "◀ look" in lines[4]

    @pytest.mark.parametrize(("depth", "calls"), [(1, 300), (60, 2), (3, 40)])
    def test_is_bounded_whatever_the_run(self, depth: int, calls: int) -> None:
        """No line wider than asked, no more lines than the limit, the marked one among them."""
        trajectory = record(depth, calls, bad=True)
        for width in (40, 76):
            marks = mark_failures(trajectory.trees())
            text = render_path(trajectory.trees(), marks, width=width, glyphs=UNICODE)
            lines = text.splitlines()
            assert len(lines) <= LINES_LIMIT
            assert all(cell_width(line) <= width for line in lines), text
            assert sum(line.startswith(">") for line in lines) == 1, text
            assert "ValueError" in text

    def test_without_marks_shows_how_the_run_began(self) -> None:
        """As far as the limit goes, and then says how much there is."""
        trajectory = record(40, 3)
        lines = trajectory.render_path().splitlines()
        assert len(lines) == LINES_LIMIT
        assert lines[0].startswith("  level-0")
        assert "more lines" in lines[-1]

    def test_of_nothing_is_nothing(self) -> None:
        """No tree, no text."""
        with memory_recorder() as recorder:
            assert Trajectory(recorder).render_path() == ""

    def test_leaves_out_conversations_without_a_mark(self) -> None:
        """A test may run its agent several times."""
        with memory_recorder() as recorder:
            for name in ("first", "second"):
                with agent_scope(name):
                    step(1)
        trajectory = Trajectory(recorder)
        row = rows_of(trajectory, "step")[1]
        text = trajectory.render_path(Marks({row: ""}))
        assert "second" in text and "first" not in text

    def test_hostile_words_move_nothing(self) -> None:
        """Names, arguments and what a test expected are shown harmless."""
        evil = "\x1b[2J\u202e\nnew line"
        with memory_recorder() as recorder, agent_scope(evil):
            step(1, note=evil)
        trajectory = Trajectory(recorder)
        [row] = rows_of(trajectory, "step")
        text = trajectory.render_path(Marks({row: evil}, {row: evil}, evil))
        assert "\x1b" not in text and "\u202e" not in text
        assert len(text.splitlines()) == 4, text

    def test_ascii_alone_where_the_terminal_has_no_more(self) -> None:
        """The same lines in plain characters."""
        trajectory = record(2, 4, bad=True)
        marks = mark_failures(trajectory.trees())
        assert render_path(trajectory.trees(), marks, glyphs=ASCII).isascii()

    def test_shows_no_ids_of_rows(self) -> None:
        """There is no database to look them up in."""
        assert "#" not in record(1, 1, bad=True).render_path()
