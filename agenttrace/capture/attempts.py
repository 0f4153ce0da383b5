"""
``attempt``, for anybody's own retry code, and the steps that integrations take for libraries.

Invariant: counting is the program's, and the same with tracing on and off; recording an
attempt never raises into it and decides nothing: whether to try again is the program's.
"""

from __future__ import annotations

import functools
import inspect
import sys
import time
from contextvars import ContextVar
from types import CodeType, FrameType, FunctionType, MethodType, TracebackType
from typing import Any, NamedTuple, Self

import wrapt

from agenttrace.capture.calls import ToolTracer, close_series
from agenttrace.capture.context import CURRENT, PIPE, SWITCH, standing
from agenttrace.capture.decorator import METHOD_TRACERS, TracedFunction
from agenttrace.capture.handles import ScopeHandle
from agenttrace.capture.series import Series
from agenttrace.errors import contained

__all__ = [
    "AttemptScope",
    "attempt",
    "enter_series",
    "frame_id_of",
    "leave_series",
    "open_series",
    "stop_series",
]

_TRIED_LIMIT_COUNT = 16
_LAZY_FLAGS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_WRAPPERS_LIMIT_COUNT = 32


def open_series(by: str | None, limit_count: int | None, function: Any = None, frame_id: int = 0) -> Series:
    """
    Make a series of attempts where the program stands; none begins yet.

    Args:
        by: Who retries.
        limit_count: The most attempts there will be; None when nobody knows.
        function: What is retried, where a function is.
        frame_id: As ``frame_id_of`` gives it, of the frame that the attempts run in.
    """
    if CURRENT.get() is None:
        PIPE.decide()
    tracer = None if function is None else find_tracer(function)
    return Series(CURRENT.get(), by, limit_count, tracer, frame_id)


def frame_id_of(frame: FrameType | None) -> int:
    """Give what a series knows a generator's frame by; 0 for other frames, which leave when they are left."""
    return id(frame) if frame is not None and frame.f_code.co_flags & _LAZY_FLAGS else 0


def enter_series(series: Series) -> None:
    """Let the program stand amid *series*; ``leave_series`` is the way back."""
    series.previous = CURRENT.get()
    CURRENT.set(series)


def leave_series(series: Series) -> None:
    """Put back what stood there; a program that has gone elsewhere stays there."""
    if CURRENT.get() is series:
        CURRENT.set(series.previous)


def stop_series(series: Series) -> None:
    """Say that no attempt follows; more than once does nothing."""
    if not series.is_closed:
        close_series(series)


def find_tracer(function: Any) -> ToolTracer | None:
    """Give what traces the tool *function*, through methods, partials and wrappers; None for no tool."""
    for _ in range(_WRAPPERS_LIMIT_COUNT):
        kind = type(function)
        found: Any = None
        if issubclass(kind, TracedFunction):
            found = function._self_tracer
        elif kind is FunctionType:
            found = METHOD_TRACERS.get(function)
        if found is not None:
            return found if isinstance(found, ToolTracer) else None
        if kind is MethodType:
            function = function.__func__
        elif issubclass(kind, wrapt.BoundFunctionWrapper):
            function = function._self_parent
        elif issubclass(kind, functools.partial):
            function = function.func
        else:
            inner = inspect.getattr_static(function, "__wrapped__", None)
            if inner is None and kind is not FunctionType:
                inner = kind.__dict__.get("__call__")
            function = inner
        if function is None:
            return None
    return None


# ------------------------------------------------------------------ anybody's own retry code


class _Tried(NamedTuple):
    """An attempt that failed in this context, and may be made again."""

    place: tuple[CodeType, int, str]
    """Code, line, and span around: where the block stands."""
    counter: _Counter


class _Counter:
    """How often one thing was tried; with tracing on, also its series."""

    __slots__ = ("failed_s", "number", "series")

    def __init__(self) -> None:
        self.number = 0
        self.series: Series | None = None
        self.failed_s: float | None = None


_TRIED: ContextVar[tuple[_Tried, ...]] = ContextVar("agenttrace_tried", default=())


class AttemptScope(ScopeHandle):
    """The handle that ``with attempt() as attempt`` gives."""

    def __init__(self, number: int | None, limit_count: int | None, frame: FrameType) -> None:
        self._given = number
        self._limit_count = limit_count
        self._code, self._line = frame.f_code, frame.f_lineno
        self._frame_id = frame_id_of(frame)
        self._counter: _Counter | None = None
        self._place: tuple[CodeType, int, str] | None = None

    @property
    def number(self) -> int:
        """The how-manieth attempt it is, from 1; 0 before the block."""
        return 0 if self._counter is None else self._counter.number

    @property
    def limit_count(self) -> int | None:
        """How many attempts there are at most, as given."""
        return self._limit_count

    def __enter__(self) -> Self:
        around = standing()
        self._place = (self._code, self._line, "" if around is None else around.span_id)
        counter = self._take_counter()
        waited_s = None if counter.failed_s is None else time.monotonic() - counter.failed_s
        counter.number = self._given if self._given is not None else counter.number + 1
        counter.failed_s = None
        self._counter = counter
        if SWITCH:
            with contained("capture.attempt"):
                if counter.series is None:
                    counter.series = open_series(None, self._limit_count, frame_id=self._frame_id)
                counter.series.begin(counter.number, None if waited_s is None else waited_s * 1000)
                enter_series(counter.series)
        return self

    def _take_counter(self) -> _Counter:
        """Give the counter of the attempt that failed here last, else a new one."""
        found = self._counter
        tried = _TRIED.get()
        if tried:
            others = tuple(one for one in tried if one.place != self._place)
            if len(others) < len(tried):
                _TRIED.set(others)
                found = found or next(one.counter for one in tried if one.place == self._place)
        if found is None or found.failed_s is None:
            return _Counter()
        if self._given is None and self._limit_count is not None and found.number >= self._limit_count:
            return _Counter()  # that one had given up
        if self._given is not None and self._given <= found.number:
            return _Counter()
        return found

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        counter, place = self._counter, self._place
        if counter is None or place is None:
            return
        series = counter.series
        if series is not None:
            with contained("capture.attempt"):
                leave_series(series)
                series.end(exc)
                if exc is None or counter.number == self._limit_count:
                    stop_series(series)
        if exc is not None and isinstance(exc, Exception):
            counter.failed_s = time.monotonic()
            _TRIED.set((*_TRIED.get()[1 - _TRIED_LIMIT_COUNT :], _Tried(place, counter)))


def attempt(number: int | None = None, *, limit_count: int | None = None) -> AttemptScope:
    """
    Make the block one attempt at something that may be tried again; for ``with`` and ``async with``.

    It decides nothing: an exception passes, and whether to enter the block again is up to you. The
    next block at the same place is the next attempt, if this one failed; where the place is no help
    (one block for many things), make the handle before the loop and enter it for each attempt.

    Args:
        number: The how-manieth attempt it is, if you count yourself.
        limit_count: How many attempts there are at most; after that many the count begins anew.

    Returns:
        A handle with ``number`` and ``limit_count``, the same with tracing off.
    """
    return AttemptScope(number, limit_count, sys._getframe(1))
