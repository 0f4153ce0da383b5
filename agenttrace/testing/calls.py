"""
One tool call as a test sees it, and how it is read from the tree.

Invariant: a call tried several times with equal arguments is one call, with the outcome of its last
attempt. Cost: one pass over the events for all calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agenttrace.query.tree import TreeNode, parse_payload
from agenttrace.store.rows import Event

__all__ = ["Call", "build_call", "collect_messages", "collect_results"]


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call; an attempt that was repeated with equal arguments is part of the same call."""

    name: str
    agent: str
    """Name of the agent that made it."""
    arguments: Any
    """By parameter name; a mark stands where the tool does not capture them."""
    result: Any
    """What it returned, as JSON has it; None when it failed or still runs."""
    status: str
    """``ok``, ``error``, ``cancelled``, ``stopped_early`` or ``running``."""
    error: str | None
    """The message of its last failure, also when a later attempt went well."""
    error_type: str | None
    """Name of that exception's class."""
    attempts: int
    failed_attempts: int
    duration_ms: float | None
    """Of all attempts together, waiting included; None while it runs."""
    call_id: str | None
    span_id: str | None


def collect_results(events: Iterable[Event]) -> dict[str, Event]:
    """Give the last ``tool_result`` of each call, by the span of its first attempt."""
    return {
        event.retry_of or event.span_id: event
        for event in events
        if event.kind == "tool_result" and event.span_id is not None
    }


def collect_messages(events: Iterable[Event]) -> dict[str, str]:
    """Give the message of each failure by its error id."""
    messages: dict[str, str] = {}
    for event in events:
        if event.kind == "error" and event.error_id is not None:
            error = parse_payload(event.payload_json).get("error")
            messages.setdefault(
                event.error_id, str(error.get("message", "")) if isinstance(error, dict) else str(error)
            )
    return messages


def build_call(node: TreeNode, agent: str, results: dict[str, Event], messages: dict[str, str]) -> Call:
    """Put a call together from its node, its last result and the messages of all failures."""
    end = results.get(node.span_id or "")
    failure = node.failures[-1] if node.failures else None
    error = messages.get(node.error_id or "") if failure is None else failure.message
    return Call(
        name=node.name,
        agent=agent,
        arguments=parse_payload(node.payload_json).get("arguments"),
        result=None if end is None else parse_payload(end.payload_json).get("output"),
        status=node.status,
        error=error,
        error_type=failure.error_type if failure is not None else node.error_type,
        attempts=node.attempts,
        failed_attempts=node.failed_attempts,
        duration_ms=node.duration_ms,
        call_id=node.call_id,
        span_id=node.span_id,
    )
