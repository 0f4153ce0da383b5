"""
What a batch says beside its events: how far a ring is drained, and how its process does.

Everything here runs inside the caller's transaction, on its connection.
Invariant: a ring's position moves by compare-and-set only.
"""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from agenttrace import clock
from agenttrace.errors import RingTaken
from agenttrace.events import ProcessInfo

__all__ = [
    "Finish",
    "ProcessCounters",
    "RingPosition",
    "count_kept",
    "end_process",
    "move_ring",
    "put_process",
]

_PROCESS_FIELDS = (*ProcessInfo._fields, "last_seen_ms", "dropped", "failed")

_COUNT_EVENTS = """
SELECT count(*) FROM trajectory_events WHERE event_id >= ? AND event_id < ?
    AND instr('niw', substr(event_id, 18, 1)) = 0 -- not what drainers and recoverers have added
"""

_PUT_PROCESS = f"""
INSERT INTO processes ({", ".join(_PROCESS_FIELDS)}) VALUES ({", ".join("?" * len(_PROCESS_FIELDS))})
ON CONFLICT (process_id) DO UPDATE SET last_seen_ms = max(last_seen_ms, excluded.last_seen_ms),
    dropped = coalesce(excluded.dropped, dropped), failed = coalesce(excluded.failed, failed)
"""


class RingPosition(NamedTuple):
    """How far a batch moves one ring."""

    ring_id: str
    process_id: str
    old: int
    new: int


class ProcessCounters(NamedTuple):
    """Losses of one process so far, by reason; totals, not differences."""

    dropped: dict[str, int]
    failed: dict[str, int]


class Finish(NamedTuple):
    """That a process has ended, and what is to be closed for it."""

    process_id: str
    at_ns: int = 0
    """Its last known time; 0: the time of the last event that is known of it."""
    close_open: bool = True
    """Close every operation that it left open, innermost first, as ``interrupted``."""
    exit: str | None = None
    """How it ended: ``ok``, ``died``, ``exception: …``, …; None leaves the process as it is."""
    ring_closed: bool = True


def move_ring(connection: sqlite3.Connection, ring: RingPosition, *, relaxed: bool) -> bool:
    """
    Set the ring's position if nobody else has.

    Args:
        relaxed: In a file that was put in the place of another, perhaps an older copy of it.

    Returns:
        Whether the database knew the ring before.

    Raises:
        RingTaken: Somebody else has moved it.
    """
    compare = "position <= ?" if relaxed else "position = ?"
    moved = connection.execute(
        f"UPDATE rings SET position = ? WHERE ring_id = ? AND {compare}", (ring.new, ring.ring_id, ring.old)
    )
    if moved.rowcount == 1:
        return True
    if connection.execute("SELECT 1 FROM rings WHERE ring_id = ?", (ring.ring_id,)).fetchone():
        raise RingTaken(f"ring {ring.ring_id}: another process has drained it beyond {ring.old}.")
    connection.execute(
        "INSERT INTO rings (ring_id, process_id, position, created_ms) VALUES (?, ?, ?, ?)",
        (ring.ring_id, ring.process_id, ring.new, clock.now_ms()),
    )
    return False


def count_kept(connection: sqlite3.Connection, process_id: str) -> int:
    """Count the events of a process in a copy put in the place of its database; looks at every event."""
    first, end = f"{process_id}-", f"{process_id}."  # the character behind the hyphen
    count: int = connection.execute(_COUNT_EVENTS, (first, end)).fetchone()[0]
    return count


def put_process(
    connection: sqlite3.Connection,
    process: ProcessInfo,
    counters: ProcessCounters | None,
    failed_now: dict[str, int],
) -> None:
    """Write that *process* lives, what it has lost so far, and what the present batch could not store."""
    dropped = failed = None
    if counters is not None or failed_now:
        totals = dict(counters.failed) if counters is not None else {}
        for reason, count in failed_now.items():
            totals[reason] = totals.get(reason, 0) + count
        failed = json.dumps(totals) if totals else None
        dropped = json.dumps(counters.dropped) if counters is not None and counters.dropped else None
    connection.execute(_PUT_PROCESS, (*process, clock.now_ms(), dropped, failed))


def end_process(connection: sqlite3.Connection, finish: Finish, ring: RingPosition | None) -> None:
    """Write how a process ended, unless that is known, and close its ring."""
    now_ms = clock.now_ms()
    if finish.exit is not None:
        ended_ms = finish.at_ns // 1_000_000 if finish.at_ns else now_ms
        connection.execute(
            "UPDATE processes SET ended_ms = coalesce(ended_ms, ?), exit = coalesce(exit, ?)"
            " WHERE process_id = ?",
            (ended_ms, finish.exit, finish.process_id),
        )
    if finish.ring_closed and ring is not None:
        connection.execute("UPDATE rings SET closed_ms = ? WHERE ring_id = ?", (now_ms, ring.ring_id))
