"""
The part of a tree that a failed assertion is about: the way from the root to what is marked.

Invariants: what is marked is shown, in a line of its own that begins with ``>``; what is left out is
counted; no line is wider than asked, and there are ``LINES_LIMIT`` at most. Cost: one pass over the nodes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from agenttrace.query.lines import ASCII, UNICODE, Glyphs, Line, Span, fit_line, render_plain
from agenttrace.query.render_tree import render_tree
from agenttrace.query.text import pluralize, sanitize
from agenttrace.query.tree import Tree, TreeNode

__all__ = ["LINES_LIMIT", "Marks", "choose_glyphs", "mark_failures", "render_path"]

LINES_LIMIT = 40
_BEFORE, _AFTER = 2, 1
"""Siblings shown around what is marked."""
_MARKS_LIMIT = 6
_AROUND = 4
"""Lines kept around a marked line where there are too many."""


class Marks(NamedTuple):
    """What to show of a tree, and what to say there."""

    at: Mapping[int, str]
    """By the ``row_id`` of a node, what to say beside it."""
    after: Mapping[int, str] = {}
    """By the ``row_id`` of a node, what should have stood behind it."""
    missing: str = ""
    """What should have stood first of all."""


def choose_glyphs() -> Glyphs:
    """Give the characters that the terminal behind pytest's capturing can show."""
    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    try:
        "├─└│✔✘…·◀".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def mark_failures(trees: Iterable[Tree]) -> Marks:
    """Mark what failed and was not mended, the first ones; nothing where all is well."""
    rows = [
        node.row_id
        for tree in trees
        for node in tree.nodes
        if any(failure.fate != "retried" for failure in node.failures)
    ]
    return Marks(dict.fromkeys(rows[:_MARKS_LIMIT], ""))


def render_path(trees: Iterable[Tree], marks: Marks, *, width: int = 80, glyphs: Glyphs | None = None) -> str:
    """
    Render what leads to the marked nodes.

    Args:
        trees: One of each conversation.
        marks: What to show. Without any mark the beginning of each tree is shown.
        width: Cells a line.
        glyphs: For tests; else what the terminal can show.

    Returns:
        Lines, each ended by a newline; "" when there are no nodes.
    """
    glyphs = glyphs or choose_glyphs()
    pointer = "◀" if glyphs is UNICODE else "<-"
    lines: list[Line] = []
    if marks.missing:
        lines.append((Span(f"{pointer} {sanitize(marks.missing)}", "bad"),))
    wanted = {*marks.at, *marks.after}
    for tree in trees:
        if wanted and not any(node.row_id in wanted for node in tree.nodes):
            continue
        reduced = _reduce(tree, marks, pointer, glyphs.ellipsis) if wanted else tree
        lines += render_tree(reduced, width=width - 2, glyphs=glyphs)
    texts = [
        (any(span.text.startswith(pointer) for span in line), _without_rows(line, width - 2, glyphs))
        for line in lines
    ]
    return "".join(_shorten(texts, glyphs.ellipsis))


def _without_rows(line: Line, width: int, glyphs: Glyphs) -> str:
    """Leave out the ids of rows: nobody can look them up once the test has ended."""
    kept = [
        span
        for at, span in enumerate(line)
        if span.style != "id"
        and not (span.text == glyphs.dot and at + 1 < len(line) and line[at + 1].style == "id")
    ]
    return render_plain([fit_line(tuple(kept), width, glyphs.ellipsis)])


def _shorten(texts: Sequence[tuple[bool, str]], ellipsis: str) -> list[str]:
    """Put ``>`` before what is marked; of too many lines leave out those far from it."""
    shown = range(len(texts))
    marked = [at for at in shown if texts[at][0]][:3]
    kept = set(shown)
    if len(texts) > LINES_LIMIT:
        kept = set(range(_AROUND))
        for at in marked:
            kept.update(range(max(0, at - _AROUND), at + _AROUND + 1))
        if not marked:
            kept = set(range(LINES_LIMIT - 1))
    lines: list[str] = []
    skipped = 0
    for at in shown:
        if at not in kept:
            skipped += 1
            continue
        if skipped:
            lines.append(f"  {ellipsis} {pluralize(skipped, 'more line')}\n")
            skipped = 0
        is_marked, text = texts[at]
        lines.append(f"{'> ' if is_marked else '  '}{text}")
    if skipped:
        lines.append(f"  {ellipsis} {pluralize(skipped, 'more line')}\n")
    return lines


# The reduced tree


def _reduce(tree: Tree, marks: Marks, pointer: str, ellipsis: str) -> Tree:
    """Keep what is marked, what is around it and what leads to it; count the rest in its place."""
    nodes = tree.nodes
    kept = _choose(tree, {*marks.at, *marks.after})
    sizes = [int(node.family != "event") for node in nodes]
    for at in range(len(nodes) - 1, -1, -1):
        parent = nodes[at].parent
        if parent is not None:
            sizes[parent] += sizes[at]
    made: list[TreeNode] = []
    children: list[list[int]] = []
    # What is still to come, last first: a node, or a text that stands for others or for what is missing.
    waiting: list[tuple[int | str, int | None, int]] = []

    def push(indexes: Sequence[int], parent: int | None, depth: int) -> None:
        entries: list[int | str] = []
        hidden = 0
        for at in [*indexes, -1]:
            if at >= 0 and at not in kept:
                hidden += sizes[at]
                continue
            if hidden:
                entries.append(f"{ellipsis} {hidden} more")
                hidden = 0
            if at < 0:
                break
            entries.append(at)
            missing = marks.after.get(nodes[at].row_id)
            if missing:
                entries.append(f"{pointer} {missing}")  # sanitised where names are
        waiting.extend((entry, parent, depth) for entry in reversed(entries))

    push(tree.roots, None, 0)
    while waiting:
        entry, parent, depth = waiting.pop()
        here = len(made)
        if parent is not None:
            children[parent].append(here)
        children.append([])
        if isinstance(entry, str):
            made.append(_stand_in(entry, nodes[0], parent, depth))
            continue
        node = nodes[entry]
        said = marks.at.get(node.row_id)
        notes = node.notes if said is None else (*node.notes, f"{pointer} {sanitize(said)}".rstrip())
        made.append(replace(node, parent=parent, depth=depth, notes=notes))
        push(node.children, here, depth + 1)
    built = tuple(replace(node, children=tuple(below)) for node, below in zip(made, children, strict=True))
    return Tree(tree.conversation_id, built)


def _choose(tree: Tree, wanted: set[int]) -> set[int]:
    nodes = tree.nodes
    kept: set[int] = set()
    for at, node in enumerate(nodes):
        if node.row_id not in wanted:
            continue
        siblings = tree.roots if node.parent is None else nodes[node.parent].children
        siblings = tuple(each for each in siblings if nodes[each].family != "event" or each == at)
        place = siblings.index(at)
        kept.update(siblings[max(0, place - _BEFORE) : place + 1 + _AFTER])
        up: int | None = at
        while up is not None:
            kept.add(up)
            up = nodes[up].parent
    return kept


def _stand_in(text: str, like: TreeNode, parent: int | None, depth: int) -> TreeNode:
    return replace(
        like,
        family="event",
        name=text,
        depth=depth,
        parent=parent,
        children=(),
        row_id=0,
        status="",
        attempts=1,
        failures=(),
        payload_json="",
        notes=(),
    )
