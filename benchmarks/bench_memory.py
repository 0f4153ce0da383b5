"""
Question: how much memory does recording take in a process that records for long?

Method: a process calls a tool that gives 100 bytes until 10,000,000 events are recorded and stored,
and its resident memory is read every 100,000 calls, the ring's own mapping included. After each 2,000
calls it waits until they are stored, for nothing can be kept of calls that come faster than a disk writes.

Budget: never more than 100 MiB above what it had before the first call.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import Child, Line, main, serve
from benchmarks.workloads import ARGUMENTS, build_result

__all__ = ["measure"]

_LIMIT_MIB = 100
_STEP_CALLS = 100_000
_BURST_CALLS = 2000


def measure(events: int = 10_000_000) -> list[Line]:
    """Record *events* in one process; about two minutes per million on a slow machine, and 400 MB of disk."""
    with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
        database = str(Path(folder) / "traces.db")
        child = Child("benchmarks.bench_memory", database, environment={"XDG_DATA_HOME": folder})
        try:
            answer = child.ask(events // 2)
        finally:
            child.close()
    name = f"{events:,} events"
    grown = answer["most_mib"] - answer["first_mib"]
    half = answer["most_mib"] - answer["half_mib"]
    return [
        Line("memory", f"{name}: before the first", answer["first_mib"], "MiB"),
        Line(
            "memory",
            f"{name}: most above that",
            grown,
            "MiB",
            None,
            f"<= {_LIMIT_MIB} MiB",
            grown <= _LIMIT_MIB,
        ),
        Line("memory", f"{name}: growth in the second half", half, "MiB"),
        Line("memory", f"{name}: lost", answer["lost"], "", None, "0", answer["lost"] == 0),
    ]


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1024 / 1024


def _serve_child(database: str) -> None:
    import agenttrace  # late: the parent records nothing

    agenttrace.configure(database)
    result = build_result(100)
    tool = agenttrace.traced_tool(lambda question, limit: result, name="look_up")

    def record(calls: int) -> dict[str, Any]:
        first_mib = most_mib = half_mib = _resident_mib()
        with agenttrace.agent_scope("bench"):
            for done in range(0, calls, _STEP_CALLS):
                for number in range(min(_STEP_CALLS, calls - done)):
                    tool(**ARGUMENTS)
                    if number % _BURST_CALLS == 0:
                        agenttrace.flush(600.0)
                most_mib = max(most_mib, _resident_mib())
                if done < calls // 2:
                    half_mib = most_mib
        kept = agenttrace.flush(600.0)
        return {
            "first_mib": first_mib,
            "most_mib": max(most_mib, _resident_mib()),
            "half_mib": half_mib,
            "lost": kept.dropped + kept.pending,
        }

    serve(record)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _serve_child(sys.argv[1])
    else:
        main(measure)
