"""
Question: what does a traced call cost the thread that makes it, while tracing is on?

Method: a tool with two arguments and a 500-byte result, in bursts of 2,000 calls,
in which either recorder's own thread wakes and takes its share of the interpreter,
and of 500, in which it sleeps; each recorder has a process of its own, asked in
turns, and catches up off the clock between bursts. The opponent is an OpenTelemetry SDK span with the same
content (two JSON attributes and five tags), a batch processor and the OTLP HTTP exporter to a
collector on this machine that throws everything away. Then each call by itself,
for the slowest of a hundred and of a thousand.

Budget: at most a tenth of the OpenTelemetry span (bursts of 2,000, defaults on both sides).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.harness import Child, Line, main, median_ratio, sample
from benchmarks.recorders import MODES
from benchmarks.sink import sink_scope

__all__ = ["children_scope", "measure"]


@contextmanager
def children_scope(modes: tuple[str, ...], way: str) -> Iterator[dict[str, Child]]:
    """Keep one child per recorder, with a new database and a collector; ends them all."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agenttrace-bench-")))
        environment = {
            "BENCHMARK_DATABASE": str(folder / "traces.db"),
            "BENCHMARK_SINK": stack.enter_context(sink_scope()),
            "XDG_DATA_HOME": str(folder),
        }
        children = {}
        for mode in modes:
            children[mode] = Child("benchmarks.recorders", mode, way, environment=environment)
            stack.callback(children[mode].close)
        yield children


def measure(rounds: int = 9, loops: int = 4000) -> list[Line]:
    """Measure the caller's thread; needs the ``bench`` extra for the OpenTelemetry side."""
    return [
        *_measure_bursts("bursts", "bursts of 2,000", rounds, loops, 0.1),
        *_measure_bursts("short", "bursts of 500", rounds, loops, None),
        *_measure_tail(max(3, rounds // 2), loops),
    ]


def _measure_bursts(way: str, name: str, rounds: int, loops: int, limit: float | None) -> list[Line]:
    wall: dict[str, list[float]] = {mode: [] for mode in MODES}
    thread: dict[str, list[float]] = {mode: [] for mode in MODES}
    lost = 0
    with children_scope(MODES, way) as children:
        for number in range(rounds):
            for mode in MODES[number % len(MODES) :] + MODES[: number % len(MODES)]:
                answer = children[mode].ask(loops)
                wall[mode].append(answer["wall_ns"] / 1000)
                thread[mode].append(answer["thread_ns"] / 1000)
                lost += answer["lost"]
    lines = []
    for mode in MODES:
        figure = sample(wall[mode])
        lines.append(Line("on", f"{name}: {_NAMES[mode]}", figure.median, "us", (figure.low, figure.high)))
    ratio = median_ratio(_over_bare(wall, "on"), _over_bare(wall, "otel"))
    met = ratio.median <= limit if limit else None
    what = f"{name}: traced over OpenTelemetry"
    budget = f"<= {limit} x" if limit else ""
    lines.append(Line("on", what, ratio.median, "x", (ratio.low, ratio.high), budget, met))
    ratio = median_ratio(_over_bare(thread, "on"), _over_bare(thread, "otel"))
    lines.append(Line("on", f"{what}, processor time", ratio.median, "x", (ratio.low, ratio.high)))
    lines.append(Line("on", f"{name}: events lost", lost, "", None, "0", lost == 0))
    return lines


_NAMES = {
    "bare": "bare",
    "closure": "plain closure",
    "off": "traced, tracing off",
    "on": "traced, tracing on",
    "otel": "OpenTelemetry span",
}


def _over_bare(figures: dict[str, list[float]], mode: str) -> list[float]:
    return [mine - bare for mine, bare in zip(figures[mode], figures["bare"], strict=True)]


def _measure_tail(rounds: int, loops: int) -> list[Line]:
    lines = []
    with children_scope(("on", "otel"), "each") as children:
        answers: dict[str, list[dict[str, float]]] = {mode: [] for mode in children}
        for _ in range(rounds):
            for mode, child in children.items():
                answers[mode].append(child.ask(loops))
    for mode, kept in answers.items():
        for name, shown in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")):
            figure = sample(answer[name] / 1000 for answer in kept)
            what = f"{_NAMES[mode]}: {shown} of a call"
            lines.append(Line("on", what, figure.median, "us", (figure.low, figure.high)))
    return lines


if __name__ == "__main__":
    main(measure)
