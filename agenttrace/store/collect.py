"""
Give room back: blobs that nothing names any more, and the file's free pages.

Invariants: a blob that any event names, itself or through the blobs it names, stays,
also when a writer begins to name it meanwhile; each step is a small transaction, so
that a writer beside it waits for one step at most. Cost: one pass over the payloads
that name a blob.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from agenttrace.store.connection import StoreDatabase

__all__ = ["collect_blobs", "give_back_pages", "used_bytes"]

_NAMED = re.compile(rb'"sha256"\s*:\s*"([0-9a-f]{64})"')
_BLOBS_PER_STEP = 200
_PAGES_PER_STEP = 1_000
_YOUNG_MS = 60_000
"""A blob this young may belong to an event that is not stored yet."""


def used_bytes(database: StoreDatabase) -> int:
    """Give the size of the database without its free pages; the journal beside it is not counted."""
    pages, free, size = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _names_in(bodies: Iterable[tuple[bytes | str]]) -> set[str]:
    found: set[str] = set()
    for (body,) in bodies:
        data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
        found.update(name.decode() for name in _NAMED.findall(data))
    return found


def _named_by_events(database: StoreDatabase, after_id: int) -> set[str]:
    return _names_in(
        database.execute(
            "SELECT payload FROM trajectory_events WHERE id > ? AND instr(payload, '\"sha256\"') > 0",
            (after_id,),
        )
    )


def _with_named_by_blobs(database: StoreDatabase, names: set[str]) -> set[str]:
    """Add what the named blobs name themselves, and so on."""
    reached: set[str] = set()
    waiting = set(names)
    while waiting:
        reached |= waiting
        inner: set[str] = set()
        ordered = sorted(waiting)
        for at in range(0, len(ordered), _BLOBS_PER_STEP):
            some = ordered[at : at + _BLOBS_PER_STEP]
            marks = ",".join("?" * len(some))
            inner |= _names_in(
                database.execute(
                    f"SELECT agenttrace_body(body) FROM payload_blobs WHERE sha256 IN ({marks})"
                    " AND instr(agenttrace_body(body), '\"sha256\"') > 0",
                    some,
                )
            )
        waiting = inner - reached
    return reached


def collect_blobs(database: StoreDatabase, now_ms: int) -> int:
    """
    Delete the blobs that nothing names.

    Args:
        now_ms: The present; what is younger than a minute stays.

    Returns:
        How many were deleted.
    """
    with database.reading():
        last_id = int(database.execute("SELECT coalesce(max(id), 0) FROM trajectory_events").fetchone()[0])
        kept = _with_named_by_blobs(database, _named_by_events(database, 0))
        candidates = [
            str(row[0])
            for row in database.execute(
                "SELECT sha256 FROM payload_blobs WHERE created_ms < ?", (now_ms - _YOUNG_MS,)
            )
            if row[0] not in kept
        ]
    deleted = 0
    for at in range(0, len(candidates), _BLOBS_PER_STEP):
        with database.writing():
            # Nobody else writes now: what was stored since the look is looked at too.
            kept |= _with_named_by_blobs(database, _named_by_events(database, last_id))
            some = [name for name in candidates[at : at + _BLOBS_PER_STEP] if name not in kept]
            marks = ",".join("?" * len(some))
            found = database.execute(f"DELETE FROM payload_blobs WHERE sha256 IN ({marks})", some)
            deleted += found.rowcount
    return deleted


def give_back_pages(database: StoreDatabase) -> int:
    """
    Return free pages to the file system, a thousand at a time.

    Returns:
        The bytes by which the file's own size has become smaller; its journal shrinks with the
        next checkpoint that no reader holds up.
    """
    size = int(database.execute("PRAGMA page_size").fetchone()[0])
    before = int(database.execute("PRAGMA page_count").fetchone()[0])
    while True:
        with database.lock:
            free = int(database.execute("PRAGMA freelist_count").fetchone()[0])
            if free:
                database.execute(f"PRAGMA incremental_vacuum({_PAGES_PER_STEP})").fetchall()
            left = int(database.execute("PRAGMA freelist_count").fetchone()[0])
        if left == 0 or left >= free:
            break
    with database.lock:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return max(0, before - int(database.execute("PRAGMA page_count").fetchone()[0])) * size
