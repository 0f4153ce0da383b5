"""
Prune without being asked each time, where a setting of the database says so.

The setting stands in ``trace_settings`` of the database itself, so it is its owner's, holds for every
process that writes there, and no project that is only checked out can bring it along. Invariants: one
process prunes at a time, and an hour lies between two; each step is as short as a batch, and the
caller decides when the next one comes. Cost without the setting: one look every ten minutes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from agenttrace import clock
from agenttrace.store.connection import StoreDatabase
from agenttrace.store.fulltext import forget_texts
from agenttrace.store.prune import Limits, iter_prune

__all__ = ["LAST_PRUNE", "PRUNE", "AutomaticPrune", "parse_limits", "render_limits"]

PRUNE = "prune"
"""The setting: what ``render_limits`` gives."""
LAST_PRUNE = "last_prune"
"""What the last one did: ``{"at_ms", "conversations", "events", "blobs"}``."""

_LOOK_EVERY_S = 600.0
_PRUNE_EVERY_MS = 3_600_000
_STEPS_S = 0.05
_CLAIMED = "prune_claimed_ms"
_CLAIM = """
INSERT INTO trace_settings (key, value) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
WHERE CAST(trace_settings.value AS INTEGER) <= CAST(excluded.value AS INTEGER) - ?
"""
_PUT = """
INSERT INTO trace_settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""


def render_limits(limits: Limits) -> str:
    """Give *limits* as the setting has them."""
    return json.dumps(limits._asdict())


def parse_limits(value: object) -> Limits | None:
    """Read what ``render_limits`` gave; None for anything else, for then nothing may be deleted."""
    try:
        found = json.loads(str(value))
        limits = Limits(**found)
    except (ValueError, TypeError):
        return None
    numbers = (limits.older_than_ms, limits.max_size_bytes)
    if type(limits.keep_failed) is not bool or numbers == (None, None):
        return None
    return (
        limits if all(number is None or (type(number) is int and number >= 0) for number in numbers) else None
    )


class AutomaticPrune:
    """The pruning of one process; used by the thread that writes."""

    def __init__(self) -> None:
        self._look_at_s = time.monotonic()
        self._steps: Iterator[tuple[int, int, int]] | None = None
        self._counts = (0, 0, 0)

    def run(self, database: Callable[[], StoreDatabase], must_end: Callable[[], bool]) -> None:
        """
        Go on for a few steps, where there is anything to do.

        Args:
            database: Gives the open database.
            must_end: Asked between two steps.

        Raises:
            StoreError: As the database says; the next try comes with the next look.
        """
        now_s = time.monotonic()
        if self._steps is None:
            if now_s < self._look_at_s:
                return
            self._look_at_s = now_s + _LOOK_EVERY_S
            self._steps = _begin(database())
            self._counts = (0, 0, 0)
        if self._steps is None:
            return
        steps, self._steps = self._steps, None  # of a step that fails none goes on
        while not must_end():
            found: Any = next(steps, None)
            if found is None:
                _put_last(database(), self._counts)
                if any(self._counts):
                    forget_texts(database().target)
                return
            self._counts = tuple(sum(pair) for pair in zip(self._counts, found, strict=True))  # type: ignore[assignment]
            if time.monotonic() - now_s > _STEPS_S:
                break
        self._steps = steps


def _begin(database: StoreDatabase) -> Iterator[tuple[int, int, int]] | None:
    """Give the steps, where the setting asks for them and no other process is at them."""
    found = database.execute("SELECT value FROM trace_settings WHERE key = ?", (PRUNE,)).fetchone()
    limits = None if found is None else parse_limits(found[0])
    if limits is None:
        return None
    now_ms = clock.now_ms()
    with database.writing():
        if database.execute(_CLAIM, (_CLAIMED, str(now_ms), _PRUNE_EVERY_MS)).rowcount != 1:
            return None
    return iter_prune(database, now_ms, limits)


def _put_last(database: StoreDatabase, counts: tuple[int, int, int]) -> None:
    names = ("conversations", "events", "blobs")
    last = {"at_ms": clock.now_ms(), **dict(zip(names, counts, strict=True))}
    with database.writing():
        database.execute(_PUT, (LAST_PRUNE, json.dumps(last)))
