"""
Question: how long does it take to say what went wrong in a run, in a database of 1,000,000 events?

Method: a database of 500 conversations of 2,000 events, of which one call in fifty failed; the Python API
is asked for the diagnosis of 20 different conversations after one that is thrown away. The command
``agenttrace why`` is run as a process of its own, in turn with ``agenttrace path``, which starts and reads
nothing: what both share is the start of Python and of the package.

Budget: 300 ms for the diagnosis, and for what the command takes over one that reads nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.filled import fill
from benchmarks.harness import Line, main, sample

__all__ = ["measure"]

_CONVERSATIONS = 500
_EVENTS = 2_000
_ASKED = 20
_RUNS = 5
_LIMIT_MS = 300.0


def measure(conversations: int = _CONVERSATIONS) -> list[Line]:
    """Fill a database, and ask why."""
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.event_store import TraceStore

    with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
        database = str(Path(folder) / "traces.db")
        fill(database, conversations, _EVENTS)
        total = f"{conversations * _EVENTS:,} events"
        asked_ms: list[float] = []
        run_ms: list[float] = []
        bare_ms: list[float] = []
        with TraceStore(database) as store:
            viewer = TraceViewer(store)
            for number in range(_ASKED + 1):
                began_s = time.perf_counter()
                diagnosis = viewer.diagnose(f"{number * 23 % conversations:016x}")
                if number:
                    asked_ms.append((time.perf_counter() - began_s) * 1000)
                if diagnosis.first is None:
                    raise RuntimeError("nothing was found in a run in which calls failed")
        for number in range(_RUNS):
            name = f"{number * 31 % conversations:016x}"
            run_ms.append(_run_ms("why", name, "--db", database))
            bare_ms.append(_run_ms("path"))
    over_ms = [run - bare for run, bare in zip(run_ms, bare_ms, strict=True)]
    return [
        _line(f"{total}: diagnose", asked_ms),
        _line(f"{total}: agenttrace why, a process", run_ms, is_judged=False),
        _line(f"{total}: what it takes over agenttrace path", over_ms),
    ]


def _run_ms(*arguments: str) -> float:
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-m", "agenttrace", *arguments], check=True, capture_output=True)
    return (time.perf_counter() - began_s) * 1000


def _line(what: str, times_ms: list[float], *, is_judged: bool = True) -> Line:
    figure = sample(times_ms)
    spread = (figure.low, figure.high)
    if not is_judged:
        return Line("why", what, figure.median, "ms", spread)
    return Line(
        "why", what, figure.median, "ms", spread, f"<= {_LIMIT_MS:.0f} ms", figure.median <= _LIMIT_MS
    )


if __name__ == "__main__":
    main(measure)
