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
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Protocol

from agenttrace.capture.arguments import ArgumentPlan
from agenttrace.capture.context import CURRENT, PIPE, Operation
from agenttrace.capture.streams import ItemSample

__all__ = ["Tracer", "Wrapper", "build_wrapper", "shape_of", "wrap_function"]

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""What wrapt calls: (wrapped, instance, args, kwargs)."""


class Tracer(Protocol):
    """What happens around one operation; nothing here raises."""

    @property
    def keeps_items(self) -> bool:
        """Whether the items of a stream may be sampled."""

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
    shape = shape_of(function)
    if shape == "async_generator":
        return _wrap_async_generator(tracer)
    if shape == "coroutine":
        return _wrap_coroutine(tracer, ArgumentPlan(function))
    if shape == "generator":
        return _wrap_generator(tracer)
    if plain is not None:
        return plain(tracer)
    return wrap_function(tracer)


def shape_of(function: Callable[..., Any]) -> str:
    """Tell what a callable is: ``function``, ``coroutine``, ``generator`` or ``async_generator``."""
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    if not inspect.isroutine(target) and not isinstance(target, type):
        target = type(target).__call__
    if inspect.isasyncgenfunction(target):
        return "async_generator"
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(function):
        return "coroutine"
    return "generator" if inspect.isgeneratorfunction(target) else "function"


def wrap_function(tracer: Tracer) -> Wrapper:
    begin, finish, fail = tracer.begin, tracer.finish, tracer.fail
    get, put, pipe = CURRENT.get, CURRENT.set, PIPE

    def call_function(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        call = begin(args, kwargs)
        if pipe.substitute is not None:
            wrapped = pipe.substitute.tool(call, wrapped)
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
        if PIPE.substitute is not None:
            wrapped = PIPE.substitute.tool(call, wrapped)
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
        made = _drive_generator(tracer, wrapped, inner, args, kwargs)
        _rename(made, wrapped)
        return made

    return call_generator


def _drive_generator(
    tracer: Tracer,
    wrapped: Callable[..., Any],
    inner: Generator[Any, Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Generator[Any, Any, Any]:
    call = tracer.begin(args, kwargs)
    if PIPE.substitute is not None and (other := PIPE.substitute.tool(call, wrapped)) is not wrapped:
        inner = other(*args, **kwargs)  # no line of the one that was made has run
    del args, kwargs  # what the program gave lives as long as without us, and no longer
    if call is None:
        return (yield from inner)
    sample = ItemSample(call, tracer.keeps_items)
    inside: Operation | None = call
    passing: list[Any] = [None]  # holds what goes in or out, and only until it is there
    resume: Callable[[Any], Any] = inner.send
    is_closing = False
    while True:
        previous = CURRENT.get()
        CURRENT.set(inside)
        try:
            passing.append(resume(passing.pop()))
        except StopIteration as stop:
            CURRENT.set(previous)
            if is_closing:
                tracer.fail(call, GeneratorExit(), sample.render())
            else:
                tracer.finish(call, stop.value, sample.render())
            return stop.value
        except BaseException as exc:
            CURRENT.set(previous)
            tracer.fail(call, exc, sample.render())
            raise
        inside = CURRENT.get()  # a scope that the body holds open is its own
        CURRENT.set(previous)
        sample.add(passing[0])
        try:
            passing.append((yield passing.pop()))
            resume, is_closing = inner.send, False
        except BaseException as exc:
            passing.append(exc)
            resume, is_closing = inner.throw, isinstance(exc, GeneratorExit)


def _wrap_async_generator(tracer: Tracer) -> Wrapper:
    def call_async_generator(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, Any]:
        inner = _call_now(tracer, wrapped, args, kwargs)  # binds the arguments; no line of the body runs
        made = _drive_async_generator(tracer, wrapped, inner, args, kwargs)
        _rename(made, wrapped)
        return made

    return call_async_generator


async def _drive_async_generator(
    tracer: Tracer,
    wrapped: Callable[..., Any],
    inner: AsyncGenerator[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> AsyncGenerator[Any, Any]:
    call = tracer.begin(args, kwargs)
    if PIPE.substitute is not None and (other := PIPE.substitute.tool(call, wrapped)) is not wrapped:
        inner = other(*args, **kwargs)
    del args, kwargs
    sample = None if call is None else ItemSample(call, tracer.keeps_items)
    inside = call
    passing: list[Any] = [inner]
    resume: Callable[[Any], Any] = _start
    is_closing = False
    while True:
        previous = CURRENT.get()
        if call is not None:
            CURRENT.set(inside)
        try:
            passing.append(await resume(passing.pop()))
        except StopAsyncIteration:
            CURRENT.set(previous)
            if call is not None and sample is not None:
                if is_closing:
                    tracer.fail(call, GeneratorExit(), sample.render())
                else:
                    tracer.finish(call, None, sample.render())
            return
        except BaseException as exc:
            CURRENT.set(previous)
            if call is not None and sample is not None:
                tracer.fail(call, exc, sample.render())
            raise
        inside = CURRENT.get()
        CURRENT.set(previous)
        if sample is not None:
            sample.add(passing[0])
        try:
            passing.append((yield passing.pop()))
            resume, is_closing = inner.asend, False
        except BaseException as exc:
            passing.append(exc)
            resume, is_closing = inner.athrow, isinstance(exc, GeneratorExit)


def _start(inner: AsyncGenerator[Any, Any]) -> Any:
    """
    Begin *inner* without the event loop hearing of it.

    The loop closes each generator that it knows, as it ends or as one is collected. It knows
    ours, which closes the inner one; two that close it at once would be an error of their own.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, _leave_to_ours)
    try:
        return inner.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _leave_to_ours(inner: AsyncGenerator[Any, Any]) -> None:
    """Stand as the finaliser of an inner generator."""
