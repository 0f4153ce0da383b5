"""
Question: what does watching for swallowed exceptions cost, and what a program that raises none?

Method: one process, tracing on with everything installed, into a database of its own, against
tracing off, in turns. A million expected look-ups (``except KeyError``) inside one traced call;
the same thousands of times with an exception that gets a row or is counted; and a program that
computes and raises nothing, in 60 turns, because a processor's own speed changes by
several percent from one moment to the next. Rows are read from the database; times are the
processor's, of the thread that calls. Python 3.12 or later; before, only the last can be measured.

Budget: the million look-ups add less than 1 s and no row; the program that raises nothing runs
less than 2 % slower.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import agenttrace
from agenttrace import agent_scope, traced_tool
from agenttrace.capture import monitoring
from benchmarks.harness import Line, Sample, main, median_ratio, sample

__all__ = ["measure"]

_LOOKUPS = 1_000_000
_LOSSES = 20_000
_ROUNDS_OF_ONE_TURN = 8


def _look_up(count: int) -> int:
    table: dict[int, int] = {}
    found = 0
    for key in range(count):
        try:
            found += table[key]
        except KeyError:
            pass
    return found


def _lose(count: int) -> int:
    lost = 0
    for _ in range(count):
        try:
            raise ValueError("lost")
        except ValueError:
            lost += 1
    return lost


class _Point:
    def __init__(self, x: float, y: float) -> None:
        self.x, self.y = x, y

    def moved(self, dx: float, dy: float) -> _Point:
        return _Point(self.x + dx, self.y + dy)


def _squares(count: int) -> Iterator[int]:
    for number in range(count):
        yield number * number


def _fibonacci(number: int) -> int:
    return number if number < 2 else _fibonacci(number - 1) + _fibonacci(number - 2)


def _compute(rounds: int) -> float:
    """Calls, objects, containers, text and a generator, about 10 ms a round; nothing is raised."""
    total = 0.0
    for number in range(rounds):
        total += _fibonacci(15)
        point = _Point(number, 1.0)
        for _ in range(3_000):
            point = point.moved(0.5, -0.5)
        words = [str(n % 97) for n in range(6_000)]
        counts: dict[str, int] = {}
        for word in words:
            counts[word] = counts.get(word, 0) + 1
        total += point.x + sum(_squares(6_000)) + len(",".join(sorted(counts)))
    return total


_tools: dict[str, Callable[[int], Any]] = {
    function.__name__.lstrip("_"): traced_tool(function) for function in (_look_up, _lose, _compute)
}


def _seconds(name: str, loops: int) -> float:
    """Give the processor time of this thread alone, which other programs disturb least."""
    tool = _tools[name]
    gc.collect()
    began_s = time.thread_time()
    tool(loops)
    return time.thread_time() - began_s


def _in_turns(name: str, loops: int, rounds: int) -> dict[bool, list[float]]:
    """Time the tool with tracing off and on, in rounds that take turns; the first round is thrown away."""
    figures: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds + 1):
        for is_on in (number % 2 == 0, number % 2 == 1):
            if is_on:
                agenttrace.enable()
            else:
                agenttrace.disable()
            with agent_scope("bench"):
                _seconds(name, max(1, loops // 20))  # the interpreter takes note of the change
                elapsed_s = _seconds(name, loops)
            if number:
                figures[is_on].append(elapsed_s)
    agenttrace.disable()
    return figures


def _over(figures: dict[bool, list[float]]) -> Sample:
    return sample([on - off for on, off in zip(figures[True], figures[False], strict=True)])


def _error_rows(database: str) -> int:
    agenttrace.flush()
    with sqlite3.connect(database) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM trajectory_events WHERE kind = 'error'"
        ).fetchone()
    connection.close()
    return int(count)


def measure(rounds: int = 5) -> list[Line]:
    """Measure; raises RuntimeError when tracing is on in this process."""
    if agenttrace.is_enabled():
        raise RuntimeError("tracing is on here: unset AGENTTRACE and run again")
    lines = []
    with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
        database = os.path.join(folder, "traces.db")
        agenttrace.configure(database, install=("auto",))
        is_watching = monitoring.state().is_on
        agenttrace.disable()
        if is_watching:
            lines += _measure_caught(database, rounds)
        lines.append(_measure_exception_free(12 * rounds + 1))
        agenttrace.uninstall()
        agenttrace.shutdown()
    return lines


def _measure_caught(database: str, rounds: int) -> list[Line]:
    over = _over(_in_turns("look_up", _LOOKUPS, rounds))
    rows = _error_rows(database)
    spread = (over.low, over.high)
    lines = [
        Line("swallowed", "1,000,000 KeyErrors: added", over.median, "s", spread, "< 1 s", over.median < 1.0),
        Line("swallowed", "1,000,000 KeyErrors: error rows", rows, "rows", None, "0", rows == 0),
    ]
    each = _over(_in_turns("lose", _LOSSES, rounds))
    scale = 1e6 / _LOSSES
    spread = (each.low * scale, each.high * scale)
    what = "20,000 lost in one call (50 rows): added, each"
    return [*lines, Line("swallowed", what, each.median * scale, "us", spread)]


def _measure_exception_free(rounds: int) -> Line:
    figures = _in_turns("compute", _ROUNDS_OF_ONE_TURN, rounds)
    ratio = median_ratio(figures[True], figures[False])
    percent = [(value - 1) * 100 for value in (ratio.median, ratio.low, ratio.high)]
    return Line(
        "swallowed",
        "a program that raises nothing: slower by",
        percent[0],
        "%",
        (percent[1], percent[2]),
        "< 2 %",
        percent[0] < 2.0,
    )


if __name__ == "__main__":
    main(measure)
