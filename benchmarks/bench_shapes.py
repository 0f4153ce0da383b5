"""
Question: what does a traced call cost by the shape of the tool?

Method: a function, a method, a coroutine and a generator that give 500 bytes, called in bursts of
500 bare, decorated with tracing off, and with tracing on. Each way has a process of its own, and
they take turns. Wall time of the calling thread; what is recorded is stored between two bursts.

Budget: none here; ``off`` and ``on`` hold those of a function and a method.
"""

from __future__ import annotations

from benchmarks.calls import measure_cases
from benchmarks.harness import Line, main

__all__ = ["measure"]


def measure(rounds: int = 5) -> list[Line]:
    """Measure the four shapes."""
    shapes = ("function", "method", "coroutine", "generator")
    return measure_cases("shapes", {shape: (shape, 500, 4) for shape in shapes}, rounds)


if __name__ == "__main__":
    main(measure)
