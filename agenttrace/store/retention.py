"""
Forget what is old: events by age, and conversations that are left empty by it.

Invariants: a running conversation is never touched; a number that was given to
an event is never given again; an older turn of a model stays while a younger one
names what was said in it; every conversation is cleaned in a transaction of its
own, so that a writer beside it waits for one conversation at most.
"""

from __future__ import annotations

import json
import sqlite3

from agenttrace.errors import ConfigError
from agenttrace.store import rollups
from agenttrace.store.connection import StoreDatabase
from agenttrace.store.references import References, iter_named_spans

__all__ = ["MS_PER_DAY", "delete_before", "delete_conversation", "parse_retention_days"]

MS_PER_DAY = 86_400_000

_NAMING = """
SELECT payload FROM trajectory_events
WHERE conversation_id = ? AND ts_ms >= ? AND kind = 'model_call'
AND (instr(payload, '"ref"') > 0 OR instr(payload, '"sha256"') > 0)
"""
_NAMED = """
SELECT payload FROM trajectory_events
WHERE span_id = ? AND kind = 'model_call' AND +conversation_id = ?
"""

_OLD = """
SELECT c.id FROM conversations c
WHERE (c.created_ms < :cutoff_ms OR EXISTS (
    SELECT 1 FROM agent_rollups a WHERE a.conversation_id = c.id AND a.first_ts_ms < :cutoff_ms))
"""


def parse_retention_days(value: object) -> float:
    """
    Read a number of days.

    Raises:
        ConfigError: It is no number, or negative.
    """
    try:
        days = float(str(value))
    except ValueError:
        days = -1.0
    if not 0 <= days < 1e6:
        raise ConfigError(f"retention_days={value!r}: give a number of days, 0 or more.")
    return days


def delete_conversation(database: StoreDatabase, conversation_id: str) -> bool:
    """Delete a conversation with all its events and counts; False when there was none."""
    with database.writing() as open_database:
        deleted = open_database.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))
        return deleted.rowcount == 1


def delete_before(database: StoreDatabase, now_ms: int, retention_days: float) -> int:
    """
    Delete the events that are older than *retention_days*, except those of running conversations.

    A conversation that began before then and has no event left goes with them.

    Returns:
        How many events were deleted.
    """
    cutoff_ms = now_ms - int(retention_days * MS_PER_DAY)
    with database.reading():
        old = [row[0] for row in database.execute(_OLD, {"cutoff_ms": cutoff_ms})]
    return sum(_clean(database, conversation_id, cutoff_ms) for conversation_id in old)


def _spans_needed(connection: sqlite3.Connection, conversation_id: str, cutoff_ms: int) -> set[str]:
    """Find the older turns of models that younger ones name: what was said then was sent again later."""
    reader = References(connection, conversation_id)
    needed: set[str] = set()
    waiting = [row[0] for row in connection.execute(_NAMING, (conversation_id, cutoff_ms))]
    while waiting:
        try:
            payload = reader.read_uncut(json.loads(waiting.pop()))
        except (ValueError, RecursionError):
            continue
        for span_id in iter_named_spans(payload):
            if span_id not in needed:
                needed.add(span_id)
                waiting += [row[0] for row in connection.execute(_NAMED, (span_id, conversation_id))]
    return needed


def _clean(database: StoreDatabase, conversation_id: str, cutoff_ms: int) -> int:
    with database.writing():
        connection = database.connection
        state = connection.execute(
            "SELECT status FROM agent_sessions WHERE id = ?", (conversation_id,)
        ).fetchone()
        if state is None or state[0] == "running":
            return 0
        needed = _spans_needed(connection, conversation_id, cutoff_ms)
        deleted = connection.execute(
            "DELETE FROM trajectory_events WHERE conversation_id = ? AND ts_ms < ?"
            " AND (span_id IS NULL OR span_id NOT IN (SELECT value FROM json_each(?)))",
            (conversation_id, cutoff_ms, json.dumps(sorted(needed))),
        ).rowcount
        left = connection.execute(
            "SELECT 1 FROM trajectory_events WHERE conversation_id = ? LIMIT 1", (conversation_id,)
        ).fetchone()
        if left is None:
            connection.execute(
                "DELETE FROM conversations WHERE id = ? AND created_ms < ?", (conversation_id, cutoff_ms)
            )
        elif deleted:
            rollups.rebuild(connection, conversation_id)
        return int(deleted)
