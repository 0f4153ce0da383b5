"""
Trees, timelines and events as Markdown, for a ticket or a pull request.

Invariant: whatever a payload holds stands in a code span, so that it is neither markup, nor HTML, nor a link,
nor a mention of somebody. A tree is folded as on a terminal. Cost: one line at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from agenttrace.query.describe import describe_event, describe_tokens
from agenttrace.query.folding import LINES_LIMIT, Fold, Folding
from agenttrace.query.lines import UNICODE, Glyphs, mark_span
from agenttrace.query.render_fold import describe_fold
from agenttrace.query.text import (
    preview,
    preview_arguments,
    render_clock,
    render_duration,
    sanitize,
    sanitize_block,
)
from agenttrace.query.tree import Tree, TreeNode, parse_payload

if TYPE_CHECKING:
    from agenttrace.store.rows import Event

__all__ = ["code_span", "markdown_event", "markdown_timeline", "markdown_tree"]

_WIDTH = 72
_DEEPEST = 20
"""Levels of a list that are indented; deeper ones say how deep."""
_EMPTY = "No traces found."


def code_span(text: str, *, is_cell: bool = False) -> str:
    """
    Put any text on one line into a code span; "" for none.

    Args:
        text: Anything.
        is_cell: It will stand in a table, where a bar would end the cell.
    """
    text = sanitize(text)
    if not text:
        return ""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    if is_cell:
        text = text.replace("|", "\\|")
    return f"{fence}{pad}{text}{pad}{fence}"


def markdown_tree(
    tree: Tree,
    *,
    full: bool = False,
    depth: int | None = None,
    limit: int = LINES_LIMIT,
    glyphs: Glyphs = UNICODE,
) -> Iterator[str]:
    """
    Render a tree as a nested list.

    Args:
        tree: What ``build_tree`` gave.
        full: Show every sibling and every kind of event.
        depth: How many levels are shown; None for all.
        limit: Operations that are shown before siblings are folded.
        glyphs: ``lines.UNICODE`` or ``lines.ASCII``, for the marks.
    """
    if not tree.nodes:
        yield _EMPTY
        return
    folding = Folding(tree, is_open=full, depth=depth, limit=limit)
    waiting: list[tuple[int, int | Fold]] = [(0, entry) for entry in reversed(folding.below(None))]
    while waiting:
        level, entry = waiting.pop()
        indent = "  " * min(level, _DEEPEST)
        deep = f"(level {level}) " if level > _DEEPEST else ""
        if isinstance(entry, Fold):
            text = describe_fold(tree, folding, entry, glyphs).text
            yield f"{indent}- {deep}{code_span(text)}"
            continue
        node = tree.nodes[entry]
        yield f"{indent}- {deep}{_describe_node(node, glyphs)}"
        for failure in node.failures:
            message = failure.message.strip().partition("\n")[0][: 4 * _WIDTH]
            parts = [f"{glyphs.marks['error']} {code_span(failure.error_type)}", code_span(message)]
            if failure.fate:
                parts.append(failure.fate)
            if failure.handled_at:
                parts.append(f"at {code_span(failure.handled_at)}")
            yield f"{indent}  - {' '.join(part for part in parts if part)} (row {failure.row_id})"
        waiting.extend((level + 1, below) for below in reversed(folding.below(entry)))


def _describe_node(node: TreeNode, glyphs: Glyphs) -> str:
    payload = parse_payload(node.payload_json)
    parts = []
    if node.family == "call":
        arguments = preview_arguments(payload.get("arguments"), _WIDTH, glyphs.ellipsis)
        parts.append(code_span(f"{node.name}({arguments})"))
    elif node.family == "turn":
        number = "" if node.turn is None else f" {node.turn}"
        parts.append(f"turn{number} {code_span(node.name)}")
    elif node.family == "agent":
        parts.append(f"**agent** {code_span(node.name)}")
        if payload.get("input") is not None:
            parts.append(code_span(preview(payload["input"], _WIDTH, glyphs.ellipsis)))
    else:
        parts.append(f"event {code_span(node.name)}")
        if payload:
            parts.append(code_span(preview_arguments(payload, _WIDTH, glyphs.ellipsis)))
    if node.status:
        parts.append(_plain(mark_span(node.status, glyphs).text))
    if node.duration_ms is not None and node.family != "event":
        parts.append(render_duration(node.duration_ms))
    told = []
    if node.family == "turn":
        told.append(describe_tokens(node.input_tokens, node.output_tokens, node.cost_usd))
    if node.attempts > 1:
        told.append(f"{node.attempts} attempts, {node.failed_attempts} failed")
    told += node.notes
    return glyphs.dot.join([" ".join(parts), *(_plain(text) for text in told if text)])


def markdown_timeline(
    events: Iterable[Event], fates: Mapping[str, str] | None = None, glyphs: Glyphs = UNICODE
) -> Iterator[str]:
    """Render events as a table, in the order given; *fates* is what became of failures, by ``error_id``."""
    is_empty = True
    for event in events:
        if is_empty:
            yield "| # | UTC | agent | event | status | took | what |"
            yield "|---:|---|---|---|---|---:|---|"
            is_empty = False
        fate = (fates or {}).get(event.error_id or "") if event.kind == "error" else None
        what = code_span(describe_event(event, _WIDTH, glyphs), is_cell=True)
        cells = [
            str(event.id),
            render_clock(event.ts_ms),
            code_span(event.agent_name or event.agent_id, is_cell=True),
            code_span(event.kind, is_cell=True),
            "" if event.status is None else _plain(mark_span(event.status, glyphs).text),
            "" if event.duration_ms is None else render_duration(event.duration_ms),
            f"{what} {fate}" if fate else what,
        ]
        yield f"| {' | '.join(cells)} |"
    if is_empty:
        yield _EMPTY


def markdown_event(event: Event, payload: Any = None) -> Iterator[str]:
    """Render one event: its columns as a table, and its payload (or *payload*) as a block of JSON."""
    yield f"#### Event {event.id}: {code_span(event.kind)}"
    yield ""
    yield "| column | value |"
    yield "|---|---|"
    for field in fields(event):
        value = getattr(event, field.name)
        if value is not None and field.name not in ("id", "kind", "payload_json"):
            yield f"| {field.name} | {code_span(str(value), is_cell=True)} |"
    try:
        text = json.dumps(event.payload if payload is None else payload, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = event.payload_json
    text = sanitize_block(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield ""
    yield f"{fence}json"
    yield from text.split("\n")
    yield fence


def _plain(text: str) -> str:
    """Escape what Markdown would take for markup, in words of our own or names of types."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~@&])", r"\\\1", sanitize(text))
