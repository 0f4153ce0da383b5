"""
Counts of an agent's events, computed again from the events.

``agent_rollups`` is kept up to date by every batch; this is the oracle that
``agenttrace doctor --verify`` compares it with, and what puts it right after a
part of a conversation was deleted. Cost: one pass over the events asked for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from math import isclose
from typing import Any, NamedTuple

from agenttrace.store.connection import StoreDatabase

__all__ = ["Difference", "compute", "rebuild", "verify_rollups"]

COUNTED = (
    "events",
    "runs",
    "tool_calls",
    "failed_calls",
    "errors",
    "retries",
    "model_turns",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
    "first_ts_ms",
    "last_ts_ms",
    "max_turn",
    "first_start_seq",
    "last_start_seq",
    "last_end_seq",
    "last_status",
)
"""Columns that the events determine. ``next_seq`` and ``turn_base`` outlive deleted events."""

_COMPUTE = """
SELECT conversation_id, agent_id,
    count(*),
    sum(kind = 'agent_start'),
    sum(kind = 'tool_call' AND retry_of IS NULL),
    sum(kind = 'tool_result' AND status IS 'error') - sum(kind = 'tool_call' AND retry_of IS NOT NULL),
    sum(kind = 'error'),
    sum(kind = 'retry') + sum(kind = 'tool_call' AND retry_of IS NOT NULL),
    sum(kind = 'model_turn'),
    sum(CASE WHEN kind = 'model_turn' THEN input_tokens END),
    sum(CASE WHEN kind = 'model_turn' THEN output_tokens END),
    sum(CASE WHEN kind = 'model_turn' THEN cache_read_tokens END),
    sum(CASE WHEN kind = 'model_turn' THEN cache_write_tokens END),
    sum(CASE WHEN kind = 'model_turn' THEN reasoning_tokens END),
    sum(CASE WHEN kind = 'model_turn' THEN cost_usd END),
    min(ts_ms),
    max(ts_ms),
    max(coalesce(turn, 0)),
    min(CASE WHEN kind = 'agent_start' THEN seq END),
    max(CASE WHEN kind = 'agent_start' THEN seq END),
    max(CASE WHEN kind = 'agent_end' THEN seq END),
    (SELECT x.status FROM trajectory_events x
        WHERE x.conversation_id = e.conversation_id AND x.agent_id = e.agent_id AND x.kind = 'agent_end'
        ORDER BY x.seq DESC LIMIT 1),
    max(seq)
FROM trajectory_events e
WHERE :conversation_id IS NULL OR conversation_id = :conversation_id
GROUP BY conversation_id, agent_id
"""


class Difference(NamedTuple):
    """One number that is stored otherwise than the events say."""

    conversation_id: str
    agent_id: str
    column: str
    stored: Any
    computed: Any


def compute(
    connection: sqlite3.Connection, conversation_id: str | None = None
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Count every agent's events anew; yields conversation, agent, and ``COUNTED`` with ``max_seq``."""
    sql = _COMPUTE
    if conversation_id is not None:
        sql = sql.replace(":conversation_id IS NULL OR ", "")
    for row in connection.execute(sql, {"conversation_id": conversation_id}):
        yield row[0], row[1], dict(zip((*COUNTED, "max_seq"), row[2:], strict=True))


def verify_rollups(database: StoreDatabase, conversation_id: str | None = None) -> list[Difference]:
    """
    Compare the stored rollups and open operations with the events.

    Returns:
        Every number that differs; [] when all is well.
    """
    with database.reading():
        connection = database.connection
        stored = _stored(connection, conversation_id)
        found: list[Difference] = []
        for conversation, agent, numbers in compute(connection, conversation_id):
            row = stored.pop((conversation, agent), None)
            if row is None:
                found.append(Difference(conversation, agent, "events", None, numbers["events"]))
                continue
            found += [
                Difference(conversation, agent, column, row[column], numbers[column])
                for column in COUNTED
                if not _same(row[column], numbers[column])
            ]
            if row["next_seq"] <= numbers["max_seq"]:
                found.append(
                    Difference(conversation, agent, "next_seq", row["next_seq"], numbers["max_seq"] + 1)
                )
        found += [
            Difference(conversation, agent, "events", row["events"], 0)
            for (conversation, agent), row in stored.items()
            if row["events"]
        ]
        found += _verify_open(connection, conversation_id)
    return found


def _stored(
    connection: sqlite3.Connection, conversation_id: str | None
) -> dict[tuple[str, str], dict[str, Any]]:
    names = ("conversation_id", "agent_id", "next_seq", *COUNTED)
    rows = connection.execute(
        f"SELECT {', '.join(names)} FROM agent_rollups WHERE ? IS NULL OR conversation_id = ?",
        (conversation_id, conversation_id),
    )
    return {(row[0], row[1]): dict(zip(names, row, strict=True)) for row in rows}


def _same(stored: Any, computed: Any) -> bool:
    if isinstance(stored, float) and isinstance(computed, float):
        return isclose(stored, computed, rel_tol=1e-9, abs_tol=1e-12)
    return bool(stored == computed)


_OPEN = """
SELECT conversation_id, agent_id, span_id FROM trajectory_events e
WHERE kind IN ('agent_start', 'tool_call', 'model_call') AND span_id IS NOT NULL
AND (:conversation_id IS NULL OR conversation_id = :conversation_id)
AND NOT EXISTS (
    SELECT 1 FROM trajectory_events x WHERE x.span_id = e.span_id
    AND x.kind IN ('agent_end', 'tool_result', 'model_turn') AND +x.conversation_id = e.conversation_id)
"""


def _verify_open(connection: sqlite3.Connection, conversation_id: str | None) -> list[Difference]:
    given = {"conversation_id": conversation_id}
    computed = set(connection.execute(_OPEN, given))
    stored = set(
        connection.execute(
            "SELECT conversation_id, agent_id, span_id FROM open_spans"
            " WHERE :conversation_id IS NULL OR conversation_id = :conversation_id",
            given,
        )
    )
    wrong = sorted(computed ^ stored)
    return [
        Difference(row[0], row[1], "open_spans", *((None, row[2]) if row in computed else (row[2], None)))
        for row in wrong
    ]


def rebuild(connection: sqlite3.Connection, conversation_id: str) -> None:
    """
    Write the rollups of a conversation anew, after some of its events were deleted.

    ``next_seq``, ``turn_base`` and ``max_turn`` stay, so that no number is given
    twice; an agent without events keeps its row for that reason, with zero counts.
    """
    connection.execute(
        "UPDATE agent_rollups SET events = 0, runs = 0, tool_calls = 0, failed_calls = 0, errors = 0,"
        " retries = 0, model_turns = 0, input_tokens = NULL, output_tokens = NULL, cache_read_tokens = NULL,"
        " cache_write_tokens = NULL, reasoning_tokens = NULL, cost_usd = NULL, first_start_seq = NULL,"
        " last_start_seq = NULL, last_end_seq = NULL WHERE conversation_id = ?",
        (conversation_id,),
    )
    columns = [column for column in COUNTED if column not in ("max_turn", "last_status")]
    assignments = ", ".join(f"{column} = :{column}" for column in columns)
    for conversation, agent, numbers in list(compute(connection, conversation_id)):
        connection.execute(
            f"UPDATE agent_rollups SET {assignments}"
            " WHERE conversation_id = :conversation_id AND agent_id = :agent_id",
            {**numbers, "conversation_id": conversation, "agent_id": agent},
        )
