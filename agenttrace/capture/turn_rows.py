"""
The two rows of a model turn: ``model_call`` before the request, ``model_turn`` as it ends.

Invariant: what is published is complete bytes; of an answer that did not come to its end there is
what had come.
"""

from __future__ import annotations

from typing import Any

from agenttrace import clock
from agenttrace.capture.context import Operation
from agenttrace.capture.deltas import Deltas
from agenttrace.capture.detectors import type_of_returned
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.capture.failures import emit_returned_failure, record_failure, status_of
from agenttrace.capture.run_budget import note_turn
from agenttrace.capture.turn_facts import TurnFacts

__all__ = ["write_call", "write_turn"]


def write_call(
    parent: Operation, model: str, provider: str | None, turn_column: dict[str, int], input: Any, params: Any
) -> Operation:
    """
    Publish the start of a turn that runs in *parent*; CURRENT is not set.

    Args:
        parent: An operation with an agent.
        model: The model that is asked.
        provider: Who serves it.
        turn_column: The turn's number.
        input: The messages that are sent.
        params: What else is sent.
    """
    agent = parent.agent
    assert agent is not None, "the caller chose an operation with an agent"
    operation = Operation("model", model, parent.conversation_id, agent, parent)
    from agenttrace.capture.history import encode_sent  # late: only programs that ask models need it

    sent = encode_sent(agent.conversation_id, operation.span_id, input, params)
    is_kept = emit(
        "model_call",
        agent,
        object_of(input=sent.input, params=sent.params),
        span_id=operation.span_id,
        parent_span_id=parent.span_id,
        extra={**turn_column, "model": model, "provider": provider},
        ts_ns=operation.started_ns,
    )
    if is_kept:
        sent.remember()
    operation.recorded = True
    return operation


def write_turn(
    operation: Operation,
    model: str,
    turn_column: dict[str, int],
    facts: TurnFacts,
    deltas: Deltas,
    exc: BaseException | None,
) -> int:
    """
    Publish the end of the turn *operation*.

    Args:
        operation: As ``write_call`` gave it.
        model: The model that was asked.
        turn_column: The turn's number.
        facts: What was said of it.
        deltas: What streamed in.
        exc: What ended it, if anything but its answer did.

    Returns:
        When it ended.
    """
    agent = operation.agent
    assert agent is not None, "a model turn has an agent"
    if operation.caught is not None:
        operation.caught.settle()
    status, error_id, error_type = "ok", None, None
    if exc is not None:
        status = status_of(exc)
        error_type = None if status == "stopped_early" else type(exc).__name__
        if status == "error":
            error_id = record_failure(operation, exc, agent)
    elif (failure := facts.told_failure()) is not None:
        status, error_type = "error", type_of_returned(failure.value)
        error_id = emit_returned_failure(operation, agent, failure.value, "model_turn")
    output = facts.told("output")
    if output is None or status != "ok":
        deltas.write_rest()
    if output is None:
        output = b"null" if deltas.text is None else encode_value(deltas.text)
    first_chunk_ms, ending = deltas.first_chunk_ms, facts.told_ending()
    payload = object_of(
        output=output,
        first_chunk_ms=None if first_chunk_ms is None else b"%.3f" % first_chunk_ms,
        **ending,
        late=b"true" if agent.closed else None,
    )
    if operation.caught is not None:
        payload = operation.caught.close(payload)
    columns = {
        **turn_column,
        "attempt": operation.attempt,
        "model": facts.told("answered") or model,
        "provider": facts.told("provider"),
        **facts.told_usage(),
    }
    now_ns = clock.now_ns()
    emit(
        "model_turn",
        agent,
        payload,
        span_id=operation.span_id,
        parent_span_id=operation.parent_span_id,
        status=status,
        duration_ms=(now_ns - operation.started_ns) / 1_000_000,
        error_id=error_id,
        error_type=error_type,
        extra=columns,
        ts_ns=now_ns,
    )
    note_turn(operation, columns, ending)
    return now_ns
