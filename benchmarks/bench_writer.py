"""
Question: how many events does the writer store in a second?

Method: calls with a 500-byte result are recorded into a ring large enough for all
of them, while the writer sleeps; then ``flush()`` is timed: decode, redact, number,
insert, roll up, commit. The same rows are then inserted into a new database with
the same schema by plain multi-row statements over all columns, 256 rows each, 4,000
a transaction.
Each way has a process of its own, and they take turns. "Busy" is the first way
while the main thread is an endless loop.

Budget: at least 70 % of the plain inserts without redaction, 50 % with it, and
20,000 events/s beside a busy main thread.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.harness import Child, Line, main, median_ratio, sample, serve
from benchmarks.workloads import ARGUMENTS, look_up

__all__ = ["measure"]

_ROWS_A_STATEMENT = 256
_ROWS_A_TRANSACTION = 4000
_BUSY_EVENTS_PER_S = 20_000
_WAYS = ("plain inserts", "not redacted", "redacted", "busy")


def _record(calls: int) -> None:
    import agenttrace  # late: the parent process records nothing

    tool = agenttrace.traced_tool(look_up)
    with agenttrace.agent_scope("bench"):
        for _ in range(calls):
            tool(**ARGUMENTS)


def _flush_time_s() -> float:
    import agenttrace

    began_s = time.perf_counter()
    result = agenttrace.flush(60.0)
    elapsed_s = time.perf_counter() - began_s
    if result.pending or result.dropped:
        raise RuntimeError(f"not everything was stored: {result}")
    return elapsed_s


def _flush_quietly(events: int) -> float:
    _record(events // 2)
    return events / _flush_time_s()


def _flush_busily(events: int) -> float:
    _record(events // 2)
    times_s: list[float] = []
    waiting = threading.Thread(target=lambda: times_s.append(_flush_time_s()))
    waiting.start()
    number = 0
    while not times_s and number < 1 << 34:
        number += 1
    waiting.join()
    return events / times_s[0]


class _PlainInserts:
    """The rows that the writer stored, put into a new database by the shortest way there is."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._rows: list[tuple[Any, ...]] = []
        self._columns: Sequence[str] = ()
        self._conversations: list[tuple[Any, ...]] = []
        self._copies = 0

    def __call__(self, events: int) -> float:
        if len(self._rows) != events:
            self._read(events)
        target = f"{self._database}.plain-{self._copies}"
        self._copies += 1
        _create(target)
        connection = sqlite3.connect(target, isolation_level=None)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.executemany(
            "INSERT INTO conversations (id, created_ms) VALUES (?, 0)", self._conversations
        )
        began_s = time.perf_counter()
        self._insert(connection)
        elapsed_s = time.perf_counter() - began_s
        connection.close()
        for suffix in ("", "-wal", "-shm", ".lock"):
            Path(target + suffix).unlink(missing_ok=True)
        return events / elapsed_s

    def _read(self, events: int) -> None:
        _record(events // 2)
        _flush_time_s()
        connection = sqlite3.connect(self._database)
        cursor = connection.execute("SELECT * FROM trajectory_events ORDER BY id DESC LIMIT ?", (events,))
        self._columns = [column[0] for column in cursor.description][1:]
        self._rows = [row[1:] for row in cursor][::-1]
        self._conversations = list(
            connection.execute("SELECT DISTINCT conversation_id FROM trajectory_events")
        )
        connection.close()

    def _insert(self, connection: sqlite3.Connection) -> None:
        one = f"({', '.join('?' * len(self._columns))})"
        head = f"INSERT INTO trajectory_events ({', '.join(self._columns)}) VALUES "
        many = head + ", ".join([one] * _ROWS_A_STATEMENT)
        for begin in range(0, len(self._rows), _ROWS_A_TRANSACTION):
            connection.execute("BEGIN IMMEDIATE")
            part = self._rows[begin : begin + _ROWS_A_TRANSACTION]
            for at in range(0, len(part), _ROWS_A_STATEMENT):
                rows = part[at : at + _ROWS_A_STATEMENT]
                statement = many if len(rows) == _ROWS_A_STATEMENT else head + ", ".join([one] * len(rows))
                connection.execute(statement, [value for row in rows for value in row])
            connection.execute("COMMIT")


def _create(target: str) -> None:
    from agenttrace.store.batch import EventSink  # late: the parent process opens no database

    sink = EventSink(target)
    sink.open()
    sink.close()


def measure(rounds: int = 7, events: int = 20_000) -> list[Line]:
    """Measure all four ways."""
    figures: dict[str, list[float]] = {way: [] for way in _WAYS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agenttrace-bench-")))
        children = {}
        for way in _WAYS:
            environment = {
                "BENCHMARK_DATABASE": str(folder / f"{way.replace(' ', '-')}.db"),
                "AGENTTRACE_RING_BYTES": str(64 * 1024 * 1024),
                "AGENTTRACE_FLUSH_INTERVAL_S": "3600",
                "AGENTTRACE_REDACT": "0" if way == "not redacted" else "",
            }
            children[way] = Child("benchmarks.bench_writer", way, environment=environment)
            stack.callback(children[way].close)
        for number in range(rounds + 1):
            for way, child in children.items():
                rate = child.ask(events)
                if number:
                    figures[way].append(rate)
    lines = []
    for way, values in figures.items():
        figure = sample(values)
        busy = way == "busy"
        lines.append(
            Line(
                "writer",
                {"busy": "redacted, main thread busy"}.get(way, way),
                figure.median,
                "events/s",
                (figure.low, figure.high),
                f">= {_BUSY_EVENTS_PER_S:,} events/s" if busy else "",
                figure.median >= _BUSY_EVENTS_PER_S if busy else None,
            )
        )
    for way, limit in (("not redacted", 0.7), ("redacted", 0.5)):
        ratio = median_ratio(figures[way], figures["plain inserts"])
        what = f"{way}, over plain inserts"
        spread = (ratio.low, ratio.high)
        lines.append(Line("writer", what, ratio.median, "x", spread, f">= {limit} x", ratio.median >= limit))
    return lines


def _serve_child(way: str) -> None:
    import agenttrace  # late, see above

    database = os.environ["BENCHMARK_DATABASE"]
    agenttrace.configure(database)
    runs: dict[str, Callable[[int], float]] = {
        "plain inserts": _PlainInserts(database),
        "not redacted": _flush_quietly,
        "redacted": _flush_quietly,
        "busy": _flush_busily,
    }
    serve(runs[way])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _serve_child(sys.argv[1])
    else:
        main(measure)
