"""
Exceptions that were caught and are not yet written: who caught them, and whether that still holds.

A handler that was entered does not say what becomes of its exception: a ``finally`` passes
it on, an ``except`` may raise it again or another from it. So what was caught waits here,
as a summary, until the operation's next event, and is given up when the exception goes on.

Invariants: neither an exception nor a frame is kept; a summary is written at most once
(whoever takes it out of ``_unwritten`` writes it, and taking is one step); nothing here takes
a lock, for it runs inside the interpreter's own raising of exceptions. An object is known
again by its mark; ``id()`` only finds it quickly. Cost: 20 µs for what is kept; when nothing
waits, a raise costs one look at an empty dict.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Collection, Iterable
from types import FrameType
from typing import Any, NamedTuple

from agenttrace import clock
from agenttrace.capture.context import Operation
from agenttrace.capture.describe import build_error, chain_of, leaves_of
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.capture.marks import Mark, mark_of, remember, unmark
from agenttrace.errors import contained
from agenttrace.events import new_id

__all__ = [
    "ROWS_LIMIT_COUNT",
    "CaughtInside",
    "Place",
    "absorb",
    "caught_inside",
    "forget_all",
    "is_any_waiting",
    "keep",
    "note_raise",
    "settle_all",
    "settle_older",
    "write_now",
]

ROWS_LIMIT_COUNT = 50
"""How many rows an operation may have of what was caught inside it; the rest is counted."""
_DEPTH_LIMIT_COUNT = 1_000
_FULL_LIMIT_COUNT = 1_000
"""How many summaries of one operation are made with all frames, written or not."""


class Place(NamedTuple):
    """Where an exception was caught."""

    frame_id: int
    """``id`` of the frame; it only tells whether a later raise happens inside it."""
    file: str
    line: int
    function: str
    is_sure: bool
    """An ``except`` clause; a ``with`` or ``finally`` may let the exception pass."""


class Waiting:
    """One exception that was caught: all that its row will say."""

    __slots__ = (
        "absorbed",
        "extra",
        "is_new",
        "is_told",
        "mark",
        "number",
        "object_id",
        "owner",
        "payload",
        "places",
        "ts_ns",
        "type_name",
    )

    def __init__(self, owner: CaughtInside, exc: BaseException, mark: Mark, place: Place) -> None:
        self.owner = owner
        self.object_id = id(exc)
        self.mark = mark
        self.is_new = False
        """The mark was put there for this row."""
        self.is_told = False
        """A later one that waits was raised from it, and will tell of it."""
        self.places: tuple[Place, ...] = (place,)
        """The handlers that run now, the innermost last."""
        self.number = next(_numbers)
        self.ts_ns = clock.now_ns()
        self.payload: bytes | None = None
        """The error as JSON; None for a failure that has its row already."""
        self.type_name: str | None = None
        self.absorbed: frozenset[str] = frozenset()
        """Failures that this one was raised from, and that get no row of their own."""
        self.extra: dict[str, Any] = {}


_current_exceptions: Callable[[], dict[int, BaseException | None]] = sys._current_exceptions  # type: ignore[assignment]

_numbers = itertools.count(1)
_by_object: dict[int, Waiting | CaughtInside] = {}
"""``id`` of an exception to what waits for it; an operation stands for one that is only counted."""
_unwritten: dict[int, Waiting] = {}
"""All that waits, by its number; who pops it may write it."""


class CaughtInside:
    """What was caught inside one operation; the ``caught`` of the operation."""

    __slots__ = (
        "counted_object",
        "elsewhere_count",
        "full_count",
        "lookup_count",
        "more_count",
        "operation",
        "row_count",
        "waiting",
    )

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.waiting: dict[int, Waiting] = {}
        self.row_count = 0
        """Rows written or waiting."""
        self.full_count = 0
        self.more_count = 0
        """Caught beyond the limit of rows."""
        self.counted_object = 0
        """``id`` of the last exception that was only counted."""
        self.lookup_count = 0
        """Expected look-ups in the user's own files: raised and caught in one frame."""
        self.elsewhere_count = 0
        """Errors caught in other people's files that had left no operation."""

    def settle(self) -> None:
        """Write what waits, but not what is being handled at this moment: it may go on."""
        if self.waiting:
            _settle(list(self.waiting.values()), _being_handled())

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
    if operation.kind == "joined" and operation.parent is not None:
        owner = operation.parent  # whose rows tell of the call
    elif operation.agent is None:
        owner = operation.implicit
    if owner is None:
        return None
    found = owner.caught
    if not isinstance(found, CaughtInside):
        found = owner.caught = CaughtInside(owner)
    if operation is not owner:
        operation.caught = found
    return found


def is_any_waiting() -> bool:
    """Tell whether anything is unwritten."""
    return bool(_unwritten)


def keep(inside: CaughtInside, exc: BaseException, place: Place) -> bool:
    """
    Keep a summary of *exc*, which was just caught at *place*.

    Returns:
        False where it is only counted, because its operation has all its rows.
    """
    known = _by_object.get(id(exc))
    mark = mark_of(exc)
    if type(known) is Waiting and known.mark is mark:
        known.places = (*known.places, place)  # raised again inside a handler, and caught there
        if known.payload is not None:
            _describe(known, exc)
            _retell()
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
    _unwritten[waiting.number] = waiting
    _by_object[id(exc)] = waiting
    if waiting.absorbed:
        _retell()
    return True


def _takes_the_place(inside: CaughtInside, exc: BaseException) -> bool:
    """Tell whether a row of *exc* makes one that waits needless."""
    waiting = {one.mark[0] for one in list(inside.waiting.values()) if not one.is_told}
    marks = [mark_of(link) for link in _told_by(exc)] if waiting else []
    return any(mark is not None and mark[0] in waiting for mark in marks)


def _retell() -> None:
    """Find out which are told of by a later one: they need no row, unless that one goes on after all."""
    told: set[str] = set()
    for one in sorted(_unwritten.values(), key=_number_of, reverse=True):
        is_told = one.mark[0] in told
        if is_told != one.is_told:
            one.is_told = is_told
            one.owner.row_count += -1 if is_told else 1
        if not is_told:
            told |= one.absorbed


def _number_of(waiting: Waiting) -> int:
    return waiting.number


def _count_only(inside: CaughtInside, exc: BaseException) -> None:
    """Count *exc* beyond the limit; of those, only the last is known again when it goes on."""
    former = inside.counted_object
    if former and former in {id(link) for link in _told_by(exc)}:
        inside.more_count -= 1  # raised from the last one, which is no failure of its own then
    _forget_counted(inside)
    inside.more_count += 1
    inside.counted_object = id(exc)
    _by_object[id(exc)] = inside


def _forget_counted(inside: CaughtInside) -> None:
    former, inside.counted_object = inside.counted_object, 0
    if former and _by_object.get(former) is inside:
        _by_object.pop(former, None)


def _describe(waiting: Waiting, exc: BaseException) -> None:
    """Take from the exception what its row will say."""
    inside = waiting.owner
    inside.full_count += 1
    waiting.type_name = type(exc).__name__
    waiting.payload = encode_value(build_error(exc, is_brief=inside.full_count > _FULL_LIMIT_COUNT))
    operation = inside.operation
    if operation.attempt is not None:
        waiting.extra = {"attempt": operation.attempt, "retry_of": operation.retry_of}
    without_row = {other.mark[0] for other in list(_unwritten.values()) if other.is_new}
    told = [mark_of(link) for link in _told_by(exc)]
    waiting.absorbed = frozenset(mark[0] for mark in told if mark is not None and mark[0] != waiting.mark[0])
    for link in _relatives(exc):
        mark = mark_of(link)
        if mark is None or link is exc or (mark[0] in without_row and mark[0] in waiting.absorbed):
            continue
        waiting.extra["cause_error_id"] = mark[0]
        break


def _told_by(exc: BaseException) -> Iterable[BaseException]:
    """
    Give what needs no row of its own when *exc*, just caught, has one: what it was raised from.

    What merely was being handled meanwhile, and goes on being handled after *exc*, is a failure
    beside it: ``except A: try: clean_up() except B: pass``.
    """
    current = sys.exception()
    beside = set() if current is None else {id(link) for link in chain_of(current)}
    is_named = True
    for link in chain_of(exc):
        if link is not exc and (is_named or id(link) not in beside):
            yield link
            if isinstance(link, BaseExceptionGroup):
                yield from leaves_of(link)
        is_named = is_named and link.__cause__ is not None


def _relatives(exc: BaseException) -> Iterable[BaseException]:
    """Give *exc*, what it came from, and the leaves of each that is a group."""
    for link in chain_of(exc):
        yield link
        if isinstance(link, BaseExceptionGroup):
            yield from leaves_of(link)


def note_raise(exc: BaseException, frame: FrameType, is_again: bool = False) -> None:
    """
    Give up what waits for *exc*, which is raised in *frame*, but for handlers around that frame.

    Args:
        exc: May be a group: then its leaves go on.
        frame: Where.
        is_again: The interpreter says that it was raised before.
    """
    known = _by_object.get(id(exc))
    if known is not None:
        _note_raise_of(known, exc, frame, is_again)
    if isinstance(exc, BaseExceptionGroup):
        for leaf in leaves_of(exc):
            known = _by_object.get(id(leaf))
            if known is not None:
                _note_raise_of(known, leaf, frame, True)


def _note_raise_of(
    known: Waiting | CaughtInside, exc: BaseException, frame: FrameType, is_again: bool
) -> None:
    if isinstance(known, CaughtInside):
        _by_object.pop(id(exc), None)
        known.counted_object = 0
        traceback = exc.__traceback__
        if is_again or (traceback is not None and traceback.tb_next is not None):
            known.more_count -= 1
        return
    if mark_of(exc) is not known.mark:
        _by_object.pop(id(exc), None)  # another object where the caught one was: that one is dead
        return
    places: tuple[Place, ...] = ()
    if not known.is_told:  # otherwise its handlers were left by what was raised from it
        around = _ids_around(frame, {place.frame_id for place in known.places})
        places = tuple(place for place in known.places if place.frame_id in around)
    if places:
        known.places = places
    else:
        _give_up(known, exc)


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


def _give_up(waiting: Waiting, exc: BaseException | None) -> bool:
    """Forget a summary; False where it is written already."""
    if _by_object.get(waiting.object_id) is waiting:
        _by_object.pop(waiting.object_id, None)
    if _unwritten.pop(waiting.number, None) is None:
        return False
    waiting.owner.waiting.pop(waiting.number, None)
    if not waiting.is_told:
        waiting.owner.row_count -= 1
    if waiting.absorbed:
        _retell()
    if waiting.is_new and exc is not None:
        unmark(exc)  # no row tells of it
    return True


def absorb(exc: BaseException) -> None:
    """Give up what waits for *exc* or what it came from: *exc* is about to be written, and tells of them."""
    if not _by_object:
        return
    for link in _relatives(exc):
        known = _by_object.get(id(link))
        if type(known) is Waiting and mark_of(link) is known.mark:
            _give_up(known, link)


def write_now(exc: BaseException) -> bool:
    """Write what waits for *exc* at once; False where nothing does."""
    known = _by_object.get(id(exc))
    if type(known) is not Waiting or mark_of(exc) is not known.mark:
        return False
    return _write(known)


def _being_handled() -> set[str]:
    """Give the failures that some thread is handling now, and those they came from."""
    ids: set[str] = set()
    for exc in _current_exceptions().values():
        if exc is not None:
            marks = (mark_of(link) for link in _relatives(exc))
            ids.update(mark[0] for mark in marks if mark is not None)
    return ids


def _settle(waiting: list[Waiting], held: Collection[str]) -> None:
    """Write all of *waiting* but the *held*, and what a later one tells of."""
    for one in waiting:
        if one.mark[0] not in held and not one.is_told:
            with contained("capture.caught"):
                _write(one)


def _write(waiting: Waiting) -> bool:
    """Publish the row, unless another thread does."""
    if _unwritten.pop(waiting.number, None) is None:
        return False
    inside, error_id = waiting.owner, waiting.mark[0]
    inside.waiting.pop(waiting.number, None)
    if _by_object.get(waiting.object_id) is waiting:
        _by_object.pop(waiting.object_id, None)
    if waiting.absorbed:
        for other in list(_unwritten.values()):
            if other.mark[0] in waiting.absorbed:
                _give_up(other, None)
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
    return True


def settle_all() -> None:
    """Write all that waits in this process, but not what some thread is handling now."""
    if _unwritten:
        _settle(list(_unwritten.values()), _being_handled())


def settle_older(age_ns: int) -> None:
    """
    Write what has waited for *age_ns*, so that neither a long scope nor a kill hides it.

    An ``except`` clause may run for hours: its exception is written, and if it goes on after all,
    then a second row names the first. A ``with`` or ``finally`` that still runs is waited for.
    """
    before_ns = clock.now_ns() - age_ns
    old = [one for one in list(_unwritten.values()) if one.ts_ns <= before_ns]
    if old:
        held = _being_handled()
        _settle(old, {one.mark[0] for one in old if one.mark[0] in held and not one.places[-1].is_sure})


def forget_all() -> None:
    """Forget what waits, in a forked child: the parent writes it."""
    _unwritten.clear()
    _by_object.clear()
