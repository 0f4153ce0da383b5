"""
The models of the OpenAI Agents SDK in a replay: what was recorded, as the SDK's own objects.

For models that are not asked through a followed SDK; the others are answered beneath it. Invariant: an
answer and its stream say the same. Nothing here is imported while no replay goes on.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from agenttrace.capture.substitution import RecordedTurn
from agenttrace.integrations.replies_responses import build_body, iter_events
from agenttrace.integrations.replies_said import Answered

__all__ = ["build_response", "iter_response"]


def _answered(recorded: RecordedTurn) -> Answered:
    return Answered(
        recorded.output,
        recorded.model or "unknown",
        recorded.finish_reason,
        recorded.response_id or "replayed",
        recorded.usage,
        recorded.counts,
    )


def build_response(recorded: RecordedTurn) -> Any:
    """
    Give a ``ModelResponse``.

    Raises:
        Exception: What the recorded turn ended with.
    """
    if recorded.exception is not None:
        raise recorded.exception
    kind = import_module("openai.types.responses").ResponseOutputItem
    items = build_body(_answered(recorded), {})["output"]
    counts = recorded.counts
    given, told = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
    usage = import_module("agents.usage").Usage(
        requests=1, input_tokens=given, output_tokens=told, total_tokens=given + told
    )
    return import_module("agents.items").ModelResponse(
        output=[_construct(kind, item) for item in items], usage=usage, response_id=recorded.response_id
    )


async def iter_response(recorded: RecordedTurn) -> AsyncIterator[Any]:
    """
    Give the events of the answer.

    Raises:
        Exception: What the recorded turn ended with, after what had come.
    """
    if recorded.exception is not None and recorded.output is None:
        raise recorded.exception
    kind = import_module("openai.types.responses").ResponseStreamEvent
    for event in iter_events(_answered(recorded), {}):
        made = _construct(kind, json.loads(event.partition(b"data: ")[2]))
        if recorded.exception is None or made.type != "response.completed":
            yield made
    if recorded.exception is not None:
        raise recorded.exception


def _construct(kind: Any, value: Any) -> Any:
    """Make an object of the SDK's as it makes one of what comes over the wire: nothing is refused."""
    return import_module("openai._models").construct_type(type_=kind, value=value)
