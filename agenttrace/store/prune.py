"""
Make a database smaller: whole conversations by age and by size, oldest first.

Invariants: a running conversation is never touched; a conversation goes whole, and one
whose deletion was interrupted is gone after the next prune; no transaction deletes
more than 2,000 events, so that a writer beside it waits no longer than for a batch
of its own. A dry run changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agenttrace.store.collect import collect_blobs, give_back_pages, used_bytes
from agenttrace.store.connection import StoreDatabase
from agenttrace.store.patience import patiently

__all__ = ["Pruned", "prune"]

_EVENTS_PER_STEP = 2_000
_MEASURE_EVERY_EVENTS = 20_000

_CANDIDATES = """
SELECT c.id AS id, coalesce(c.last_ts_ms, c.ts_ms) AS last_ms, c.total_events AS events
FROM agent_sessions c
WHERE c.status <> 'running' {kept}
ORDER BY last_ms, c.id
"""
_WITHOUT_FAILURES = """
AND c.status NOT IN ('failed', 'interrupted')
AND NOT EXISTS (SELECT 1 FROM failures f
    WHERE f.conversation_id = c.id AND f.fate IN ('swallowed', 'escaped', 'open'))
"""


class Pruned(NamedTuple):
    """What was deleted; of a dry run, what would be."""

    conversations: int
    events: int
    blobs: int
    """None are counted in a dry run."""
    freed_bytes: int
    """Of a dry run, an estimate from the conversations' share of all events."""
    size_bytes: int
    """What is in use afterwards."""


class _Candidate(NamedTuple):
    conversation_id: str
    last_ms: int
    events: int


def prune(
    database: StoreDatabase,
    now_ms: int,
    *,
    older_than_ms: int | None = None,
    max_size_bytes: int | None = None,
    keep_failed: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """
    Delete finished conversations, oldest first, and give the room back.

    Args:
        now_ms: The present.
        older_than_ms: Those whose last event is older than this go; None: none for their age.
        max_size_bytes: While the database is larger, the oldest go; None: none for their size.
        keep_failed: Conversations that failed, were interrupted, or hold a failure that was
            swallowed or escaped stay.
        dry_run: Only say what would go.

    Raises:
        StoreBusy: Another process held the lock for 10 s; what was deleted until then is gone.
    """
    size_bytes = used_bytes(database)
    candidates = _find(database, keep_failed)
    if dry_run:
        return _estimate(database, candidates, now_ms, older_than_ms, max_size_bytes, size_bytes)
    conversations = events = 0
    since_measured = 0
    for candidate in candidates:
        is_old = older_than_ms is not None and candidate.last_ms < now_ms - older_than_ms
        if not is_old:
            if max_size_bytes is None:
                break
            if since_measured >= _MEASURE_EVERY_EVENTS:
                since_measured = 0
                patiently(lambda: collect_blobs(database, now_ms))
            if used_bytes(database) <= max_size_bytes:
                break
        gone = _delete(database, candidate.conversation_id)
        conversations += gone is not None
        events += gone or 0
        since_measured += gone or 0
    blobs = patiently(lambda: collect_blobs(database, now_ms))
    patiently(lambda: give_back_pages(database))
    after = used_bytes(database)
    return Pruned(conversations, events, blobs, max(0, size_bytes - after), after)


def _find(database: StoreDatabase, keep_failed: bool) -> list[_Candidate]:
    sql = _CANDIDATES.format(kept=_WITHOUT_FAILURES if keep_failed else "")
    with database.reading():
        return [_Candidate(*row) for row in database.execute(sql)]


def _estimate(
    database: StoreDatabase,
    candidates: list[_Candidate],
    now_ms: int,
    older_than_ms: int | None,
    max_size_bytes: int | None,
    size_bytes: int,
) -> Pruned:
    """Choose as ``prune`` does, and take every event to be of the same size."""
    total = int(database.execute("SELECT coalesce(sum(events), 0) FROM agent_rollups").fetchone()[0])
    per_event = size_bytes / total if total else 0.0
    conversations = events = 0
    for candidate in candidates:
        is_old = older_than_ms is not None and candidate.last_ms < now_ms - older_than_ms
        is_large = max_size_bytes is not None and size_bytes - events * per_event > max_size_bytes
        if not (is_old or is_large):
            break
        conversations += 1
        events += candidate.events
    freed = round(events * per_event)
    return Pruned(conversations, events, 0, freed, size_bytes - freed)


def _delete(database: StoreDatabase, conversation_id: str) -> int | None:
    """Delete a conversation in steps; None where it is gone or has begun to run again."""
    deleted = 0
    for step in _steps(database, conversation_id):
        if step is None:
            return None
        deleted += step
    return deleted


def _steps(database: StoreDatabase, conversation_id: str) -> Iterator[int | None]:
    while True:
        found = patiently(lambda: _delete_some(database, conversation_id))
        yield found
        if found is None or found < _EVENTS_PER_STEP:
            return


def _delete_some(database: StoreDatabase, conversation_id: str) -> int | None:
    with database.writing():
        state = database.execute(
            "SELECT status FROM agent_sessions WHERE id = ?", (conversation_id,)
        ).fetchone()
        if state is None or state[0] == "running":
            return None
        deleted = database.execute(
            "DELETE FROM trajectory_events WHERE id IN"
            " (SELECT id FROM trajectory_events WHERE conversation_id = ? LIMIT ?)",
            (conversation_id, _EVENTS_PER_STEP),
        ).rowcount
        if deleted < _EVENTS_PER_STEP:
            # Last, with the numbers that its agents have reached: a continued one must not count anew.
            database.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))
        return int(deleted)
