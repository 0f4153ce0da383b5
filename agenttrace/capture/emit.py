"""
From a fact to a frame body: the one place where capture builds event headers.

Invariant: what is published here is complete bytes; nothing the program may
still change is kept. Cost: two JSON dumps and one copy, about 2 µs an event.
"""

from __future__ import annotations

from typing import Any

from agenttrace import clock
from agenttrace.capture.context import PIPE, Agent, Operation
from agenttrace.encode import codec
from agenttrace.events import CONTROL_CONVERSATION

__all__ = ["announce_agent", "emit", "emit_conversation", "encode_value", "identity_of", "object_of"]

_encode = codec.encode
_encode_header = codec.encode_header


def encode_value(value: Any) -> bytes:
    """Turn *value* into bounded JSON bytes at once, because the program may change it later."""
    return _encode(value, PIPE.limit_bytes)


def identity_of(agent: Agent) -> str:
    """Give the four header members that name *agent*, as JSON text; encoded once per agent."""
    if not agent.identity:
        members = [agent.conversation_id, agent.agent_id, agent.name, agent.parent_agent_id]
        agent.identity = _encode_header(members)[1:-1].decode()
    return agent.identity


def object_of(**members: bytes | None) -> bytes:
    """Join already encoded members into a JSON object; a member that is None is left out."""
    inside = b",".join(
        b'"%s":%s' % (name.encode(), value) for name, value in members.items() if value is not None
    )
    return b"{" + inside + b"}"


def emit(
    kind: str,
    agent: Agent,
    payload: bytes,
    *,
    span_id: str | None = None,
    parent_span_id: str | None = None,
    tool_name: str | None = None,
    status: str | None = None,
    duration_ms: float | None = None,
    call_id: str | None = None,
    error_id: str | None = None,
    error_type: str | None = None,
    extra: dict[str, Any] | None = None,
    ts_ns: int | None = None,
) -> bool:
    """
    Publish one event of *agent*.

    Args:
        kind: One of ``events.KINDS``, or another word of the open vocabulary.
        agent: Whose event it is.
        payload: A JSON object as bytes.
        extra: Columns of ``events.EXTRA_COLUMNS``, and ``turn_in_run``.
        ts_ns: When it happened; now, unless given.

    Returns:
        False where it is known to be lost, and counted.
    """
    header = [
        kind,
        ts_ns if ts_ns is not None else clock.now_ns(),
        agent.conversation_id,
        agent.agent_id,
        agent.name,
        agent.parent_agent_id,
        span_id,
        parent_span_id,
        tool_name,
        status,
        duration_ms,
        call_id,
        error_id,
        error_type,
        extra,
    ]
    return PIPE.publish(_encode_header(header) + b"\n" + payload) is not False


def emit_conversation(conversation_id: str, task: str | None, metadata: Any) -> None:
    """Publish what is known of a conversation; it becomes no event."""
    header = [CONTROL_CONVERSATION, clock.now_ns(), conversation_id, *([None] * 12)]
    payload = object_of(
        task=None if task is None else encode_value(task),
        metadata=None if metadata is None else encode_value(metadata),
    )
    PIPE.publish(_encode_header(header) + b"\n" + payload)


def announce_agent(operation: Operation, input_json: bytes = b"null", metadata: bytes | None = None) -> None:
    """Publish the start of the agent run *operation*."""
    agent = operation.agent
    assert agent is not None, "an agent operation has an agent"
    extra: dict[str, Any] | None = None
    if agent.model is not None:
        extra = {"model": agent.model, "provider": agent.provider}
    operation.recorded = True
    emit(
        "agent_start",
        agent,
        object_of(input=input_json, metadata=metadata),
        span_id=operation.span_id,
        parent_span_id=operation.parent_span_id,
        extra=extra,
        ts_ns=operation.started_ns,
    )
