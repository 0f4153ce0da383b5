"""
One wrapper body per shape of callable: function, coroutine, generator, async generator.

Owns the law that a traced callable behaves as the plain one: same result, same
exception object and traceback tail, same laziness. The context variable is set and
put back by value around every resume and never through a token, because a
generator may be resumed in another task, thread or context than the one before.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Protocol

from agenttrace.capture.arguments import ArgumentPlan
from agenttrace.capture.context import CURRENT, Operation
from agenttrace.capture.streams import ItemSample

__all__ = ["Tracer", "Wrapper", "build_wrapper", "wrap_function"]

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""What wrapt calls: (wrapped, instance, args, kwargs)."""


class Tracer(Protocol):
    """What happens around one operation; none of the three raises."""

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
        """Open the operation; None lets the callable run untraced."""

    def finish(self, call: Operation, value: Any, extra: bytes = b"") -> None:
        """Close it with its value."""

    def fail(self, call: Operation, exc: BaseException, extra: bytes = b"") -> None:
        """Close it with what left it."""


def build_wrapper(
    function: Callable[..., Any], tracer: Tracer, plain: Callable[[Any], Wrapper] | None = None
) -> Wrapper:
    """
    Choose the wrapper for the shape of *function*, once, at decoration.

    Args:
        function: What is decorated.
        tracer: What happens around its calls.
        plain: Builds the wrapper of an ordinary function instead of ``wrap_function``.
    """
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    if not inspect.isroutine(target) and not isinstance(target, type):
        target = type(target).__call__
    if inspect.isasyncgenfunction(target):
        return _wrap_async_generator(tracer)
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(function):
        return _wrap_coroutine(tracer, ArgumentPlan(function))
    if inspect.isgeneratorfunction(target):
        return _wrap_generator(tracer)
    if plain is not None:
        return plain(tracer)
    return wrap_function(tracer)


def wrap_function(tracer: Tracer) -> Wrapper:
    begin, finish, fail = tracer.begin, tracer.finish, tracer.fail
    get, put = CURRENT.get, CURRENT.set

    def call_function(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        call = begin(args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        previous = get()
        put(call)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as exc:
            put(previous)
            fail(call, exc)
            raise
        put(previous)
        finish(call, result)
        return result

    return call_function


def _wrap_coroutine(tracer: Tracer, plan: ArgumentPlan) -> Wrapper:
    begin, finish, fail = tracer.begin, tracer.finish, tracer.fail
    get, put = CURRENT.get, CURRENT.set

    async def run(wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = begin(args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        previous = get()
        put(call)
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as exc:
            put(previous)
            fail(call, exc)
            raise
        put(previous)
        finish(call, result)
        return result

    def call_coroutine(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        if plan.bind(args, kwargs) is None:
            # Python refuses this call at once, not at the first await; so do we.
            return _call_now(tracer, wrapped, args, kwargs)  # type: ignore[no-any-return]
        coroutine = run(wrapped, args, kwargs)
        _rename(coroutine, wrapped)
        return coroutine

    return call_coroutine


def _call_now(
    tracer: Tracer, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Make the call itself, before any await or next; what it raises, mostly a TypeError, is its own."""
    try:
        return wrapped(*args, **kwargs)
    except BaseException as exc:
        call = tracer.begin(args, kwargs)
        if call is not None:
            tracer.fail(call, exc)
        raise


def _rename(made: Any, wrapped: Any) -> None:
    """Give a coroutine or generator the names that warnings and debuggers show."""
    try:
        made.__name__ = wrapped.__name__
        made.__qualname__ = wrapped.__qualname__
    except (AttributeError, TypeError):
        pass  # a partial or a callable object has no name of its own


def _wrap_generator(tracer: Tracer) -> Wrapper:
    def call_generator(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Generator[Any, Any, Any]:
        inner = _call_now(tracer, wrapped, args, kwargs)  # binds the arguments; no line of the body runs
        made = _drive_generator(tracer, inner, args, kwargs)
        _rename(made, wrapped)
        return made

    return call_generator


def _drive_generator(
    tracer: Tracer, inner: Generator[Any, Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Any, Any, Any]:
    call = tracer.begin(args, kwargs)
    if call is None:
        return (yield from inner)
    sample = ItemSample(call)
    resume: Callable[[Any], Any] = inner.send
    given: Any = None
    while True:
        previous = CURRENT.get()
        CURRENT.set(call)
        try:
            item = resume(given)
        except StopIteration as stop:
            CURRENT.set(previous)
            tracer.finish(call, stop.value, sample.render())
            return stop.value
        except BaseException as exc:
            CURRENT.set(previous)
            tracer.fail(call, exc, sample.render())
            raise
        CURRENT.set(previous)
        sample.add(item)
        try:
            given = yield item
            resume = inner.send
        except GeneratorExit as exc:
            value = _close_inner(tracer, call, inner, sample, exc)
            if value is None:
                raise
            return value  # what close() gives on Python 3.13
        except BaseException as exc:
            given = exc
            resume = inner.throw


def _close_inner(
    tracer: Tracer, call: Operation, inner: Generator[Any, Any, Any], sample: ItemSample, exc: GeneratorExit
) -> Any:
    close: Callable[[], Any] = inner.close
    previous = CURRENT.get()
    CURRENT.set(call)
    try:
        value = close()
    except BaseException as failure:
        CURRENT.set(previous)
        tracer.fail(call, failure, sample.render())
        raise
    CURRENT.set(previous)
    tracer.fail(call, exc, sample.render())
    return value


def _wrap_async_generator(tracer: Tracer) -> Wrapper:
    def call_async_generator(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, Any]:
        inner = _call_now(tracer, wrapped, args, kwargs)  # binds the arguments; no line of the body runs
        made = _drive_async_generator(tracer, inner, args, kwargs)
        _rename(made, wrapped)
        return made

    return call_async_generator


async def _drive_async_generator(
    tracer: Tracer, inner: AsyncGenerator[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncGenerator[Any, Any]:
    call = tracer.begin(args, kwargs)
    sample = None if call is None else ItemSample(call)
    resume: Callable[[Any], Any] = inner.asend
    given: Any = None
    while True:
        previous = CURRENT.get()
        if call is not None:
            CURRENT.set(call)
        try:
            item = await resume(given)
        except StopAsyncIteration:
            CURRENT.set(previous)
            if call is not None and sample is not None:
                tracer.finish(call, None, sample.render())
            return
        except BaseException as exc:
            CURRENT.set(previous)
            if call is not None and sample is not None:
                tracer.fail(call, exc, sample.render())
            raise
        CURRENT.set(previous)
        if sample is not None:
            sample.add(item)
        try:
            given = yield item
            resume = inner.asend
        except GeneratorExit as exc:
            await _close_inner_async(tracer, call, inner, sample, exc)
            raise
        except BaseException as exc:
            given = exc
            resume = inner.athrow


async def _close_inner_async(
    tracer: Tracer,
    call: Operation | None,
    inner: AsyncGenerator[Any, Any],
    sample: ItemSample | None,
    exc: GeneratorExit,
) -> None:
    previous = CURRENT.get()
    if call is None or sample is None:
        await inner.aclose()
        return
    CURRENT.set(call)
    try:
        await inner.aclose()
    except BaseException as failure:
        CURRENT.set(previous)
        tracer.fail(call, failure, sample.render())
        raise
    CURRENT.set(previous)
    tracer.fail(call, exc, sample.render())
