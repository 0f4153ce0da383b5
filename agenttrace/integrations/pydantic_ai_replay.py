"""
The models of pydantic-ai in a replay: what was recorded, as the library's own objects.

For models that are not asked through a followed SDK; the others are answered beneath it. Invariant: an
answer and its stream say the same. Nothing here is imported while no replay goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from agenttrace.capture.substitution import RecordedTurn
from agenttrace.integrations.replies_said import read_parts, split_text

__all__ = ["build_response", "open_stream"]

_REASONS = ("stop", "length", "content_filter", "tool_call", "error")
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


def build_response(recorded: RecordedTurn) -> Any:
    """
    Give a ``ModelResponse``.

    Raises:
        Exception: What the recorded turn ended with.
    """
    if recorded.exception is not None:
        raise recorded.exception
    messages = import_module("pydantic_ai.messages")
    parts: list[Any] = []
    for part in read_parts(recorded.output):
        if part.kind == "thinking":
            parts.append(messages.ThinkingPart(part.text))
        elif part.kind in ("call", "custom_call"):
            parts.append(messages.ToolCallPart(part.name, part.text, part.call_id))
        else:
            parts.append(messages.TextPart(part.text))
    return messages.ModelResponse(
        parts,
        usage=_usage_of(recorded),
        model_name=recorded.model,
        provider_response_id=recorded.response_id,
        finish_reason=_reason_of(recorded),
    )


@asynccontextmanager
async def open_stream(recorded: RecordedTurn, parameters: Any) -> AsyncIterator[Any]:
    """
    Give a ``StreamedResponse``.

    Args:
        recorded: The turn.
        parameters: The request's ``ModelRequestParameters``.

    Raises:
        Exception: What the recorded turn ended with, after what had come.
    """
    if recorded.exception is not None and recorded.output is None:
        raise recorded.exception
    function = import_module("pydantic_ai.models.function")
    held: list[Any] = []

    async def items() -> AsyncIterator[Any]:
        for index, part in enumerate(read_parts(recorded.output)):
            if part.kind == "thinking":
                yield {index: function.DeltaThinkingPart(content=part.text)}
            elif part.kind in ("call", "custom_call"):
                yield {index: function.DeltaToolCall(part.name, part.text, tool_call_id=part.call_id)}
            else:
                for piece in split_text(part.text):
                    yield piece
        held[0]._usage = _usage_of(recorded)  # what it counts itself is an estimate
        if recorded.exception is not None:
            raise recorded.exception

    stream = function.FunctionStreamedResponse(
        model_request_parameters=parameters, _model_name=recorded.model or "unknown", _iter=items()
    )
    stream.provider_response_id, stream.finish_reason = recorded.response_id, _reason_of(recorded)
    held.append(stream)
    yield stream


def _usage_of(recorded: RecordedTurn) -> Any:
    counts = {name: recorded.counts[name] for name in _COUNTS if name in recorded.counts}
    return import_module("pydantic_ai.usage").RequestUsage(**counts)


def _reason_of(recorded: RecordedTurn) -> Any:
    return recorded.finish_reason if recorded.finish_reason in _REASONS else None
