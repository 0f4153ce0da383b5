"""
Attempts at one thing: who tries, the how-manieth time, and what became of the attempt before.

A ``Series`` stands in ``CURRENT`` while something is tried, in the place of the operation that
it was entered in (its *ground*): what begins inside belongs to the ground, and carries the
attempt's number. Invariants: an attempt's exception is one failure with one ``error`` row, no
matter who saw it first; a ``retry`` row is published as the next attempt begins, never before,
so that a process killed in between leaves the same rows whoever retries.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, NamedTuple

from agenttrace.capture.context import PIPE, Caught, Operation
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.capture.failures import emit_returned_failure, record_failure, status_of
from agenttrace.capture.marks import mark_of, remember, unmark
from agenttrace.capture.waiting import UNWRITTEN, give_up

__all__ = ["Attempt", "Outcome", "Series"]

_ERRORS_LIMIT_COUNT = 64


class Failure(NamedTuple):
    """How the attempt before went wrong."""

    error_id: str
    span_id: str | None
    """Of the operation that was tried; None where a call inside failed, which has rows of its own."""


class Outcome(NamedTuple):
    """How an attempt of a call ended; with the last one, the call ends."""

    status: str
    payload: bytes
    error_id: str | None
    error_type: str | None


class Attempt(Operation):
    """One attempt at *of*: the same span and name, with a number of its own."""

    recorded = True

    def __init__(self, of: Operation, number: int, series: Series) -> None:
        self.kind = of.kind
        self.name = of.name
        self.conversation_id = of.conversation_id
        self.agent = of.agent
        self.parent = of.parent
        self.span_id = of.span_id
        self.started_ns = of.started_ns
        self.epoch = of.epoch
        self.attempt = number
        self.retry_of = of.retry_of
        self.stands_for = of
        self.series = series
        self.repeats = of.repeats
        self.failed_calls = of.failed_calls


class Series(Operation):
    """Attempts at one thing, one after the other."""

    is_series = True
    merges = True  # sends calls inside past the fast path

    def __init__(
        self,
        ground: Operation | None,
        by: str | None = None,
        limit_count: int | None = None,
        tracer: Any = None,
        frame_id: int = 0,
    ) -> None:
        """
        Begin none yet.

        Args:
            ground: The operation that the program stands in.
            by: Who retries, a library's name; None for a program of its own.
            limit_count: How many attempts there will be at most; None when nobody knows.
            tracer: Of the traced tool whose call the attempts are, where one is retried directly.
            frame_id: ``id`` of the generator's frame that the attempts run in, else 0.
        """
        self.kind = "attempts" if ground is not None and ground.kind != "conversation" else "conversation"
        self.name = ""
        self.parent = self.stands_for = ground
        self.agent = None if ground is None else ground.agent
        self.conversation_id = "" if ground is None else ground.conversation_id
        self.span_id = "" if ground is None else ground.span_id
        self.epoch = PIPE.epoch
        self.by = by
        self.limit_count = limit_count
        self.tracer = tracer
        self.frame_id = frame_id
        self.previous: Operation | None = None
        """What stood in ``CURRENT`` before."""
        self.source: Any = None
        """What made it, until it is known by something else."""
        self.number = 0
        """Of the attempt that runs or ran last."""
        self.tries = 0
        """Attempts in this series and those inside it."""
        self.is_attempting = False
        self.joined_by: Series | None = None
        """Amid which attempts the retried tool was called in this one: these, or some inside."""
        self.is_closed = False
        self.call: Operation | None = None
        """The one call that all attempts are."""
        self.joins = 0
        """Attempts of that call."""
        self.is_scope = False
        """The call is a tool scope, which ends by itself."""
        self.outcome: Outcome | None = None
        self.failure: Failure | None = None
        self.last_error_id: str | None = None
        self.untold: tuple[Failure, float | None] | None = None
        """A failure of a call inside, whose repetition is still to come, and the wait after it."""
        self.failed_before: dict[tuple[str, bytes], tuple[str, int, str | None]] = {}
        """As ``failed_calls``, of earlier attempts."""

    @property
    def caught(self) -> Caught | None:
        """What was caught inside the ground."""
        return None if self.parent is None else self.parent.caught

    @caught.setter
    def caught(self, value: Caught | None) -> None:
        if self.parent is not None:
            self.parent.caught = value

    def settle_on(self, root: Operation) -> None:
        """Take *root* for the ground, where there was no agent until a call was made."""
        series: Operation | None = self
        while isinstance(series, Series) and series.agent is None:
            outer = series.parent
            series.kind, series.agent = "attempts", root.agent
            series.conversation_id, series.span_id = root.conversation_id, root.span_id
            if not isinstance(outer, Series):
                series.parent = series.stands_for = root
            series = outer

    def outermost(self) -> Series:
        """Give the series around this one that nothing real stands between."""
        series = self
        while isinstance(series.parent, Series):
            series = series.parent
        return series

    def ground(self) -> Operation | None:
        """Give the real operation that the attempts run in."""
        return self.outermost().parent

    # ------------------------------------------------------------- the attempts

    def begin(self, number: int | None = None, wait_ms: float | None = None) -> None:
        """Begin the next attempt, and tell of the one before that it was retried."""
        self.number = number if number is not None else self.number + 1
        self.is_attempting, self.joined_by = True, None
        outermost = self.outermost()
        if outermost is self:
            self.tries = max(self.tries + 1, self.number)
        elif self.number > 1:
            outermost.tries += 1
        if self.failed_calls:
            self.failed_before.update(self.failed_calls)
            self.failed_calls = None
        failure, self.failure = self.failure, None
        if failure is not None and self.by is not None:
            for waiting in [one for one in list(UNWRITTEN.values()) if one.mark[0] == failure.error_id]:
                give_up(waiting, None)  # that a library caught it to try again need not be said
        if failure is not None:
            if failure.span_id is None and any(
                known[2] == failure.error_id for known in self.failed_before.values()
            ):
                self.untold = (failure, wait_ms)
            else:
                self._tell(failure, wait_ms)

    def end(self, exc: BaseException | None) -> None:
        """End the attempt; *exc* is what left it."""
        if not self.is_attempting:
            return
        self.is_attempting = False
        if self.untold is not None:
            self._tell(*self.untold)  # nothing repeated the call that failed
            self.untold = None
        if exc is None or status_of(exc) != "error" or self.agent is None or self.epoch != PIPE.epoch:
            return
        call = self._call()
        mark = mark_of(exc)
        if mark is not None and mark[0] == self.last_error_id and mark[1]:
            unmark(exc)  # the very object was raised again: another attempt is another failure
            mark = None
        if mark is None or self.span_id not in mark[1]:
            error_id = record_failure(self._attempt(call), exc, self.agent)
            span_id: str | None = self.span_id if call is None else call.span_id
        else:
            error_id = mark[0]
            if call is not None:
                span_id = call.span_id
            else:
                span_id = self.span_id if mark[1][0] == self.span_id else None
        self.failure = Failure(error_id, span_id)
        self.last_error_id = error_id

    def reject(self, raised: BaseException | None = None) -> None:
        """
        Note that who retries did not accept the attempt's result.

        Args:
            raised: What is raised for that, when no attempt follows; it is the same failure.
        """
        if self.agent is None or self.epoch != PIPE.epoch:
            return
        call = self._call()
        attempt = self._attempt(call)
        reason = f"{self.by or 'the caller'} did not accept the result"
        error_id = emit_returned_failure(attempt, self.agent, reason, self.by or "attempt")
        self.failure = Failure(error_id, attempt.span_id)
        self.last_error_id = error_id
        holder = self._holder()
        outcome = None if holder is None else holder.outcome
        if holder is not None and outcome is not None:
            payload = outcome.payload.replace(b'{"is_error":false', b'{"is_error":true', 1)
            holder.outcome = Outcome("error", payload, error_id, "ReturnedFailure")
        if raised is not None and mark_of(raised) is None:
            remember(raised, error_id, attempt.span_chain())

    def _holder(self) -> Series | None:
        series: Operation | None = self
        while isinstance(series, Series):
            if series.call is not None:
                return series
            series = series.parent
        return None

    def _call(self) -> Operation | None:
        holder = self._holder()
        return None if holder is None else holder.call

    def _attempt(self, call: Operation | None) -> Attempt:
        """Give the operation whose rows tell of this attempt."""
        holder = self._holder()
        if call is not None and holder is not None:
            return Attempt(call, (call.attempt or 1) + max(holder.joins, 1) - 1, self)
        ground = self.ground()
        assert ground is not None, "a series with an agent has a ground"
        tries = self.outermost().tries
        if ground.kind == "tool":
            ground.attempts_count = tries
            tries += (ground.attempt or 1) - 1
        return Attempt(ground, tries, self)

    def _tell(self, failure: Failure, wait_ms: float | None) -> None:
        agent = self.agent
        if agent is None or self.epoch != PIPE.epoch:
            return
        attempt = self._attempt(self._call())
        if self.caught is not None:
            self.caught.settle()
        emit(
            "retry",
            agent,
            object_of(
                wait_ms=None if wait_ms is None else encode_value(round(wait_ms, 3)),
                limit_count=None if self.limit_count is None else b"%d" % self.limit_count,
                by=None if self.by is None else encode_value(self.by),
            ),
            span_id=failure.span_id,
            parent_span_id=self.span_id if failure.span_id is None else attempt.parent_span_id,
            tool_name=attempt.name if failure.span_id is not None and attempt.kind == "tool" else None,
            error_id=failure.error_id,
        )

    # ------------------------------------------------------------- calls inside

    def is_running(self) -> bool:
        """Tell whether the program stands inside; a generator may be suspended amid its attempts."""
        if not self.frame_id:
            return True
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if id(frame) == self.frame_id:
                return True
            frame = frame.f_back
        return False

    def next_attempt(self) -> Attempt:
        """Begin the next attempt at the one call."""
        call = self.call
        assert call is not None, "the caller has opened the call"
        self.joins += 1
        self.outcome = None
        return Attempt(call, (call.attempt or 1) + self.joins - 1, self)

    def holder_for(self, tracer: Any) -> Series | None:
        """
        Give the series whose one call a call of *tracer* begun now is an attempt of.

        None where it is a call of its own.
        """
        if not self.is_attempting or self.joined_by is not None:
            return None
        ground = self.ground()
        if ground is not None and ground.merges and ground.name == tracer.name and self.tracer is None:
            self.tracer = tracer  # a tool scope waits for this call
        if self.tracer is not tracer:
            return None
        self.joined_by = found = self
        while True:
            outer = found.parent
            if not isinstance(outer, Series) or outer.tracer is not tracer or not outer.is_attempting:
                return found
            if outer.joined_by not in (None, found):
                return found
            outer.joined_by = found
            found = outer

    def number_call(self, call: Operation) -> dict[str, Any]:
        """Number a call of its own: the columns ``attempt`` and, where one failed before, ``retry_of``."""
        key = (call.name, call.payload)
        known = None
        place: Operation | None = self
        while known is None and place is not None:
            known = (place.failed_calls or {}).get(key)
            if not isinstance(place, Series):
                break
            known = known or place.failed_before.get(key)
            place = place.parent
        call.attempt = self.outermost().tries or None
        if known is None:
            if self.live_calls <= 1 and self.failed_calls:
                self.failed_calls.clear()
            return {"attempt": call.attempt}
        call.retry_of, call.attempt, call.repeats = known[0], max(known[1] + 1, call.attempt or 1), known[2]
        series: Operation | None = self
        while isinstance(series, Series):
            if series.untold is not None and series.untold[0].error_id == known[2]:
                series.untold = None
            series = series.parent
        return {"attempt": call.attempt, "retry_of": call.retry_of}

    def forget_call(self, call: Operation) -> None:
        """Forget that an equal call failed: *call* went well."""
        series: Operation | None = self
        while isinstance(series, Series):
            series.failed_before.pop((call.name, call.payload), None)
            if series.failed_calls:
                series.failed_calls.pop((call.name, call.payload), None)
            series = series.parent

    def hand_up(self) -> None:
        """Leave to the operation around what failed last, so that it may be tried again from there."""
        failed = {**self.failed_before, **(self.failed_calls or {})}
        if failed and self.failure is not None and self.parent is not None:
            known = {**(self.parent.failed_calls or {}), **failed}
            self.parent.failed_calls = dict(list(known.items())[-_ERRORS_LIMIT_COUNT:])
