"""
The callables of the transparency table: each shape builds its tool and observes it.

A shape takes ``decorate`` and gives a dict of plain observations. The law is that
the dict is the same with the decorator, without it, on and off.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import gc
import inspect
import pickle
import sys
import traceback
import types
import warnings
from collections.abc import Callable
from typing import Any

Decorate = Callable[[Any], Any]
SHAPES: dict[str, Callable[[Decorate], dict[str, Any]]] = {}


def shape(function: Callable[[Decorate], dict[str, Any]]) -> Callable[[Decorate], dict[str, Any]]:
    SHAPES[function.__name__] = function
    return function


class Boom(Exception):
    """What the tools raise."""


def tail_of(exc: BaseException) -> list[str]:
    """The user's part of the traceback, innermost last."""
    frames = traceback.extract_tb(exc.__traceback__)
    return [frame.name for frame in frames if frame.filename == __file__]


def outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    try:
        return ("value", call())
    except BaseException as exc:
        return ("raised", type(exc).__name__, str(exc.args), repr(exc.__cause__), tail_of(exc)[1:])


def looks(tool: Any) -> dict[str, Any]:
    """What introspection says of a callable."""
    return {
        "name": tool.__name__,
        "qualname": tool.__qualname__,
        "doc": tool.__doc__,
        "module": tool.__module__,
        "signature": str(inspect.signature(tool)),
        "annotations": inspect.get_annotations(tool),
        "isfunction": inspect.isfunction(tool),
        "ismethod": inspect.ismethod(tool),
        "isroutine": inspect.isroutine(tool),
        "iscoroutinefunction": inspect.iscoroutinefunction(tool),
        "asyncio.iscoroutinefunction": inspect.iscoroutinefunction(tool),
        "isgeneratorfunction": inspect.isgeneratorfunction(tool),
        "isasyncgenfunction": inspect.isasyncgenfunction(tool),
        "callable": callable(tool),
        "is FunctionType": isinstance(tool, types.FunctionType),
        "hashable": {tool: 1}[tool],
        "equals itself": tool == tool,
        "truth": bool(tool),
    }


@shape
def plain_function(decorate: Decorate) -> dict[str, Any]:
    log: list[Any] = []

    @decorate
    def add(a: int, b: int = 2, *, c: int = 3) -> int:
        """Add three numbers."""
        log.append((a, b, c))
        return a + b + c

    return {
        **looks(add),
        "default": outcome(lambda: add(1)),
        "keyword": outcome(lambda: add(b=1, a=2, c=3)),
        "defaults": (add.__defaults__, add.__kwdefaults__),
        "code": add.__code__.co_name,
        "log": log,
    }


@shape
def function_that_raises(decorate: Decorate) -> dict[str, Any]:
    the_error = Boom("same object", 7)

    def inner() -> None:
        raise the_error

    @decorate
    def fail() -> None:
        inner()

    caught = None
    try:
        fail()
    except Boom as exc:
        caught = exc
    return {
        "identity": caught is the_error,
        "tail": tail_of(caught)[1:] if caught else None,
        "context": repr(the_error.__context__),
        "args": the_error.args,
    }


@shape
def function_that_raises_from(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def fail() -> None:
        try:
            raise KeyError("low")
        except KeyError as low:
            raise Boom("high") from low

    try:
        fail()
    except Boom as exc:
        return {
            "cause": repr(exc.__cause__),
            "context": repr(exc.__context__),
            "suppress": exc.__suppress_context__,
            "tail": tail_of(exc)[1:],
        }
    return {}


@shape
def exception_context_of_the_caller(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def fail() -> None:
        raise Boom("second")

    try:
        try:
            raise ValueError("first")
        except ValueError:
            fail()
    except Boom as exc:
        return {"context": repr(exc.__context__), "handled now": sys.exc_info()[0] is Boom}
    return {}


@shape
def wrong_arguments(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def two(a: int, b: int) -> int:
        return a + b

    return {
        "missing": outcome(lambda: two(1)),  # type: ignore[call-arg]
        "too many": outcome(lambda: two(1, 2, 3)),  # type: ignore[call-arg]
        "unknown": outcome(lambda: two(1, 2, c=3)),  # type: ignore[call-arg]
        "twice": outcome(lambda: two(1, 2, a=3)),  # type: ignore[misc]
    }


@shape
def variadic_function(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def gather(first: Any, /, *rest: Any, key: Any = None, **named: Any) -> tuple[Any, ...]:
        return first, rest, key, named

    return {
        **looks(gather),
        "call": outcome(lambda: gather(1, 2, 3, key=4, first=5, x=6)),
        "none": outcome(lambda: gather(1)),
    }


@shape
def result_identity(decorate: Decorate) -> dict[str, Any]:
    class Opaque:
        def __repr__(self) -> str:
            raise RuntimeError("never look at me")

    thing, items = Opaque(), [1, 2]

    @decorate
    def give(value: Any) -> Any:
        return value

    return {"object": give(thing) is thing, "list": give(items) is items, "none": give(None) is None}


@shape
def arguments_are_not_touched(decorate: Decorate) -> dict[str, Any]:
    consumed: list[int] = []

    def numbers() -> Any:
        for number in range(3):
            consumed.append(number)
            yield number

    @decorate
    def take(iterator: Any) -> Any:
        return iterator

    iterator = numbers()
    back = take(iterator)
    return {"same": back is iterator, "untouched": list(consumed), "then": list(back)}


@shape
def coroutine_function(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    async def fetch(url: str, times: int = 1) -> str:
        """Fetch."""
        log.append("started")
        await asyncio.sleep(0)
        return url * times

    async def main() -> tuple[Any, ...]:
        made = fetch("a", 2)
        before = list(log)
        names = (made.__name__, made.__qualname__, inspect.iscoroutine(made), inspect.isawaitable(made))
        return before, names, await made, await asyncio.create_task(fetch("b"))

    return {**looks(fetch), "run": asyncio.run(main()), "log": log}


@shape
def coroutine_with_wrong_arguments(decorate: Decorate) -> dict[str, Any]:
    @decorate
    async def fetch(url: str) -> str:
        return url

    return {"at the call": outcome(lambda: fetch()), "unknown": outcome(lambda: fetch("a", b=1))}  # type: ignore[call-arg]


@shape
def coroutine_that_raises(decorate: Decorate) -> dict[str, Any]:
    error = Boom("async")

    @decorate
    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    async def main() -> Any:
        try:
            await fail()
        except Boom as exc:
            return exc is error, tail_of(exc)[1:]

    return {"run": asyncio.run(main())}


@shape
def coroutine_never_awaited(decorate: Decorate) -> dict[str, Any]:
    @decorate
    async def forgotten() -> None:
        """Never runs."""

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        forgotten()
        gc.collect()
    return {"warnings": [str(warning.message) for warning in caught]}


@shape
def coroutine_cancelled(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled inside")
            raise

    async def main() -> Any:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel("enough")
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return task.cancelled(), log

    return {"run": asyncio.run(main())}


@shape
def coroutine_sent_by_hand(decorate: Decorate) -> dict[str, Any]:
    class Awaitable:
        def __await__(self) -> Any:
            got = yield "out"
            return got

    @decorate
    async def relay() -> Any:
        try:
            return await Awaitable()
        except Boom:
            return "caught"

    def drive(step: Callable[[Any], Any]) -> Any:
        coroutine = relay()
        first = coroutine.send(None)
        try:
            step(coroutine)
        except StopIteration as stop:
            return first, stop.value
        return first, "no stop"

    def close() -> Any:
        coroutine = relay()
        coroutine.send(None)
        return coroutine.close()

    return {
        "send": drive(lambda coroutine: coroutine.send(5)),
        "throw": drive(lambda coroutine: coroutine.throw(Boom())),
        "close": close(),
    }


@shape
def generator_function(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    def count(stop: int) -> Any:
        """Count."""
        log.append("started")
        yield from range(stop)
        return "done"

    made = count(3)
    before = list(log)

    def delegate() -> Any:
        value = yield from count(2)
        yield value

    return {
        **looks(count),
        "lazy": before,
        "isgenerator": inspect.isgenerator(made),
        "names": (made.__name__, made.__qualname__),
        "items": list(made),
        "again": list(made),
        "return": list(delegate()),
        "wrong": outcome(lambda: count()),  # type: ignore[call-arg]
    }


@shape
def generator_send_and_throw(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def echo() -> Any:
        got = None
        while True:
            try:
                got = yield got
            except Boom as exc:
                got = f"caught {exc}"

    made = echo()
    next(made)
    steps = [made.send(1), made.throw(Boom("x")), made.send(2)]
    return {"steps": steps, "close": made.close(), "after": outcome(lambda: next(made))}


@shape
def generator_closed_early(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    def stream() -> Any:
        try:
            yield 1
            yield 2
        finally:
            log.append("closed")

    for _ in stream():
        break
    gc.collect()
    made = stream()
    next(made)
    made.close()
    return {"log": log}


@shape
def generator_close_value(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def stream() -> Any:
        try:
            yield 1
        except GeneratorExit:
            return "closing value"

    made = stream()
    next(made)
    return {"close": made.close()}  # the value on 3.13, None before


@shape
def generator_that_raises(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def stream() -> Any:
        yield 1
        raise Boom("late")

    return {"outcome": outcome(lambda: list(stream()))}


@shape
def generator_raising_stop_iteration(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def stream() -> Any:
        yield 1
        raise StopIteration("wrong")

    return {"outcome": outcome(lambda: list(stream()))[:3]}


@shape
def async_generator_function(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @decorate
    async def stream(stop: int) -> Any:
        """Stream."""
        log.append("started")
        try:
            for number in range(stop):
                await asyncio.sleep(0)
                yield number
        finally:
            log.append("closed")

    async def main() -> Any:
        made = stream(3)
        before = list(log)
        items = [item async for item in made]
        early = stream(3)
        async for _ in early:
            break
        await early.aclose()
        return before, items, made.__name__, inspect.isasyncgen(made), list(log)

    return {**looks(stream), "run": asyncio.run(main()), "wrong": outcome(lambda: stream())}  # type: ignore[call-arg]


@shape
def async_generator_asend_and_athrow(decorate: Decorate) -> dict[str, Any]:
    @decorate
    async def echo() -> Any:
        got = None
        while True:
            try:
                got = yield got
            except Boom as exc:
                got = f"caught {exc}"

    async def main() -> Any:
        made = echo()
        await made.__anext__()
        steps = [await made.asend(1), await made.athrow(Boom("x")), await made.asend(2)]
        await made.aclose()
        ended = False
        try:
            await made.__anext__()
        except StopAsyncIteration:
            ended = True
        return steps, ended

    return {"run": asyncio.run(main())}


def _class_with(decorate: Decorate) -> type:
    class Kit:
        def __init__(self, factor: int = 3) -> None:
            self.factor = factor

        @decorate
        def scale(self, number: int) -> int:
            """Scale."""
            return number * self.factor

        @decorate
        async def fetch(self, number: int) -> int:
            return number * self.factor

        @decorate
        def stream(self) -> Any:
            yield self.factor

        @decorate
        @classmethod
        def make_below(cls, factor: int) -> Kit:
            return cls(factor)

        @classmethod
        @decorate
        def make_above(cls, factor: int) -> Kit:
            return cls(factor)

        @decorate
        @staticmethod
        def plain_below(number: int) -> int:
            return number + 1

        @staticmethod
        @decorate
        def plain_above(number: int) -> int:
            return number + 1

    return Kit


@shape
def method(decorate: Decorate) -> dict[str, Any]:
    kit = _class_with(decorate)()
    bound = kit.scale
    return {
        **looks(bound),
        "call": bound(2),
        "through the class": type(kit).scale(kit, 3),
        "self": bound.__self__ is kit,
        "equal": kit.scale == kit.scale,
        "set": len({kit.scale, kit.scale}),
        "class attribute": inspect.isfunction(type(kit).scale),
        "class signature": str(inspect.signature(type(kit).scale)),
        "missing self": outcome(lambda: type(kit).scale())[:2],
    }


@shape
def coroutine_method(decorate: Decorate) -> dict[str, Any]:
    kit = _class_with(decorate)()
    return {**looks(kit.fetch), "run": asyncio.run(kit.fetch(2))}


@shape
def generator_method(decorate: Decorate) -> dict[str, Any]:
    kit = _class_with(decorate)()
    return {**looks(kit.stream), "items": list(kit.stream())}


@shape
def class_methods_both_orders(decorate: Decorate) -> dict[str, Any]:
    kit_class = _class_with(decorate)

    class Child(kit_class):  # type: ignore[misc, valid-type]
        pass

    return {
        "below": kit_class.make_below(5).factor,
        "above": kit_class.make_above(6).factor,
        "child below": type(Child.make_below(1)).__name__,
        "child above": type(Child.make_above(1)).__name__,
        "through instance": kit_class().make_below(7).factor,
        "kind": type(kit_class.__dict__["make_below"]).__name__,
        "self": Child.make_below.__self__ is Child,
        "looks": looks(kit_class.make_below),
    }


@shape
def static_methods_both_orders(decorate: Decorate) -> dict[str, Any]:
    kit_class = _class_with(decorate)
    return {
        "below": (kit_class.plain_below(1), kit_class().plain_below(2)),
        "above": (kit_class.plain_above(1), kit_class().plain_above(2)),
        "kind": type(kit_class.__dict__["plain_below"]).__name__,
        "looks": looks(kit_class.plain_below),
    }


@shape
def method_in_a_subclass(decorate: Decorate) -> dict[str, Any]:
    kit_class = _class_with(decorate)

    class Child(kit_class):  # type: ignore[misc, valid-type]
        def scale(self, number: int) -> Any:
            return "child", super().scale(number)

    return {"super": Child(2).scale(4), "in dict": "scale" in vars(kit_class)}


@shape
def method_stored_before(decorate: Decorate) -> dict[str, Any]:
    kit = _class_with(decorate)()
    stored = kit.scale
    return {"map": list(map(stored, [1, 2])), "partial": functools.partial(stored, 3)()}


@shape
def partial_of_a_function(decorate: Decorate) -> dict[str, Any]:
    def add(a: int, b: int) -> int:
        return a + b

    tool = decorate(functools.partial(add, 1))
    return {
        "call": tool(2),
        "func": tool.func is add,
        "signature": str(inspect.signature(tool)),
        "is partial": isinstance(tool, functools.partial),
    }


@shape
def partial_of_a_coroutine_function(decorate: Decorate) -> dict[str, Any]:
    async def add(a: int, b: int) -> int:
        return a + b

    tool = decorate(functools.partial(add, 1))
    return {"run": asyncio.run(tool(2)), "is": inspect.iscoroutinefunction(tool)}


class Adder:
    """A callable object."""

    def __init__(self, base: int) -> None:
        self.base = base

    def __call__(self, number: int) -> int:
        """Add."""
        return self.base + number


@shape
def callable_object(decorate: Decorate) -> dict[str, Any]:
    tool = decorate(Adder(10))
    tool.base = 20
    return {
        "call": tool(1),
        "attribute": tool.base,
        "isinstance": isinstance(tool, Adder),
        "signature": str(inspect.signature(tool)),
        "pickled": pickle.loads(pickle.dumps(tool))(1),
        "copied": copy.deepcopy(tool)(1),
    }


@shape
def builtin_function(decorate: Decorate) -> dict[str, Any]:
    tool = decorate(len)
    return {"call": tool([1, 2]), "raises": outcome(lambda: tool(3)), "name": tool.__name__}


@shape
def lambda_function(decorate: Decorate) -> dict[str, Any]:
    tool = decorate(lambda value: value * 2)
    return {**looks(tool), "call": tool(4)}


@shape
def decorated_by_others(decorate: Decorate) -> dict[str, Any]:
    def twice(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs), function(*args, **kwargs)

        return run

    @twice
    @decorate
    def below(a: int) -> int:
        return a

    @decorate
    @twice
    def above(a: int) -> Any:
        return a

    @decorate
    @functools.lru_cache
    def cached(a: int) -> int:
        return a

    return {
        "below": below(1),
        "above": above(1),
        "signatures": (str(inspect.signature(below)), str(inspect.signature(above))),
        "unwrapped": inspect.unwrap(below).__name__,
        "cache": (cached(1), cached(1), cached.cache_info().hits),
    }


@shape
def recursion(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def factorial(number: int) -> int:
        return 1 if number < 2 else number * factorial(number - 1)

    return {"value": factorial(20)}


@shape
def system_exit_and_interrupt(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def leave(kind: Any) -> None:
        raise kind

    return {
        "exit": outcome(lambda: leave(SystemExit(3))),
        "interrupt": outcome(lambda: leave(KeyboardInterrupt())),
        "group": outcome(lambda: leave(ExceptionGroup("many", [Boom(1), ValueError(2)])))[:2],
    }


@shape
def attributes_of_a_function(decorate: Decorate) -> dict[str, Any]:
    @decorate
    def tool() -> None:
        """Doc."""

    tool.cost = 3
    tool.__doc__ = "Another."
    return {"attribute": tool.cost, "dict": dict(tool.__dict__), "doc": tool.__doc__}


@shape
def context_manager_function(decorate: Decorate) -> dict[str, Any]:
    log: list[str] = []

    @contextlib.contextmanager
    @decorate
    def opened(name: str) -> Any:
        log.append(f"open {name}")
        try:
            yield name.upper()
        except Boom:
            log.append("saw it")
        finally:
            log.append("close")

    with opened("a") as value:
        log.append(value)
    with opened("b"):
        raise Boom
    return {"log": log}
