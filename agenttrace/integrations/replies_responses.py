"""
Write a recorded answer as OpenAI's responses send it, whole or as events.

Invariant: the last event's response is the whole form. Source: the API reference's "Responses" and
"Streaming events". What the request said of itself is said again, as the provider does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agenttrace.integrations.replies_said import (
    Answered,
    form_of,
    read_parts,
    sent_event,
    split_json,
    split_text,
)

__all__ = ["build_body", "build_failure_event", "iter_events"]

_ENDS = ("completed", "failed", "cancelled", "in_progress", "queued")
_CUT_SHORT = {"length": "max_output_tokens", "max_tokens": "max_output_tokens"}
_CUT_SHORT |= {"max_output_tokens": "max_output_tokens", "content_filter": "content_filter"}
_SAID_AGAIN: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": None,
    "temperature": None,
    "text": None,
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": None,
    "user": None,
}


def build_body(answered: Answered, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give the body of the whole answer."""
    status, reason = _status_of(answered)
    error = None if answered.failure is None else {"code": "server_error", "message": answered.failure}
    return {
        "id": answered.response_id,
        "object": "response",
        "created_at": answered.created_s,
        "status": status,
        "error": error,
        "incomplete_details": None if reason is None else {"reason": reason},
        "model": answered.model,
        "output": _items(answered),
        "usage": _usage_of(answered),
        **{name: request.get(name, value) for name, value in _SAID_AGAIN.items()},
    }


def _status_of(answered: Answered) -> tuple[str, str | None]:
    reason = answered.finish_reason
    if answered.failure is not None:
        return "failed", None
    if reason in _CUT_SHORT:
        return "incomplete", _CUT_SHORT[reason]
    return (reason if reason in _ENDS else "completed"), None


def _items(answered: Answered) -> list[dict[str, Any]]:
    """Give the answer as items; ids of items that were not recorded as such are made from their places."""
    if form_of(answered.output) == "responses":
        return [dict(item) for item in answered.output]
    items: list[dict[str, Any]] = []
    tail = (answered.response_id or "replayed").rpartition("_")[2]
    for place, part in enumerate(read_parts(answered.output)):
        if part.kind == "thinking":
            summary = [{"type": "summary_text", "text": part.text}]
            made = {"id": f"rs_{tail}_{place}", "type": "reasoning", "summary": summary}
            items.append(dict(part.source) if "summary" in part.source else made)
        elif part.kind == "call":
            item = {"id": f"fc_{tail}_{place}", "type": "function_call", "status": "completed"}
            items.append({**item, "call_id": part.call_id, "name": part.name, "arguments": part.text})
        elif part.kind == "custom_call":
            item = {"id": f"ctc_{tail}_{place}", "type": "custom_tool_call"}
            items.append({**item, "call_id": part.call_id, "name": part.name, "input": part.text})
        else:
            said = part.source.get("annotations") or []
            content = {"type": "output_text", "text": part.text, "annotations": said}
            if part.kind == "refusal":
                content = {"type": "refusal", "refusal": part.text}
            item = {
                "id": part.source.get("id") or f"msg_{tail}_{place}",
                "type": "message",
                "role": "assistant",
            }
            items.append({**item, "status": "completed", "content": [content]})
    return items


def _usage_of(answered: Answered) -> Any:
    """Give what was used in the form of responses, whichever form was kept of it."""
    usage, counts = answered.usage, answered.counts
    if (isinstance(usage, Mapping) and "input_tokens_details" in usage) or not counts:
        return usage
    given, told = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": counts.get("cache_read_tokens", 0)},
        "output_tokens": told,
        "output_tokens_details": {"reasoning_tokens": counts.get("reasoning_tokens", 0)},
        "total_tokens": given + told,
    }


# ------------------------------------------------------------------ events

_Emit = Callable[..., bytes]


def iter_events(answered: Answered, request: Mapping[str, Any]) -> Iterator[bytes]:
    """Give the events of the answer as a stream; of one that is cut, those that had come."""
    numbers = itertools.count()

    def emit(kind: str, **fields: Any) -> bytes:
        return sent_event({"type": kind, "sequence_number": next(numbers), **fields}, kind)

    whole = build_body(answered, request)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    begun |= {"incomplete_details": None, "error": None}
    yield emit("response.created", response=begun)
    yield emit("response.in_progress", response=begun)
    for index, item in enumerate(whole["output"]):
        yield from _iter_item(emit, index, item, answered.is_cut)
    if not answered.is_cut:
        kind = {"failed": "failed", "incomplete": "incomplete"}.get(whole["status"], "completed")
        yield emit(f"response.{kind}", response=whole)


def _iter_item(emit: _Emit, index: int, item: dict[str, Any], is_cut: bool) -> Iterator[bytes]:
    at, kind = {"item_id": item.get("id"), "output_index": index}, item.get("type")
    if kind == "message":
        begun = {**item, "status": "in_progress", "content": []}
        yield emit("response.output_item.added", output_index=index, item=begun)
        for place, part in enumerate(item.get("content") or ()):
            yield from _iter_part(emit, {**at, "content_index": place}, part, is_cut)
    elif kind == "reasoning" and item.get("summary"):
        yield emit("response.output_item.added", output_index=index, item={**item, "summary": []})
        for place, part in enumerate(item["summary"]):
            yield from _iter_summary(emit, {**at, "summary_index": place}, part)
    elif kind in ("function_call", "custom_tool_call"):
        yield from _iter_call(emit, at, item, is_cut)
    else:
        yield emit("response.output_item.added", output_index=index, item=item)
    if not is_cut:
        yield emit("response.output_item.done", output_index=index, item=item)


def _iter_part(emit: _Emit, at: dict[str, Any], part: Mapping[str, Any], is_cut: bool) -> Iterator[bytes]:
    is_refusal = part.get("type") == "refusal"
    name, kind = ("refusal", "refusal") if is_refusal else ("text", "output_text")
    text = str(part.get(name) or "")
    more: dict[str, Any] = {} if is_refusal else {"logprobs": []}
    yield emit("response.content_part.added", **at, part={**part, name: ""})
    for piece in split_text(text):
        yield emit(f"response.{kind}.delta", **at, delta=piece, **more)
    if not is_cut:
        yield emit(f"response.{kind}.done", **at, **{name: text}, **more)
        yield emit("response.content_part.done", **at, part=dict(part))


def _iter_summary(emit: _Emit, at: dict[str, Any], part: Mapping[str, Any]) -> Iterator[bytes]:
    text = str(part.get("text") or "")
    yield emit("response.reasoning_summary_part.added", **at, part={**part, "text": ""})
    for piece in split_text(text):
        yield emit("response.reasoning_summary_text.delta", **at, delta=piece)
    yield emit("response.reasoning_summary_text.done", **at, text=text)
    yield emit("response.reasoning_summary_part.done", **at, part=dict(part))


def _iter_call(emit: _Emit, at: dict[str, Any], item: dict[str, Any], is_cut: bool) -> Iterator[bytes]:
    is_custom = item["type"] == "custom_tool_call"
    name = "input" if is_custom else "arguments"
    kind = "custom_tool_call_input" if is_custom else "function_call_arguments"
    begun = {**item, name: "", "status": "in_progress"}
    yield emit("response.output_item.added", output_index=at["output_index"], item=begun)
    text = str(item.get(name) or "")
    for piece in split_json(text):
        yield emit(f"response.{kind}.delta", **at, delta=piece)
    if not is_cut:
        more = {} if is_custom else {"name": item.get("name")}
        yield emit(f"response.{kind}.done", **at, **{name: text}, **more)


def build_failure_event(answered: Answered, error: Mapping[str, Any]) -> bytes:
    """Give the event that ends a stream which fails."""
    event = {"type": "error", "sequence_number": 0, "code": None, "param": None, **error}
    return sent_event({"error": dict(error), **event}, "error")
