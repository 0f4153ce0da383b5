"""
Measure, compare and print: what all benchmarks share.

Invariant: what is compared is measured in one run on one machine, in rounds that
take turns, and a ratio is the median of the ratios within each round. So a
machine that slows down half-way slows both sides. A timing never fails a test:
a budget that is not met is printed as such.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "Child",
    "Line",
    "Sample",
    "describe_machine",
    "main",
    "median_ratio",
    "quantile",
    "sample",
    "serve",
    "shorten",
    "take_turns",
]

_LIBRARIES = ("agenttrace-toolkit", "wrapt", "orjson", "peewee", "opentelemetry-sdk")


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure measured in several rounds."""

    median: float
    low: float
    """First quartile of the rounds."""
    high: float
    """Third quartile of the rounds."""
    rounds: int

    def __str__(self) -> str:
        return f"{shorten(self.median)} ({shorten(self.low)}-{shorten(self.high)})"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: what was measured, and the budget if there is one."""

    benchmark: str
    what: str
    value: float
    unit: str
    spread: tuple[float, float] | None = None
    budget: str = ""
    """The budget in words; empty when the line only informs."""
    met: bool | None = None
    """None when there is no budget."""
    detail: Mapping[str, Any] = field(default_factory=dict)


def shorten(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def quantile(values: Iterable[float], share: float) -> float:
    """
    Give the value below which *share* of the *values* lie, by nearest rank.

    Args:
        values: At least one number.
        share: From 0 to 1.

    Returns:
        One of the values.
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def sample(values: Iterable[float]) -> Sample:
    """Summarise the rounds of one figure; at least one value."""
    kept = list(values)
    return Sample(statistics.median(kept), quantile(kept, 0.25), quantile(kept, 0.75), len(kept))


def median_ratio(upper: Iterable[float], lower: Iterable[float]) -> Sample:
    """Give the ratio of two figures, taken within each round."""
    return sample(
        [above / below if below > 0 else float("inf") for above, below in zip(upper, lower, strict=True)]
    )


def take_turns(
    cases: Mapping[str, Callable[[int], object]], *, loops: int, rounds: int
) -> dict[str, list[float]]:
    """
    Time each case once per round, in an order that rotates.

    Args:
        cases: Name to a function that does the thing *loops* times.
        loops: How often the thing is done per round.
        rounds: How many rounds; one more is run first and thrown away.

    Returns:
        Name to nanoseconds per loop, one figure per round.
    """
    figures: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        for round_number in range(rounds + 1):
            shift = round_number % len(names)
            for name in names[shift:] + names[:shift]:
                run = cases[name]
                began_ns = time.perf_counter_ns()
                run(loops)
                elapsed_ns = time.perf_counter_ns() - began_ns
                if round_number:
                    figures[name].append(elapsed_ns / loops)
    finally:
        if enabled:
            gc.enable()
    return figures


class Child:
    """
    A process of its own that does one case on request, so that no two recorders share an interpreter lock.

    The child runs ``serve`` with a function; each ``ask`` sends a number and
    returns that function's JSON answer.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        clean = {
            name: value
            for name, value in os.environ.items()
            if name == "AGENTTRACE_PURE" or not name.startswith(("AGENTTRACE", "OTEL_"))
        }
        clean.update(environment or {})
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
            env=clean,
        )

    def ask(self, number: int) -> Any:
        """Let the child run once with *number* and give its answer; RuntimeError when it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()} before it answered")
        return json.loads(answer)

    def close(self) -> None:
        """End the child by closing its input; it is killed when it does not go within 10 s."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(run: Callable[[int], Any]) -> None:
    """Answer each number on standard input with ``run(number)`` as one line of JSON, until it ends."""
    for line in sys.stdin:
        print(json.dumps(run(int(line))), flush=True)


def describe_machine() -> dict[str, Any]:
    """Say what was measured on: processor, cores, system, and the versions that matter."""
    versions: dict[str, str | None] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "versions": versions,
    }


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main(measure: Callable[[], list[Line]]) -> None:
    """Run one benchmark alone and print its table (``python -m benchmarks.bench_off``)."""
    from benchmarks.report import render_machine, render_table  # late: it reads what is defined here

    print(render_machine(describe_machine()))
    print(render_table(measure()))
