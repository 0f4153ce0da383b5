"""
One run's clock, and what should be found in it.

Invariant: what should be found is said by the code that does it (the span that is current there, the id
of the model's call, the number of the request), never by a row that was recorded.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

import agenttrace

__all__ = ["World", "place", "world"]


@cache
def place(file: str, marker: str) -> str:
    """Give ``name.py:line`` of the line that ends with a marker."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    number = next(number for number, line in enumerate(lines, 1) if line.endswith(f"# line: {marker}"))
    return f"{Path(file).name}:{number}"


class World:
    """One run. Time is a counter that calls and turns move on, so nothing sleeps."""

    current: World | None = None

    def __init__(self, start_ns: int) -> None:
        self.now_ns = start_ns
        self.lock = threading.RLock()
        """Held by the call that runs, so that none seems slow because another was."""
        self._counting = threading.Lock()  # the clock and the ids
        self.span_id: str | None = None
        self.call_id: str | None = None
        self.turn: tuple[str, int] | None = None
        """Agent and number of a turn."""
        self.place: str | None = None
        """``file:line`` that should be named."""
        self._ids = 0

    def wait(self, ms: float) -> None:
        """Let time pass."""
        with self._counting:
            self.now_ns += int(ms * 1e6)

    def read_clock(self) -> int:
        """Give the time; each look at it takes a microsecond."""
        with self._counting:
            self.now_ns += 1_000
            return self.now_ns

    def new_id(self) -> str:
        """Count up a call id."""
        with self._counting:
            self._ids += 1
            return f"call_{self._ids:04d}"

    @property
    def is_met(self) -> bool:
        """Whether the program has come to the fault."""
        return not (self.span_id is None and self.call_id is None and self.turn is None)

    def expect(self, *, place: str | None = None) -> None:
        """Say that what should be found is the operation that runs here; the first word counts."""
        scope = agenttrace.current()
        if not self.is_met and scope is not None:
            self.span_id, self.place = scope.span_id, place

    def expect_call(self, call_id: str, *, place: str | None = None) -> None:
        """Say that what should be found is the call that has an id of the model's."""
        if not self.is_met:
            self.call_id, self.place = call_id, place

    def expect_turn(self, agent_id: str, number: int, *, place: str | None = None) -> None:
        """Say that what should be found is an agent's turn, counted from 1."""
        if not self.is_met:
            self.turn, self.place = (agent_id, number), place


def world() -> World:
    """Give the world that runs."""
    assert World.current is not None
    return World.current
