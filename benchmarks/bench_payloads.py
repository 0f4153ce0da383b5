"""
Question: what does a traced call cost by the size of its result?

Method: a function that gives 100 bytes, 500 bytes, 54 KB or 10 MB of JSON, called bare, decorated
with tracing off, and with tracing on. Rows hold 4 KiB and ``payload_blobs`` 256 KiB of a result, so
what is longer is cut on the caller's thread.

Budget: none; a result of 10 MB must not cost what encoding 10 MB would.
"""

from __future__ import annotations

from benchmarks.calls import measure_cases
from benchmarks.harness import Line, main

__all__ = ["measure"]

_CASES = {
    "100 bytes": ("function-100", 500, 4),
    "500 bytes": ("function-500", 500, 4),
    "54 KB": ("function-54000", 20, 4),
    "10 MB": ("function-10000000", 5, 2),
}


def measure(rounds: int = 5) -> list[Line]:
    """Measure the four sizes."""
    return measure_cases("payloads", _CASES, rounds)


if __name__ == "__main__":
    main(measure)
