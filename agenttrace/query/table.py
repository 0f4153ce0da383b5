"""
Rows under headings, in a given width: the widest column that may shrink gives way.

Pure; cells are sanitised here, so that callers hand in what they read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line, line_width
from agenttrace.query.text import cell_width, sanitize

__all__ = ["Column", "render_table"]

_GAP = 2


class Column(NamedTuple):
    """One column: its heading, and how its cells are shown."""

    title: str
    style: str = ""
    right: bool = False
    shrinks: bool = False
    """Gives way when the table is too wide; several such columns share what is left."""
    narrowest: int = 6


def render_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str | Span | Line]],
    *,
    width: int = 80,
    glyphs: Glyphs = UNICODE,
    gap: int = _GAP,
) -> Iterator[Line]:
    """
    Render a heading line and one line per row.

    Args:
        columns: What stands over the cells.
        rows: Cells; a ``Span``, or a line of them, brings its own style.
        width: Terminal cells; 0 lets every column be as wide as its cells.
        glyphs: ``lines.UNICODE`` or ``lines.ASCII``.
        gap: Cells between two columns.
    """
    columns = [column._replace(title=sanitize(column.title)) for column in columns]
    cells = [[_clean(cell, column) for cell, column in zip(row, columns, strict=True)] for row in rows]
    widths = [
        max([cell_width(column.title), *(line_width(row[at]) for row in cells)])
        for at, column in enumerate(columns)
    ]
    if width:
        _shrink(widths, columns, width, gap)
    titles: list[Line] = [(Span(column.title, "dim"),) for column in columns]
    for row in [titles, *cells]:
        yield _line(row, columns, widths, glyphs, gap)


def _clean(cell: str | Span | Line, column: Column) -> Line:
    if isinstance(cell, str):
        return (Span(sanitize(cell), column.style),)
    spans: Line = (cell,) if isinstance(cell, Span) else cell
    return tuple(Span(sanitize(span.text), span.style) for span in spans)


def _shrink(widths: list[int], columns: Sequence[Column], width: int, gap: int) -> None:
    excess = sum(widths) + gap * (len(widths) - 1) - width
    while excess > 0:
        able = [at for at, column in enumerate(columns) if column.shrinks and widths[at] > column.narrowest]
        if not able:
            return
        widest = max(able, key=lambda at: widths[at])
        others = [widths[at] for at in able if at != widest]
        step = max(1, min(excess, widths[widest] - max([columns[widest].narrowest, *others])))
        widths[widest] -= step
        excess -= step


def _line(
    row: Sequence[Line], columns: Sequence[Column], widths: Sequence[int], glyphs: Glyphs, gap: int
) -> Line:
    spans: list[Span] = []
    for at, (cell, column) in enumerate(zip(row, columns, strict=True)):
        shown = fit_line(cell, widths[at], glyphs.ellipsis)
        space = " " * (widths[at] - line_width(shown))
        is_last = at == len(columns) - 1
        if column.right:
            spans.append(Span(space))
            spans += shown
        else:
            spans += shown
            if not is_last:
                spans.append(Span(space))
        if not is_last:
            spans.append(Span(" " * gap))
    return tuple(span for span in spans if span.text)
