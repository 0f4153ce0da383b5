"""
Question: how long does the next process take to recover what a killed one left?

Method: a process records calls with a 500-byte result into its ring while its writer sleeps, and is
killed with SIGKILL. Then the time is taken that a new process's recovery needs, from looking for
dead rings to the commit; what was acknowledged must all be there.

Budget: none; every acknowledged event is there.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Line, main, sample
from benchmarks.workloads import ARGUMENTS, look_up

__all__ = ["measure"]

_CALLS = (100, 4000)


def measure(rounds: int = 5) -> list[Line]:
    """Measure a ring with a little in it, and one that is nearly full."""
    lines = []
    for calls in _CALLS:
        times_ms, missing = [], 0
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
                database = str(Path(folder) / "traces.db")
                _record_and_die(database, calls)
                times_ms.append(_recover_ms(database))
                connection = sqlite3.connect(database)
                (found,) = connection.execute(
                    "SELECT count(*) FROM trajectory_events WHERE kind IN ('tool_call', 'tool_result')"
                ).fetchone()
                connection.close()
                missing += 2 * calls - found
        figure = sample(times_ms)
        what = f"{2 * calls:,} events in the ring"
        lines.append(Line("recovery", what, figure.median, "ms", (figure.low, figure.high)))
        lines.append(Line("recovery", f"{what}: lost", missing, "", None, "0", missing == 0))
    return lines


def _record_and_die(database: str, calls: int) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENTTRACE")}
    environment |= {"AGENTTRACE_RING_BYTES": str(16 * 1024 * 1024), "AGENTTRACE_FLUSH_INTERVAL_S": "3600"}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bench_recovery", database, str(calls)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=environment,
    )
    assert process.stdout is not None
    if not process.stdout.readline():
        raise RuntimeError(f"the recording process ended with {process.wait()}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def _recover_ms(database: str) -> float:
    from agenttrace.write.recovery import recover  # late: only this needs it

    began_s = time.perf_counter()
    recover(database)
    return (time.perf_counter() - began_s) * 1000


def _record(database: str, calls: int) -> None:
    import agenttrace

    agenttrace.configure(database)
    tool = agenttrace.traced_tool(look_up)
    with agenttrace.agent_scope("bench"):
        for _ in range(calls):
            tool(**ARGUMENTS)
        print("recorded", flush=True)
        time.sleep(60)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _record(sys.argv[1], int(sys.argv[2]))
    else:
        main(measure)
