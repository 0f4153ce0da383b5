"""
Question: what does a traced call cost when many call at once?

Method: 1, 8 and 32 threads, and 1,000 asyncio tasks that are all amid a call at the same time, share
one tool that gives 500 bytes. Wall time of the burst, by calls: threads take turns at the interpreter
lock, so more of them make no call quicker; the question is whether they make it slower.

Budget: none; nothing may be lost.
"""

from __future__ import annotations

from benchmarks.calls import measure_cases
from benchmarks.harness import Line, main

__all__ = ["measure"]

_CASES = {
    "1 thread": ("threads", 1600, 2),
    "8 threads": ("threads8", 1600, 2),
    "32 threads": ("threads32", 1600, 2),
    "1,000 tasks": ("tasks1000", 2000, 2),
}


def measure(rounds: int = 5) -> list[Line]:
    """Measure threads and tasks."""
    return measure_cases("concurrency", _CASES, rounds)


if __name__ == "__main__":
    main(measure)
