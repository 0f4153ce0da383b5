"""
Callables that stand where a tool stood, of its shape, and end as it ended.

Invariant: none of them calls the tool. A function, coroutine, generator or async generator is as lazy
as the one that it stands for; a generator gives the items that were kept, and says so where more are
asked of it. Cost: nothing waits, but for a call that was cancelled: it waits to be cancelled again, at
most about as long as it did.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from agenttrace.capture.attempts import open_series, stop_series
from agenttrace.cassette.turnstile import Turnstile
from agenttrace.errors import contained

__all__ = ["Answer", "build_stand_in"]

_PATIENCE_S = 1.0


@dataclass(slots=True)
class Answer:
    """How a call ends this time."""

    value: Any = None
    items: list[Any] = field(default_factory=list)
    """What a generator yields first."""
    exception: BaseException | None = None
    """What it raises in the end."""
    beyond: Callable[[], BaseException] | None = None
    """Makes what is raised where a generator is asked for more than was kept."""
    attempts: list[tuple[BaseException, str | None, float | None]] = field(default_factory=list)
    """What was tried inside the tool before, with who tried again and after how many ms."""
    before_raise: Callable[[], object] | None = None
    ended: int | None = None
    """The how-manieth of the recorded run it was to end."""
    turnstile: Turnstile = field(default_factory=Turnstile)
    waits_s: float | None = None
    """It was cancelled after so long, and waits for that."""


def build_stand_in(shape: str, answer: Answer) -> Callable[..., Any]:
    """Give a callable of *shape* (``capture.shapes.shape_of``) that ends with *answer*."""
    return _BUILDERS[shape](answer)


def _end(answer: Answer) -> Any:
    if answer.attempts:
        _tell_attempts(answer)
    if answer.exception is not None:
        if answer.before_raise is not None:
            answer.before_raise()
        _raise(answer.exception)
    return answer.value


def _tell_attempts(answer: Answer) -> None:
    """Let the replayed run's record tell of the attempts that the recorded one tells of."""
    with contained("cassette.attempts"):
        series = open_series(answer.attempts[0][1], None)
        wait_ms: float | None = None
        for exc, _, next_wait_ms in answer.attempts:
            series.begin(None, wait_ms)
            series.end(exc)
            wait_ms = next_wait_ms
        series.begin(None, wait_ms)
        series.end(answer.exception)
        stop_series(series)


def _raise(exc: BaseException) -> NoReturn:
    # Its traceback begins with the recorded lines; Python puts the ways to here before them.
    raise exc


def _for_function(answer: Answer) -> Callable[..., Any]:
    def recorded(*args: Any, **kwargs: Any) -> Any:
        return _end(answer)

    return recorded


def _for_coroutine(answer: Answer) -> Callable[..., Any]:
    async def recorded(*args: Any, **kwargs: Any) -> Any:
        if answer.waits_s is not None:
            await _wait(answer.waits_s)
        elif _loop() is not None:
            await answer.turnstile.wait(answer.ended)  # others have their turn meanwhile
        return _end(answer)

    return recorded


def _for_generator(answer: Answer) -> Callable[..., Any]:
    def recorded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        yield from answer.items
        if answer.beyond is not None:
            raise answer.beyond()
        return _end(answer)

    return recorded


def _for_async_generator(answer: Answer) -> Callable[..., Any]:
    async def recorded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        for item in answer.items:
            if _loop() is not None:
                await asyncio.sleep(0)
            yield item
        if answer.waits_s is not None:
            await _wait(answer.waits_s)
        if answer.beyond is not None:
            raise answer.beyond()
        _end(answer)

    return recorded


async def _wait(seconds: float) -> None:
    """Wait for what cancelled the call: a timeout or a sibling's failure comes again by itself."""
    if _loop() is not None:
        await asyncio.sleep(2 * seconds + _PATIENCE_S)


def _loop() -> Any:
    """Give the running asyncio loop; None under another kind of loop."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_BUILDERS: dict[str, Callable[[Answer], Callable[..., Any]]] = {
    "function": _for_function,
    "coroutine": _for_coroutine,
    "generator": _for_generator,
    "async_generator": _for_async_generator,
}
