"""
What was caught and is not yet written: a summary of each, and the tables that find it.

Invariants: neither an exception nor a frame is kept, and whoever takes a summary out of
``UNWRITTEN`` may write it: taking is one step, so it is written once at most, without a lock.
An object is known again by its mark; ``id()`` only finds it quickly.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from agenttrace import clock
from agenttrace.capture.context import Operation
from agenttrace.capture.describe import chain_of, leaves_of
from agenttrace.capture.marks import Mark, mark_of, unmark

__all__ = [
    "BY_OBJECT",
    "UNWRITTEN",
    "Inside",
    "Place",
    "Waiting",
    "absorb",
    "forget_all",
    "give_up",
    "is_any_waiting",
    "relatives_of",
    "retell",
    "told_by",
]


class Place(NamedTuple):
    """Where an exception was caught."""

    frame_id: int
    """``id`` of the frame; it only tells whether a later raise happens inside it."""
    file: str
    line: int
    function: str
    is_sure: bool
    """An ``except`` clause; a ``with`` or ``finally`` may let the exception pass."""


class Inside:
    """One operation, and how much was caught inside it."""

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

    def __init__(self, owner: Inside, exc: BaseException, mark: Mark, place: Place) -> None:
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


_numbers = itertools.count(1)
BY_OBJECT: dict[int, Waiting | Inside] = {}
"""``id`` of an exception to what waits for it; an operation stands for one that is only counted."""
UNWRITTEN: dict[int, Waiting] = {}
"""All that waits, by its number; who pops it may write it."""


def is_any_waiting() -> bool:
    """Tell whether anything is unwritten."""
    return bool(UNWRITTEN)


def forget_all() -> None:
    """Forget what waits, in a forked child: the parent writes it."""
    UNWRITTEN.clear()
    BY_OBJECT.clear()


def told_by(exc: BaseException) -> Iterable[BaseException]:
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


def relatives_of(exc: BaseException) -> Iterable[BaseException]:
    """Give *exc*, what it came from, and the leaves of each that is a group."""
    for link in chain_of(exc):
        yield link
        if isinstance(link, BaseExceptionGroup):
            yield from leaves_of(link)


def retell(about: frozenset[str]) -> None:
    """
    Find out which are told of by a later one: they need no row, unless that one goes on after all.

    Args:
        about: The failures for which that may have changed. No other is touched: its own thread
            may be amid deciding the same for it.
    """
    told: set[str] = set()
    for one in sorted(UNWRITTEN.values(), key=_number_of, reverse=True):
        if one.mark[0] in about:
            is_told = one.mark[0] in told
            if is_told != one.is_told:
                one.is_told = is_told
                one.owner.row_count += -1 if is_told else 1
                about |= one.absorbed
        if not one.is_told:
            told |= one.absorbed


def _number_of(waiting: Waiting) -> int:
    return waiting.number


def give_up(waiting: Waiting, exc: BaseException | None) -> bool:
    """Forget a summary; False where it is written already."""
    if BY_OBJECT.get(waiting.object_id) is waiting:
        BY_OBJECT.pop(waiting.object_id, None)
    if UNWRITTEN.pop(waiting.number, None) is None:
        return False
    waiting.owner.waiting.pop(waiting.number, None)
    if not waiting.is_told:
        waiting.owner.row_count -= 1
    if waiting.absorbed:
        retell(waiting.absorbed)
    if waiting.is_new and exc is not None:
        unmark(exc)  # no row tells of it
    return True


def absorb(exc: BaseException) -> None:
    """Give up what waits for *exc* or what it came from: *exc* is about to be written, and tells of them."""
    if not BY_OBJECT:
        return
    for link in relatives_of(exc):
        known = BY_OBJECT.get(id(link))
        if type(known) is Waiting and mark_of(link) is known.mark:
            give_up(known, link)
