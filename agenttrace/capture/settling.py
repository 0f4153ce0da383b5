"""
Write what was caught: with the operation's next event, or when it has waited for long.

Invariant: what some thread is handling at this moment is not written with the operation's
next event, because a handler may still raise it again. Cost: 6 µs a row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection

from agenttrace import clock
from agenttrace.capture.asked import note_failure
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.capture.marks import mark_of
from agenttrace.capture.waiting import BY_OBJECT, UNWRITTEN, Waiting, give_up, relatives_of
from agenttrace.errors import contained

__all__ = ["is_held", "settle", "settle_all", "settle_older", "take", "write_now"]

_current_exceptions: Callable[[], dict[int, BaseException | None]] = sys._current_exceptions  # type: ignore[assignment]


def write_now(exc: BaseException) -> bool:
    """Write what waits for *exc* at once; False where nothing does."""
    known = BY_OBJECT.get(id(exc))
    if type(known) is not Waiting or mark_of(exc) is not known.mark:
        return False
    return _write(known)


def _being_handled() -> set[str]:
    """Give the failures that some thread is handling now, and those they came from."""
    ids: set[str] = set()
    for exc in _current_exceptions().values():
        if exc is not None:
            marks = (mark_of(link) for link in relatives_of(exc))
            ids.update(mark[0] for mark in marks if mark is not None)
    return ids


def settle(waiting: list[Waiting]) -> None:
    """Write all of *waiting* but what is being handled now, and what a later one tells of."""
    if waiting:
        _settle(waiting, _being_handled())


def _settle(waiting: list[Waiting], held: Collection[str]) -> None:
    """Write all of *waiting* but the *held*, and what a later one tells of."""
    for one in waiting:
        if one.mark[0] not in held and not one.is_told:
            with contained("capture.caught"):
                _write(one)


def is_held(waiting: Waiting) -> bool:
    """Tell whether some thread is handling it at this moment, or a later one tells of it."""
    return waiting.is_told or waiting.mark[0] in _being_handled()


def take(waiting: Waiting) -> bool:
    """Take *waiting* out, in order to write it; False where another thread was quicker."""
    if UNWRITTEN.pop(waiting.number, None) is None:
        return False
    inside = waiting.owner
    inside.waiting.pop(waiting.number, None)
    if BY_OBJECT.get(waiting.object_id) is waiting:
        BY_OBJECT.pop(waiting.object_id, None)
    if waiting.absorbed:
        for other in list(UNWRITTEN.values()):
            if other.mark[0] in waiting.absorbed:
                give_up(other, None)
    return True


def _write(waiting: Waiting) -> bool:
    """Publish the row, unless another thread does."""
    if not take(waiting):
        return False
    inside, error_id = waiting.owner, waiting.mark[0]
    operation = inside.operation
    agent = operation.agent
    if agent is None:
        return False
    place = waiting.places[-1]
    handled_at = encode_value({"file": place.file, "line": place.line, "function": place.function})
    if waiting.payload is None:
        emit(
            "handled",
            agent,
            object_of(handled_at=handled_at),
            span_id=operation.span_id,
            error_id=error_id,
            ts_ns=waiting.ts_ns,
        )
        return True
    emit(
        "error",
        agent,
        object_of(error=waiting.payload, handled=b"true", handled_at=handled_at),
        span_id=operation.span_id,
        parent_span_id=operation.parent_span_id,
        tool_name=operation.name if operation.kind == "tool" else None,
        error_id=error_id,
        error_type=waiting.type_name,
        extra=waiting.extra or None,
        ts_ns=waiting.ts_ns,
    )
    note_failure(operation, error_id, waiting.type_name or "", waiting.payload)
    return True


def settle_all() -> None:
    """Write all that waits in this process, but not what some thread is handling now."""
    settle(list(UNWRITTEN.values()))


def settle_older(age_ns: int) -> None:
    """
    Write what has waited for *age_ns*, so that neither a long scope nor a kill hides it.

    An ``except`` clause may run for hours: its exception is written, and if it goes on after all,
    then a second row names the first. A ``with`` or ``finally`` that still runs is waited for.
    """
    before_ns = clock.now_ns() - age_ns
    old = [one for one in list(UNWRITTEN.values()) if one.ts_ns <= before_ns]
    if old:
        held = _being_handled()
        _settle(old, {one.mark[0] for one in old if one.mark[0] in held and not one.places[-1].is_sure})
