"""
Time and ids that a test decides: a clock that steps, ids that count, failures that raise.

Invariant: each of these is a context manager that puts back exactly what it found.
They act on the whole process, as the things they stand for do.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from agenttrace import clock, events
from agenttrace.capture.context import PIPE

__all__ = ["CountingIds", "StepClock", "strict_mode"]

_START_NS = 1_767_225_600_000_000_000
"""2026-01-01 00:00:00 UTC."""


class StepClock:
    """
    A clock that moves one step each time it is read.

        with StepClock() as stepping:
            run_my_agent()
            stepping.advance(60_000)
    """

    def __init__(self, start_ns: int = _START_NS, *, step_ns: int = 1_000_000) -> None:
        self._now_ns = start_ns
        self._step_ns = step_ns
        self._lock = threading.Lock()  # protects _now_ns
        self._before: list[Callable[[], int]] = []

    def __call__(self) -> int:
        """Give the time, and step."""
        with self._lock:
            now_ns = self._now_ns
            self._now_ns += self._step_ns
        return now_ns

    def advance(self, ms: float) -> None:
        """
        Let *ms* milliseconds pass.

        Raises:
            ValueError: *ms* is negative; recorded time never goes back.
        """
        if ms < 0:
            raise ValueError(f"a clock cannot go back: {ms} ms")
        with self._lock:
            self._now_ns += round(ms * 1_000_000)

    def __enter__(self) -> StepClock:
        self._before.append(clock.use(self))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        clock.use(self._before.pop())


class CountingIds:
    """
    Ids that count up from 1 instead of random ones: conversations, agents, spans, failures.

        with CountingIds():
            run_my_agent()      # agents planner-000002, weather-000003, …

    Which agent gets which number depends on the order they start in, so with threads only
    the set of ids is the same in each run.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._random: Callable[[int], str] = events.new_id
        self._spans: list[tuple[str, Iterator[int]]] = []

    def new_id(self, digits: int = 16) -> str:
        """Give the next number as *digits* hex digits."""
        return f"{next(self._numbers):0{digits}x}"

    def __enter__(self) -> CountingIds:
        self._random = events.new_id
        self._spans.append((PIPE.span_prefix, PIPE.span_numbers))
        PIPE.span_prefix, PIPE.span_numbers = "0" * 8, itertools.count(1)
        _put_in_place(self._random, self.new_id)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _put_in_place(self.new_id, self._random)
        PIPE.span_prefix, PIPE.span_numbers = self._spans.pop()


def _put_in_place(old: Callable[[int], str], new: Callable[[int], str]) -> None:
    """Exchange *old* for *new* wherever one of our modules has imported it under its name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("agenttrace.") and getattr(module, "new_id", None) == old:
            setattr(module, "new_id", new)  # noqa: B010  # a module's attribute, unknown to type checkers


@contextmanager
def strict_mode() -> Iterator[None]:
    """Let failures of recording raise, as ``AGENTTRACE_STRICT=1`` does, until the block ends."""
    before = os.environ.get("AGENTTRACE_STRICT")
    os.environ["AGENTTRACE_STRICT"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("AGENTTRACE_STRICT", None)
        else:
            os.environ["AGENTTRACE_STRICT"] = before
