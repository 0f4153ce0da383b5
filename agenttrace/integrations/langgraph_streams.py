"""
Generator functions of a library, with a tracer for each call that sees what they give.

Invariants: what ``inspect`` says of the function, its laziness, ``send``, ``throw`` and ``close``
are its own; the scope is set around every resume and nowhere else; what looks at an item may not
raise. While tracing is off the function is called directly.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

from agenttrace.capture.context import PIPE, SWITCH
from agenttrace.capture.decorator import TracedFunction
from agenttrace.capture.shapes import Tracer, build_wrapper
from agenttrace.errors import contained

__all__ = ["StreamTracer", "trace_stream"]


class StreamTracer(Tracer, Protocol):
    """What happens around one call of a generator function."""

    def add(self, item: Any) -> None:
        """Look at an item as it passes."""


def trace_stream(function: Any, make_tracer: Callable[[], StreamTracer]) -> Any:
    """
    Give *function* traced, a generator or async generator function.

    Args:
        function: Of a class; its instance is the first argument of ``begin``.
        make_tracer: Called for each call of the function.
    """

    def call_traced(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        tracer = make_tracer()

        @functools.wraps(wrapped)
        def tapped(*args: Any, **kwargs: Any) -> _Tap:
            stand = getattr(tracer, "standing_for", None)
            if PIPE.substitute is not None and stand is not None:
                is_async = inspect.isasyncgenfunction(inspect.unwrap(wrapped))
                make: Callable[..., Any] = _iter_late_async if is_async else _iter_late
                return _Tap(make(wrapped, stand, args, kwargs), tracer.add)
            return _Tap(wrapped(*args, **kwargs), tracer.add)

        return build_wrapper(wrapped, tracer)(tapped, None, args, kwargs)

    return TracedFunction(function, call_traced, _give_back, SWITCH, make_tracer())


def _iter_late(
    function: Callable[..., Any], stand: Callable[[Any], Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Any]:
    """Choose, once the first item is asked for, on what *function* runs: a replay is asked then."""
    yield from function(stand(args[0]), *args[1:], **kwargs)


async def _iter_late_async(
    function: Callable[..., Any], stand: Callable[[Any], Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncIterator[Any]:
    async for item in function(stand(args[0]), *args[1:], **kwargs):
        yield item


def _give_back(function: Any) -> Any:
    return function


class _Tap:
    """A generator, or an async one, whose items are shown as they pass."""

    __slots__ = ("_inner", "_look")

    def __init__(self, inner: Any, look: Callable[[Any], None]) -> None:
        self._inner = inner
        self._look = look

    def _pass(self, item: Any) -> Any:
        with contained("integrations.langgraph.item"):
            self._look(item)
        return item

    def __iter__(self) -> Any:
        return self._inner

    def send(self, value: Any) -> Any:
        return self._pass(self._inner.send(value))

    def throw(self, exc: BaseException) -> Any:
        return self._pass(self._inner.throw(exc))

    def asend(self, value: Any) -> Awaitable[Any]:
        return self._await(self._inner.asend(value))

    def athrow(self, exc: BaseException) -> Awaitable[Any]:
        return self._await(self._inner.athrow(exc))

    async def _await(self, step: Awaitable[Any]) -> Any:
        return self._pass(await step)
