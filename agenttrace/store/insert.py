"""
The statements that a batch runs, compiled once per process by peewee.

Everything here runs inside the caller's transaction, on its connection.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from peewee import EXCLUDED, Case, Model, fn

from agenttrace import clock
from agenttrace.events import COLUMNS, END_OF, EXTRA_COLUMNS
from agenttrace.store.models import AgentRollup, Conversation, PayloadBlob, TrajectoryEvent
from agenttrace.store.plan import AgentKey, Plan, Record
from agenttrace.store.statements import MultiInsert

__all__ = [
    "load_agents",
    "put_conversations",
    "put_events",
    "put_plan",
]

_LOAD_AGENTS = """
SELECT r.conversation_id, r.agent_id, r.next_seq, r.turn_base, r.max_turn, r.runs
FROM json_each(?) k CROSS JOIN agent_rollups r
    ON r.conversation_id = json_extract(k.value, '$[0]') AND r.agent_id = json_extract(k.value, '$[1]')
"""

_OPEN_SPANS = f"""
INSERT INTO open_spans (conversation_id, agent_id, span_id, seq, kind, ts_ns, process_id)
SELECT json_extract(k.value, '$[0]'), json_extract(k.value, '$[1]'), json_extract(k.value, '$[2]'),
    json_extract(k.value, '$[3]'), json_extract(k.value, '$[4]'), json_extract(k.value, '$[5]'),
    json_extract(k.value, '$[6]')
FROM json_each(?) k
WHERE NOT EXISTS (
    SELECT 1 FROM trajectory_events e
    WHERE e.span_id = json_extract(k.value, '$[2]') AND e.kind IN {tuple(END_OF.values())}
    AND +e.conversation_id = json_extract(k.value, '$[0]'))
ON CONFLICT DO NOTHING
"""

_OFTEN_EMPTY = ("parent_agent_id", "call_id", "error_id", "error_type")
_SHAPES = (
    tuple(name for name in COLUMNS if name not in (*_OFTEN_EMPTY, *EXTRA_COLUMNS)),
    tuple(name for name in COLUMNS if name not in EXTRA_COLUMNS),
    COLUMNS,
)
"""
The columns that events are inserted with, by ``Plan.breadth``. A column that is empty in every row
of a batch costs 0.2 µs a row all the same when it is named; few shapes, because each is a prepared
statement of 1,000 rows.
"""

_CLOSE_SPANS = """
DELETE FROM open_spans WHERE (conversation_id, agent_id, span_id) IN (
    SELECT json_extract(k.value, '$[0]'), json_extract(k.value, '$[1]'), json_extract(k.value, '$[2]')
    FROM json_each(?) k)
"""


def _one_row(model: type[Model], names: Sequence[str]) -> Any:
    return model.insert_many([(0,) * len(names)], fields=[getattr(model, name) for name in names])


@cache
def _insert_events(breadth: int) -> MultiInsert:
    return MultiInsert(_one_row(TrajectoryEvent, _SHAPES[breadth]))


@cache
def _insert_conversations() -> MultiInsert:
    # A child process may store its events before those of the code that started it.
    query = _one_row(Conversation, ("id", "created_ms", "process_id"))
    return MultiInsert(
        query.on_conflict(
            conflict_target=[Conversation.id],
            update={
                Conversation.created_ms: EXCLUDED.created_ms,
                Conversation.process_id: EXCLUDED.process_id,
            },
            where=EXCLUDED.created_ms < Conversation.created_ms,
        )
    )


@cache
def _name_conversations() -> MultiInsert:
    query = _one_row(Conversation, ("id", "task", "metadata", "created_ms", "process_id"))
    return MultiInsert(
        query.on_conflict(
            conflict_target=[Conversation.id],
            update={
                Conversation.task: fn.coalesce(EXCLUDED.task, Conversation.task),
                Conversation.metadata: fn.coalesce(EXCLUDED.metadata, Conversation.metadata),
                Conversation.created_ms: fn.min(EXCLUDED.created_ms, Conversation.created_ms),
                Conversation.process_id: Case(
                    None,
                    [(EXCLUDED.created_ms < Conversation.created_ms, EXCLUDED.process_id)],
                    Conversation.process_id,
                ),
            },
        )
    )


@cache
def _insert_blobs() -> MultiInsert:
    return MultiInsert(_one_row(PayloadBlob, ("sha256", "bytes", "body", "created_ms")).on_conflict_ignore())


@cache
def _upsert_rollups() -> MultiInsert:
    this, that = AgentRollup, EXCLUDED
    update: dict[Any, Any] = {}
    for name in ("events", "runs", "tool_calls", "failed_calls", "errors", "retries", "model_turns"):
        update[getattr(this, name)] = getattr(this, name) + getattr(that, name)
    for name in (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "cost_usd",
    ):
        mine, theirs = getattr(this, name), getattr(that, name)
        update[mine] = fn.coalesce(mine + theirs, mine, theirs)
    for name in ("next_seq", "max_turn", "last_ts_ms"):
        update[getattr(this, name)] = fn.max(getattr(this, name), getattr(that, name))
    for name in ("last_start_seq", "last_start_ts_ms", "last_end_seq", "last_end_ts_ms"):
        mine, theirs = getattr(this, name), getattr(that, name)
        update[mine] = fn.coalesce(fn.max(mine, theirs), mine, theirs)
    for name in ("first_ts_ms", "first_start_seq"):
        mine, theirs = getattr(this, name), getattr(that, name)
        update[mine] = fn.coalesce(fn.min(mine, theirs), mine, theirs)
    for name in ("agent_name", "model", "provider"):
        update[getattr(this, name)] = fn.coalesce(getattr(that, name), getattr(this, name))
    update[this.parent_agent_id] = fn.coalesce(this.parent_agent_id, that.parent_agent_id)
    update[this.turn_base] = that.turn_base
    # The status of the run that ended last, by seq.
    is_newer = fn.iif(this.last_end_seq > that.last_end_seq, this.last_status, that.last_status)
    update[this.last_status] = fn.iif(that.last_end_seq.is_null(), this.last_status, is_newer)
    names = [field.name for field in this._meta.sorted_fields]
    return MultiInsert(
        _one_row(this, names).on_conflict(
            conflict_target=[this.conversation_id, this.agent_id], update=update
        )
    )


def load_agents(
    connection: sqlite3.Connection, keys: Iterable[AgentKey]
) -> dict[AgentKey, tuple[int, int, int, int]]:
    """Read ``next_seq, turn_base, max_turn, runs`` of the agents that exist, in one statement."""
    wanted = json.dumps([list(key) for key in keys])
    return {(row[0], row[1]): row[2:] for row in connection.execute(_LOAD_AGENTS, (wanted,))}


def put_plan(connection: sqlite3.Connection, plan: Plan, records: Sequence[Record]) -> None:
    """Insert everything of *plan*; the blobs are those of the records that became rows."""
    put_conversations(connection, plan)
    put_events(connection, plan.rows, plan.breadth)
    _put_blobs(connection, plan, records)
    _upsert_rollups().run(connection, [tally.to_row() for tally in plan.tallies.values() if tally.events])
    if plan.opened:
        opened = [[*key, *value] for key, value in plan.opened.items()]
        connection.execute(_OPEN_SPANS, (json.dumps(opened),))
    if plan.closed:
        connection.execute(_CLOSE_SPANS, (json.dumps(plan.closed),))


def put_conversations(connection: sqlite3.Connection, plan: Plan) -> None:
    """Insert the conversations that are new, and describe those that were named."""
    new = [
        (key, *value)
        for key, value in plan.conversations.items()
        if key not in plan.named and (key not in plan.known_conversations or key in plan.begun)
    ]
    _insert_conversations().run(connection, new)
    named = [(key, *value, *plan.conversations[key]) for key, value in plan.named.items()]
    _name_conversations().run(connection, named)


def put_events(
    connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], breadth: int = len(_SHAPES) - 1
) -> None:
    """
    Insert event rows in order, so that their ids ascend.

    Args:
        rows: In the order of ``events.COLUMNS``.
        breadth: As ``Plan.breadth`` of these rows: which columns they use.
    """
    if breadth < len(_SHAPES) - 1:
        rows = list(map(_pick(breadth), rows))
    _insert_events(breadth).run(connection, rows)


@cache
def _pick(breadth: int) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    return itemgetter(*(COLUMNS.index(name) for name in _SHAPES[breadth]))


def _put_blobs(connection: sqlite3.Connection, plan: Plan, records: Sequence[Record]) -> None:
    now_ms = clock.now_ms()
    blobs = {}
    for index in plan.indexes:
        blob = records[index].blob
        if blob is not None:
            blobs[blob[0]] = (blob[0], len(blob[1]), records[index].packed or blob[1], now_ms)
    _insert_blobs().run(connection, list(blobs.values()))
