"""
Make a database smaller: whole conversations by age and by size, oldest first.

Invariants: a running conversation is never touched; a conversation goes whole, and one
whose deletion was interrupted is gone after the next prune; no transaction deletes
more than 2,000 events, so that a writer beside it waits no longer than for a batch
of its own. A dry run changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from agenttrace.store.collect import collect_blobs, iter_collect, iter_give_back, used_bytes
from agenttrace.store.connection import StoreDatabase
from agenttrace.store.patience import patiently

__all__ = ["Limits", "Pruned", "iter_prune", "prune"]

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


class Limits(NamedTuple):
    """What goes, and what stays though it would."""

    older_than_ms: int | None = None
    """Conversations whose last event is older than this; None: none for their age."""
    max_size_bytes: int | None = None
    """The oldest, while the database is larger; None: none for their size."""
    keep_failed: bool = False
    """Those stay that failed, were interrupted, or hold a failure that was swallowed or escaped."""


Attempt = Callable[[Callable[[], Any]], Any]


def _at_once(work: Callable[[], Any]) -> Any:
    return work()


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
    limits = Limits(older_than_ms, max_size_bytes, keep_failed)
    if dry_run:
        candidates = _find(database, keep_failed)
        return _estimate(database, candidates, now_ms, older_than_ms, max_size_bytes, size_bytes)
    steps = iter_prune(database, now_ms, limits, attempt=patiently)
    conversations, events, blobs = (sum(counts) for counts in zip((0, 0, 0), *steps, strict=True))
    after = used_bytes(database)
    return Pruned(conversations, events, blobs, max(0, size_bytes - after), after)


def iter_prune(
    database: StoreDatabase, now_ms: int, limits: Limits, *, attempt: Attempt = _at_once
) -> Iterator[tuple[int, int, int]]:
    """
    Prune in small steps, between which others may write, and the caller do something else.

    Args:
        now_ms: The present.
        limits: What goes.
        attempt: Does one transaction; ``patiently`` does it again while another process writes.

    Yields:
        How many conversations, events and blobs each step has deleted.

    Raises:
        StoreBusy: As *attempt* raises it; what was deleted until then is gone.
    """
    since_measured = 0
    for candidate in _find(database, limits.keep_failed):
        is_old = limits.older_than_ms is not None and candidate.last_ms < now_ms - limits.older_than_ms
        if not is_old:
            if limits.max_size_bytes is None:
                break
            if since_measured >= _MEASURE_EVERY_EVENTS:
                since_measured = 0
                yield from _iter_collect(database, now_ms, attempt)
            if used_bytes(database) <= limits.max_size_bytes:
                break
        for step in _steps(database, candidate.conversation_id, attempt):
            since_measured += step[1]
            yield step
    yield from _iter_collect(database, now_ms, attempt)
    for _ in iter_give_back(database):
        yield 0, 0, 0


def _iter_collect(database: StoreDatabase, now_ms: int, attempt: Attempt) -> Iterator[tuple[int, int, int]]:
    if attempt is _at_once:
        for blobs in iter_collect(database, now_ms):
            yield 0, 0, blobs
    else:
        yield 0, 0, attempt(lambda: collect_blobs(database, now_ms))


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


def _steps(database: StoreDatabase, conversation_id: str, attempt: Attempt) -> Iterator[tuple[int, int, int]]:
    """Delete a conversation; ends where it is gone or has begun to run again."""
    while True:
        found = attempt(lambda: _delete_some(database, conversation_id))
        if found is None:
            return
        is_gone = found < _EVENTS_PER_STEP
        yield int(is_gone), found, 0
        if is_gone:
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
