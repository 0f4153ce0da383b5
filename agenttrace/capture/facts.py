"""
Single facts: an event of one's own, an exception that was handled, a dropped result.

Invariant: each call leaves at most one event, and with tracing off none; user code
gets back exactly what it would without us.
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

from agenttrace.capture import context
from agenttrace.capture.agents import emit_custom
from agenttrace.capture.context import SWITCH, Agent, Operation
from agenttrace.capture.emit import announce_agent, emit, encode_value, object_of
from agenttrace.capture.failures import emit_error, error_id_of, find_handler, remember
from agenttrace.capture.settling import write_now
from agenttrace.capture.waiting import absorb
from agenttrace.errors import contained
from agenttrace.events import new_id

__all__ = ["drop_result", "record", "record_exception", "suppressed"]


def _stand() -> tuple[Operation, Agent]:
    operation = context.enclosing_agent(announce_agent)
    assert operation.agent is not None, "an enclosing agent has an agent"
    return operation, operation.agent


def record(kind: str, payload: Any = None) -> None:
    """
    Record an event where the program stands.

    Args:
        kind: One of the kinds that have a meaning (`message`, `note`, …), or a word of your own:
            `[a-z][a-z0-9_.]*`.
        payload: Any value; one that is no mapping is kept under ``value``.
    """
    if not SWITCH:
        return
    with contained("capture.record"):
        operation, agent = _stand()
        emit_custom(kind, agent, payload, operation)


def record_exception(exc: BaseException, *, handled: bool = True) -> None:
    """
    Record an exception that you caught.

    Args:
        exc: The exception. One that already left a traced operation gets a ``handled`` event
            that names its failure; any other becomes an ``error`` event.
        handled: False for an exception that goes on its way.
    """
    if not SWITCH:
        return
    with contained("capture.record_exception"):
        _record_exception(exc, handled, find_handler(2))


def _record_exception(exc: BaseException, handled: bool, handled_at: dict[str, Any]) -> None:
    operation, agent = _stand()
    if handled and write_now(exc):
        return  # it was seen as it was caught, with its handler
    absorb(exc)
    known = error_id_of(exc)
    if known is not None:
        if handled:
            emit(
                "handled",
                agent,
                object_of(handled_at=encode_value(handled_at)),
                span_id=operation.span_id,
                error_id=known,
            )
        return
    error_id = new_id()
    # A handled one is done with: only a later raise of the same object names it.
    remember(exc, error_id, operation.span_chain() if not handled else ())
    emit_error(agent, exc, error_id, operation, handled=handled, handled_at=handled_at if handled else None)


class suppressed(contextlib.suppress):
    """
    Suppress exceptions of the given types, as ``contextlib.suppress`` does, and record them.

    Args:
        *types: Exception classes.
    """

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        given_up = super().__exit__(exc_type, exc, traceback)
        if given_up and exc is not None and SWITCH:
            with contained("capture.suppressed"):
                _record_exception(exc, True, find_handler(2))
        return bool(given_up)


def drop_result(call_id: str, reason: str | None = None) -> None:
    """Record that the result of the call *call_id* is kept from the model, and why."""
    if not SWITCH:
        return
    with contained("capture.drop_result"):
        operation, agent = _stand()
        if agent.asked is not None:
            agent.asked.drop(call_id)
        emit(
            "result_dropped",
            agent,
            object_of(reason=encode_value(reason)),
            parent_span_id=operation.span_id,
            call_id=call_id,
        )
