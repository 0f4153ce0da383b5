"""
A tree as lines of a given width: who did what, when and for how long, what failed, what became of it.

Invariants: no line is wider than asked; what is folded is counted, and a failure in it named; without
colour nothing is lost. Iterative: depth costs no stack.
"""

from __future__ import annotations

from collections.abc import Iterator

from agenttrace.query.bars import Waterfall
from agenttrace.query.critical_path import own_ns_of
from agenttrace.query.folding import LINES_LIMIT, Fold, Folding
from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line, line_width, mark_span
from agenttrace.query.render_fold import describe_fold
from agenttrace.query.render_node import NodeRenderer
from agenttrace.query.tree import Tree, TreeNode

__all__ = ["mark_span", "render_tree"]

_NARROWEST = 32
_WIDE = 100
"""From here on a line says what of an operation's time was its own."""


def render_tree(
    tree: Tree,
    *,
    width: int = 80,
    glyphs: Glyphs = UNICODE,
    full: bool = False,
    bars: bool = False,
    depth: int | None = None,
    limit: int = LINES_LIMIT,
) -> Iterator[Line]:
    """
    Render the nodes of *tree*.

    Args:
        tree: What ``build_tree`` gave.
        width: Terminal cells per line, taken as 32 at least.
        glyphs: ``lines.UNICODE`` or ``lines.ASCII``.
        full: Show every sibling and every kind of event, instead of runs with a count.
        bars: Show beside each line when it ran and how long; left out below 70 cells.
        depth: How many levels are shown; None for all.
        limit: Operations that are shown before siblings are folded.

    Yields:
        Lines from the first root down; none for an empty tree.
    """
    yield from _TreeRenderer(tree, max(width, _NARROWEST), glyphs, full, bars, depth, limit).lines()


class _TreeRenderer:
    def __init__(
        self, tree: Tree, width: int, glyphs: Glyphs, full: bool, bars: bool, depth: int | None, limit: int
    ) -> None:
        self._tree = tree
        self._nodes = tree.nodes
        self._width = width
        self._glyphs = glyphs
        self._folding = Folding(tree, is_open=full, depth=depth, limit=limit)
        self._waterfall = Waterfall(tree, width if bars else 0, glyphs)
        self._text_width = width - self._waterfall.room
        self._renderer = NodeRenderer(width, self._waterfall.room, glyphs)
        self._levels_limit = max(3, (self._text_width - 44) // 3)

    def lines(self) -> Iterator[Line]:
        if self._waterfall.width:
            waits = self._waterfall.describe_waits(self._width)
            if waits:
                yield waits
            yield self._waterfall.head(self._width)
        # What is still to come, last first: the guide in front of it, and its level.
        waiting: list[tuple[str, int, int | Fold, bool]] = []
        self._push(waiting, "", 0, None)
        while waiting:
            guide, level, entry, last = waiting.pop()
            joint = "" if level == 0 else (self._glyphs.last if last else self._glyphs.branch)
            below = "" if level == 0 else (self._glyphs.space if last else self._glyphs.bar)
            is_deep = level >= self._levels_limit
            front = guide[: 3 * self._levels_limit] if is_deep else guide + joint
            if isinstance(entry, Fold):
                span = describe_fold(self._tree, self._folding, entry, self._glyphs)
                bar = self._waterfall.bar_of_all(entry.members) if entry.is_run else ()
                yield self._beside((Span(front, "guide"), span), bar)
                continue
            node = self._nodes[entry]
            if is_deep:
                front, inner = f"{front}{self._glyphs.deep}{node.depth} ", guide
            else:
                inner = guide + below
            has_children = bool(self._folding.below(entry))
            lines = self._renderer.lines(node, front, inner, has_children, self._own_ms(entry, node))
            yield self._beside(next(lines), self._waterfall.bar(entry))
            yield from lines
            self._push(waiting, inner, level + 1, entry)

    def _push(
        self, waiting: list[tuple[str, int, int | Fold, bool]], guide: str, level: int, at: int | None
    ) -> None:
        entries = self._folding.below(at)
        waiting.extend((guide, level, entry, index == 0) for index, entry in enumerate(reversed(entries)))

    def _beside(self, line: Line, bar: Line) -> Line:
        """Put a bar to the right of a line."""
        line = fit_line(line, self._text_width, self._glyphs.ellipsis)
        if not bar:
            return line
        return (*line, Span(" " * (self._text_width - line_width(line) + 1)), bar[0], Span(" "), *bar[1:])

    def _own_ms(self, at: int, node: TreeNode) -> float | None:
        if not self._waterfall.width or self._width < _WIDE or not node.children:
            return None
        own_ns = own_ns_of(self._nodes, at)
        return None if own_ns is None else own_ns / 1e6
