"""
Question: how long does an answer take at 1,000,000 and at 10,000,000 events?

Method: a database of 500 conversations of 2,000 (of 20,000) events; each question is asked of the
Python API in a process that has the file open, the median of 20 different conversations or cursors
after one that is thrown away. ``python -m benchmarks queries`` asks at 1,000,000; ``queries_10m`` at ten.

Budget: each within 20 ms at 1,000,000 events, within 50 ms at 10,000,000. The list has status, times,
counts, tokens and cost of each conversation; the summary adds its events by kind, models and fates.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.filled import fill
from benchmarks.harness import Line, main, sample

__all__ = ["measure"]

_CONVERSATIONS = 500
_ASKED = 20


def measure(events: int = 2000, limit_ms: float = 20.0, name: str = "queries") -> list[Line]:
    """
    Fill a database and ask.

    Args:
        events: Of each of 500 conversations.
        limit_ms: The budget.
        name: Of the benchmark.
    """
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.event_store import TraceStore

    lines = []
    with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
        database = str(Path(folder) / "traces.db")
        last_ms = fill(database, _CONVERSATIONS, events)
        total = f"{_CONVERSATIONS * events:,} events"
        size_mib = Path(database).stat().st_size / 1024 / 1024
        lines.append(Line(name, f"{total}: size of the database", size_mib, "MiB"))
        with TraceStore(database) as store:
            viewer = TraceViewer(store)
            for label, ask in _questions(viewer, last_ms, events).items():
                lines.append(_time(name, f"{total}: {label}", ask, limit_ms))
    return lines


def _questions(viewer: Any, last_ms: int, events: int) -> dict[str, Callable[[int], object]]:
    def ids(number: int) -> str:
        return f"{number * 23 % _CONVERSATIONS:016x}"

    def page(number: int) -> object:
        return viewer.timeline(ids(number), limit=100)

    def later_page(number: int) -> object:
        first = viewer.timeline(ids(number), limit=max(100, events // 2))
        began_s = time.perf_counter()
        viewer.timeline(ids(number), limit=100, cursor=first.next_cursor)
        return time.perf_counter() - began_s

    def last_errors(number: int) -> object:
        since = datetime.fromtimestamp((last_ms - number) / 1000, UTC) - timedelta(hours=1)
        return viewer.failures(since=since, limit=100)

    return {
        "a page of a timeline": page,
        "a page in its middle": later_page,
        "errors of the last hour": last_errors,
        "list of 50 conversations with their totals": lambda number: viewer.conversations(limit=50),
        "a search for words": lambda number: viewer.find("retry result", ids(number), limit=20),
        "summary of a conversation": lambda number: viewer.summary(ids(number)),
    }


def _time(name: str, what: str, ask: Callable[[int], object], limit_ms: float) -> Line:
    times_ms = []
    for number in range(_ASKED + 1):
        began_s = time.perf_counter()
        answer = ask(number)
        elapsed_s = answer if isinstance(answer, float) else time.perf_counter() - began_s
        if number:
            times_ms.append(elapsed_s * 1000)
    figure = sample(times_ms)
    spread = (figure.low, figure.high)
    return Line(name, what, figure.median, "ms", spread, f"<= {limit_ms:.0f} ms", figure.median <= limit_ms)


if __name__ == "__main__":
    main(measure)
