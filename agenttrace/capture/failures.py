"""
Which failure is this? The identity of an exception, through every operation it leaves.

Invariant: an exception is one failure. Its id and the spans of the operations
around its origin stand on the exception object itself (and so pass through
pickling); an operation that it leaves later looks there first.
"""

from __future__ import annotations

import asyncio
from typing import Any

from agenttrace.capture.asked import note_failure
from agenttrace.capture.context import Agent, Operation
from agenttrace.capture.describe import build_error, chain_of, find_handler, leaves_of
from agenttrace.capture.detectors import describe_returned, type_of_returned
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.capture.marks import error_id_of, mark_of, remember
from agenttrace.capture.waiting import absorb
from agenttrace.events import new_id

__all__ = [
    "SIGNALS",
    "build_error",
    "emit_error",
    "emit_returned_failure",
    "error_id_of",
    "find_handler",
    "record_failure",
    "remember",
    "status_of",
]


SIGNALS: set[type[Exception]] = set()
"""Exceptions by which a library steers what it runs, and which are no errors; integrations add theirs."""


def status_of(exc: BaseException) -> str:
    """Tell how an operation ended that *exc* left: ``error``, ``cancelled`` or ``stopped_early``."""
    if isinstance(exc, Exception):
        return "stopped_early" if SIGNALS and isinstance(exc, tuple(SIGNALS)) else "error"
    if isinstance(exc, (KeyboardInterrupt, SystemExit, asyncio.CancelledError)):
        return "cancelled"
    if isinstance(exc, GeneratorExit):
        return "stopped_early"
    if isinstance(exc, BaseExceptionGroup):
        inner = {status_of(leaf) for leaf in leaves_of(exc)}
        return "error" if "error" in inner else "cancelled"
    return "cancelled" if "Cancel" in type(exc).__name__ else "error"


def record_failure(operation: Operation, exc: BaseException, agent: Agent) -> str:
    """
    Write the ``error`` row of an exception that leaves *operation*, unless it has one.

    Returns:
        The id of the failure, for the operation's end.
    """
    absorb(exc)
    mark = mark_of(exc)
    if mark is not None and operation.span_id in mark[1]:
        return mark[0]
    error_id = mark[0] if mark is not None else new_id()
    spans = operation.span_chain()
    remember(exc, error_id, spans if mark is None else (*mark[1][:64], *spans))
    emit_error(agent, exc, error_id, operation)
    return error_id


def emit_error(
    agent: Agent,
    exc: BaseException,
    error_id: str,
    operation: Operation | None,
    *,
    handled: bool = False,
    handled_at: dict[str, Any] | None = None,
) -> None:
    """Publish the ``error`` row of *exc*, standing in *operation*."""
    extra: dict[str, Any] = {}
    cause_error_id = _cause_error_id(exc)
    if cause_error_id is not None and cause_error_id != error_id:
        extra["cause_error_id"] = cause_error_id
    tool_name = None
    if operation is not None:
        if operation.kind == "tool":
            tool_name = operation.name
            if not handled:
                extra["attempt"] = operation.attempts_count
        if operation.attempt is not None:
            extra["attempt"] = operation.attempt + operation.attempts_count - 1
            extra["retry_of"] = operation.retry_of
    error = build_error(exc)
    error["frames"] = [*_callers_of(operation), *error["frames"]]
    if not error["frames"] and exc.__traceback__ is not None:
        error["frames"] = [find_handler(2)]  # raised by the call itself: arguments that do not fit
    note_failure(operation, error_id, type(exc).__name__, error)
    emit(
        "error",
        agent,
        object_of(
            error=encode_value(error),
            handled=b"true" if handled else None,
            handled_at=None if handled_at is None else encode_value(handled_at),
        ),
        span_id=None if operation is None else operation.span_id,
        parent_span_id=None if operation is None else operation.parent_span_id,
        tool_name=tool_name,
        error_id=error_id,
        error_type=type(exc).__name__,
        extra=extra or None,
    )


def emit_returned_failure(operation: Operation, agent: Agent, value: Any, detector: str) -> str:
    """
    Write the ``error`` row of a failure that came back as data.

    Returns:
        Its id; that of the failure it already is, for an exception that left *operation*'s inside.
    """
    error_id = new_id()
    extra: dict[str, Any] = {}
    if operation.attempt is not None:
        extra = {"attempt": operation.attempt, "retry_of": operation.retry_of}
    if issubclass(type(value), Exception):
        absorb(value)
        mark = mark_of(value)
        if mark is not None and operation.span_id in mark[1]:
            return mark[0]
        error_id = error_id if mark is None else mark[0]
        remember(value, error_id, (*(() if mark is None else mark[1][:64]), *operation.span_chain()))
        error = build_error(value)
        cause_error_id = _cause_error_id(value)
        if cause_error_id is not None:
            extra["cause_error_id"] = cause_error_id
    else:
        message = describe_returned(value)
        frames = _callers_of(operation)
        error = {"type": "ReturnedFailure", "module": None, "message": message, "frames": frames}
    note_failure(operation, error_id, type_of_returned(value), error)
    emit(
        "error",
        agent,
        object_of(error=encode_value(error), returned=encode_value(detector)),
        span_id=operation.span_id,
        parent_span_id=operation.parent_span_id,
        tool_name=operation.name if operation.kind == "tool" else None,
        error_id=error_id,
        error_type=type_of_returned(value),
        extra=extra or None,
    )
    return error_id


def _callers_of(operation: Operation | None) -> list[dict[str, Any]]:
    """Give the program's own line that a library's failure goes back to, where its traceback lacks it."""
    called_from = None if operation is None else operation.__dict__.get("called_from")
    return [] if called_from is None else [called_from]


def _cause_error_id(exc: BaseException) -> str | None:
    for cause in chain_of(exc):
        error_id = None if cause is exc else error_id_of(cause)
        if error_id is not None:
            return error_id
    return None
