"""
OpenAI's responses: ``/v1/responses``, plain and as server-sent events.

Invariant: the last event's response is the plain form. Source: the API reference's "Responses"
and "Streaming events", and the types of the SDK.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from tests.clients.provider_chat import build_error
from tests.clients.provider_replies import Call, Usage
from tests.clients.provider_wire import Answer, Frame, arguments_text, server_sent, split_json, split_words

__all__ = ["build_error", "build_error_frame", "build_plain", "iter_frames"]

_CREATED_S = 1_790_000_000


def _build_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _text_part(answer: Answer) -> dict[str, Any]:
    text = answer.reply.text
    if answer.reply.stop == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _items(answer: Answer) -> list[dict[str, Any]]:
    reply, tail = answer.reply, answer.response_id.removeprefix("resp_")
    items: list[dict[str, Any]] = []
    if reply.thinking:
        summary = [{"type": "summary_text", "text": reply.thinking}]
        items.append({"id": f"rs_{tail}", "type": "reasoning", "summary": summary})
    status = "incomplete" if reply.stop == "length" else "completed"
    if reply.text:
        message = {"id": f"msg_{tail}", "type": "message", "role": "assistant", "status": status}
        items.append({**message, "content": [_text_part(answer)]})
    for number, call in enumerate(reply.calls):
        items.append({"id": f"fc_{tail}_{number}", "type": "function_call", "status": status} | _call(call))
    return items


def _call(call: Call) -> dict[str, Any]:
    return {"call_id": call.call_id, "name": call.name, "arguments": arguments_text(call)}


def _response(answer: Answer, **changes: Any) -> dict[str, Any]:
    reply, request = answer.reply, answer.request
    is_cut = reply.stop == "length"
    return {
        "id": answer.response_id,
        "object": "response",
        "created_at": _CREATED_S,
        "status": "incomplete" if is_cut else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "model": answer.model,
        "output": _items(answer),
        "parallel_tool_calls": True,
        "previous_response_id": request.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": request.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _build_usage(reply.usage),
        "user": None,
        "metadata": {},
        **changes,
    }


def build_plain(answer: Answer) -> dict[str, Any]:
    """Give the body of an answer."""
    return _response(answer)


Emit = Callable[..., Frame]


def _iter_text(emit: Emit, answer: Answer, item: dict[str, Any], at: dict[str, Any]) -> Iterator[Frame]:
    is_refused = answer.reply.stop == "refusal"
    name, kind = ("refusal", "refusal") if is_refused else ("text", "output_text")
    more: dict[str, Any] = {} if is_refused else {"logprobs": []}
    at = {**at, "content_index": 0}
    part = item["content"][0]
    yield emit("response.content_part.added", **at, part={**part, name: ""})
    for piece in split_words(part[name]):
        yield emit(f"response.{kind}.delta", is_delta=True, **at, delta=piece, **more)
    yield emit(f"response.{kind}.done", **at, **{name: part[name]}, **more)
    yield emit("response.content_part.done", **at, part=part)


def _iter_reasoning(emit: Emit, item: dict[str, Any], at: dict[str, Any]) -> Iterator[Frame]:
    at = {**at, "summary_index": 0}
    part = item["summary"][0]
    yield emit("response.reasoning_summary_part.added", **at, part={**part, "text": ""})
    for piece in split_words(part["text"]):
        yield emit("response.reasoning_summary_text.delta", is_delta=True, **at, delta=piece)
    yield emit("response.reasoning_summary_text.done", **at, text=part["text"])
    yield emit("response.reasoning_summary_part.done", **at, part=part)


def _iter_call(emit: Emit, item: dict[str, Any], at: dict[str, Any]) -> Iterator[Frame]:
    for piece in split_json(item["arguments"]):
        yield emit("response.function_call_arguments.delta", is_delta=True, **at, delta=piece)
    yield emit("response.function_call_arguments.done", **at, arguments=item["arguments"], name=item["name"])


_BEGUN: dict[str, dict[str, Any]] = {
    "message": {"status": "in_progress", "content": []},
    "reasoning": {"summary": []},
    "function_call": {"status": "in_progress", "arguments": ""},
}


def iter_frames(answer: Answer) -> Iterator[Frame]:
    """Give the events of a stream."""
    numbers = itertools.count()

    def emit(kind: str, *, is_delta: bool = False, **fields: Any) -> Frame:
        event = {"type": kind, "sequence_number": next(numbers), **fields}
        return Frame(server_sent(event, event=kind), is_delta)

    begun = _response(answer, status="in_progress", output=[], usage=None, incomplete_details=None)
    yield emit("response.created", response=begun)
    yield emit("response.in_progress", response=begun)
    for index, item in enumerate(_items(answer)):
        at = {"item_id": item["id"], "output_index": index}
        yield emit("response.output_item.added", output_index=index, item={**item, **_BEGUN[item["type"]]})
        if item["type"] == "message":
            yield from _iter_text(emit, answer, item, at)
        elif item["type"] == "reasoning":
            yield from _iter_reasoning(emit, item, at)
        else:
            yield from _iter_call(emit, item, at)
        yield emit("response.output_item.done", output_index=index, item=item)
    ended = "response.incomplete" if answer.reply.stop == "length" else "response.completed"
    yield emit(ended, response=_response(answer))


def build_error_frame(answer: Answer, number: int) -> bytes:
    """Give the event that ends a stream which fails, after *number* others: the response itself, failed."""
    error = {"code": "server_error", "message": answer.reply.message}
    failed = _response(answer, status="failed", error=error, output=[], usage=None)
    event = {"type": "response.failed", "sequence_number": number, "response": failed}
    return server_sent(event, event="response.failed")
