"""
OpenAI's chat completions: ``/v1/chat/completions``, plain and as server-sent events.

Invariant: the streamed and the plain form say the same; usage is streamed only where it is asked for.
Source: the API reference's "Chat" and "Chat streaming", and the types of the SDK.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.clients.provider_replies import Reply, Usage
from tests.clients.provider_wire import Answer, Frame, arguments_text, server_sent, split_json, split_words

__all__ = ["build_error", "build_error_frame", "build_plain", "iter_frames"]

_STOPS = {"end": "stop", "tools": "tool_calls", "length": "length", "refusal": "stop"}
_CREATED_S = 1_790_000_000


def build_error(reply: Reply, request_id: str) -> dict[str, Any]:
    """Give the body of an error."""
    kinds = {
        "rate_limit_error": ("requests", "rate_limit_exceeded"),
        "api_error": ("server_error", None),
        "overloaded_error": ("server_error", "server_overloaded"),
    }
    kind, code = kinds.get(reply.error, (reply.error, None))
    return {"error": {"message": reply.message, "type": kind, "param": None, "code": code}}


def _build_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def build_plain(answer: Answer) -> dict[str, Any]:
    """Give the body of an answer."""
    reply = answer.reply
    is_refused = reply.stop == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if is_refused else reply.text or None,
        "refusal": reply.text if is_refused else None,
        "annotations": [],
    }
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": arguments_text(call)},
            }
            for call in reply.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _STOPS[reply.stop]}
    return {
        "id": answer.response_id,
        "object": "chat.completion",
        "created": _CREATED_S,
        "model": answer.model,
        "choices": [choice],
        "usage": _build_usage(reply.usage),
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }


def _deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    for piece in split_words(reply.text):
        yield {"refusal" if reply.stop == "refusal" else "content": piece}
    for index, call in enumerate(reply.calls):
        begun = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call.call_id, "type": "function", "function": begun}]}
        for piece in split_json(arguments_text(call)):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def iter_frames(answer: Answer) -> Iterator[Frame]:
    """Give the events of a stream."""
    reply = answer.reply
    wants_usage = bool((answer.request.get("stream_options") or {}).get("include_usage"))
    head = {
        "id": answer.response_id,
        "object": "chat.completion.chunk",
        "created": _CREATED_S,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }
    unknown = {"usage": None} if wants_usage else {}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None, *, is_delta: bool = False) -> Frame:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return Frame(server_sent({**head, "choices": [choice], **unknown}), is_delta)

    yield chunk({"role": "assistant", "content": None if reply.calls else "", "refusal": None})
    for delta in _deltas(reply):
        yield chunk(delta, is_delta=True)
    yield chunk({}, _STOPS[reply.stop])
    if wants_usage:
        yield Frame(server_sent({**head, "choices": [], "usage": _build_usage(reply.usage)}), False)
    yield Frame(server_sent("[DONE]"), False)


def build_error_frame(answer: Answer, number: int) -> bytes:
    """Give the event that ends a stream which fails, after *number* others."""
    return server_sent(build_error(answer.reply, answer.request_id))
