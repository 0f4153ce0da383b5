"""
Follow tenacity, and stamina, which is built on it: every attempt of either is recorded.

Owns the patches that both share; who asked for which is kept, so that each can be taken
back alone. A decorated function and ``Retrying.__call__`` are seen through ``iter``, which
decides about every step; ``with attempt:`` through ``AttemptManager``. Invariants: tenacity
decides and calls as ever, with the user's own functions and hooks; what fails here is
contained. Cost: nothing is looked at while tracing is off but the switch.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from types import FrameType, ModuleType
from typing import Any, NamedTuple

from agenttrace.capture.attempts import (
    enter_series,
    frame_id_of,
    leave_series,
    open_series,
    stop_series,
)
from agenttrace.capture.context import CURRENT, SWITCH
from agenttrace.capture.series import Series
from agenttrace.errors import contained
from agenttrace.integrations.patching import Library, Patch

__all__ = ["follow", "install", "unfollow", "uninstall"]

_KEY = "_agenttrace_retried"
_STOPS_LIMIT_COUNT = 64

_followed: set[str] = set()
"""``tenacity`` and ``stamina``, as far as they were asked for."""


class _Retried(NamedTuple):
    """What is known of one ``RetryCallState``; it hangs there."""

    series: Series
    is_called: bool
    """The library calls the function itself; else there is a ``with attempt:`` block."""
    is_ours_to_end: bool
    """The block is the library's own, around the call of a decorated function."""
    idle_s: list[float]
    """How long was slept before the attempt that runs."""


def _limit_of(stop: Any) -> int | None:
    """Read the most attempts from a ``stop=``; None where it does not say."""
    limits: list[int] = []
    waiting = [stop]
    for _ in range(_STOPS_LIMIT_COUNT):
        if not waiting:
            break
        one = waiting.pop()
        limit = getattr(one, "max_attempt_number", None)
        if isinstance(limit, int):
            limits.append(limit)
        elif type(one).__name__ == "stop_any":
            waiting.extend(getattr(one, "stops", ()))
    return min(limits) if limits else None


def _known(retry_state: Any) -> _Retried | None:
    found = getattr(retry_state, "__dict__", {}).get(_KEY)
    return found if type(found) is _Retried else None


def _begin(retried: _Retried, retry_state: Any) -> None:
    """Begin the attempt that *retry_state* numbers."""
    idle_s = float(getattr(retry_state, "idle_for", 0.0) or 0.0)
    number = int(retry_state.attempt_number)
    wait_ms = None if number < 2 else (idle_s - retried.idle_s[0]) * 1000
    retried.idle_s[0] = idle_s
    retried.series.begin(number, wait_ms)


# ------------------------------------------------------------------ the library calls the function


def _call_series(retrying: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Series | None:
    """Open the series of one ``retrying(fn, …)``; None where there is nothing to follow."""
    if not SWITCH or "tenacity" not in _followed or not getattr(retrying, "enabled", True):
        return None
    with contained("integrations.tenacity.call"):
        function = args[0] if args else kwargs.get("fn")
        series = open_series("tenacity", _limit_of(getattr(retrying, "stop", None)), function)
        series.source = retrying
        enter_series(series)
        return series
    return None


def _end_call(series: Series) -> None:
    with contained("integrations.tenacity.call"):
        leave_series(series)
        stop_series(series)


def _build_call(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def call_with_attempts(self: Any, *args: Any, **kwargs: Any) -> Any:
        series = _call_series(self, args, kwargs)
        if series is None:
            return call(self, *args, **kwargs)
        try:
            return call(self, *args, **kwargs)
        finally:
            _end_call(series)

    return call_with_attempts


def _build_async_call(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    async def call_with_attempts(self: Any, *args: Any, **kwargs: Any) -> Any:
        series = _call_series(self, args, kwargs)
        if series is None:
            return await call(self, *args, **kwargs)
        try:
            return await call(self, *args, **kwargs)
        finally:
            _end_call(series)

    return call_with_attempts


def _bind(retrying: Any, retry_state: Any) -> _Retried | None:
    """Find what is known of *retry_state*, which may be the first of the call that runs."""
    retried = _known(retry_state)
    if retried is None and SWITCH and getattr(retry_state, "fn", None) is not None:
        series = CURRENT.get()
        if isinstance(series, Series) and series.source is retrying:
            series.source = None
            retried = _Retried(series, True, True, [0.0])
            retry_state.__dict__[_KEY] = retried
    return retried


def _before_step(retrying: Any, retry_state: Any) -> _Retried | None:
    """End the attempt that has an outcome, before the library decides about it."""
    with contained("integrations.tenacity.iter"):
        retried = _bind(retrying, retry_state)
        if retried is not None and retried.is_called and retry_state.outcome is not None:
            retried.series.end(retry_state.outcome.exception())
        return retried
    return None


def _after_step(retried: _Retried, retry_state: Any, decided: Any, raised: BaseException | None) -> None:
    """Look at what the library decided: an attempt, a pause, a result, or to give up."""
    with contained("integrations.tenacity.iter"):
        what = "" if raised is not None else type(decided).__name__
        outcome = retry_state.outcome
        is_final = what not in ("DoAttempt", "DoSleep")
        is_given_up = raised is not None and getattr(raised, "last_attempt", None) is outcome
        if outcome is not None and (what == "DoSleep" or is_given_up) and outcome.exception() is None:
            retried.series.reject(raised)
        if what == "DoAttempt" and retried.is_called:
            _begin(retried, retry_state)
        elif is_final and not retried.is_called:
            stop_series(retried.series)


def _build_iter(iterate: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(iterate)
    def iter_with_attempts(self: Any, retry_state: Any) -> Any:
        retried = _before_step(self, retry_state)
        if retried is None:
            return iterate(self, retry_state)
        try:
            decided = iterate(self, retry_state)
        except BaseException as exc:
            _after_step(retried, retry_state, None, exc)
            raise
        _after_step(retried, retry_state, decided, None)
        return decided

    return iter_with_attempts


def _build_async_iter(iterate: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(iterate)
    async def iter_with_attempts(self: Any, retry_state: Any) -> Any:
        retried = _before_step(self, retry_state)
        if retried is None:
            return await iterate(self, retry_state)
        try:
            decided = await iterate(self, retry_state)
        except BaseException as exc:
            _after_step(retried, retry_state, None, exc)
            raise
        _after_step(retried, retry_state, decided, None)
        return decided

    return iter_with_attempts


# ------------------------------------------------------------------ with attempt:


def _enter_block(manager: Any, frame: FrameType | None) -> None:
    """Begin the attempt of a block; *frame* called ``__enter__``."""
    if not SWITCH:
        return
    with contained("integrations.tenacity.attempt"):
        retry_state = manager.retry_state
        retried = _known(retry_state)
        if retried is None:
            retried = _open_block(retry_state, frame)
            if retried is None:
                return
            retry_state.__dict__[_KEY] = retried
        _begin(retried, retry_state)
        enter_series(retried.series)


def _open_block(retry_state: Any, frame: FrameType | None) -> _Retried | None:
    by, function, is_library = "tenacity", None, False
    while frame is not None and _package_of(frame) in ("tenacity", "stamina"):
        if _package_of(frame) == "stamina":
            by = "stamina"
            if frame.f_code.co_name != "__enter__":
                # The block stands in stamina, around the call of what it decorates.
                names = frame.f_locals
                function, is_library = names.get("wrapped", names.get("callable_")), True
                break
        frame = frame.f_back
    if by not in _followed:
        return None
    limit_count = _limit_of(getattr(retry_state.retry_object, "stop", None))
    series = open_series(by, limit_count, function, frame_id_of(frame))
    return _Retried(series, False, is_library, [0.0])


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _leave_block(manager: Any, exc: BaseException | None) -> None:
    with contained("integrations.tenacity.attempt"):
        retried = _known(manager.retry_state)
        if retried is not None:
            leave_series(retried.series)
            retried.series.end(exc)
            if exc is None and retried.is_ours_to_end:
                stop_series(retried.series)


def _build_enter(enter: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(enter)
    def enter_attempt(self: Any) -> Any:
        entered = enter(self)
        _enter_block(self, sys._getframe(1))
        return entered

    return enter_attempt


def _build_async_enter(enter: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(enter)
    async def enter_attempt(self: Any) -> Any:
        entered = await enter(self)
        _enter_block(self, sys._getframe(1))
        return entered

    return enter_attempt


def _build_exit(exit_: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(exit_)
    def exit_attempt(self: Any, exc_type: Any, exc_value: Any, traceback: Any) -> Any:
        _leave_block(self, exc_value)
        return exit_(self, exc_type, exc_value, traceback)

    return exit_attempt


def _build_loop(iterate: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
    @functools.wraps(iterate)
    def iter_attempts(self: Any) -> Iterator[Any]:
        return _follow_loop(iterate(self)) if SWITCH else iterate(self)

    return iter_attempts


def _follow_loop(attempts: Iterator[Any]) -> Generator[Any, None, None]:
    """Pass the attempts on; when no more follows, by whatever reason, their series is over."""
    manager = None
    try:
        for manager in attempts:
            yield manager
    finally:
        if manager is not None:
            _end_loop(manager.retry_state)


def _build_async_next(following: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(following)
    async def next_attempt(self: Any) -> Any:
        try:
            return await following(self)
        except BaseException:
            _end_loop(getattr(self, "_retry_state", None))
            raise

    return next_attempt


def _end_loop(retry_state: Any) -> None:
    with contained("integrations.tenacity.loop"):
        retried = _known(retry_state)
        if retried is not None:
            stop_series(retried.series)


# ------------------------------------------------------------------ the table


def _describe(module: ModuleType) -> Iterator[Patch]:
    base, plain, awaiting = module.BaseRetrying, module.Retrying, module.AsyncRetrying
    manager = module.AttemptManager
    yield Patch(plain, "__call__", _build_call)
    yield Patch(awaiting, "__call__", _build_async_call)
    yield Patch(base, "iter", _build_iter)
    if "iter" in vars(awaiting):  # since tenacity 8.3
        yield Patch(awaiting, "iter", _build_async_iter)
    yield Patch(base, "__iter__", _build_loop)
    yield Patch(awaiting, "__anext__", _build_async_next)
    yield Patch(manager, "__exit__", _build_exit)
    yield Patch(manager, "__enter__", _build_enter)
    if hasattr(manager, "__aenter__"):
        yield Patch(manager, "__aenter__", _build_async_enter)


_library = Library("tenacity", {"tenacity": _describe})


def follow(name: str) -> None:
    """Record the attempts of *name*: ``tenacity``, or ``stamina``."""
    _followed.add(name)
    _library.install()


def unfollow(name: str) -> None:
    """Leave *name* alone; with the last of the two, tenacity is as it was."""
    _followed.discard(name)
    if not _followed:
        _library.uninstall()


def install() -> None:
    """Follow tenacity's own decorator, calls and blocks."""
    follow("tenacity")


def uninstall() -> None:
    """Put tenacity back as it was, as far as stamina is not followed."""
    unfollow("tenacity")
