"""
Question: what does a decorated callable cost while tracing is off?

Method: bare call, plain ``functools.wraps`` closure with an ``if``, wrapt's own
gate with a falsy switch, and ``@traced_tool``, in rounds that take turns; what
counts is the time over the bare call. As function, method, coroutine and generator.

Budget: the traced function costs at most 1.3 times wrapt's disabled gate and at
most the closure; a traced method at most 1.3 times the closure.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any

import wrapt

import agenttrace
from benchmarks.harness import Line, Sample, main, median_ratio, sample, take_turns

__all__ = ["measure"]

_LOOPS = 20_000
_ROUNDS = 31

_SWITCH: list[object] = []
"""Falsy and not callable, as capture's switch is while tracing is off."""

_enabled = False


def _closure(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not _enabled:
            return function(*args, **kwargs)
        raise AssertionError("tracing is off in this benchmark")

    return wrapper


def _pass_through(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


def _gate(function: Callable[..., Any]) -> Callable[..., Any]:
    switch: Any = _SWITCH
    return wrapt.FunctionWrapper(function, _pass_through, enabled=switch)


def _bare(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


_DECORATORS: dict[str, Callable[[Callable[..., Any]], Any]] = {
    "bare": _bare,
    "closure": _closure,
    "gate": _gate,
    "traced": agenttrace.traced_tool,
}


def _call_function(decorate: Callable[[Callable[..., Any]], Any]) -> Callable[[int], object]:
    @decorate
    def tool(x: int) -> int:
        return x

    def run(loops: int) -> None:
        for _ in range(loops):
            tool(1)

    return run


def _call_method(decorate: Callable[[Callable[..., Any]], Any]) -> Callable[[int], object]:
    class Box:
        @decorate
        def tool(self, x: int) -> int:
            return x

    box = Box()

    def run(loops: int) -> None:
        for _ in range(loops):
            box.tool(1)

    return run


def _call_coroutine(decorate: Callable[[Callable[..., Any]], Any]) -> Callable[[int], object]:
    @decorate
    async def tool(x: int) -> int:
        return x

    async def many(loops: int) -> None:
        for _ in range(loops):
            await tool(1)

    def run(loops: int) -> None:
        try:
            many(loops).send(None)
        except StopIteration:
            return

    return run


def _call_generator(decorate: Callable[[Callable[..., Any]], Any]) -> Callable[[int], object]:
    @decorate
    def tool(x: int) -> Generator[int]:
        yield x

    def run(loops: int) -> None:
        for _ in range(loops):
            for _item in tool(1):
                pass

    return run


_SHAPES = {
    "function": _call_function,
    "method": _call_method,
    "coroutine": _call_coroutine,
    "generator": _call_generator,
}


def _over(figures: dict[str, list[float]], name: str) -> list[float]:
    return [mine - bare for mine, bare in zip(figures[name], figures["bare"], strict=True)]


def _compare(shape: str, figures: dict[str, list[float]], other: str, limit: float | None) -> Line:
    ratio: Sample = median_ratio(_over(figures, "traced"), _over(figures, other))
    names = {"gate": "wrapt's disabled gate", "closure": "a plain closure"}
    return Line(
        "off",
        f"{shape}: traced over {names[other]}",
        ratio.median,
        "x",
        (ratio.low, ratio.high),
        f"<= {limit} x" if limit else "",
        ratio.median <= limit if limit else None,
    )


def measure(rounds: int = _ROUNDS) -> list[Line]:
    """Measure every shape; raises RuntimeError when tracing is on in this process."""
    if agenttrace.is_enabled():
        raise RuntimeError("tracing is on here: unset AGENTTRACE and run again")
    lines: list[Line] = []
    for shape, build in _SHAPES.items():
        cases = {name: build(decorate) for name, decorate in _DECORATORS.items()}
        figures = take_turns(cases, loops=_LOOPS, rounds=rounds)
        for name, values in figures.items():
            over = sample(values if name == "bare" else _over(figures, name))
            what = f"{shape}: bare call" if name == "bare" else f"{shape}: {name}, over bare"
            lines.append(Line("off", what, over.median, "ns", (over.low, over.high)))
        if shape == "function":
            lines.append(_compare(shape, figures, "gate", 1.3))
            lines.append(_compare(shape, figures, "closure", 1.0))
        elif shape == "method":
            lines.append(_compare(shape, figures, "closure", 1.3))
        else:
            lines.append(_compare(shape, figures, "closure", None))
    return lines


if __name__ == "__main__":
    main(measure)
