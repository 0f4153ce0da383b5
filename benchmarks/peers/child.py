"""
One peer in a process of its own; runs in that peer's virtual environment.

``measure`` answers on standard input and output as ``harness.serve`` does.
``die`` makes the given number of calls, says so, and waits to be killed.
"""

from __future__ import annotations

import resource
import sys
import time

from benchmarks.harness import serve
from benchmarks.peers.instrumented import BUILDERS
from benchmarks.recorders import Recorder
from benchmarks.workloads import ARGUMENTS

__all__ = ["measure"]


def measure(recorder: Recorder, loops: int, burst: int = 500) -> dict[str, float]:
    """
    Call the tool in bursts and let the recorder catch up between them, off the caller's clock.

    Returns:
        ``wall_ns`` per call on the caller's thread, ``cpu_ns`` per call of the whole process
        until everything is stored or sent, and ``rss_bytes`` at its highest.
    """
    tool = recorder.tool
    wall_ns = cpu_ns = 0
    rounds = max(1, loops // burst)
    with recorder.scope():
        for _ in range(rounds):
            began_cpu_ns, began_ns = time.process_time_ns(), time.perf_counter_ns()
            for _ in range(burst):
                tool(**ARGUMENTS)
            wall_ns += time.perf_counter_ns() - began_ns
            recorder.finish()
            cpu_ns += time.process_time_ns() - began_cpu_ns
    calls = rounds * burst
    rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"wall_ns": wall_ns / calls, "cpu_ns": cpu_ns / calls, "rss_bytes": rss_bytes}


def _die(recorder: Recorder, calls: int) -> None:
    with recorder.scope():
        for _ in range(calls):
            recorder.tool(**ARGUMENTS)
        print("called", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _recorder = BUILDERS[sys.argv[1]]()
    if sys.argv[2] == "die":
        _die(_recorder, int(sys.argv[3]))
    else:
        measure(_recorder, 500)
        serve(lambda loops: measure(_recorder, loops))
