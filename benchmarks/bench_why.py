"""
Question: how long does it take to say what went wrong in a run, in a database of 1,000,000 events, and in
one long run?

Method: a database of 500 conversations of 2,000 events, of which one call in fifty failed; the Python API
is asked for the diagnosis of 20 different conversations after one that is thrown away. The command
``agenttrace why`` is run as a process of its own, in turn with ``agenttrace path``, which starts and reads
nothing: what both share is the start of Python and of the package.

One run of 10,000 and one of 100,000 events, in which one call in a hundred fails, are diagnosed in a
process of their own, three times each; the memory is what that process had at most, over what it had
before it asked.

Budget: 300 ms for the diagnosis, for the whole process, and for what it takes over one that reads nothing;
0.5 s for a run of 10,000 events, 3 s for one of 100,000.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.commands import clean_environment, run_ms
from benchmarks.filled import fill
from benchmarks.harness import Line, main, sample

__all__ = ["measure"]

_CONVERSATIONS = 500
_EVENTS = 2_000
_ASKED = 20
_RUNS = 5
_LONG_RUNS = 3
_LIMIT_MS = 300.0
_LONG = {10_000: 500.0, 100_000: 3_000.0}
_ASK = """
import json, resource, sys, time
from agenttrace import TraceStore, TraceViewer
def most_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
with TraceStore(sys.argv[1]) as store:
    viewer = TraceViewer(store)
    viewer.conversation("long")
    before_mb = most_mb()
    began_s = time.perf_counter()
    found = len(viewer.diagnose("long").findings)
    print(json.dumps([(time.perf_counter() - began_s) * 1000, most_mb() - before_mb, found]))
"""


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
    long = [line for events in _LONG for line in _measure_long(events)]
    return [
        _line(f"{total}: diagnose", asked_ms),
        _line(f"{total}: agenttrace why, a process", whole_ms),
        _line(f"{total}: what it takes over agenttrace path", over_ms),
        *long,
    ]


def _measure_long(events: int) -> list[Line]:
    """Record one run of so many events, and ask why in new processes."""
    from agenttrace.store.event_store import TraceStore

    with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
        database = str(Path(folder) / "traces.db")
        with TraceStore(database) as store:
            store.record_many(_rows(events))
        figures = [
            json.loads(
                subprocess.run(
                    [sys.executable, "-c", _ASK, database], check=True, capture_output=True, text=True
                ).stdout
            )
            for _ in range(_LONG_RUNS)
        ]
    if any(found == 0 for _, _, found in figures):
        raise RuntimeError("nothing was found in a run in which calls failed")
    took, memory = sample([each[0] for each in figures]), sample([each[1] for each in figures])
    limit_ms = _LONG[events]
    return [
        Line(
            "why",
            f"one run of {events:,} events: diagnose",
            took.median,
            "ms",
            (took.low, took.high),
            f"<= {limit_ms:.0f} ms",
            took.median <= limit_ms,
        ),
        Line("why", f"one run of {events:,} events: memory", memory.median, "MB", (memory.low, memory.high)),
    ]


def _rows(events: int) -> Iterator[dict[str, Any]]:
    """Give an agent that makes calls of eight tools with 200 bytes of result, of which one in 100 fails."""
    common = {"conversation_id": "long", "agent_id": "lead", "agent_name": "lead"}
    root, start_ms = f"{1:016x}", 1_790_000_000_000
    yield {**common, "kind": "agent_start", "span_id": root, "ts_ms": start_ms, "payload": {"input": "go"}}
    written = 2
    for number in range(2, events):
        if written >= events:
            break
        call = {
            **common,
            "span_id": f"{number:016x}",
            "parent_span_id": root,
            "tool_name": f"tool_{number % 8}",
            "ts_ms": start_ms + number,
        }
        yield {**call, "kind": "tool_call", "payload": {"arguments": {"query": f"about {number}"}}}
        end = {**call, "kind": "tool_result", "duration_ms": 1.0}
        if number % 100:
            yield {**end, "status": "ok", "payload": {"output": f"{number} " * 30}}
            written += 2
            continue
        failed = {"error_id": f"{number:016x}", "error_type": "ValueError"}
        error = {"type": "ValueError", "message": f"no {number}"}
        yield {**call, **failed, "kind": "error", "payload": {"error": error}}
        yield {**end, **failed, "status": "error", "payload": {"is_error": True}}
        written += 3
    end_ms = start_ms + events
    yield {**common, "kind": "agent_end", "span_id": root, "ts_ms": end_ms, "status": "ok", "payload": {}}


def _line(what: str, times_ms: list[float]) -> Line:
    figure = sample(times_ms)
    spread = (figure.low, figure.high)
    return Line(
        "why", what, figure.median, "ms", spread, f"<= {_LIMIT_MS:.0f} ms", figure.median <= _LIMIT_MS
    )


if __name__ == "__main__":
    main(measure)
