"""
Question: does recording stay as it is when it goes on for long?

Method: a process makes 2,500 calls a second, 5,000 events, for 30 minutes (``BENCHMARK_SOAK_MINUTES``
sets another time), while a reader holds a snapshot open now and then, as ``agenttrace show`` does.
Each minute gives its slowest calls, resident memory and the length of the database's log.

Budget: in the last fifth memory is at most 10 MiB above that of the second, the log is bounded by
64 MiB, and nothing is lost. Latency is printed for both.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

from benchmarks.harness import Child, Line, main, quantile, serve
from benchmarks.workloads import ARGUMENTS, look_up

__all__ = ["measure"]

_CALLS_PER_S = 2500
_MORE_MIB = 10
_LOG_MIB = 64
_PARTS = 5


def measure(minutes: float | None = None) -> list[Line]:
    """Record for *minutes*."""
    if minutes is None:
        minutes = float(os.environ.get("BENCHMARK_SOAK_MINUTES", "30"))
    with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
        database = str(Path(folder) / "traces.db")
        child = Child("benchmarks.bench_soak", database, environment={"XDG_DATA_HOME": folder})
        parts = []
        try:
            for _ in range(_PARTS):
                parts.append(child.ask(int(minutes * 60 * _CALLS_PER_S / _PARTS)))
                _read(database)
        finally:
            child.close()
    early, late = parts[1], parts[-1]
    name = f"{minutes:g} min at {2 * _CALLS_PER_S:,} events/s"
    log_mib = max(part["log_mib"] for part in parts)
    lost = late["lost"]
    more_mib = late["memory_mib"] - early["memory_mib"]
    lines = [
        Line("soak", f"{name}: p99 of a call, second fifth", early["p99_us"], "us"),
        Line("soak", f"{name}: p99 of a call, last fifth", late["p99_us"], "us"),
        Line("soak", f"{name}: memory, second fifth", early["memory_mib"], "MiB"),
        Line("soak", f"{name}: calls a second", late["calls_per_s"], ""),
    ]
    for what, value, limit in (
        ("memory, last fifth above that", more_mib, _MORE_MIB),
        ("longest log", log_mib, _LOG_MIB),
    ):
        lines.append(Line("soak", f"{name}: {what}", value, "MiB", None, f"<= {limit} MiB", value <= limit))
    lines.append(Line("soak", f"{name}: lost", lost, "", None, "0", lost == 0))
    return lines


def _read(database: str) -> None:
    """Hold a snapshot for as long as a slow reader does."""
    connection = sqlite3.connect(database)
    connection.execute("SELECT kind, count(*) FROM trajectory_events GROUP BY kind").fetchall()
    connection.close()


def _serve_child(database: str) -> None:
    import agenttrace  # late: the parent records nothing

    agenttrace.configure(database)
    tool = agenttrace.traced_tool(look_up)
    log = Path(f"{database}-wal")

    def record(calls: int) -> dict[str, Any]:
        each_ns = array("q")
        log_mib = 0.0
        began_s = time.perf_counter()
        with agenttrace.agent_scope("bench"):
            for number in range(calls):
                call_ns = time.perf_counter_ns()
                tool(**ARGUMENTS)
                each_ns.append(time.perf_counter_ns() - call_ns)
                if number % 50 == 49:
                    ahead_s = (number + 1) / _CALLS_PER_S - (time.perf_counter() - began_s)
                    if ahead_s > 0:
                        time.sleep(ahead_s)
                    if log.exists():
                        log_mib = max(log_mib, log.stat().st_size / 1024 / 1024)
        elapsed_s = time.perf_counter() - began_s
        p99_us = quantile(each_ns, 0.99) / 1000
        del each_ns
        kept = agenttrace.flush(60.0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {
            "p99_us": p99_us,
            "memory_mib": pages * os.sysconf("SC_PAGESIZE") / 1024 / 1024,
            "log_mib": log_mib,
            "calls_per_s": calls / elapsed_s,
            "lost": kept.dropped + kept.pending,
        }

    serve(record)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _serve_child(sys.argv[1])
    else:
        main(measure)
