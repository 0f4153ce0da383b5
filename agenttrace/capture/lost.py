"""
Exceptions that are met where they end: in a hook that prints them, in a log record.

Invariant: one failure has one ``error`` row; an exception that has its row, or waits for it, gets
at most one ``handled`` row per operation from here. What is not an error (an interrupt, a
cancellation) leaves nothing. Cost: that of an ``error`` row, 20 µs and more.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict, deque
from typing import Any

from agenttrace.capture import context
from agenttrace.capture.caught import absorb, write_now
from agenttrace.capture.context import PIPE, Operation, enclosing_agent
from agenttrace.capture.emit import announce_agent, emit, encode_value, object_of
from agenttrace.capture.failures import emit_error, record_failure, status_of
from agenttrace.capture.marks import mark_of, remember
from agenttrace.capture.propagation import run_in_scope
from agenttrace.events import new_id

__all__ = ["note_end_of", "note_escape", "note_fatal", "standing_in"]

_TOLD_LIMIT_COUNT = 512
_told: OrderedDict[tuple[str, str], None] = OrderedDict()
"""Pairs of a failure and an operation that a row of ours stands for, the oldest first."""
_escaped: deque[str] = deque(maxlen=64)
"""The failures that left a root agent last."""


def standing_in(operation: Operation) -> Operation:
    """Give the operation whose rows tell of *operation*; it has an agent, ``main`` if need be."""
    while operation.stands_for is not None:
        operation = operation.stands_for
    if operation.agent is not None:
        return operation
    made: Operation = run_in_scope(operation, enclosing_agent, announce_agent)
    return made


def note_end_of(exc: BaseException, operation: Operation, handled_at: dict[str, Any]) -> str | None:
    """
    Record that *exc* went no further than *handled_at*.

    Args:
        exc: The exception.
        operation: Where it was raised or caught.
        handled_at: ``{file, line, function}``.

    Returns:
        The id of its failure; None where *exc* is no error.
    """
    if status_of(exc) != "error":
        return None
    operation = standing_in(operation)
    agent = operation.agent
    assert agent is not None, "standing_in gives an operation with an agent"
    if write_now(exc):  # it was seen as it was caught, with its handler
        mark = mark_of(exc)
        if mark is None:
            return None
        # It left no operation yet; should it leave this one, then its row stands already.
        if not mark[1]:
            remember(exc, mark[0], operation.span_chain())
        _is_first(mark[0], operation)
        return mark[0]
    absorb(exc)
    mark = mark_of(exc)
    if mark is not None:
        if _is_first(mark[0], operation):
            emit(
                "handled",
                agent,
                object_of(handled_at=encode_value(handled_at)),
                span_id=operation.span_id,
                error_id=mark[0],
            )
        return mark[0]
    error_id = new_id()
    remember(exc, error_id, operation.span_chain())
    _is_first(error_id, operation)
    emit_error(agent, exc, error_id, operation, handled=True, handled_at=handled_at)
    return error_id


def _is_first(error_id: str, operation: Operation) -> bool:
    """Remember that this failure is told of in this operation; False where it was before."""
    pair = (error_id, operation.span_id)
    if pair in _told:
        return False
    _told[pair] = None
    if len(_told) > _TOLD_LIMIT_COUNT:
        with contextlib.suppress(KeyError):  # emptied by other threads
            _told.popitem(last=False)
    return True


def note_escape(error_id: str) -> None:
    """Remember that this failure left a root agent, so that it may end the program without a further row."""
    _escaped.append(error_id)


def note_fatal(exc: BaseException, operation: Operation | None) -> None:
    """
    Record the exception that ends the program, unless its rows say already that it escaped.

    Outside any scope it belongs to the agent ``main``, which ends with it, in a program that
    opened scopes or called tools; in any other program nothing is recorded. So does a failure that
    an agent swallowed and that was raised again later: it keeps its id.
    """
    if status_of(exc) != "error":
        return
    mark = mark_of(exc)
    root = context.implicit_roots.get(PIPE.epoch)
    if mark is not None and (mark[0] in _escaped or (root is not None and root.span_id in mark[1])):
        return
    if operation is None:
        if not context.scopes_opened and root is None:
            return
        operation = enclosing_agent(announce_agent)
    operation = standing_in(operation)
    if operation.agent is not None:
        record_failure(operation, exc, operation.agent)
