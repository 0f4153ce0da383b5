"""
Question: how many events do several processes store in one SQLite file in a second?

Method: 1, 4 and 8 processes record calls with a 500-byte result into one new database at once, each
through its own ring and writer, and flush. The rate is all their rows by the time until the last has
flushed; every row must be there.

Budget: none; nothing may be lost.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Child, Line, main, sample, serve
from benchmarks.workloads import ARGUMENTS, look_up

__all__ = ["measure"]

_COUNTS = (1, 4, 8)


def measure(rounds: int = 3, calls: int = 4000) -> list[Line]:
    """Measure; *calls* are those of each process in a round."""
    lines = []
    for count in _COUNTS:
        rates, rows = [], 0
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="agenttrace-bench-"))
            database = str(Path(folder) / "traces.db")
            children = []
            for _ in range(count):
                children.append(Child("benchmarks.bench_processes", database))
                stack.callback(children[-1].close)
            for number in range(rounds + 1):
                began_s = time.perf_counter()
                asking = [threading.Thread(target=child.ask, args=(calls,)) for child in children]
                for thread in asking:
                    thread.start()
                for thread in asking:
                    thread.join()
                if number:
                    rates.append(2 * calls * count / (time.perf_counter() - began_s))
            connection = sqlite3.connect(database)
            rows = connection.execute(
                "SELECT count(*) FROM trajectory_events WHERE kind IN ('tool_call', 'tool_result')"
            ).fetchone()[0]
            connection.close()
        figure = sample(rates)
        name = "1 process" if count == 1 else f"{count} processes"
        lines.append(Line("processes", name, figure.median, "events/s", (figure.low, figure.high)))
        lost = 2 * calls * count * (rounds + 1) - rows
        lines.append(Line("processes", f"{name}: events lost", lost, "", None, "0", lost == 0))
    return lines


def _serve_child(database: str) -> None:
    import agenttrace  # late: the parent records nothing

    agenttrace.configure(database)
    tool = agenttrace.traced_tool(look_up)

    def record(calls: int) -> int:
        with agenttrace.agent_scope("bench"):
            for _ in range(calls):
                tool(**ARGUMENTS)
        result = agenttrace.flush(60.0)
        return result.pending + result.dropped

    serve(record)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _serve_child(sys.argv[1])
    else:
        main(measure)
