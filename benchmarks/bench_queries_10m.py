"""
Question: how long does an answer take at 10,000,000 events?

Method: that of ``queries``, with 500 conversations of 20,000 events. Filling the database takes some
minutes and 6 GB where temporary files go.

Budget: each answer within 50 ms.
"""

from __future__ import annotations

from benchmarks import bench_queries
from benchmarks.harness import Line, main

__all__ = ["measure"]


def measure() -> list[Line]:
    """Fill and ask."""
    return bench_queries.measure(20_000, 50.0, "queries_10m")


if __name__ == "__main__":
    main(measure)
