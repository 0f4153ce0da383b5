"""
Anthropic's wire format: ``/v1/messages``, plain and as server-sent events.

Invariant: the streamed and the plain form say the same. Source: the API reference's "Messages"
and "Streaming Messages", and the types of the SDK.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.clients.provider_replies import Call, Reply, Usage
from tests.clients.provider_wire import Answer, Frame, arguments_text, server_sent, split_json, split_words

__all__ = ["build_error", "build_error_frame", "build_plain", "iter_frames"]

_STOPS = {"end": "end_turn", "tools": "tool_use", "length": "max_tokens", "refusal": "refusal"}


def build_error(reply: Reply, request_id: str) -> dict[str, Any]:
    """Give the body of an error."""
    error = {"type": reply.error, "message": reply.message}
    return {"type": "error", "error": error, "request_id": request_id}


def _build_usage(usage: Usage) -> dict[str, Any]:
    # What was read from and written to the cache stands beside the rest, not in it.
    uncached = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    built: dict[str, Any] = {
        "input_tokens": uncached,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": usage.output_tokens,
        "service_tier": "standard",
    }
    if usage.reasoning_tokens:
        built["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return built


def _parse_arguments(call: Call) -> Any:
    try:
        return json.loads(arguments_text(call))
    except ValueError:
        return {}


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    reply = answer.reply
    blocks: list[dict[str, Any]] = []
    if reply.thinking:
        blocks.append({"type": "thinking", "thinking": reply.thinking, "signature": "c2lnbmVk"})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    for call in reply.calls:
        block = {"type": "tool_use", "id": call.call_id, "name": call.name, "input": _parse_arguments(call)}
        blocks.append(block)
    return blocks


def _message(answer: Answer, **changes: Any) -> dict[str, Any]:
    reply = answer.reply
    return {
        "id": answer.response_id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": _blocks(answer),
        "stop_reason": _STOPS[reply.stop],
        "stop_sequence": None,
        "usage": _build_usage(reply.usage),
        **changes,
    }


def build_plain(answer: Answer) -> dict[str, Any]:
    """Give the body of an answer."""
    return _message(answer)


def _frame(kind: str, *, is_delta: bool = False, **fields: Any) -> Frame:
    return Frame(server_sent({"type": kind, **fields}, event=kind), is_delta)


def _deltas(block: dict[str, Any], call: Call | None) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        for piece in split_words(block["text"]):
            yield {"type": "text_delta", "text": piece}
    elif block["type"] == "thinking":
        for piece in split_words(block["thinking"]):
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        assert call is not None, "a tool use block is made of a call"
        # The API begins each with an empty piece.
        for piece in ("", *split_json(arguments_text(call))):
            yield {"type": "input_json_delta", "partial_json": piece}


_EMPTY = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}


def iter_frames(answer: Answer) -> Iterator[Frame]:
    """Give the events of a stream."""
    reply = answer.reply
    usage = _build_usage(reply.usage)
    begun = {**usage, "output_tokens": 1}
    begun.pop("output_tokens_details", None)
    message = _message(answer, content=[], stop_reason=None, usage=begun)
    yield _frame("message_start", message=message)
    calls = iter(reply.calls)
    for index, block in enumerate(_blocks(answer)):
        call = next(calls) if block["type"] == "tool_use" else None
        yield _frame("content_block_start", index=index, content_block={**block, **_EMPTY[block["type"]]})
        if index == 0:
            yield _frame("ping")
        for delta in _deltas(block, call):
            yield _frame("content_block_delta", is_delta=True, index=index, delta=delta)
        yield _frame("content_block_stop", index=index)
    ending = {"stop_reason": _STOPS[reply.stop], "stop_sequence": None}
    kept = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    final = {name: usage[name] for name in (*kept, "output_tokens_details") if name in usage}
    yield _frame("message_delta", delta=ending, usage=final)
    yield _frame("message_stop")


def build_error_frame(answer: Answer, number: int) -> bytes:
    """Give the event that ends a stream which fails, after *number* others."""
    return server_sent(build_error(answer.reply, answer.request_id), event="error")
