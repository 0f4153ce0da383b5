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
    body = {**_head(answered, "chat.completion"), "choices": choices, "usage": _usage_of(answered)}
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


def _usage_of(answered: Answered) -> Any:
    """Give what was used in the form of chat completions, whichever form was kept of it."""
    usage, counts = answered.usage, answered.counts
    if (isinstance(usage, Mapping) and "prompt_tokens" in usage) or not counts:
        return usage
    given, told = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
    return {
        "prompt_tokens": given,
        "completion_tokens": told,
        "total_tokens": given + told,
        "prompt_tokens_details": {"cached_tokens": counts.get("cache_read_tokens", 0)},
        "completion_tokens_details": {"reasoning_tokens": counts.get("reasoning_tokens", 0)},
    }


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
    usage = _usage_of(answered)
    if usage is not None and answered.failure is None:
        yield sent_event({**head, "choices": [], "usage": usage})
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
