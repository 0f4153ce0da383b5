"""
Attempts at one model turn: an ``error`` row for each that failed, a ``retry`` row before the next.

Invariant: a ``retry`` row is published once the next attempt is known to begin, never before, so
that a process killed in between leaves the same rows whoever retries. A turn that needed one
attempt has no attempt number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agenttrace import clock
from agenttrace.capture.context import CURRENT, Operation
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.capture.failures import emit_returned_failure, record_failure, status_of
from agenttrace.capture.marks import error_id_of

__all__ = ["TurnAttempts"]


class _Failed(NamedTuple):
    """The attempt that failed last, while nobody knows whether another follows."""

    error_id: str
    at_ns: int
    wait_ms: float | None
    limit_count: int | None
    by: str | None
    is_sure: bool
    """Whoever tries has said that another attempt follows."""


class TurnAttempts:
    """The attempts of one turn."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._failed: _Failed | None = None

    def fail(
        self,
        failure: Any,
        wait_ms: float | None = None,
        limit_count: int | None = None,
        by: str | None = None,
        *,
        is_sure: bool = True,
    ) -> None:
        """
        Write that the attempt that runs has failed.

        Args:
            failure: The exception, or what stands for one.
            wait_ms: What will be waited; measured, where it is not known.
            limit_count: The most attempts there will be, the first included.
            by: Who retries, a library's name.
            is_sure: Whether another attempt is known to follow, if nothing comes between.
        """
        self.begin()
        operation = self._operation
        agent = operation.agent
        assert agent is not None, "a model turn has an agent"
        if operation.caught is not None:
            operation.caught.settle()
        operation.attempt = operation.attempt or 1
        if not isinstance(failure, BaseException):
            error_id = emit_returned_failure(operation, agent, failure, by or "attempt")
        elif status_of(failure) == "error":
            error_id = record_failure(operation, failure, agent)
        else:
            return
        self._failed = _Failed(error_id, clock.now_ns(), wait_ms, limit_count, by, is_sure)

    def begin(self, *, is_another: bool = False) -> None:
        """
        Write that the attempt that failed is followed by another; does nothing where none failed.

        Args:
            is_another: It is known for certain; else it depends on what was said of the failed one.
        """
        failed = self._failed
        if failed is None or not (is_another or failed.is_sure):
            return
        self._failed = None
        operation = self._operation
        agent = operation.agent
        assert agent is not None, "a model turn has an agent"
        operation.attempt = (operation.attempt or 1) + 1
        around = CURRENT.get()
        if failed.by is None and around is not None and around.is_series:
            return  # whoever retries in here tells of it
        wait_ms = failed.wait_ms
        if wait_ms is None:
            wait_ms = (clock.now_ns() - failed.at_ns) / 1_000_000
        emit(
            "retry",
            agent,
            object_of(
                wait_ms=encode_value(round(wait_ms, 3)),
                limit_count=None if failed.limit_count is None else b"%d" % failed.limit_count,
                by=None if failed.by is None else encode_value(failed.by),
            ),
            span_id=operation.span_id,
            parent_span_id=operation.parent_span_id,
            error_id=failed.error_id,
        )

    def end(self, exc: BaseException | None) -> None:
        """Tell, as the turn ends, of the attempt that must have followed the one that failed."""
        if exc is None or (status_of(exc) == "error" and not self._is_last(exc)):
            self.begin()

    def _is_last(self, exc: BaseException) -> bool:
        return self._failed is not None and error_id_of(exc) == self._failed.error_id
