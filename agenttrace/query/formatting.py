"""
A list of events as text, JSON or Markdown: a timeline and a tree.

Pure text for logs, tickets and notebooks; the command line has its own renderers.
Nothing vanishes: an event whose parent is not in the list, or whose parents form
a cycle, is shown at the top level.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from agenttrace.errors import ConfigError
from agenttrace.query.data import event_to_data, node_to_data
from agenttrace.query.order import order_key
from agenttrace.query.render_markdown import markdown_timeline, markdown_tree
from agenttrace.query.text import escape_in_json, render_clock, render_cost, render_count, sanitize
from agenttrace.query.tree import TreeNode, build_tree, parse_payload

if TYPE_CHECKING:
    from agenttrace.store.rows import Event

__all__ = ["EMPTY_TEXT", "FORMS", "check_form", "format_timeline", "format_tree"]

FORMS = ("text", "json", "markdown")
EMPTY_TEXT = "No traces found."
_FRAME = "=" * 60
_TIMELINE_ITEMS, _TIMELINE_CUT = 3, 50
_TREE_ITEMS, _TREE_CUT = 2, 40


def format_timeline(events: Iterable[Event], form: str = "text") -> str:
    """
    Render events as a framed list, in the order of time; or as JSON or Markdown.

    Args:
        events: In any order.
        form: ``text``, ``json`` (a list of objects) or ``markdown`` (a table).

    Returns:
        As text, ``[HH:MM:SS.mmm] kind (1.2ms)`` per event with at most three data items of 50 characters
        below it, and a line of tokens and cost where any were counted; ``No traces found.`` for none.
    """
    ordered = sorted(events, key=order_key)
    if check_form(form) == "json":
        return _dump([event_to_data(event) for event in ordered])
    if form == "markdown":
        return "\n".join(markdown_timeline(ordered))
    if not ordered:
        return EMPTY_TEXT
    lines = [_FRAME, f"Timeline: {render_count(len(ordered))} events", _FRAME]
    for event in ordered:
        lines.append(f"[{render_clock(event.ts_ms)}] {_title(event)}{_duration(event.duration_ms)}")
        lines.extend(f"    {item}" for item in _items(_data(event), _TIMELINE_ITEMS, _TIMELINE_CUT))
        usage = _usage(event)
        if usage:
            lines.append(f"    {usage}")
    lines.append(_FRAME)
    return "\n".join(lines)


def format_tree(events: Iterable[Event], form: str = "text") -> str:
    """
    Render events as a tree, two spaces of indent per level; or as JSON or Markdown.

    Args:
        events: In any order.
        form: ``text``, ``json`` (a list of nodes, parents first) or ``markdown`` (a nested list).

    Returns:
        As text, one line per agent run, call, turn or other event, with at most two data items of 40
        characters; ``No traces found.`` for none.
    """
    tree = build_tree(events)
    if check_form(form) == "json":
        return _dump([node_to_data(at, node) for at, node in enumerate(tree.nodes)])
    if form == "markdown":
        return "\n".join(markdown_tree(tree, full=True))
    if not tree.nodes:
        return EMPTY_TEXT
    return "\n".join(_tree_line(node) for node in tree.nodes)


def check_form(form: str) -> str:
    """
    Give *form* back.

    Raises:
        ConfigError: There is no such form.
    """
    if form not in FORMS:
        raise ConfigError(f"form={form!r}: give one of {', '.join(FORMS)}.")
    return form


def _dump(items: list[dict[str, Any]]) -> str:
    return escape_in_json(json.dumps(items, indent=2, ensure_ascii=False, default=str))


def _tree_line(node: TreeNode) -> str:
    status = f" [{node.status}]" if node.status and node.status != "ok" else ""
    line = f"{'  ' * node.depth}{node.family}: {sanitize(node.name)}{_duration(node.duration_ms)}{status}"
    data = parse_payload(node.payload_json)
    shown = data.get("arguments") if isinstance(data.get("arguments"), dict) else data
    items = list(_items(shown or {}, _TREE_ITEMS, _TREE_CUT))
    items.extend(
        sanitize(failure.error_type) + (f" ({failure.fate})" if failure.fate else "")
        for failure in node.failures
    )
    return f"{line} - {', '.join(items)}" if items else line


def _title(event: Event) -> str:
    name = event.tool_name or (event.agent_name if event.kind.startswith("agent_") else None)
    return f"{sanitize(event.kind)} {sanitize(name)}" if name else sanitize(event.kind)


def _duration(duration_ms: float | None) -> str:
    return "" if duration_ms is None else f" ({duration_ms:.1f}ms)"


def _data(event: Event) -> dict[str, Any]:
    payload = parse_payload(event.payload_json)
    arguments = payload.get("arguments")
    return arguments if event.kind == "tool_call" and isinstance(arguments, dict) else payload


def _items(data: dict[str, Any], limit_count: int, cut: int) -> Iterator[str]:
    for name, value in list(data.items())[:limit_count]:
        text = sanitize(value if isinstance(value, str) else str(value))
        yield f"{sanitize(str(name))}: {text[:cut] + '...' if len(text) > cut else text}"


def _usage(event: Event) -> str:
    parts = []
    if event.input_tokens or event.output_tokens:
        parts.append(f"tokens: {event.input_tokens or 0} in / {event.output_tokens or 0} out")
    if event.cost_usd is not None:
        parts.append(f"cost: {render_cost(event.cost_usd)}")
    return ", ".join(parts)
