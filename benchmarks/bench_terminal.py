"""
Question: how long does a person wait for `ps`, `why`, `list` and `show`, in a database of 1,000,000 events?

Method: a database of 500 conversations of 2,000 events, of which one call in fifty failed, with 100 calls
that are open now; and one of a single conversation of 100,000 events. Each command is a process of its own,
from its start to its end, bytecode written before, in turns with `agenttrace path`, which reads nothing. What
stands beneath is then asked of the Python API in a process that has the file open.

Budget: 300 ms for the whole of `ps` and of `why`; 2 s for the tree of 100,000 events; 20 ms for what `ps`
asks.
`list` looks at up to 100 failures of each of 20 runs for their health, which has no budget of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.commands import clean_environment, run_ms
from benchmarks.filled import fill
from benchmarks.harness import Line, main, sample

__all__ = ["measure"]

_CONVERSATIONS, _EVENTS = 500, 2_000
_LONG_EVENTS = 100_000
_OPEN = 100
_ROUNDS = 9
_ASKED = 20
_COMMAND_MS, _TREE_MS, _QUERY_MS = 300.0, 2_000.0, 20.0


def measure(
    conversations: int = _CONVERSATIONS, long_events: int = _LONG_EVENTS, rounds: int = _ROUNDS
) -> list[Line]:
    """Fill the databases, run the commands, and ask what they ask."""
    with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
        database, long = str(Path(folder) / "traces.db"), str(Path(folder) / "long.db")
        fill(database, conversations, _EVENTS)
        _open_calls(database)
        fill(long, 1, long_events)
        environment = clean_environment(Path(folder) / "bytecode")
        total = f"{conversations * _EVENTS:,} events"
        commands: dict[str, tuple[tuple[str, ...], float | None]] = {
            "agenttrace path": (("path",), None),
            f"{total}: agenttrace ps": (("ps", "--db", database), _COMMAND_MS),
            f"{total}: agenttrace why": (("why", f"{23:016x}", "--db", database), _COMMAND_MS),
            f"{total}: agenttrace list": (("list", "--db", database), None),
            f"agenttrace show, of {long_events:,} events": (("show", "--db", long), _TREE_MS),
        }
        times_ms: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, (arguments, _) in commands.items():
                elapsed_ms = run_ms(environment, *arguments)
                if number:
                    times_ms[name].append(elapsed_ms)
        lines = [_line(f"{name}, a process", times_ms[name], limit) for name, (_, limit) in commands.items()]
        return lines + _ask(database, total)


def _open_calls(database: str) -> None:
    """Add 100 calls of ten tools that have not ended."""
    from agenttrace import clock
    from agenttrace.store.batch import EventSink, Record

    sink = EventSink(database)
    now_ns = clock.now_ns() - 12_000_000_000
    process = "ccccccccdddddddd"
    agent = ["open", "lead-open", "lead", None]
    start = ["agent_start", now_ns, *agent, "cccccccc00000000", *[None] * 8]
    batch: list[Any] = [Record(start, b"{}", f"{process}-1")]
    for number in range(1, _OPEN):
        header = ["tool_call", now_ns + number, *agent, f"cccccccc{number:08x}", "cccccccc00000000"]
        header += [f"tool_{number % 10}", *[None] * 6]
        batch.append(Record(header, b'{"arguments":{}}', f"{process}-{number + 1:x}"))
    sink.write(batch)
    sink.close()


def _ask(database: str, total: str) -> list[Line]:
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.event_store import TraceStore

    with TraceStore(database) as store:
        viewer = TraceViewer(store)
        page = viewer.conversations(20)
        opened = viewer.compare_open(_OPEN)
        if len(opened) != _OPEN or not any(each.usual for each in opened):
            raise RuntimeError("what is open is not compared with anything")
        return [
            _time(f"{total}: what is open, and what is usual", lambda: viewer.compare_open(_OPEN), _QUERY_MS),
            _time(f"{total}: a page of 20 runs", lambda: viewer.conversations(20), _QUERY_MS),
            _time(f"{total}: their health", lambda: viewer.health(page.items), None),
        ]


def _time(what: str, ask: Callable[[], object], limit_ms: float | None) -> Line:
    times_ms = []
    for number in range(_ASKED + 1):
        began_s = time.perf_counter()
        ask()
        if number:
            times_ms.append((time.perf_counter() - began_s) * 1000)
    return _line(what, times_ms, limit_ms)


def _line(what: str, times_ms: list[float], limit_ms: float | None) -> Line:
    figure = sample(times_ms)
    spread = (figure.low, figure.high)
    if limit_ms is None:
        return Line("terminal", what, figure.median, "ms", spread)
    return Line(
        "terminal", what, figure.median, "ms", spread, f"<= {limit_ms:,.0f} ms", figure.median <= limit_ms
    )


if __name__ == "__main__":
    main(measure)
