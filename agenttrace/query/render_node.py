"""
One node of a tree as lines: title, arguments, status, time, and the failures that it left first.

Invariants: no line is wider than asked; a failure's type and fate are never cut away by a long argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agenttrace.query.describe import describe_payload, describe_tokens
from agenttrace.query.lines import Glyphs, Line, Span, fit_line, line_width, mark_span
from agenttrace.query.text import (
    cell_width,
    fit,
    pluralize,
    preview,
    preview_arguments,
    render_duration,
    sanitize,
)
from agenttrace.query.tree import NodeFailure, TreeNode, parse_payload

__all__ = ["NodeRenderer"]

_FAILURES_SHOWN = 3
_FATE_STYLES = {"swallowed": "bad", "escaped": "bad", "open": "warn", "reported": "", "retried": "dim"}


class NodeRenderer:
    """
    Renders nodes.

    Args:
        width: Terminal cells of the lines of its failures.
        beside: Cells of its own line that something else takes.
        glyphs: ``lines.UNICODE`` or ``lines.ASCII``.
    """

    def __init__(self, width: int, beside: int, glyphs: Glyphs) -> None:
        self._whole_width = width
        self._width = width - beside
        self._glyphs = glyphs

    def lines(
        self, node: TreeNode, head: str, inner: str, has_children: bool, own_ms: float | None = None
    ) -> Iterator[Line]:
        """
        Render a node: its own line, then those of its failures that found no room there.

        Args:
            node: The node.
            head: The guide in front of its line.
            inner: The guide in front of the lines below it.
            has_children: Lines of others below it follow.
            own_ms: The time in which none of its operations ran, where it is to be said.
        """
        shown = _failures_to_show(node)
        title, tail = self._title(node), self._tail(node, own_ms)
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

    def _tail(self, node: TreeNode, own_ms: float | None) -> Line:
        dot = Span(self._glyphs.dot, "dim")
        spans: list[Span] = []
        if node.status:
            spans += [Span(" "), mark_span(node.status, self._glyphs)]
        if node.duration_ms is not None and node.family != "event":
            spans.append(Span(f" {render_duration(node.duration_ms)}", "dim"))
            if own_ms is not None:
                spans.append(Span(f", own {render_duration(own_ms)}", "dim"))
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
            spans = self._failure_spans(failure, self._whole_width - line_width(front))
            yield self._fit((*front, *spans), self._whole_width)
        rest = len(shown) - _FAILURES_SHOWN
        if rest > 0:
            text = f"{self._glyphs.ellipsis} {pluralize(rest, 'more failure')}"
            yield self._fit((Span(guide, "guide"), Span(text, "bad")), self._whole_width)

    def _fit(self, line: Line, width: int | None = None) -> Line:
        return fit_line(line, self._width if width is None else width, self._glyphs.ellipsis)


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
