"""
Exceptions that were caught inside an operation: which are kept, and whether that still holds.

A handler that was entered does not say what becomes of its exception: a ``finally`` passes
it on, an ``except`` may raise it again or another from it. So what was caught waits, as a
summary, until the operation's next event, and is given up when the exception goes on.

Invariant: nothing here takes a lock or publishes, for it runs inside the interpreter's own
raising of exceptions. Cost: 20 µs for what is kept; when nothing waits, a raise costs one
look at an empty dict.
"""

from __future__ import annotations

from collections.abc import Collection
from types import FrameType

from agenttrace.capture.context import Operation
from agenttrace.capture.describe import build_error, leaves_of
from agenttrace.capture.emit import encode_value
from agenttrace.capture.marks import mark_of, remember
from agenttrace.capture.settling import settle, settle_all, write_now
from agenttrace.capture.waiting import (
    BY_OBJECT,
    UNWRITTEN,
    Inside,
    Place,
    Waiting,
    absorb,
    give_up,
    relatives_of,
    retell,
    told_by,
)
from agenttrace.events import new_id

__all__ = [
    "ROWS_LIMIT_COUNT",
    "CaughtInside",
    "absorb",
    "caught_inside",
    "keep",
    "note_raise",
    "settle_all",
    "write_now",
]

ROWS_LIMIT_COUNT = 50
"""How many rows an operation may have of what was caught inside it; the rest is counted."""
_DEPTH_LIMIT_COUNT = 1_000
_FULL_LIMIT_COUNT = 1_000
"""How many summaries of one operation are made with all frames, written or not."""


class CaughtInside(Inside):
    """What was caught inside one operation; the ``caught`` of the operation."""

    __slots__ = ()

    def settle(self) -> None:
        """Write what waits, but not what is being handled at this moment: it may go on."""
        settle(list(self.waiting.values()))

    def close(self, payload: bytes) -> bytes:
        """Write what waits, and add what was only counted to the *payload* of the operation's end."""
        self.settle()
        _forget_counted(self)
        counts = {
            "more_count": self.more_count,
            "lookup_count": self.lookup_count,
            "elsewhere_count": self.elsewhere_count,
        }
        counts = {name: count for name, count in counts.items() if count > 0}
        if not counts or not payload.endswith(b"}"):
            return payload
        separator = b"" if payload == b"{}" else b","
        return payload[:-1] + separator + b'"caught":' + encode_value(counts) + b"}"


def caught_inside(operation: Operation) -> CaughtInside | None:
    """Give what is caught inside *operation*, beginning it where needed; None where no agent stands."""
    owner: Operation | None = operation
    while owner is not None and owner.stands_for is not None:
        owner = owner.stands_for
    if owner is not None and owner.agent is None:
        owner = owner.implicit
    if owner is None:
        return None
    found = owner.caught
    if not isinstance(found, CaughtInside):
        found = owner.caught = CaughtInside(owner)
    if operation is not owner:
        operation.caught = found
    return found


def keep(inside: CaughtInside, exc: BaseException, place: Place) -> bool:
    """
    Keep a summary of *exc*, which was just caught at *place*.

    Returns:
        False where it is only counted, because its operation has all its rows.
    """
    known = BY_OBJECT.get(id(exc))
    mark = mark_of(exc)
    if type(known) is Waiting and known.mark is mark:
        known.places = (*known.places, place)  # raised again inside a handler, and caught there
        if known.payload is not None:
            before = known.absorbed
            _describe(known, exc)
            retell(before | known.absorbed)
        return True
    if inside.row_count >= ROWS_LIMIT_COUNT and not _takes_the_place(inside, exc):
        _count_only(inside, exc)
        return False
    is_new = mark is None
    if mark is None:
        mark = remember(exc, new_id(), ())
        if mark is None:
            return False
    waiting = Waiting(inside, exc, mark, place)
    waiting.is_new = is_new
    if not mark[1]:  # it left no operation, so no row tells of it but perhaps of an earlier catch
        _describe(waiting, exc)
    inside.row_count += 1
    inside.waiting[waiting.number] = waiting
    BY_OBJECT[id(exc)] = waiting
    UNWRITTEN[waiting.number] = waiting  # last: from here on, another thread may write it
    if waiting.absorbed:
        retell(waiting.absorbed)
    return True


def _takes_the_place(inside: CaughtInside, exc: BaseException) -> bool:
    """Tell whether a row of *exc* makes one that waits needless."""
    if not inside.waiting or not _has_causes(exc):
        return False
    waiting = {one.mark[0] for one in list(inside.waiting.values()) if not one.is_told}
    marks = [mark_of(link) for link in told_by(exc)]
    return any(mark is not None and mark[0] in waiting for mark in marks)


def _has_causes(exc: BaseException) -> bool:
    return exc.__cause__ is not None or exc.__context__ is not None


def _count_only(inside: CaughtInside, exc: BaseException) -> None:
    """Count *exc* beyond the limit; of those, only the last is known again when it goes on."""
    former = inside.counted_object
    if former and _has_causes(exc) and former in {id(link) for link in told_by(exc)}:
        inside.more_count -= 1  # raised from the last one, which is no failure of its own then
    _forget_counted(inside)
    inside.more_count += 1
    inside.counted_object = id(exc)
    BY_OBJECT[id(exc)] = inside


def _forget_counted(inside: CaughtInside) -> None:
    former, inside.counted_object = inside.counted_object, 0
    if former and BY_OBJECT.get(former) is inside:
        BY_OBJECT.pop(former, None)


def _describe(waiting: Waiting, exc: BaseException) -> None:
    """Take from the exception what its row will say."""
    inside = waiting.owner
    inside.full_count += 1
    waiting.type_name = type(exc).__name__
    waiting.payload = encode_value(build_error(exc, is_brief=inside.full_count > _FULL_LIMIT_COUNT))
    operation = inside.operation
    if operation.attempt is not None:
        waiting.extra = {"attempt": operation.attempt, "retry_of": operation.retry_of}
    without_row = {other.mark[0] for other in list(UNWRITTEN.values()) if other.is_new}
    told = [mark_of(link) for link in told_by(exc)]
    waiting.absorbed = frozenset(mark[0] for mark in told if mark is not None and mark[0] != waiting.mark[0])
    for link in relatives_of(exc):
        mark = mark_of(link)
        if mark is None or link is exc or (mark[0] in without_row and mark[0] in waiting.absorbed):
            continue
        waiting.extra["cause_error_id"] = mark[0]
        break


def note_raise(exc: BaseException, frame: FrameType, is_again: bool = False) -> None:
    """
    Give up what waits for *exc*, which is raised in *frame*, but for handlers around that frame.

    Args:
        exc: May be a group: then its leaves go on.
        frame: Where.
        is_again: The interpreter says that it was raised before.
    """
    known = BY_OBJECT.get(id(exc))
    if known is not None:
        _note_raise_of(known, exc, frame, is_again)
    if isinstance(exc, BaseExceptionGroup):
        for leaf in leaves_of(exc):
            known = BY_OBJECT.get(id(leaf))
            if known is not None:
                _note_raise_of(known, leaf, frame, True)


def _note_raise_of(known: Waiting | Inside, exc: BaseException, frame: FrameType, is_again: bool) -> None:
    if isinstance(known, Inside):
        BY_OBJECT.pop(id(exc), None)
        known.counted_object = 0
        traceback = exc.__traceback__
        if is_again or (traceback is not None and traceback.tb_next is not None):
            known.more_count -= 1
        return
    if mark_of(exc) is not known.mark:
        BY_OBJECT.pop(id(exc), None)  # another object where the caught one was: that one is dead
        return
    places: tuple[Place, ...] = ()
    if not known.is_told:  # otherwise its handlers were left by what was raised from it
        around = _ids_around(frame, {place.frame_id for place in known.places})
        places = tuple(place for place in known.places if place.frame_id in around)
    if places:
        known.places = places
    else:
        give_up(known, exc)


def _ids_around(frame: FrameType, wanted: Collection[int]) -> set[int]:
    """Tell which of the *wanted* frames stand around *frame*."""
    found: set[int] = set()
    outer = frame.f_back
    for _ in range(_DEPTH_LIMIT_COUNT):
        if outer is None or len(found) == len(wanted):
            break
        if id(outer) in wanted:
            found.add(id(outer))
        outer = outer.f_back
    return found
