"""
One event in a few words: what was called with what, what came back, what failed.

Pure; every text is sanitised and at most as wide as asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agenttrace.query.lines import UNICODE, Glyphs
from agenttrace.query.text import fit, preview, preview_arguments, render_cost, render_count, sanitize
from agenttrace.query.tree import parse_payload

if TYPE_CHECKING:
    from agenttrace.store.rows import Event

__all__ = ["describe_event", "describe_payload", "describe_tokens"]

_TEXT_KEYS = {
    "message": ("content",),
    "model_delta": ("text",),
    "note": ("text",),
    "result_dropped": ("reason",),
}
_VALUE_KEYS = {
    "agent_end": ("output",),
    "agent_start": ("input",),
    "model_call": ("input",),
    "model_turn": ("output",),
    "tool_result": ("output",),
}


def describe_tokens(
    input_tokens: int | None, output_tokens: int | None, cost_usd: float | None = None
) -> str:
    """Render ``tokens 1,204 in, 96 out · $0.0120``; "" where nothing was counted."""
    counts = []
    if input_tokens:
        counts.append(f"{render_count(input_tokens)} in")
    if output_tokens:
        counts.append(f"{render_count(output_tokens)} out")
    parts = [f"tokens {', '.join(counts)}"] if counts else []
    if cost_usd:
        parts.append(render_cost(cost_usd))
    return ", ".join(parts)


def describe_payload(kind: str, payload: dict[str, Any], width: int, glyphs: Glyphs = UNICODE) -> str:
    """Render what a payload says, in at most *width* cells, the way its kind wants it."""
    ellipsis = glyphs.ellipsis
    if kind == "model_switched":
        names = [sanitize(str(payload.get(key) or "?")) for key in ("from_model", "to_model")]
        reason = f" ({sanitize(str(payload['reason']))})" if payload.get("reason") else ""
        return fit(f"{names[0]} {glyphs.arrow} {names[1]}{reason}", width, ellipsis)
    for key in _TEXT_KEYS.get(kind, ()):
        if isinstance(payload.get(key), str):
            role = f"{sanitize(str(payload['role']))}: " if isinstance(payload.get("role"), str) else ""
            return fit(role + sanitize(payload[key][: 4 * width]), width, ellipsis)
    for key in _VALUE_KEYS.get(kind, ()):
        if payload.get(key) is not None:
            return preview(payload[key], width, ellipsis)
        payload = {name: value for name, value in payload.items() if name != key and value is not False}
    return preview_arguments(payload, width, ellipsis)


def describe_event(event: Event, width: int, glyphs: Glyphs = UNICODE) -> str:
    """
    Render one event without its time and kind, in at most *width* cells.

    Returns:
        ``tool(a=1)`` for a call, ``tool → "output"`` for a result, ``Type: message`` for an error,
        else what the payload says.
    """
    payload = parse_payload(event.payload_json)
    ellipsis = glyphs.ellipsis
    tool = fit(sanitize(event.tool_name or ""), width // 2, ellipsis)
    if event.kind == "tool_call":
        room = width - len(tool) - 2
        return fit(f"{tool}({preview_arguments(payload.get('arguments'), room, ellipsis)})", width, ellipsis)
    if event.kind == "tool_result":
        output = "" if payload.get("output") is None else preview(payload["output"], width, ellipsis)
        return fit(f"{tool} {glyphs.arrow} {output}" if output else tool, width, ellipsis)
    if event.kind == "error":
        return fit(_describe_error(event, payload), width, ellipsis)
    if event.kind in ("model_call", "model_turn"):
        model = sanitize(event.model or "")
        tokens = describe_tokens(event.input_tokens, event.output_tokens, event.cost_usd)
        said = describe_payload(event.kind, payload, width, glyphs)
        return fit(glyphs.dot.join(part for part in (model, tokens, said) if part), width, ellipsis)
    if event.kind == "retry" and tool:
        return fit(f"{tool} {preview_arguments(payload, width, ellipsis)}", width, ellipsis)
    return describe_payload(event.kind, payload, width, glyphs)


def _describe_error(event: Event, payload: dict[str, Any]) -> str:
    error = payload.get("error")
    message = error.get("message") if isinstance(error, dict) else error or payload.get("message")
    if isinstance(message, dict):
        message = message.get("head", "")
    kind = sanitize(event.error_type or "Error")
    if not isinstance(message, str) or not message:
        return kind
    return f"{kind}: {sanitize(message.strip().partition(chr(10))[0])}"
