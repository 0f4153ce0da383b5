"""
Question: what does a traced call cost the thread that makes it, while tracing is on?

Method: a tool with two arguments and a 500-byte result, in bursts of 500 calls;
each recorder has a process of its own, asked in turns, and catches up off the
clock between bursts. The opponent is an OpenTelemetry SDK span with the same
content as two JSON attributes, a batch processor and the OTLP HTTP exporter to a
collector on this machine that throws everything away. Then each call by itself,
for the slowest of a hundred and of a thousand.

Budget: at most a tenth of the OpenTelemetry span, defaults on both sides.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.harness import Child, Line, main, median_ratio, sample
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


def measure(rounds: int = 9, loops: int = 2000) -> list[Line]:
    """Measure the caller's thread; needs the ``bench`` extra for the OpenTelemetry side."""
    modes = ("bare", "closure", "off", "on", "otel")
    wall: dict[str, list[float]] = {mode: [] for mode in modes}
    thread: dict[str, list[float]] = {mode: [] for mode in modes}
    lost = 0
    with children_scope(modes, "bursts") as children:
        for number in range(rounds):
            for mode in modes[number % len(modes) :] + modes[: number % len(modes)]:
                answer = children[mode].ask(loops)
                wall[mode].append(answer["wall_ns"] / 1000)
                thread[mode].append(answer["thread_ns"] / 1000)
                lost += answer["lost"]
    lines = []
    for mode in modes:
        figure = sample(wall[mode])
        what = f"call, 500-byte result: {_NAMES[mode]}"
        lines.append(Line("on", what, figure.median, "us", (figure.low, figure.high)))
    for name, figures, limit in (("", wall, 0.1), (", processor time of the thread", thread, None)):
        ratio = median_ratio(_over_bare(figures, "on"), _over_bare(figures, "otel"))
        budget = f"<= {limit} x" if limit else ""
        met = ratio.median <= limit if limit else None
        what = f"traced over OpenTelemetry{name}"
        lines.append(Line("on", what, ratio.median, "x", (ratio.low, ratio.high), budget, met))
    lines.append(Line("on", "events lost in all bursts", lost, "", None, "0", lost == 0))
    return lines + _measure_tail(max(3, rounds // 2), loops)


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
        answers = {mode: [] for mode in children}
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
