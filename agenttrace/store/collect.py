"""
Give room back: blobs that nothing names any more, and the file's free pages.

Invariants: a blob that any event names, itself or through the blobs it names, stays,
also when a writer begins to name it meanwhile; each step is a small transaction, so
that a writer beside it waits for one step at most. Cost: one pass over the payloads
that name a blob.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from agenttrace.store.connection import StoreDatabase

__all__ = ["collect_blobs", "give_back_pages", "iter_collect", "iter_give_back", "used_bytes"]

_NAMED = re.compile(rb'"sha256"\s*:\s*"([0-9a-f]{64})"')
_BLOBS_PER_STEP = 200
_EVENTS_PER_STEP = 20_000
_LAST_ID = (1 << 63) - 1
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


def _named_by_events(database: StoreDatabase, after_id: int, last_id: int | None = None) -> set[str]:
    return _names_in(
        database.execute(
            "SELECT payload FROM trajectory_events"
            " WHERE id > ? AND id <= ? AND instr(payload, '\"sha256\"') > 0",
            (after_id, _LAST_ID if last_id is None else last_id),
        )
    )


def _with_named_by_blobs(database: StoreDatabase, names: set[str]) -> Iterator[set[str]]:
    """Give what the named blobs name themselves, and so on, a step at a time."""
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
            yield inner
        waiting = inner - reached


def _reach(database: StoreDatabase, names: set[str]) -> set[str]:
    return names.union(*_with_named_by_blobs(database, names))


def iter_collect(database: StoreDatabase, now_ms: int) -> Iterator[int]:
    """
    Delete the blobs that nothing names, in small steps; between them others may write.

    Args:
        now_ms: The present; what is younger than a minute stays.

    Yields:
        How many each step has deleted.

    Raises:
        StoreBusy: Another process writes; what was deleted until then is gone.
    """
    last_id = int(database.execute("SELECT coalesce(max(id), 0) FROM trajectory_events").fetchone()[0])
    named: set[str] = set()
    for start in range(0, last_id, _EVENTS_PER_STEP):
        named |= _named_by_events(database, start, min(start + _EVENTS_PER_STEP, last_id))
        yield 0
    kept = set(named)
    for inner in _with_named_by_blobs(database, named):
        kept |= inner
        yield 0
    # What was stored since the look, and may name what nothing named then, is looked at before each deletion.
    candidates = [
        str(row[0])
        for row in database.execute(
            "SELECT sha256 FROM payload_blobs WHERE created_ms < ?", (now_ms - _YOUNG_MS,)
        )
        if row[0] not in kept
    ]
    for at in range(0, len(candidates), _BLOBS_PER_STEP):
        with database.writing():
            kept |= _reach(database, _named_by_events(database, last_id))
            some = [name for name in candidates[at : at + _BLOBS_PER_STEP] if name not in kept]
            marks = ",".join("?" * len(some))
            deleted = database.execute(f"DELETE FROM payload_blobs WHERE sha256 IN ({marks})", some).rowcount
        yield int(deleted)


def collect_blobs(database: StoreDatabase, now_ms: int) -> int:
    """Delete the blobs that nothing names, as ``iter_collect`` does; gives how many."""
    return sum(iter_collect(database, now_ms))


def iter_give_back(database: StoreDatabase) -> Iterator[None]:
    """Return free pages to the file system, a thousand a step; then shrink the journal, if nobody reads."""
    while True:
        with database.lock:
            free = int(database.execute("PRAGMA freelist_count").fetchone()[0])
            if free:
                database.execute(f"PRAGMA incremental_vacuum({_PAGES_PER_STEP})").fetchall()
            left = int(database.execute("PRAGMA freelist_count").fetchone()[0])
        if left == 0 or left >= free:
            break
        yield
    with database.lock:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def give_back_pages(database: StoreDatabase) -> int:
    """
    Return free pages to the file system, as ``iter_give_back`` does.

    Returns:
        The bytes by which the file's own size has become smaller; its journal shrinks with the
        next checkpoint that no reader holds up.
    """
    size = int(database.execute("PRAGMA page_size").fetchone()[0])
    before = int(database.execute("PRAGMA page_count").fetchone()[0])
    for _ in iter_give_back(database):
        pass
    return max(0, before - int(database.execute("PRAGMA page_count").fetchone()[0])) * size
