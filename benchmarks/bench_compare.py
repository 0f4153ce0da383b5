"""
Question: how long does it take to compare all the runs of a database of 1,000,000 events?

Method: a database of 500 conversations of 2,000 events, of which one call in fifty failed; the Python API
groups all of them, five times after one that is thrown away.

Budget: 1 s for the groups by model and by agent, 3 s for the shapes, which need every call.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.filled import fill
from benchmarks.harness import Line, main, sample

__all__ = ["measure"]

_CONVERSATIONS = 500
_EVENTS = 2_000
_ASKED = 5
_LIMIT_S = 1.0
_SHAPES_LIMIT_S = 3.0


def measure(conversations: int = _CONVERSATIONS) -> list[Line]:
    """Fill a database, and compare its runs."""
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.event_store import TraceStore

    with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
        database = str(Path(folder) / "traces.db")
        fill(database, conversations, _EVENTS)
        total = f"{conversations * _EVENTS:,} events"
        with TraceStore(database) as store:
            viewer = TraceViewer(store)
            if viewer.compare().runs != conversations:
                raise RuntimeError("not every run was compared")
            return [
                _time(f"{total}: runs by model", viewer.compare),
                _time(f"{total}: agents by name", lambda: viewer.compare("agent_name")),
                _time(f"{total}: patterns", viewer.patterns, _SHAPES_LIMIT_S),
            ]


def _time(what: str, ask: Callable[[], object], limit_s: float = _LIMIT_S) -> Line:
    times_s = []
    for number in range(_ASKED + 1):
        began_s = time.perf_counter()
        ask()
        if number:
            times_s.append(time.perf_counter() - began_s)
    figure = sample(times_s)
    spread = (figure.low, figure.high)
    return Line("compare", what, figure.median, "s", spread, f"<= {limit_s:g} s", figure.median <= limit_s)


if __name__ == "__main__":
    main(measure)
