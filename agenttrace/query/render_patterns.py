"""
Shapes of runs, and how failed ones begin, in lines for a terminal.

Pure. Invariant: a line is at most as wide as asked but for a command, which is never cut; a shape has
two lines at most, and what is missing of it is marked.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line
from agenttrace.query.patterns import FailingPrefix, Pattern, Patterns
from agenttrace.query.text import fit, pluralize, render_count, render_duration, sanitize

__all__ = ["render_patterns"]

_INDENT = "  "
_SHAPE_LINES = 2
_STEPS_SHOWN = 8


def render_patterns(
    patterns: Patterns, width: int, glyphs: Glyphs = UNICODE, limit: int = 10, *, database: str = ""
) -> Iterator[Line]:
    """
    Render the shapes that runs have.

    Args:
        patterns: What ``TraceViewer.patterns`` gave.
        width: Cells of a line.
        glyphs: What may be drawn with.
        limit: Shapes at most.
        database: What every command ends with, " --db PATH" say.
    """
    found = patterns.patterns
    counted = f"{pluralize(patterns.runs, 'run')} of {pluralize(len(found), 'shape')}"
    yield fit_line((Span(counted, "agent"),), width, glyphs.ellipsis)
    for pattern in found[:limit]:
        yield ()
        yield fit_line(tuple(_count(pattern, glyphs)), width, glyphs.ellipsis)
        yield from _render_shape(pattern, width, glyphs)
        yield (Span(f"{_INDENT}{_show(pattern.example, database)}", "id"),)
    if len(found) > limit:
        yield ()
        left = sum(pattern.runs for pattern in found[limit:])
        said = f"{glyphs.ellipsis} {pluralize(len(found) - limit, 'more shape')} of {pluralize(left, 'run')}"
        yield fit_line((Span(f"{said}: -n {len(found)}", "dim"),), width, glyphs.ellipsis)
    if patterns.failing_prefix is not None:
        yield ()
        yield from _render_prefix(patterns.failing_prefix, width, glyphs, database)


def _count(pattern: Pattern, glyphs: Glyphs) -> Iterator[Span]:
    yield Span(pluralize(pattern.runs, "run"), "agent")
    yield Span(glyphs.dot, "dim")
    if pattern.failed:
        share = f"{(pattern.failed_share or 0.0):.0%}".replace("%", " %")
        yield Span(f"{render_count(pattern.failed)} failed ({share})", "bad")
    else:
        yield Span("none failed", "ok")
    if pattern.ended < pattern.runs:
        yield Span(f"{glyphs.dot}{render_count(pattern.runs - pattern.ended)} not over", "warn")
    yield Span(f"{glyphs.dot}{pluralize(pattern.steps, 'step')}", "dim")
    yield Span(f"{glyphs.dot}p50 {render_duration(pattern.duration_p50_ms)}", "dim")
    if pattern.is_cut:
        yield Span(f"{glyphs.dot}only its first steps", "warn")


def _render_shape(pattern: Pattern, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Give a shape in lines that break before an arrow."""
    left = _draw(pattern.shape, glyphs)
    room = width - 2 * len(_INDENT)
    for number in range(_SHAPE_LINES):
        if not left:
            return
        indent = _INDENT * (1 if not number else 2)
        head = fit(left, room, "")
        is_last = number == _SHAPE_LINES - 1
        if len(head) < len(left) and not is_last:
            broken = head.rpartition(f" {glyphs.arrow} ")[0] or head
            head = broken
        text = fit(left, room, glyphs.ellipsis) if is_last else head
        yield (Span(indent + text, "value"),)
        left = left[len(head) :].lstrip() if not is_last else ""


def _draw(text: str, glyphs: Glyphs) -> str:
    """Write a recorded text with the marks that the terminal has."""
    drawn = sanitize(text).replace("→", glyphs.arrow).replace("»", glyphs.deep)
    return drawn.replace("✘", glyphs.marks["error"])


def _render_prefix(prefix: FailingPrefix, width: int, glyphs: Glyphs, database: str) -> Iterator[Line]:
    of_all = f"{render_count(prefix.failed)} of {pluralize(prefix.failed_in_all, 'failed run')}"
    verb = "begins" if prefix.failed == 1 else "begin"
    yield fit_line((Span(f"{of_all} {verb} so, and no ok run does:", "bad"),), width, glyphs.ellipsis)
    steps = prefix.steps
    first = max(0, min(prefix.left_at - _STEPS_SHOWN // 2, len(steps) - _STEPS_SHOWN))
    if first:
        yield (Span(f"{_INDENT}{glyphs.ellipsis} {pluralize(first, 'step')} before", "dim"),)
    for number in range(first, min(len(steps), first + _STEPS_SHOWN)):
        mark = f"{glyphs.deep} " if number == prefix.left_at else _INDENT
        style = "bad" if number >= prefix.left_at else ""
        yield fit_line((Span(mark, "bad"), Span(_draw(steps[number], glyphs), style)), width, glyphs.ellipsis)
    behind = len(steps) - first - _STEPS_SHOWN
    if behind > 0:
        yield (Span(f"{_INDENT}{glyphs.ellipsis} {pluralize(behind, 'step')} behind", "dim"),)
    if prefix.ok_goes_on is not None:
        said = f"there ({glyphs.deep}) ok runs go on with {_draw(prefix.ok_goes_on, glyphs)}"
        yield fit_line((Span(said, "dim"),), width, glyphs.ellipsis)
    yield (Span(f"{_INDENT}{_show(prefix.example, database)}", "id"),)


def _show(conversation_id: str, database: str) -> str:
    return f"agenttrace show {sanitize(shlex.quote(conversation_id))}{database}"
