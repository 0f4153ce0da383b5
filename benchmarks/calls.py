"""
One child process per mode and case: a tool called in one shape, with one payload, by one or many.

Modes: ``bare`` undecorated, ``off`` decorated with tracing off, ``on`` with tracing on and its
defaults. What is recorded in a burst is stored before the next one begins, off the clock.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.harness import Child, Line, sample, serve
from benchmarks.workloads import build_result

__all__ = ["MODES", "measure_cases"]

MODES = ("bare", "off", "on")
_NAMES = {"bare": "bare", "off": "traced, tracing off", "on": "traced, tracing on"}

Run = Callable[[int], None]
Decorate = Callable[[Any], Any]


def measure_cases(benchmark: str, cases: Mapping[str, tuple[str, int, int]], rounds: int) -> list[Line]:
    """
    Time cases in all modes, each in a process of its own, which take turns.

    Args:
        benchmark: Its name in the table.
        cases: What to call the case, to its name here, how many calls make a burst, and bursts a round.
        rounds: How many rounds are kept.

    Returns:
        Lines of µs a call: bare, off and on for each case.
    """
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
        for label, (case, burst, bursts) in cases.items():
            figures: dict[str, list[float]] = {mode: [] for mode in MODES}
            with ExitStack() as stack:
                children = {}
                for mode in MODES:
                    environment = {
                        "BENCHMARK_DATABASE": str(Path(folder) / f"{case}.db"),
                        "XDG_DATA_HOME": folder,
                    }
                    children[mode] = Child(
                        "benchmarks.calls", mode, case, str(burst), environment=environment
                    )
                    stack.callback(children[mode].close)
                for number in range(rounds + 1):
                    for mode in MODES[number % 3 :] + MODES[: number % 3]:
                        us = children[mode].ask(bursts)
                        if number:
                            figures[mode].append(us)
            for mode in MODES:
                figure = sample(figures[mode])
                what = f"{label}: {_NAMES[mode]}"
                lines.append(Line(benchmark, what, figure.median, "us", (figure.low, figure.high)))
    return lines


def _build_function(decorate: Decorate, result: Any) -> Run:
    @decorate
    def tool(question: str, limit: int = 10) -> Any:
        return result

    def run(calls: int) -> None:
        for _ in range(calls):
            tool(question="where is the retry table read?", limit=10)

    return run


def _build_method(decorate: Decorate, result: Any) -> Run:
    class Box:
        @decorate
        def tool(self, question: str, limit: int = 10) -> Any:
            return result

    box = Box()

    def run(calls: int) -> None:
        for _ in range(calls):
            box.tool(question="where is the retry table read?", limit=10)

    return run


def _build_generator(decorate: Decorate, result: Any) -> Run:
    @decorate
    def tool(question: str, limit: int = 10) -> Generator[Any]:
        yield result

    def run(calls: int) -> None:
        for _ in range(calls):
            for _item in tool(question="where is the retry table read?", limit=10):
                pass

    return run


def _build_coroutine(decorate: Decorate, result: Any) -> Run:
    @decorate
    async def tool(question: str, limit: int = 10) -> Any:
        return result

    async def many(calls: int) -> None:
        for _ in range(calls):
            await tool(question="where is the retry table read?", limit=10)

    return lambda calls: asyncio.run(many(calls))


def _build_tasks(count: int) -> Callable[[Decorate, Any], Run]:
    def build(decorate: Decorate, result: Any) -> Run:
        @decorate
        async def tool(question: str, limit: int = 10) -> Any:
            await asyncio.sleep(0)  # so that all of them are amid a call at once
            return result

        async def one(calls: int) -> None:
            for _ in range(calls):
                await tool(question="where is the retry table read?", limit=10)

        async def all_of_them(calls: int) -> None:
            await asyncio.gather(*(one(calls // count) for _ in range(count)))

        return lambda calls: asyncio.run(all_of_them(calls))

    return build


def _build_threads(count: int) -> Callable[[Decorate, Any], Run]:
    def build(decorate: Decorate, result: Any) -> Run:
        each = _build_function(decorate, result)

        def run(calls: int) -> None:
            import agenttrace  # late: the bare child must not pay for it

            work = agenttrace.bind(each)
            threads = [threading.Thread(target=work, args=(calls // count,)) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return run

    return build


_BUILD: dict[str, Callable[[Decorate, Any], Run]] = {
    "function": _build_function,
    "method": _build_method,
    "generator": _build_generator,
    "coroutine": _build_coroutine,
    "threads": _build_threads(1),
    "threads8": _build_threads(8),
    "threads32": _build_threads(32),
    "tasks1000": _build_tasks(1000),
}
_RESULT_BYTES = 500
_PART_BYTES = 54_000


def _build_result(size_bytes: int) -> dict[str, Any]:
    """Build a result; a large one has the hits of a smaller one over and over."""
    times, rest = divmod(size_bytes, _PART_BYTES)
    part = build_result(_PART_BYTES if times else rest)
    return {**part, "hits": part["hits"] * max(1, times)}


def _serve_child(mode: str, case: str, burst: int) -> None:
    import agenttrace

    shape, _, size = case.partition("-")
    result = _build_result(int(size or _RESULT_BYTES))
    run = _BUILD[shape](agenttrace.traced_tool if mode != "bare" else lambda tool: tool, result)
    if mode == "on":
        agenttrace.configure(os.environ["BENCHMARK_DATABASE"])

    def answer(bursts: int) -> float:
        elapsed_ns = 0
        with agenttrace.agent_scope("bench"):
            for _ in range(bursts):
                began_ns = time.perf_counter_ns()
                run(burst)
                elapsed_ns += time.perf_counter_ns() - began_ns
                if mode == "on":
                    kept = agenttrace.flush(60.0)
                    if kept.pending or kept.dropped:
                        raise RuntimeError(f"not everything was stored: {kept}")
        return elapsed_ns / (burst * bursts) / 1000

    serve(answer)


if __name__ == "__main__":
    _serve_child(sys.argv[1], sys.argv[2], int(sys.argv[3]))
