"""
Where in a run's time each operation lay, as a bar beside its line.

Invariants: a bar is as wide as asked, and never empty for what has an interval; shape alone tells an
operation's own time from that of what it called, so that no colour is needed. Cost: cells of the bar, and
the operations right inside.
"""

from __future__ import annotations

from collections.abc import Iterable

from agenttrace.query.critical_path import find_waits, interval_of
from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line
from agenttrace.query.text import cell_width, fit, render_count, render_duration, sanitize
from agenttrace.query.tree import Tree

__all__ = ["BARS_FROM_WIDTH", "Waterfall"]

BARS_FROM_WIDTH = 70
"""A narrower terminal has no room for bars."""

_NARROWEST, _WIDEST = 14, 40
_WAITS_SHOWN = 3
_OWN, _INSIDE, _TICK, _UNKNOWN = "own", "inside", "tick", "unknown"


class Waterfall:
    """
    The bars of one tree.

    Args:
        tree: Its nodes set the scale: from the first start to the last end.
        width: Terminal cells of a whole line.
        glyphs: ``lines.UNICODE`` or ``lines.ASCII``.
    """

    def __init__(self, tree: Tree, width: int, glyphs: Glyphs = UNICODE) -> None:
        self._nodes = tree.nodes
        self._glyphs = glyphs
        intervals = [each for each in map(interval_of, tree.nodes) if each is not None]
        self._from_ns = min((start for start, _ in intervals), default=0)
        self._whole_ns = max((end for _, end in intervals), default=0) - self._from_ns
        is_shown = width >= BARS_FROM_WIDTH and len(intervals) > 1 and self._whole_ns > 0
        self.width = min(max(width // 5, _NARROWEST), _WIDEST) if is_shown else 0
        """Cells of a bar; 0 where there are none."""
        self.marked, self.waits = find_waits(tree)
        """What is on the critical path, and what was waited for: see ``find_waits``."""

    @property
    def room(self) -> int:
        """Cells that a bar takes from its line, with the mark before it and a space around that."""
        return self.width + 3 if self.width else 0

    def bar(self, at: int) -> Line:
        """Give the bar of one node, led by the mark of the critical path; () where it has none."""
        if not self.width or self._nodes[at].family == "event":
            return ()
        cells: dict[int, str] = {}
        whole = interval_of(self._nodes[at])
        if whole is None:
            cells[self._cell(self._nodes[at].start_ns)] = _UNKNOWN
        else:
            is_short = (whole[1] - whole[0]) * self.width * 2 < self._whole_ns
            for cell in self._cells(whole):
                cells[cell] = _TICK if is_short else _OWN
            for child in self._nodes[at].children:
                inside = interval_of(self._nodes[child])
                for cell in () if inside is None else self._covered(inside):
                    if cell in cells:
                        cells[cell] = _INSIDE
        is_bad = self._nodes[at].status in ("error", "interrupted")
        return self._draw(cells, at in self.marked, is_bad)

    def bar_of_all(self, members: Iterable[int]) -> Line:
        """Give one bar for several nodes, with room where none of them ran."""
        if not self.width:
            return ()
        cells: dict[int, str] = {}
        is_marked = False
        for at in members:
            is_marked = is_marked or at in self.marked
            whole = interval_of(self._nodes[at])
            if whole is not None and len(cells) < self.width:
                cells.update(dict.fromkeys(self._cells(whole), _OWN))
        return self._draw(cells, is_marked, False)

    def head(self, width: int) -> Line:
        """Give the line above the bars: what their shapes mean, and the scale."""
        own, inside, mark = self._glyphs.own, self._glyphs.inside, self._glyphs.critical
        legend = f"{own} own time  {inside} in what it called  {mark} critical path"
        room = width - self.width - 2
        legend = fit(legend, room, self._glyphs.ellipsis)
        end = render_duration(self._whole_ns / 1e6)
        space = " " * (room + 2 - cell_width(legend))
        scale = "0" + " " * max(1, self.width - 1 - len(end)) + end
        return (Span(legend + space, "dim"), Span(scale, "dim"))

    def describe_waits(self, width: int) -> Line:
        """Give the line that says what the run waited for most; () where nothing stands out."""
        if not self.waits:
            return ()
        parts = []
        for wait in self.waits[:_WAITS_SHOWN]:
            name = sanitize(wait.name) + (" itself" if wait.family == "agent" else "")
            times = f" in {render_count(wait.times)}" if wait.times > 1 else ""
            took = f"{render_duration(wait.ns / 1e6)}{times}"
            parts.append(f"{name} {took} ({round(100 * wait.share)} %)")
        line = (Span(f"{self._glyphs.critical} waited for ", "hot"), Span(", ".join(parts)))
        return fit_line(line, width, self._glyphs.ellipsis)

    def _draw(self, cells: dict[int, str], is_marked: bool, is_bad: bool) -> Line:
        if not cells:
            return ()
        glyphs = self._glyphs
        shapes = {_OWN: glyphs.own, _INSIDE: glyphs.inside, _TICK: glyphs.tick, _UNKNOWN: "?"}
        text = "".join(shapes[cells[cell]] if cell in cells else " " for cell in range(max(cells) + 1))
        mark = glyphs.critical if is_marked else " "
        return (Span(mark, "hot"), Span(text, "bad" if is_bad else "hot" if is_marked else "bar"))

    def _cell(self, ns: int) -> int:
        return min(self.width - 1, max(0, (ns - self._from_ns) * self.width // self._whole_ns))

    def _cells(self, interval: tuple[int, int]) -> range:
        first = self._cell(interval[0])
        if (interval[1] - interval[0]) * self.width < self._whole_ns:
            return range(first, first + 1)
        last = -(-(interval[1] - self._from_ns) * self.width // self._whole_ns) - 1
        return range(first, max(first, min(self.width - 1, last)) + 1)

    def _covered(self, interval: tuple[int, int]) -> range:
        """Give the cells of which an interval has at least the half."""
        start, end = ((ns - self._from_ns) * self.width / self._whole_ns for ns in interval)
        return range(max(0, int(start + 0.5)), min(self.width, int(end + 0.5)))
