"""
A tree as lines of a given width: who did what, how long it took, what failed, what became of it.

Invariants: no line is wider than asked; a failure's type and fate are never cut
away by a long argument; a run of equal siblings is one line with a count, but an
agent or an odd one out is never hidden without being counted. Iterative: depth
costs no stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agenttrace.query.describe import describe_payload, describe_tokens
from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line, line_width
from agenttrace.query.text import (
    cell_width,
    fit,
    pluralize,
    preview,
    preview_arguments,
    render_count,
    render_duration,
    sanitize,
)
from agenttrace.query.tree import NodeFailure, Tree, TreeNode, parse_payload

__all__ = ["mark_span", "render_tree"]

_RUN_SHOWN = 2
_RUN_LIMIT = 4
_SIBLINGS_LIMIT = 100
_FAILURES_SHOWN = 3
_NARROWEST = 32
_HIDDEN_EVENTS = frozenset({"handled", "model_delta", "model_selected", "message", "retry", "snapshot"})
_MARK_STYLES = {
    "ok": "ok",
    "completed": "ok",
    "error": "bad",
    "failed": "bad",
    "interrupted": "bad",
    "running": "warn",
    "out of contact": "warn",
}
_FATE_STYLES = {"swallowed": "bad", "escaped": "bad", "open": "warn", "reported": "", "retried": "dim"}


def mark_span(status: str, glyphs: Glyphs = UNICODE) -> Span:
    """Give the mark of a status: a symbol, with its word where the symbol is not a tick or a cross."""
    return Span(glyphs.marks.get(status, sanitize(status)), _MARK_STYLES.get(status, "warn"))


def render_tree(
    tree: Tree, *, width: int = 80, glyphs: Glyphs = UNICODE, full: bool = False
) -> Iterator[Line]:
    """
    Render the nodes of *tree*.

    Args:
        tree: What ``build_tree`` gave.
        width: Terminal cells per line, taken as 32 at least.
        glyphs: ``lines.UNICODE`` or ``lines.ASCII``.
        full: Show every sibling and every kind of event, instead of runs with a count.

    Yields:
        Lines from the first root down; none for an empty tree.
    """
    yield from _TreeRenderer(tree, max(width, _NARROWEST), glyphs, full).lines()


@dataclass(frozen=True, slots=True)
class _More:
    """Stands for siblings that are counted instead of shown."""

    text: str
    style: str


_Entry = int | _More


class _TreeRenderer:
    def __init__(self, tree: Tree, width: int, glyphs: Glyphs, full: bool) -> None:
        self._tree = tree
        self._nodes = tree.nodes
        self._width = width
        self._glyphs = glyphs
        self._full = full
        self._levels_limit = max(3, (width - 44) // 3)
        self._troubled = _find_troubled(tree)

    def lines(self) -> Iterator[Line]:
        # A level on the stack: the guide in front of its entries, and what is still to come, last first.
        waiting: list[tuple[str, int, _Entry, bool]] = []
        self._push(waiting, "", 0, self._tree.roots)
        while waiting:
            guide, level, entry, last = waiting.pop()
            joint = "" if level == 0 else (self._glyphs.last if last else self._glyphs.branch)
            below = "" if level == 0 else (self._glyphs.space if last else self._glyphs.bar)
            if isinstance(entry, _More):
                yield self._fit((Span(guide + joint, "guide"), Span(entry.text, entry.style)))
                continue
            node = self._nodes[entry]
            children = self._visible(node.children)
            if level >= self._levels_limit:
                head, inner = f"{guide[: 3 * self._levels_limit]}{self._glyphs.deep}{node.depth} ", guide
            else:
                head, inner = guide + joint, guide + below
            yield from self._node_lines(node, head, inner, bool(children))
            self._push(waiting, inner, level + 1, children)

    def _push(
        self, waiting: list[tuple[str, int, _Entry, bool]], guide: str, level: int, children: Sequence[int]
    ) -> None:
        entries = self._entries(children)
        waiting.extend((guide, level, entry, at == 0) for at, entry in enumerate(reversed(entries)))

    def _visible(self, children: Sequence[int]) -> Sequence[int]:
        if self._full:
            return children
        nodes = self._nodes
        return [at for at in children if nodes[at].family != "event" or nodes[at].name not in _HIDDEN_EVENTS]

    def _entries(self, children: Sequence[int]) -> list[_Entry]:
        """Put counts in the place of long runs of equal siblings, and of too many siblings."""
        if self._full:
            return list(children)
        entries: list[_Entry] = []
        run: list[int] = []
        for at in children:
            if run and self._signature(at) != self._signature(run[0]):
                entries.extend(self._collapse_run(run))
                run = []
            run.append(at)
        entries.extend(self._collapse_run(run))
        return self._thin_out(entries)

    def _signature(self, at: int) -> tuple[Any, ...]:
        node = self._nodes[at]
        noted = any(note != "rebuilt" for note in node.notes)
        alone = node.children or noted or node.attempts > 1 or len(node.failures) > 1
        if alone or node.family == "agent":
            return (at,)
        failure = node.failures[0] if node.failures else None
        told = (failure.error_type, failure.fate) if failure else None
        return node.family, node.name, node.status, node.notes, told

    def _collapse_run(self, run: list[int]) -> list[_Entry]:
        if len(run) <= _RUN_LIMIT:
            return list(run)
        hidden = [self._nodes[at] for at in run[_RUN_SHOWN:]]
        first = hidden[0]
        parts = [f"{self._glyphs.ellipsis} {render_count(len(hidden))} more {sanitize(first.name)}"]
        if first.status:
            parts[0] += f" {mark_span(first.status, self._glyphs).text}"
        total_ms = sum(node.duration_ms or 0 for node in hidden)
        if total_ms:
            parts.append(f"{render_duration(total_ms)} in all")
        tokens = describe_tokens(
            sum(node.input_tokens or 0 for node in hidden), sum(node.output_tokens or 0 for node in hidden)
        )
        if tokens:
            parts.append(tokens)
        if first.failures:
            parts.append(sanitize(first.failures[0].error_type))
            if first.failures[0].fate:
                parts.append(first.failures[0].fate)
        style = "bad" if first.failures else "dim"
        return [*run[:_RUN_SHOWN], _More(self._glyphs.dot.join(parts), style)]

    def _thin_out(self, entries: list[_Entry]) -> list[_Entry]:
        if len(entries) <= _SIBLINGS_LIMIT:
            return entries
        edge = _SIBLINGS_LIMIT // 3
        troubled = [at for at, entry in enumerate(entries) if self._is_troubled(entry)]
        kept = {*range(edge), *range(len(entries) - edge, len(entries)), *troubled[:edge]}
        shown: list[_Entry] = []
        gap: list[_Entry] = []
        for at, entry in enumerate(entries):
            if at not in kept:
                gap.append(entry)
                continue
            if gap:
                shown.append(self._gap(gap))
                gap = []
            shown.append(entry)
        return shown

    def _is_troubled(self, entry: _Entry) -> bool:
        return entry.style == "bad" if isinstance(entry, _More) else self._troubled[entry]

    def _gap(self, gap: list[_Entry]) -> _More:
        troubled = sum(self._is_troubled(entry) for entry in gap)
        text = f"{self._glyphs.ellipsis} {render_count(len(gap))} more lines"
        if troubled:
            return _More(f"{text}, {render_count(troubled)} of them with failures (--full shows all)", "bad")
        return _More(f"{text} (--full shows all)", "dim")

    # One node

    def _node_lines(self, node: TreeNode, head: str, inner: str, has_children: bool) -> Iterator[Line]:
        shown = _failures_to_show(node)
        title, tail = self._title(node), self._tail(node)
        arguments, is_call = self._arguments(node)
        fixed = cell_width(head) + line_width(title) + line_width(tail) + (2 if is_call else 0)
        inline: Line = ()
        if len(shown) == 1:
            candidate = self._failure_spans(shown[0], self._width)
            needed = min(cell_width(arguments), 16)
            if fixed + needed + 3 + line_width(candidate) <= self._width:
                inline = (Span(self._glyphs.dot, "dim"), *candidate)
        room = self._width - fixed - line_width(inline)
        yield self._fit(
            (
                Span(head, "guide"),
                *title,
                *self._argument_spans(node, arguments, is_call, room),
                *tail,
                *inline,
            )
        )
        if shown and not inline:
            yield from self._failure_lines(shown, inner, has_children)

    def _title(self, node: TreeNode) -> Line:
        if node.family == "turn":
            number = "" if node.turn is None else f"turn {node.turn} "
            return (Span(f"{number or 'turn '}", "turn"), Span(sanitize(node.name), "turn"))
        if node.family == "event":
            return (Span(sanitize(node.name), "dim"),)
        return (Span(fit(sanitize(node.name), self._width // 2, self._glyphs.ellipsis), _title_style(node)),)

    def _arguments(self, node: TreeNode) -> tuple[str, bool]:
        payload = parse_payload(node.payload_json)
        ellipsis = self._glyphs.ellipsis
        if node.family == "call":
            return preview_arguments(payload.get("arguments"), self._width, ellipsis), True
        if node.family == "agent":
            value = payload.get("input")
            return ("" if value is None else preview(value, self._width, ellipsis)), False
        if node.family == "event":
            text = describe_payload(node.name, payload, self._width, self._glyphs)
            if node.name == "result_dropped" and node.call_id:
                text = f"{sanitize(node.call_id)}{self._glyphs.dot}{text}" if text else sanitize(node.call_id)
            return text, False
        return "", False

    def _argument_spans(self, node: TreeNode, arguments: str, is_call: bool, room: int) -> Line:
        ellipsis = self._glyphs.ellipsis
        if is_call:
            payload = parse_payload(node.payload_json)
            if cell_width(arguments) > room:
                arguments = preview_arguments(payload.get("arguments"), max(room, 1), ellipsis)
            return (Span("(", "dim"), Span(arguments, "value"), Span(")", "dim"))
        if not arguments or room < 12:
            return ()
        return (Span(" "), Span(fit(arguments, room - 1, ellipsis), "value"))

    def _tail(self, node: TreeNode) -> Line:
        dot = Span(self._glyphs.dot, "dim")
        spans: list[Span] = []
        if node.status:
            spans += [Span(" "), mark_span(node.status, self._glyphs)]
        if node.duration_ms is not None and node.family != "event":
            spans.append(Span(f" {render_duration(node.duration_ms)}", "dim"))
        if node.family == "agent" and node.parent_agent_id is not None:
            spans.append(Span(" (subagent)", "dim"))
        if node.family == "turn":
            tokens = describe_tokens(node.input_tokens, node.output_tokens)
            if tokens:
                spans += [dot, Span(tokens, "dim")]
        if node.attempts > 1:
            spans += [dot, *_attempt_spans(node)]
        for note in node.notes:
            spans += [dot, Span(note, "dim")]
        return tuple(spans)

    def _failure_spans(self, failure: NodeFailure, room: int) -> Line:
        """Type, message, fate, row: the message gives way, the rest stays."""
        dot = Span(self._glyphs.dot, "dim")
        tail: list[Span] = []
        if failure.fate:
            tail += [dot, Span(_render_fate(failure), _FATE_STYLES.get(failure.fate, ""))]
        tail += [dot, Span(f"#{failure.row_id}", "id")]
        kind = "returned " if failure.returned else ""
        kind += fit(sanitize(failure.error_type), 40, self._glyphs.ellipsis)
        message = sanitize(failure.message.strip().partition("\n")[0])
        if not message or failure.error_type == "ReturnedFailure":
            kind = kind.replace("returned ReturnedFailure", "returned a failure")
        if message:
            room -= line_width(tail) + cell_width(kind) + 2
            message = fit(message, room, self._glyphs.ellipsis)
        return (Span(f"{kind}: {message}" if message else kind, "bad"), *tail)

    def _failure_lines(self, shown: Sequence[NodeFailure], inner: str, has_children: bool) -> Iterator[Line]:
        guide = inner + (self._glyphs.bar if has_children else self._glyphs.space)
        mark = mark_span("error", self._glyphs)
        for failure in shown[:_FAILURES_SHOWN]:
            front = (Span(guide, "guide"), mark, Span(" "))
            yield self._fit((*front, *self._failure_spans(failure, self._width - line_width(front))))
        rest = len(shown) - _FAILURES_SHOWN
        if rest > 0:
            text = f"{self._glyphs.ellipsis} {pluralize(rest, 'more failure')}"
            yield self._fit((Span(guide, "guide"), Span(text, "bad")))

    def _fit(self, line: Line) -> Line:
        return fit_line(line, self._width, self._glyphs.ellipsis)


def _find_troubled(tree: Tree) -> list[bool]:
    troubled = [bool(node.failures) or node.status in ("error", "interrupted") for node in tree.nodes]
    for at in range(len(tree.nodes) - 1, -1, -1):
        parent = tree.nodes[at].parent
        if parent is not None and troubled[at]:
            troubled[parent] = True
    return troubled


def _failures_to_show(node: TreeNode) -> Sequence[NodeFailure]:
    """Give the failures worth a text: the retried ones of a call are told by its attempts."""
    if node.attempts <= 1:
        return node.failures
    return [failure for failure in node.failures if failure.fate != "retried"]


def _title_style(node: TreeNode) -> str:
    return "agent" if node.family == "agent" else "tool"


def _attempt_spans(node: TreeNode) -> Line:
    text = f"{node.attempts} attempts"
    if not node.failed_attempts:
        return (Span(text),)
    failed = "all" if node.failed_attempts >= node.attempts else str(node.failed_attempts)
    types = list(dict.fromkeys(failure.error_type for failure in node.failures if failure.fate == "retried"))
    named = f" ({sanitize(', '.join(types[:2]))})" if types else ""
    return (Span(text), Span(f", {failed} failed{named}", "warn"))


def _render_fate(failure: NodeFailure) -> str:
    fate = failure.fate or ""
    if fate == "swallowed" and failure.handled_at:
        return f"swallowed at {sanitize(failure.handled_at.rpartition('/')[2])}"
    return fate
