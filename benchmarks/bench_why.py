"""
Question: how long does it take to say what went wrong in a run, in a database of 1,000,000 events?

Method: a database of 500 conversations of 2,000 events, of which one call in fifty failed; the Python API
is asked for the diagnosis of 20 different conversations after one that is thrown away. The command
``agenttrace why`` is run as a process of its own, in turn with ``agenttrace path``, which starts and reads
nothing: what both share is the start of Python and of the package.

Budget: 300 ms for the diagnosis, for the whole process, and for what it takes over one that reads nothing.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.commands import clean_environment, run_ms
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
        whole_ms: list[float] = []
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
        environment = clean_environment(Path(folder) / "bytecode")
        for number in range(_RUNS + 1):
            name = f"{number * 31 % conversations:016x}"
            elapsed_ms = run_ms(environment, "why", name, "--db", database), run_ms(environment, "path")
            if number:
                whole_ms.append(elapsed_ms[0])
                bare_ms.append(elapsed_ms[1])
    over_ms = [run - bare for run, bare in zip(whole_ms, bare_ms, strict=True)]
    return [
        _line(f"{total}: diagnose", asked_ms),
        _line(f"{total}: agenttrace why, a process", whole_ms),
        _line(f"{total}: what it takes over agenttrace path", over_ms),
    ]


def _line(what: str, times_ms: list[float]) -> Line:
    figure = sample(times_ms)
    spread = (figure.low, figure.high)
    return Line(
        "why", what, figure.median, "ms", spread, f"<= {_LIMIT_MS:.0f} ms", figure.median <= _LIMIT_MS
    )


if __name__ == "__main__":
    main(measure)
