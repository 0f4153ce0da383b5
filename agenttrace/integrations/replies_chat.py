"""
Write a recorded answer as OpenAI's chat completions send it, whole or as events.

Invariant: the streamed and the whole form say the same. Source: the API reference's "Chat" and "Chat
streaming". What is not recorded is not made up: an answer has no ``logprobs`` and no fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

_STOPS = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length", "stop_sequence": "stop"}
"""Anthropic's words to OpenAI's."""
_STOPS |= {"completed": "stop", "max_output_tokens": "length", "tool_call": "tool_calls", "error": "stop"}
_TEXTS = ("reasoning_content", "reasoning", "content", "refusal")


def build_body(answered: Answered, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give the body of the whole answer."""
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": _stop_of(answered, message)}
        for index, message in enumerate(_messages(answered))
    ]
    body = {**_head(answered, "chat.completion"), "choices": choices, "usage": usage_of(answered.usage)}
    if answered.failure is not None:
        body = {**body, "choices": None, "error": {"message": answered.failure}}
    return body


def _head(answered: Answered, kind: str) -> dict[str, Any]:
    head = {"id": answered.response_id, "object": kind, "created": answered.created_s}
    return {**head, "model": answered.model}


def _messages(answered: Answered) -> list[dict[str, Any]]:
    output = answered.output
    if form_of(output) == "chat":
        messages = output if isinstance(output, list) else [output]
        if all(isinstance(one.get("content"), (str, type(None))) for one in messages):
            return [{"role": "assistant", "content": None, "refusal": None, **one} for one in messages]
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    calls: list[dict[str, Any]] = []
    for part in read_parts(output):
        if part.kind in ("text", "refusal", "thinking"):
            name = {"text": "content", "thinking": "reasoning_content"}.get(part.kind, part.kind)
            message[name] = (message.get(name) or "") + part.text
        elif part.kind == "custom_call":
            custom = {"name": part.name, "input": part.text}
            calls.append({"id": part.call_id, "type": "custom", "custom": custom})
        else:
            function = {"name": part.name, "arguments": part.text}
            calls.append({"id": part.call_id, "type": "function", "function": function})
    if calls:
        message["tool_calls"] = calls
    return [message]


def _stop_of(answered: Answered, message: Mapping[str, Any]) -> str | None:
    reason = answered.finish_reason
    if reason is None:
        return None if answered.is_cut else "tool_calls" if message.get("tool_calls") else "stop"
    if reason in ("completed", "end_turn") and message.get("tool_calls"):
        return "tool_calls"
    return _STOPS.get(reason, reason)


def usage_of(usage: Any) -> Any:
    """Give *usage* in the form of chat completions, also where another form or our counts were kept."""
    if not isinstance(usage, Mapping) or "prompt_tokens" in usage:
        return usage
    given, answered = usage.get("input_tokens") or 0, usage.get("output_tokens") or 0
    read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    if read is not None or written is not None:
        given += (read or 0) + (written or 0)  # Anthropic's own count leaves them out
    cached = read if read is not None else usage.get("cache_read_tokens")
    cached = cached if cached is not None else _detail(usage, "input_tokens_details", "cached_tokens")
    reasoning = usage.get("reasoning_tokens")
    if reasoning is None:
        reasoning = _detail(usage, "output_tokens_details", "reasoning_tokens")
    return {
        "prompt_tokens": given,
        "completion_tokens": answered,
        "total_tokens": given + answered,
        "prompt_tokens_details": {"cached_tokens": cached or 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning or 0},
    }


def _detail(usage: Mapping[str, Any], group: str, name: str) -> Any:
    found = usage.get(group)
    return found.get(name) if isinstance(found, Mapping) else None


def iter_events(answered: Answered, request: Mapping[str, Any]) -> Iterator[bytes]:
    """Give the events of the answer as a stream; of one that is cut, those that had come."""
    head = _head(answered, "chat.completion.chunk")

    def chunk(index: int, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return sent_event({**head, "choices": [choice]})

    for index, message in enumerate(_messages(answered)):
        has_calls = bool(message.get("tool_calls"))
        yield chunk(index, {"role": message["role"], "content": None if has_calls else "", "refusal": None})
        for delta in _deltas(message):
            yield chunk(index, delta)
        if not answered.is_cut and answered.failure is None:
            yield chunk(index, {}, _stop_of(answered, message))
    if answered.is_cut:
        return
    if answered.usage is not None and answered.failure is None:
        yield sent_event({**head, "choices": [], "usage": usage_of(answered.usage)})
    if answered.failure is None:
        yield sent_event("[DONE]")
    else:
        yield build_failure_event(answered, {"message": answered.failure})


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in _TEXTS:
        text = message.get(name)
        for piece in split_text(text) if isinstance(text, str) else ():
            yield {name: piece}
    if isinstance(message.get("function_call"), Mapping):
        yield {"function_call": dict(message["function_call"])}
    for index, call in enumerate(message.get("tool_calls") or ()):
        kind = "custom" if "custom" in call else "function"
        field = "input" if kind == "custom" else "arguments"
        begun = {"name": call[kind].get("name"), field: ""}
        yield {"tool_calls": [{"index": index, "id": call.get("id"), "type": kind, kind: begun}]}
        for piece in split_json(call[kind].get(field) or ""):
            yield {"tool_calls": [{"index": index, kind: {field: piece}}]}


def build_failure_event(answered: Answered, error: Mapping[str, Any]) -> bytes:
    """Give the event that ends a stream which fails."""
    return sent_event({"error": dict(error)})
