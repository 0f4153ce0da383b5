"""
Where a list that a trajectory gave first differs from what a test compared it with, for the report.

Invariants: only the lists that a trajectory gave are looked at; a comparison that failed earlier and did
no harm is not shown; nothing here ever raises into the test's report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agenttrace.errors import contained
from agenttrace.query.text import fit, preview, sanitize
from agenttrace.testing.assertions import EXPLAINED
from agenttrace.testing.failing_path import Marks
from agenttrace.testing.readings import Readings
from agenttrace.testing.recorded import Recorded
from agenttrace.testing.trajectory import Trajectory

__all__ = ["build_replay_section", "build_section", "explain_difference", "note_difference"]

_WIDTH = 40
_LINE_WIDTH = 160
_NOTES_SHOWN = 10


def note_difference(op: str, left: Any, right: Any, summary: str) -> None:
    """Keep where a comparison of a trajectory's list failed; *summary* is pytest's first line about it."""
    with contained("testing.compare"):
        found = explain_difference(op, left, right)
        if found is not None:
            given, marks = found
            given.trajectory.compared = summary, marks


def build_section(trajectory: Readings, exc: BaseException) -> tuple[str, str] | None:
    """
    Give the title and the text that a failed test's report has for its trajectory.

    Returns:
        None where the message tells the path already, or where nothing was recorded.
    """
    with contained("testing.report"):
        if getattr(exc, EXPLAINED, False):
            return None
        summary, marks = trajectory.compared or ("", None)
        title = "trajectory: where it differs"
        if marks is None or not isinstance(exc, AssertionError) or summary not in str(exc):
            title, marks = "trajectory", None
        text = trajectory.render_path(marks)
        return (title, text) if text else None
    return None


def build_replay_section(trajectory: Trajectory) -> tuple[str, str] | None:
    """
    Give the title and the text about what the cassettes of a failed test could not give back as it was.

    Returns:
        None where there is nothing to say.
    """
    with contained("testing.report"):
        notes = [note for playing in trajectory.playings for note in playing.notes]
        lines = [fit(sanitize(note), _LINE_WIDTH) for note in notes[:_NOTES_SHOWN]]
        if len(notes) > _NOTES_SHOWN:
            lines.append(f"and {len(notes) - _NOTES_SHOWN} more")
        return ("trajectory: not given back just as recorded", "\n".join(lines)) if lines else None
    return None


def explain_difference(op: str, left: Any, right: Any) -> tuple[Recorded[Any], Marks] | None:
    """
    Mark the first item that is not as expected.

    Args:
        op: ``==`` is looked at, and ``not in``/``in`` of one item; for all others nothing is marked.
        left: One side of the comparison.
        right: The other side.

    Returns:
        Which list it is about, and the marks; None when neither side came from a trajectory.
    """
    if op == "not in" and isinstance(right, Recorded):
        found = [row for row, item in zip(right.rows, right, strict=False) if item == left]
        return right, Marks(dict.fromkeys(found[:3], "was not to be here"))
    if op != "==":
        return None
    if isinstance(left, Recorded):
        return left, _first_difference(left, right)
    if isinstance(right, Recorded):
        return right, _first_difference(right, left)
    return None


def _first_difference(given: Recorded[Any], wanted: Any) -> Marks:
    if not isinstance(wanted, Sequence) or isinstance(wanted, str):
        return Marks({})
    for at, row in enumerate(given.rows):
        if at >= len(wanted):
            rest = len(given) - at
            return Marks({row: "was not expected" if rest == 1 else f"and {rest - 1} more were not expected"})
        if not bool(given[at] == wanted[at]):
            return Marks({row: f"expected here: {_render(wanted[at])}"})
    if len(wanted) > len(given):
        missing = f"expected here: {_render(wanted[len(given)])}"
        return Marks({}, {given.rows[-1]: missing}) if given.rows else Marks({}, missing=missing)
    return Marks({})


def _render(value: Any) -> str:
    return preview(value, _WIDTH) if isinstance(value, str) else sanitize(repr(value)[:_WIDTH])
