"""
The order in which calls that wait at once come back: that of the recorded run.

What a program does with the first of several answers depends on which comes first. Invariants: of the
calls that wait in one event loop, the one that ended first when it was recorded ends first; none waits
for one that has not begun, and none for ever. Cost: two turns of the loop a call.
"""

from __future__ import annotations

import asyncio
import itertools
from bisect import insort
from weakref import WeakKeyDictionary

__all__ = ["Turnstile"]

_GRACE_TURNS = 2
"""So long those that begin at the same moment have time to come."""


class _Waiting:
    """One call that waits."""

    __slots__ = ("key", "woken")

    def __init__(self, key: tuple[int, int]) -> None:
        self.key = key
        self.woken: asyncio.Future[None] | None = None

    def __lt__(self, other: _Waiting) -> bool:
        return self.key < other.key


class Turnstile:
    """Lets the calls of one replay pass in their recorded order."""

    def __init__(self) -> None:
        self._rows: WeakKeyDictionary[asyncio.AbstractEventLoop, list[_Waiting]] = WeakKeyDictionary()
        self._numbers = itertools.count()

    async def wait(self, ended: int | None) -> None:
        """
        Wait until no call waits in this loop that ended earlier.

        Args:
            ended: The how-manieth to end it was; None waits for nobody.
        """
        if ended is None:
            await asyncio.sleep(0)
            return
        row = self._rows.setdefault(asyncio.get_running_loop(), [])
        mine = _Waiting((ended, next(self._numbers)))
        insort(row, mine)
        try:
            for _ in range(_GRACE_TURNS):
                await asyncio.sleep(0)
            while row[0] is not mine:
                mine.woken = asyncio.get_running_loop().create_future()
                await mine.woken
        finally:
            row.remove(mine)
            if row and row[0].woken is not None and not row[0].woken.done():
                row[0].woken.set_result(None)
