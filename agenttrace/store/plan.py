"""
From records to rows: what one batch will write, worked out before it is written.

Pure: it reads the records and the agents' rollups and touches no database. A
record that cannot become a row is counted under ``<kind>: <what is wrong>`` and
leaves no gap in ``seq``. Cost: one pass, about 2 µs a record.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from agenttrace.events import CONTROL_CONVERSATION, END_OF, H_AGENT_ID, H_CONVERSATION_ID
from agenttrace.store.tally import Tally

__all__ = ["AgentKey", "Plan", "Record", "agents_of", "build_plan"]

_STARTS = frozenset(END_OF)
_ENDS = frozenset(END_OF.values())
_NO_EXTRA: dict[str, Any] = {}

AgentKey = tuple[str, str]
"""``(conversation_id, agent_id)``."""


class Record(NamedTuple):
    """One event on its way into the store."""

    header: list[Any]
    """Values in the order of ``events.H_*``; ``H_EXTRA`` may also hold ``turn_in_run`` and ``seq``."""
    payload: bytes
    """A JSON object in UTF-8, redacted and cut."""
    event_id: str
    """Process id and frame number."""
    blob: tuple[str, bytes] | None = None
    """SHA-256 and body of the whole payload, when ``payload`` is a cut of it."""
    packed: bytes | None = None
    """The body compressed, where it is stored so."""


class Plan:
    """The rows that one batch will insert."""

    __slots__ = (
        "begun",
        "breadth",
        "closed",
        "conversations",
        "failed",
        "indexes",
        "known_conversations",
        "named",
        "opened",
        "rows",
        "tallies",
    )

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        """Events, in the order of ``events.COLUMNS``."""
        self.breadth = 0
        """How many columns they use: 0 those of every call, 1 some that are often empty too, 2 any."""
        self.indexes: list[int] = []
        """For each row, which record it came from."""
        self.tallies: dict[AgentKey, Tally] = {}
        self.conversations: dict[str, tuple[int, str | None]] = {}
        """For each conversation, its first time in ms and its process."""
        self.known_conversations: set[str] = set()
        """Those that exist: they have an agent."""
        self.begun: set[str] = set()
        """Those in which the first run of an agent begins: they may begin earlier than was known."""
        self.named: dict[str, tuple[str | None, str | None]] = {}
        """For each conversation that was described: task and metadata."""
        self.opened: dict[tuple[str, str, str], tuple[int, str, int, str | None]] = {}
        """Operations that the batch starts and does not end: seq, kind, time in ns, process."""
        self.closed: list[tuple[str, str, str]] = []
        """Operations that the batch ends and did not start."""
        self.failed: dict[str, int] = {}

    def put_conversation(self, conversation_id: str, ts_ms: int, record: Record) -> None:
        """Note that a conversation has something of this time; the earliest counts."""
        known = self.conversations.get(conversation_id)
        if known is None or ts_ms < known[0]:
            process_id = record.event_id.partition("-")[0] if record.event_id else None
            self.conversations[conversation_id] = (ts_ms, process_id)

    def count_failure(self, kind: Any, exc: BaseException) -> None:
        """Count one record that cannot be stored."""
        # Few different texts, so that they can be counted.
        shown = kind if isinstance(kind, str) and len(kind) <= 40 and kind.isprintable() else "event"
        reason = f"{shown}: {type(exc).__name__}"
        self.failed[reason] = self.failed.get(reason, 0) + 1


def agents_of(records: Sequence[Record]) -> set[AgentKey]:
    """Collect the agents that a batch writes to."""
    found: set[AgentKey] = set()
    for record in records:
        try:
            found.add((record.header[H_CONVERSATION_ID], record.header[H_AGENT_ID]))
        except (IndexError, TypeError):
            continue  # build_plan counts it
    return {key for key in found if isinstance(key[0], str) and isinstance(key[1], str)}


def build_plan(
    records: Sequence[Record],
    known: Mapping[AgentKey, tuple[int, int, int, int]],
    bad: Collection[int] = (),
) -> Plan:
    """
    Work out the rows of a batch.

    Args:
        records: In the order in which they are to be stored.
        known: For agents that have a rollup row: ``next_seq, turn_base, max_turn, runs``.
        bad: Indexes of records to leave out, because the database refused them.
    """
    plan = Plan()
    plan.known_conversations = {conversation_id for conversation_id, _ in known}
    for index, record in enumerate(records):
        if index in bad:
            continue
        kind: Any = None
        try:
            kind = record.header[0]
            if kind == CONTROL_CONVERSATION:
                _name_conversation(plan, record)
            else:
                _add_event(plan, known, index, record)
        except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as exc:
            plan.count_failure(kind, exc)
    return plan


def _add_event(
    plan: Plan, known: Mapping[AgentKey, tuple[int, int, int, int]], index: int, record: Record
) -> None:
    (
        kind,
        ts_ns,
        conversation_id,
        agent_id,
        agent_name,
        parent_agent_id,
        span_id,
        parent_span_id,
        tool_name,
        status,
        duration_ms,
        call_id,
        error_id,
        error_type,
        extra,
    ) = record.header
    payload = record.payload.decode()
    ts_ms = ts_ns // 1_000_000
    key = (conversation_id, agent_id)
    tally = plan.tallies.get(key)
    if tally is None:
        tally = _add_agent(plan, known, key, ts_ms, record)
    if extra:
        plan.breadth = 2
    else:
        extra = _NO_EXTRA
        if plan.breadth == 0 and not (parent_agent_id is call_id is error_id is error_type is None):
            plan.breadth = 1
    seq = extra.get("seq")
    if seq is None:
        seq = tally.next_seq
        if kind == "agent_start" and tally.has_run and payload[:1] == "{" and '"resumed":true' not in payload:
            payload = '{"resumed":true' + ("}" if payload == "{}" else "," + payload[1:])
    elif type(seq) is not int or seq < 0:
        raise ValueError("seq")
    if kind == "agent_start":
        if not tally.has_run:
            # A child process may have been quicker to store what it did for this agent.
            plan.begun.add(conversation_id)
            plan.put_conversation(conversation_id, ts_ms, record)
        tally.start_run(seq, ts_ms)
    elif kind == "error":
        json.loads(payload)  # rubbish here would break every question about failures
    turn = extra.get("turn")
    if turn is None and "turn_in_run" in extra:
        turn = tally.turn_base + extra["turn_in_run"]
    retry_of = extra.get("retry_of")
    model = extra.get("model")
    provider = extra.get("provider")
    plan.rows.append(
        (
            conversation_id,
            agent_id,
            parent_agent_id,
            seq,
            ts_ms,
            kind,
            payload,
            ts_ns,
            record.event_id,
            agent_name,
            span_id,
            parent_span_id,
            call_id,
            tool_name,
            status,
            error_id,
            extra.get("cause_error_id"),
            error_type,
            duration_ms,
            turn,
            extra.get("attempt"),
            retry_of,
            model,
            provider,
            extra.get("input_tokens"),
            extra.get("output_tokens"),
            extra.get("cache_read_tokens"),
            extra.get("cache_write_tokens"),
            extra.get("reasoning_tokens"),
            extra.get("cost_usd"),
        )
    )
    # From here on nothing may raise: the row is counted.
    plan.indexes.append(index)
    tally.events += 1
    if seq >= tally.next_seq:
        tally.next_seq = seq + 1
    if ts_ms > tally.last_ts_ms:
        tally.last_ts_ms = ts_ms
    elif tally.first_ts_ms is None or ts_ms < tally.first_ts_ms:
        tally.first_ts_ms = ts_ms
    if agent_name is not None:
        tally.agent_name = agent_name
    if parent_agent_id is not None:
        tally.parent_agent_id = parent_agent_id
    if type(turn) is int and turn > tally.max_turn:
        tally.max_turn = turn
    if model is not None:
        tally.model = model
        if provider is not None:
            tally.provider = provider
    if kind in _STARTS:
        if kind == "tool_call":
            tally.start_call(retry_of)
        if span_id is not None:
            process_id = record.event_id.partition("-")[0] if record.event_id else None
            plan.opened[(conversation_id, agent_id, span_id)] = (seq, kind, ts_ns, process_id)
    elif kind in _ENDS:
        if kind == "tool_result":
            if status == "error":
                tally.failed_calls += 1
        elif kind == "model_turn":
            tally.end_turn(extra)
        else:
            tally.end_run(seq, ts_ms, status)
        if span_id is not None:
            span = (conversation_id, agent_id, span_id)
            if plan.opened.pop(span, None) is None:
                plan.closed.append(span)
    elif kind == "error":
        tally.errors += 1
    elif kind == "retry":
        tally.retries += 1


def _add_agent(
    plan: Plan, known: Mapping[AgentKey, tuple[int, int, int, int]], key: AgentKey, ts_ms: int, record: Record
) -> Tally:
    for part in key:
        if not part.encode():  # UnicodeEncodeError for what SQLite could not hold
            raise ValueError("empty id")
    tally = plan.tallies[key] = Tally(*key, *known.get(key, ()))
    tally.first_ts_ms = ts_ms
    plan.put_conversation(key[0], ts_ms, record)
    return tally


def _name_conversation(plan: Plan, record: Record) -> None:
    conversation_id = record.header[H_CONVERSATION_ID]
    if not conversation_id.encode():
        raise ValueError("empty id")
    data = json.loads(record.payload)
    task, metadata = data.get("task"), data.get("metadata")
    if isinstance(task, dict):
        task = task.get("head", json.dumps(task, ensure_ascii=False))
    elif task is not None and not isinstance(task, str):
        task = json.dumps(task, ensure_ascii=False)
    plan.put_conversation(conversation_id, record.header[1] // 1_000_000, record)
    plan.named[conversation_id] = (
        task,
        None if metadata is None else json.dumps(metadata, ensure_ascii=False),
    )
