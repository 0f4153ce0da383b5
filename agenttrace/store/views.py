"""
Questions to the tables and views, each one bound query; answers are the dataclasses of ``rows``.

Nothing is written here. Every query that a large database must answer quickly
has an index of its own (``tests/store/test_plans.py``); times and limits are
those of the call, never hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

import peewee

from agenttrace.errors import ConfigError
from agenttrace.store.connection import StoreDatabase
from agenttrace.store.rows import (
    AgentRow,
    ConversationRow,
    Event,
    Failure,
    OpenOperation,
    Page,
    ProcessRow,
    ToolTrace,
)

__all__ = [
    "read_agents",
    "read_conversation",
    "read_conversations",
    "read_event",
    "read_events",
    "read_events_page",
    "read_failures",
    "read_open_operations",
    "read_processes",
    "read_tool_traces",
]

Row = TypeVar("Row")

_SOURCES: dict[type[Any], str] = {
    Event: "trajectory_events",
    ConversationRow: "agent_sessions",
    AgentRow: "agents",
    ToolTrace: "tool_traces",
    Failure: "failures",
    OpenOperation: "open_operations",
    ProcessRow: "processes",
}


@cache
def _source(row_type: Any) -> tuple[Any, tuple[Any, ...]]:
    """Give the table or view of a row type, and its columns in the order of the fields."""
    names = [field.name.removesuffix("_json") for field in fields(row_type)]
    table = peewee.Table(_SOURCES[row_type], names)
    return table, tuple(getattr(table, name) for name in names)


def _read(
    database: StoreDatabase,
    row_type: type[Row],
    conditions: Sequence[Any] = (),
    order: Sequence[Any] = (),
    limit: int | None = None,
) -> list[Row]:
    table, columns = _source(row_type)  # type: ignore[arg-type]
    query = table.select(*columns)
    if conditions:
        query = query.where(*conditions)
    if order:
        query = query.order_by(*order)
    if limit is not None:
        query = query.limit(limit)
    with database.reading():
        return [row_type(*values) for values in query.bind(database.peewee).tuples()]


def read_event(database: StoreDatabase, row_id: int) -> Event | None:
    """Read one event by its row id; None when there is none."""
    table, _ = _source(Event)
    return next(iter(_read(database, Event, [table.id == row_id])), None)


def _events(
    conversation_id: str, agent_id: str | None, kinds: Sequence[str] | None
) -> tuple[Any, list[Any], list[Any]]:
    table, _ = _source(Event)
    conditions = [table.conversation_id == conversation_id]
    if kinds is not None:
        conditions.append(table.kind.in_(list(kinds)))
    if agent_id is not None:
        return table, [*conditions, table.agent_id == agent_id], [table.seq]
    # Within one store and process, ids ascend as its frames do.
    process = peewee.fn.substr(table.event_id, 1, 16)
    return table, conditions, [table.ts_ns, process, table.id]


def read_events(
    database: StoreDatabase,
    conversation_id: str,
    agent_id: str | None = None,
    *,
    kinds: Sequence[str] | None = None,
    limit: int | None = None,
) -> list[Event]:
    """
    Read the events of a conversation, or of one agent in it.

    Returns:
        One agent's by ``seq``; a conversation's by time, then process and frame. [] when there are none.
    """
    _, conditions, order = _events(conversation_id, agent_id, kinds)
    return _read(database, Event, conditions, order, limit)


def read_events_page(
    database: StoreDatabase,
    conversation_id: str,
    agent_id: str | None = None,
    *,
    kinds: Sequence[str] | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Event]:
    """
    Read one page of what ``read_events`` reads, in the same order, at any size.

    Args:
        cursor: ``next_cursor`` of the page before; None begins.

    Raises:
        ConfigError: *cursor* is none of ours.
    """
    table, conditions, order = _events(conversation_id, agent_id, kinds)
    if cursor is not None and agent_id is not None:
        conditions.append(table.seq > _cursor(cursor, int)[0])
    elif cursor is not None:
        ts_ns, process, row_id = _cursor(cursor, int, str, int)
        _, process_of, _ = order
        same_time = (process_of > process) | ((process_of == process) & (table.id > row_id))
        conditions += [table.ts_ns >= ts_ns, (table.ts_ns > ts_ns) | same_time]
    rows = _read(database, Event, conditions, order, limit + 1)
    more = len(rows) > limit
    rows = rows[:limit]
    if not more:
        return Page(tuple(rows), None)
    last = rows[-1]
    if agent_id is not None:
        return Page(tuple(rows), str(last.seq))
    return Page(tuple(rows), f"{last.ts_ns}.{(last.event_id or '')[:16]}.{last.id}")


def _cursor(cursor: str, *types: type[Any]) -> list[Any]:
    parts = cursor.split(".", len(types) - 1)
    try:
        return [convert(part) for convert, part in zip(types, parts, strict=True)]
    except ValueError:
        raise ConfigError(f"cursor={cursor!r}: give the next_cursor of a page, or None.") from None


def read_conversation(database: StoreDatabase, conversation_id: str) -> ConversationRow | None:
    """Read one conversation with its counts and sums; None when there is none."""
    table, _ = _source(ConversationRow)
    return next(iter(_read(database, ConversationRow, [table.id == conversation_id])), None)


def read_conversations(
    database: StoreDatabase,
    *,
    limit: int = 50,
    cursor: str | None = None,
    status: str | None = None,
    id_prefix: str | None = None,
    since_ms: int | None = None,
) -> Page[ConversationRow]:
    """
    Read conversations, newest first.

    Args:
        cursor: ``next_cursor`` of the page before; None begins.
        status: Only those that stand so: ``running completed failed cancelled interrupted``.
        id_prefix: Only those whose id begins so.
        since_ms: Only those that began then or later.
    """
    table, _ = _source(ConversationRow)
    conditions: list[Any] = []
    if cursor is not None:
        ts_ms, row_id = _cursor(cursor, int, str)
        conditions += [table.ts_ms <= ts_ms, (table.ts_ms < ts_ms) | (table.id < row_id)]
    if status is not None:
        conditions.append(table.status == status)
    if id_prefix is not None:
        conditions += [table.id >= id_prefix, table.id < id_prefix + "\U0010ffff"]
    if since_ms is not None:
        conditions.append(table.ts_ms >= since_ms)
    rows = _read(database, ConversationRow, conditions, [table.ts_ms.desc(), table.id.desc()], limit + 1)
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(tuple(rows), f"{rows[-1].ts_ms}.{rows[-1].id}" if more else None)


def read_agents(database: StoreDatabase, conversation_id: str) -> list[AgentRow]:
    """Read the agents of a conversation, in the order of their first events."""
    table, _ = _source(AgentRow)
    order = [table.ts_ms, table.agent_id]
    return _read(database, AgentRow, [table.conversation_id == conversation_id], order)


def read_tool_traces(
    database: StoreDatabase,
    *,
    conversation_id: str | None = None,
    agent_id: str | None = None,
    agent_name: str | None = None,
    tool_name: str | None = None,
    status: str | None = None,
    since_ms: int | None = None,
    limit: int | None = None,
) -> list[ToolTrace]:
    """Read tool calls, each with its attempts as one row; oldest first, or with *limit* the newest first."""
    table, _ = _source(ToolTrace)
    given = {
        "conversation_id": conversation_id,
        "agent_id": agent_id,
        "agent_name": agent_name,
        "tool_name": tool_name,
        "status": status,
    }
    conditions = [getattr(table, name) == value for name, value in given.items() if value is not None]
    if since_ms is not None:
        conditions.append(table.ts_ms >= since_ms)
    order = [table.ts_ms, table.id] if limit is None else [table.ts_ms.desc(), table.id.desc()]
    return _read(database, ToolTrace, conditions, order, limit)


def read_failures(
    database: StoreDatabase,
    *,
    conversation_id: str | None = None,
    agent_id: str | None = None,
    agent_name: str | None = None,
    fate: str | None = None,
    since_ms: int | None = None,
    limit: int | None = None,
) -> list[Failure]:
    """Read failures with their fates; oldest first, or with *limit* the newest first."""
    table, _ = _source(Failure)
    given = {
        "conversation_id": conversation_id,
        "agent_id": agent_id,
        "agent_name": agent_name,
        "fate": fate,
    }
    conditions = [getattr(table, name) == value for name, value in given.items() if value is not None]
    if since_ms is not None:
        conditions.append(table.ts_ms >= since_ms)
    order = [table.ts_ms, table.id] if limit is None else [table.ts_ms.desc(), table.id.desc()]
    return _read(database, Failure, conditions, order, limit)


def read_open_operations(
    database: StoreDatabase, *, conversation_id: str | None = None, process_id: str | None = None
) -> list[OpenOperation]:
    """Read what has started and not ended, oldest first."""
    table, _ = _source(OpenOperation)
    given = {"conversation_id": conversation_id, "process_id": process_id}
    conditions = [getattr(table, name) == value for name, value in given.items() if value is not None]
    return _read(database, OpenOperation, conditions, [table.ts_ns, table.id])


def read_processes(database: StoreDatabase) -> list[ProcessRow]:
    """Read the processes that recorded here, newest first."""
    table, _ = _source(ProcessRow)
    return _read(database, ProcessRow, (), [table.started_ms.desc()])
