"""
Streams for the transparency table: what a consumer sees of a generator, step by step.

As in ``shapes``: each takes ``decorate`` and gives a dict of plain observations, which must be
the same with the decorator and without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from tests.capture.shapes import Boom, Decorate, outcome, tail_of

STREAMS: dict[str, Callable[[Decorate], dict[str, Any]]] = {}


def stream(function: Callable[[Decorate], dict[str, Any]]) -> Callable[[Decorate], dict[str, Any]]:
    STREAMS[function.__name__] = function
    return function


class Thing:
    """An object whose end can be seen."""


def watch(log: list[str], name: str) -> Thing:
    thing = Thing()
    weakref.finalize(thing, log.append, f"{name} gone")
    return thing


@contextlib.contextmanager
def unraisable(log: list[Any]) -> Any:
    """Collect what is raised where nobody can catch it."""
    former, sys.unraisablehook = sys.unraisablehook, lambda args: log.append(repr(args.exc_value))
    try:
        yield
    finally:
        sys.unraisablehook = former


@stream
def closing_while_it_yields(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def stubborn() -> Any:
        for number in range(3):
            try:
                yield number
            except GeneratorExit:
                pass

    made = stubborn()
    next(made)
    log: list[Any] = []
    with unraisable(log):
        first = outcome(made.close)
        then = outcome(functools.partial(next, made))
        del made
        gc.collect()
    return {"close": first, "then": then, "log": log}


@stream
def throwing_generator_exit(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def careful() -> Any:
        try:
            yield 1
        except GeneratorExit:
            yield "still here"
        yield 3

    made = careful()
    next(made)
    return {"throw": made.throw(GeneratorExit()), "rest": list(made)}


@stream
def throwing_stop_iteration(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def give() -> Any:
        yield 1

    made = give()
    next(made)
    return {"throw": outcome(lambda: made.throw(StopIteration("x")))[:4]}


@stream
def throwing_before_the_start(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    def give() -> Any:
        log.append("ran")
        yield 1

    made = give()
    thrown = outcome(lambda: made.throw(Boom("early")))[:3]
    closed = give().close()
    sent = outcome(lambda: give().send(1))
    return {"throw": thrown, "close": closed, "send": sent, "after": list(made), "log": log}


@stream
def throwing_keeps_the_object(decorate: Decorate) -> dict[str, Any]:
    error = Boom("mine")

    @decorate
    def give() -> Any:
        yield 1

    made = give()
    next(made)
    try:
        made.throw(error)
    except Boom as exc:
        return {"same": exc is error, "tail": tail_of(exc)[1:], "context": repr(exc.__context__)}
    return {}


@stream
def context_manager(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @contextlib.contextmanager
    @decorate
    def opened(name: str) -> Any:
        log.append("open")
        try:
            yield name
        except KeyError:
            log.append("swallowed")
        finally:
            log.append("close")

    with opened("a") as got:
        log.append(got)
    with opened("b"):
        raise KeyError("k")
    error = StopIteration("through")
    same = None
    try:
        with opened("c"):
            raise error
    except StopIteration as exc:
        same = exc is error
    return {"log": log, "same": same, "other": outcome(lambda: _raise_in(opened("d")))[:3]}


def _raise_in(manager: Any) -> None:
    with manager:
        raise Boom("in the block")


@stream
def delegation(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def inner() -> Any:
        got = yield 1
        try:
            yield got
        except Boom as exc:
            yield f"inner caught {exc}"
        return "inner value"

    @decorate
    def outer() -> Any:
        value = yield from inner()
        yield value
        return "outer value"

    made = outer()
    steps = [next(made), made.send("sent"), made.throw(Boom("x")), next(made)]
    try:
        next(made)
    except StopIteration as stop:
        steps.append(stop.value)
    return {"steps": steps}


@stream
def running_already(decorate: Decorate) -> dict[str, Any]:
    made: list[Any] = []

    @decorate
    def again() -> Any:
        yield outcome(lambda: next(made[0]))

    made.append(again())
    return {"outcome": next(made[0])[:3]}


@stream
def lifetimes(decorate: Decorate) -> dict[str, Any]:
    """Items, arguments, sent values and thrown exceptions live no longer than without us."""
    log: list[str] = []

    @decorate
    def pipe(argument: Any) -> Any:
        del argument
        log.append("started")
        yield watch(log, "item 1")
        log.append("asked again")
        yield None
        log.append("sent")
        try:
            yield None
        except Boom:
            pass
        log.append("thrown")
        yield None

    gc.disable()
    try:
        made = pipe(watch(log, "argument"))
        next(made)
        log.append("has one")
        next(made)
        made.send(watch(log, "value"))
        made.throw(_boom_with(watch(log, "exception")))
        made.close()
        log.append("end")
    finally:
        gc.enable()
    return {"log": log}


def _boom_with(thing: Thing) -> Boom:
    error = Boom("x")
    error.thing = thing  # type: ignore[attr-defined]
    return error


@stream
def exception_leaves_no_cycle(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    def give() -> Any:
        yield 1

    gc.disable()
    try:
        made = give()
        next(made)
        with contextlib.suppress(Boom):
            made.throw(_boom_with(watch(log, "exception")))
        log.append("end")
    finally:
        gc.enable()
    return {"log": log}


@stream
def collected_sync(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    def give() -> Any:
        try:
            yield 1
        finally:
            log.append("closed")

    gc.disable()
    try:
        made = give()
        next(made)
        del made
        log.append("dropped")
        cycle: dict[str, Any] = {"made": give()}
        next(cycle["made"])
        cycle["self"] = cycle
        del cycle
        log.append("in a cycle")
    finally:
        gc.enable()
    gc.collect()
    return {"log": log}


@stream
def collected_and_raising(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def give() -> Any:
        try:
            yield 1
        finally:
            raise Boom("in finally")

    log: list[Any] = []
    with unraisable(log):
        made = give()
        next(made)
        del made
    return {"log": log}


def _async_stream(decorate: Decorate, log: list[str], naps: int = 2) -> Any:
    @decorate
    async def give() -> Any:
        try:
            for number in range(5):
                await asyncio.sleep(0)
                yield number
        finally:
            for _ in range(naps):
                await asyncio.sleep(0)
            log.append("closed")

    return give


@stream
def left_open_at_the_end_of_the_loop(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []
    told: list[str] = []

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(str(context)))
        made = [_async_stream(decorate, log, naps)() for naps in (0, 1, 2, 3)]
        for one in made:
            await one.__anext__()
        return made

    kept = asyncio.run(main())
    return {"log": log, "told": told, "kept": len(kept)}


@stream
def collected_async(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []
    told: list[str] = []
    lost: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(str(context)))
        give = _async_stream(decorate, log)
        async for _ in give():
            break
        cycle: dict[str, Any] = {"made": give()}
        await cycle["made"].__anext__()
        cycle["self"] = cycle
        del cycle
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)
        log.append("end")

    with unraisable(lost):
        asyncio.run(main())
    return {"log": log, "told": told, "lost": lost}


@stream
def collected_after_its_loop(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    async def give() -> Any:
        try:
            yield 1
        finally:
            log.append("closed")

    made = give()
    with contextlib.suppress(StopIteration):
        made.asend(None).send(None)
    lost: list[Any] = []
    with unraisable(lost):
        del made
        gc.collect()
    return {"log": log, "lost": lost}


@stream
def asyncgen_hooks(decorate: Decorate) -> dict[str, Any]:
    """A loop's hooks hear of one generator, the one that the program holds."""
    first: list[Any] = []
    last: list[Any] = []

    @decorate
    async def give() -> Any:
        yield 1

    former = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(lambda made: first.append(made.__name__), lambda made: last.append(made.__name__))
    try:
        hooks = sys.get_asyncgen_hooks()
        made = give()
        with contextlib.suppress(StopIteration):
            made.asend(None).send(None)
        same = sys.get_asyncgen_hooks() == hooks
        del made
        gc.collect()
    finally:
        sys.set_asyncgen_hooks(*former)
    return {"first": first, "last": last, "same": same}


@stream
def async_close_and_throw(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    async def stubborn() -> Any:
        try:
            yield 1
        except GeneratorExit:
            log.append("exit")
            yield 2

    async def main() -> Any:
        never = _async_stream(decorate, log)()
        await never.aclose()
        made = stubborn()
        await made.__anext__()
        try:
            await made.aclose()
        except RuntimeError as exc:
            closed = str(exc)
        again = stubborn()
        await again.__anext__()
        thrown = await again.athrow(GeneratorExit())
        rest = [item async for item in again]
        failing = _async_stream(decorate, log)()
        await failing.__anext__()
        try:
            await failing.athrow(Boom("x"))
        except Boom as exc:
            tail = tail_of(exc)[1:]
        return closed, thrown, rest, tail, [item async for item in failing]

    return {"run": asyncio.run(main()), "log": log}


@stream
def async_two_consumers(decorate: Decorate) -> dict[str, Any]:
    async def main() -> Any:
        made = _async_stream(decorate, [])()
        results = await asyncio.gather(made.__anext__(), made.__anext__(), return_exceptions=True)
        rest = [item async for item in made]
        return [str(result) for result in results], rest

    return {"run": asyncio.run(main())}


@stream
def async_cancelled(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    async def give() -> Any:
        try:
            yield 1
            await asyncio.Event().wait()
        except asyncio.CancelledError as exc:
            log.append(f"cancelled {exc.args}")
            raise
        finally:
            log.append("closed")

    async def consume() -> None:
        async for item in give():
            log.append(f"item {item}")

    async def main() -> bool:
        task = asyncio.create_task(consume())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel("enough")
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return task.cancelled()

    return {"run": asyncio.run(main()), "log": log}


@stream
def context_variables(decorate: Decorate) -> dict[str, Any]:
    """A generator runs in the context of whoever asks it, as every generator does."""
    variable = contextvars.ContextVar("variable", default="default")

    @decorate
    def give() -> Any:
        while True:
            yield variable.get()

    made = give()
    seen = [next(made)]
    variable.set("outer")
    seen.append(next(made))
    seen.append(contextvars.Context().run(next, made))
    other = contextvars.copy_context()
    other.run(variable.set, "other")
    seen.append(other.run(next, made))
    thread = threading.Thread(target=lambda: seen.append(next(made)))
    thread.start()
    thread.join()
    return {"seen": [*seen, next(made)]}


@stream
def states(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def give() -> Any:
        yield 1

    made = give()
    seen = [inspect.getgeneratorstate(made)]
    next(made)
    seen.append(inspect.getgeneratorstate(made))
    made.close()
    return {"states": [*seen, inspect.getgeneratorstate(made)]}
