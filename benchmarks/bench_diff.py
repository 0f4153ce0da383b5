"""
Question: how long does it take to compare two runs?

Method: two conversations of 10,000 events each, of five agents, each step with arguments and a result of
its own, are compared by the Python API; once the same run recorded twice, once two that share hardly a step.

Budget: 2 s.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from pathlib import Path

from benchmarks.filled import fill
from benchmarks.harness import Line, main, sample

__all__ = ["measure"]

_EVENTS = 10_000
_LIMIT_S = 2.0


def measure(rounds: int = 3) -> list[Line]:
    """Compare runs that are alike, and runs that are not."""
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.event_store import TraceStore

    lines = []
    with tempfile.TemporaryDirectory(prefix="agenttrace-bench-") as folder:
        database = str(Path(folder) / "traces.db")
        fill(database, 2, _EVENTS)
        _tell_apart(database)
        for name in ("alike", "not alike"):
            if name == "not alike":
                _change(database)
            with TraceStore(database) as store:
                viewer = TraceViewer(store)
                times_s = []
                for _ in range(rounds):
                    began_s = time.perf_counter()
                    diff = viewer.diff(f"{0:016x}", f"{1:016x}")
                    times_s.append(time.perf_counter() - began_s)
                if diff.is_same is not (name == "alike"):
                    raise RuntimeError(f"runs that are {name} are told from each other wrongly")
            figure = sample(times_s)
            what = f"2 x {_EVENTS:,} events, {name}"
            spread = (figure.low, figure.high)
            lines.append(
                Line(
                    "diff", what, figure.median, "s", spread, f"<= {_LIMIT_S:g} s", figure.median <= _LIMIT_S
                )
            )
    return lines


def _tell_apart(database: str) -> None:
    """Give each step of a run arguments and a result of its own, the same in both runs."""
    connection = sqlite3.connect(database)
    connection.execute(
        "UPDATE trajectory_events SET payload = json_set(payload, CASE kind WHEN 'tool_call' THEN"
        " '$.arguments.number' ELSE '$.output.number' END, agent_name || seq)"
        " WHERE kind IN ('tool_call', 'tool_result')"
    )
    connection.commit()
    connection.close()


def _change(database: str) -> None:
    """Give each call of the second run arguments of its own."""
    connection = sqlite3.connect(database)
    connection.execute(
        "UPDATE trajectory_events SET payload = '{\"arguments\":{\"question\":' || (seq * 7919 % 97) || '}}'"
        " WHERE kind = 'tool_call' AND conversation_id = ?",
        (f"{1:016x}",),
    )
    connection.commit()
    connection.close()


if __name__ == "__main__":
    main(measure)
