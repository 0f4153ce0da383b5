"""
Write a recorded answer as Anthropic's messages send it, whole or as events.

Invariant: the streamed and the whole form say the same. Source: the API reference's "Messages" and
"Streaming Messages".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agenttrace.integrations.replies_said import (
    Answered,
    Part,
    form_of,
    read_parts,
    sent_event,
    split_json,
    split_text,
)

__all__ = ["build_body", "build_failure_event", "iter_events"]

_STOPS = {"stop": "end_turn", "completed": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}
_STOPS |= {"content_filter": "refusal", "tool_call": "tool_use", "max_output_tokens": "max_tokens"}
_EMPTY: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
    "server_tool_use": {"input": {}},
    "mcp_tool_use": {"input": {}},
}


def build_body(answered: Answered, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give the body of the whole answer."""
    blocks = _blocks(answered)
    return {
        "id": answered.response_id,
        "type": "message",
        "role": "assistant",
        "model": answered.model,
        "content": [
            block | {"input": _parsed(block["input"])} if "input" in block else block for block in blocks
        ],
        "stop_reason": _stop_of(answered, blocks),
        "stop_sequence": None,
        "usage": _usage_of(answered),
    }


def _blocks(answered: Answered) -> list[dict[str, Any]]:
    if form_of(answered.output) == "messages":
        return [dict(block) for block in answered.output]
    return [_block_of(part) for part in read_parts(answered.output)]


def _block_of(part: Part) -> dict[str, Any]:
    if part.kind == "thinking":
        return {"type": "thinking", "thinking": part.text, "signature": part.signature or ""}
    if part.kind in ("call", "custom_call"):
        return {"type": "tool_use", "id": part.call_id, "name": part.name, "input": part.text}
    return {"type": "text", "text": part.text}


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return {}


def _stop_of(answered: Answered, blocks: list[dict[str, Any]]) -> str | None:
    reason = answered.finish_reason
    if reason is None:
        if answered.is_cut:
            return None
        return "tool_use" if any(block.get("type") == "tool_use" for block in blocks) else "end_turn"
    return _STOPS.get(reason, reason)


def _usage_of(answered: Answered) -> dict[str, Any]:
    """Give what was used in Anthropic's form, whose ``input_tokens`` leave the cached ones out."""
    usage, counts = answered.usage, answered.counts
    if isinstance(usage, Mapping) and "total_tokens" not in usage and "input_tokens" in usage:
        return dict(usage)
    read, written = counts.get("cache_read_tokens", 0), counts.get("cache_write_tokens", 0)
    return {
        "input_tokens": counts.get("input_tokens", 0) - read - written,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": counts.get("output_tokens", 0),
    }


def _emit(kind: str, **fields: Any) -> bytes:
    return sent_event({"type": kind, **fields}, kind)


def iter_events(answered: Answered, request: Mapping[str, Any]) -> Iterator[bytes]:
    """Give the events of the answer as a stream; of one that is cut, those that had come."""
    whole = build_body(answered, request)
    blocks, is_cut = _blocks(answered), answered.is_cut or answered.failure is not None
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield _emit("message_start", message=begun)
    for index, block in enumerate(blocks):
        empty = {**block, **_EMPTY.get(str(block.get("type")), {})}
        empty.pop("citations", None)
        yield _emit("content_block_start", index=index, content_block=empty)
        for delta in _deltas(block):
            yield _emit("content_block_delta", index=index, delta=delta)
        if not is_cut or index + 1 < len(blocks):
            yield _emit("content_block_stop", index=index)
    if answered.failure is not None:
        yield build_failure_event(answered, {"message": answered.failure})
    elif not is_cut:
        ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield _emit("message_delta", delta=ending, usage=whole["usage"])
        yield _emit("message_stop")


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = block.get("type")
    if kind == "text":
        for piece in split_text(str(block.get("text") or "")):
            yield {"type": "text_delta", "text": piece}
        for citation in block.get("citations") or ():
            yield {"type": "citations_delta", "citation": citation}
    elif kind == "thinking":
        for piece in split_text(str(block.get("thinking") or "")):
            yield {"type": "thinking_delta", "thinking": piece}
        if block.get("signature"):
            yield {"type": "signature_delta", "signature": block["signature"]}
    elif "input" in block and kind in _EMPTY:
        given = block["input"]
        text = given if isinstance(given, str) else json.dumps(given)
        for piece in ("", *split_json(text)):
            yield {"type": "input_json_delta", "partial_json": piece}


def build_failure_event(answered: Answered, error: Mapping[str, Any]) -> bytes:
    """Give the event that ends a stream which fails; *error* is its whole body, where that is known."""
    body = dict(error) if "error" in error else {"type": "error", "error": {"type": "api_error", **error}}
    return sent_event(body, "error")
