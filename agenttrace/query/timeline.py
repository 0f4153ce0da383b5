"""
Pages of events in the order of time, at any size of conversation.

Invariant: pages read one after another give every event once, in the order
``(ts_ns, process, frame number)``, also while more are written. Cost: one range
of the index on ``(conversation_id, ts_ns)`` per page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from agenttrace.errors import ConfigError
from agenttrace.frozen import build_maker
from agenttrace.query.reading import Reader, build_page, check_limit, parse_cursor
from agenttrace.store.rows import Event, Page

__all__ = [
    "PAYLOADS_NO_TREE_NEEDS",
    "Moment",
    "escape_like",
    "event_conditions",
    "iter_events",
    "read_events",
    "search_condition",
    "to_ms",
]

Moment = int | datetime | str
"""A time: milliseconds since 1970 UTC, a datetime, or ISO 8601 text; without a zone it is UTC."""

PAYLOADS_NO_TREE_NEEDS = ("model_delta", "snapshot", "model_call", "model_turn", "message")
"""Kinds that may be long, and of which a tree shows nothing but that they are there."""

# Of an agent's turn is what its rows say, or what came between that turn's model call and the next.
_OF_TURN = """coalesce(turn, (
    SELECT m.turn FROM trajectory_events m
    WHERE m.conversation_id = trajectory_events.conversation_id AND m.agent_id = trajectory_events.agent_id
    AND m.kind = 'model_call' AND m.ts_ns <= trajectory_events.ts_ns ORDER BY m.ts_ns DESC LIMIT 1)) = ?"""
_PROCESS = "substr(event_id, 1, 16)"
_KEY_LENGTH = 5


def to_ms(moment: Moment) -> int:
    """
    Give a time in milliseconds since 1970 UTC.

    Raises:
        ConfigError: The text is no ISO 8601 time.
    """
    if isinstance(moment, bool | int):
        return int(moment)
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as exc:
            raise ConfigError(f"time={moment!r}: write it as 2026-01-31T12:00:00+00:00.") from exc
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def escape_like(text: str) -> str:
    """Escape ``%``, ``_`` and the escape itself, for ``LIKE ? ESCAPE '\\'``."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def event_conditions(
    *,
    agent: str | None = None,
    turn: int | None = None,
    kinds: Sequence[str] = (),
    status: str | None = None,
    min_ms: float | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> tuple[list[str], list[Any]]:
    """Give SQL conditions, and their values, for what is asked for; nothing asked gives none."""
    conditions: list[str] = []
    values: list[Any] = []
    if agent is not None:
        conditions.append("(agent_id = ? OR agent_name = ?)")
        values += [agent, agent]
    if turn is not None:
        conditions.append(_OF_TURN)
        values.append(turn)
    if kinds:
        conditions.append(f"kind IN ({', '.join('?' for _ in kinds)})")
        values += kinds
    if status is not None:  # what an operation failed with stands in a row of its own
        conditions.append("(status = ? OR kind = 'error')" if status == "error" else "status = ?")
        values.append(status)
    if min_ms is not None:
        conditions.append("duration_ms >= ? AND duration_ms > 0")
        values.append(min_ms)
    for moment, compare in ((since, ">="), (until, "<=")):
        if moment is not None:
            conditions.append(f"ts_ms {compare} ?")
            values.append(to_ms(moment))
    return conditions, values


def search_condition(query: str) -> tuple[str, list[str]]:
    """
    Give the SQL condition for events that contain *query*, and its values.

    Looks in the payload as it is stored (JSON: quotes and backslashes stand there
    escaped, other letters as they are or as ``\\uXXXX``), in the whole value kept beside a
    cut payload, and in the names of tool, agent, model and error type.
    """
    forms = {json.dumps(query, ensure_ascii=False)[1:-1], json.dumps(query)[1:-1]}
    patterns = [f"%{escape_like(form)}%" for form in sorted(forms)]
    plain = f"%{escape_like(query)}%"
    conditions, values = [], []
    for pattern in patterns:
        conditions.append("payload LIKE ? ESCAPE '\\'")
        values.append(pattern)
    for column in ("tool_name", "agent_name", "model", "error_type"):
        conditions.append(f"{column} LIKE ? ESCAPE '\\'")
        values.append(plain)
    whole = " OR ".join("agenttrace_body(b.body) LIKE ? ESCAPE '\\'" for _ in patterns)
    conditions.append(
        "instr(payload, '\"sha256\"') > 0 AND EXISTS (SELECT 1 FROM payload_blobs b"
        f" WHERE b.sha256 = json_extract(payload, '$.sha256') AND ({whole}))"
    )
    values.extend(patterns)
    return f"({' OR '.join(conditions)})", values


def read_events(
    reader: Reader,
    conditions: Sequence[str],
    values: Sequence[Any],
    *,
    limit: int,
    cursor: str | None = None,
    newest_first: bool = False,
) -> Page[Event]:
    """
    Read a page of events.

    Args:
        reader: Where to read.
        conditions: SQL conditions, all of which hold.
        values: Their values.
        limit: Rows per page, >= 1.
        cursor: ``next_cursor`` of the page before.
        newest_first: Turn the order round.
    """
    check_limit(limit)
    where, params = list(conditions), list(values)
    time = _time_expression(reader, conditions, values)
    order = [time, _PROCESS, "length(event_id)", "event_id", "id"]
    key = [f"coalesce({part}, '')" if "event_id" in part else part for part in order]
    if cursor is not None:
        last = parse_cursor(cursor, _KEY_LENGTH)
        compare = "<" if newest_first else ">"
        where.append(f"{time} {compare}= ?")
        where.append(f"({', '.join(key)}) {compare} (?, ?, ?, ?, ?)")
        params += [last[0], *last]
    direction = " DESC" if newest_first else ""
    tail = (
        f"WHERE {' AND '.join(where)} " if where else ""
    ) + f"ORDER BY {', '.join(part + direction for part in [time, *key[1:]])} LIMIT ?"
    return build_page(reader.select(Event, tail, [*params, limit + 1]), limit, _key_of)


def _time_expression(reader: Reader, conditions: Sequence[str], values: Sequence[Any]) -> str:
    """Give ``ts_ns``, or what stands in for it where a hand-written row of that conversation has none."""
    if "conversation_id = ?" not in conditions:
        return "coalesce(ts_ns, ts_ms * 1000000)"
    conversation_id = values[conditions.index("conversation_id = ?")]
    inexact = reader.value(
        "SELECT 1 FROM trajectory_events WHERE conversation_id = ? AND ts_ns IS NULL LIMIT 1",
        [conversation_id],
    )
    return "coalesce(ts_ns, ts_ms * 1000000)" if inexact else "ts_ns"


def _key_of(event: Event) -> tuple[Any, ...]:
    time_ns = event.ts_ns if event.ts_ns is not None else event.ts_ms * 1_000_000
    if event.event_id is None:
        return time_ns, "", "", "", event.id
    return time_ns, event.event_id[:16], len(event.event_id), event.event_id, event.id


def iter_events(
    reader: Reader, conversation_id: str, *, page_rows: int = 5_000, without_payload_of: Sequence[str] = ()
) -> Iterator[Event]:
    """
    Read all events of a conversation in storage order, without holding them all.

    Args:
        reader: Where to read.
        conversation_id: Of which conversation.
        page_rows: Rows per statement.
        without_payload_of: Kinds whose payload is left out (given as ``{}``), because nobody needs it.
    """
    kinds = ", ".join("?" for _ in without_payload_of)
    payload = f"CASE WHEN kind IN ({kinds}) THEN '{{}}' ELSE payload END" if kinds else "payload"
    columns = ", ".join(payload if name == "payload_json" else name for name in Event.__slots__)
    sql = (
        f"SELECT {columns} FROM trajectory_events WHERE conversation_id = ?"
        " AND (agent_id, seq) > (?, ?) ORDER BY agent_id, seq LIMIT ?"
    )
    make = build_maker(Event)
    agent_id, seq = "", -1
    while True:
        rows = reader.rows(sql, [*without_payload_of, conversation_id, agent_id, seq, page_rows])
        for row in rows:
            yield make(*row)
        if len(rows) < page_rows:
            return
        agent_id, seq = rows[-1][2], rows[-1][4]
