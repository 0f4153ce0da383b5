"""
Which failures were told to a model, or in an agent's own answer: ``failure_reports``.

Worked out by the batch that stores the later of the two, the failure or what tells of it, and
kept as one row per failure, so that asking for a fate is a look-up. Invariants: derived from
``trajectory_events`` alone (``rebuild_reports`` finds the same rows); a text that stood in the
agent's model input before the failure does not tell of it. Cost: nothing for a batch without model
inputs, answers and errors; one statement for one whose conversations have no failure that nobody
was told of; else a substring search per failure and input, and parsing where that finds something.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from agenttrace.errors import contain
from agenttrace.events import COLUMNS
from agenttrace.store.inputs import InputReader
from agenttrace.store.plan import Plan, Record
from agenttrace.store.telling import Failed, build_failed

__all__ = ["put_reports", "rebuild_reports"]

_FAILURES_LOOKED_FOR = 64
"""Per conversation and batch: the newest that nobody was told of."""
_INPUTS_READ = 10
"""How many stored model inputs after a failure that comes late are read."""
_RESULTS_READ = 4
"""Calls that ended with one failure, whose outputs say how a framework put it."""
_ANCESTORS = 16
_AT = {name: at for at, name in enumerate(COLUMNS)}

_UNTOLD = f"""
SELECT e.conversation_id, e.agent_id, e.parent_agent_id, e.error_id, e.error_type, e.ts_ns, e.payload,
    coalesce(e.call_id, (SELECT c.call_id FROM trajectory_events c WHERE c.span_id = e.span_id
        AND c.kind = 'tool_call' AND +c.conversation_id = e.conversation_id LIMIT 1),
        (SELECT c.call_id FROM trajectory_events c WHERE c.error_id = e.error_id
        AND c.kind = 'tool_result' AND c.call_id IS NOT NULL AND +c.conversation_id = e.conversation_id
        LIMIT 1)) AS call_id,
    (SELECT json_group_array(h.payload) FROM (
        SELECT g.payload FROM trajectory_events g WHERE g.error_id = e.error_id AND g.kind = 'tool_result'
        AND +g.conversation_id = e.conversation_id LIMIT {_RESULTS_READ}) h) AS results,
    (SELECT q.payload FROM trajectory_events p JOIN trajectory_events q ON q.error_id = p.error_id
        WHERE p.span_id = e.parent_span_id AND p.kind = 'tool_result' AND p.error_id <> e.error_id
        AND p.tool_name = e.tool_name AND +p.conversation_id = e.conversation_id
        AND q.kind = 'error' AND +q.conversation_id = e.conversation_id LIMIT 1) AS passed_on
FROM json_each(?) k CROSS JOIN trajectory_events e ON e.id IN (
    SELECT n.id FROM trajectory_events n
    WHERE n.conversation_id = k.value AND n.kind = 'error' AND n.error_id IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM failure_reports r
        WHERE r.conversation_id = n.conversation_id AND r.error_id = n.error_id)
    ORDER BY n.ts_ms DESC LIMIT {_FAILURES_LOOKED_FOR})
"""

_TOLD_LATER = """
SELECT m.conversation_id, m.agent_id, m.kind, m.ts_ns, m.event_id, m.payload FROM trajectory_events m
WHERE m.conversation_id = :conversation_id AND m.agent_id = :agent_id AND m.kind = '{kind}'
AND m.ts_ns >= :ts_ns AND {condition}
ORDER BY m.ts_ns LIMIT :limit
"""
_TOLD_LATER_BY = (
    _TOLD_LATER.format(kind="model_call", condition="1"),
    _TOLD_LATER.format(kind="agent_end", condition="m.status = 'ok'"),
)

_INPUT_BEFORE = """
SELECT m.payload FROM trajectory_events m
WHERE m.conversation_id = ? AND m.agent_id = ? AND m.kind = 'model_call' AND m.ts_ns < ?
ORDER BY m.ts_ns DESC LIMIT 1
"""

_PARENT = "SELECT parent_agent_id FROM agent_rollups WHERE conversation_id = ? AND agent_id = ?"
_BESIDE = """
SELECT agent_id FROM agent_rollups
WHERE conversation_id = ? AND parent_agent_id IN (?, ?) AND agent_id != ? LIMIT 64
"""
_INSERT = """
INSERT INTO failure_reports (conversation_id, error_id, agent_id, kind, event_id, ts_ms)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""


class _Failure(NamedTuple):
    """A failure that nobody was told of yet."""

    conversation_id: str
    agent_id: str
    parent_agent_id: str | None
    error_id: str
    ts_ns: int
    failed: Failed
    is_handed_back: bool
    """It was found in what the model was handed: the next input told of it."""


class _Telling(NamedTuple):
    """A model's input, or an agent's answer."""

    conversation_id: str
    agent_id: str
    kind: str
    ts_ns: int
    event_id: str | None
    payload: str


def put_reports(connection: sqlite3.Connection, plan: Plan, records: Sequence[Record]) -> None:
    """
    Look for the failures of the conversations that a batch wrote to; after its rows were inserted.

    What is wrong with a payload costs only what it tells; what is wrong with the database is raised.
    """
    tellings, failed = _look_at(plan.rows)
    conversations = {one.conversation_id for one in tellings} | {key[0] for key in failed}
    # A conversation that this batch begins has its failures in this batch.
    begun = {key for key in plan.conversations if key not in plan.known_conversations}
    asked = {key for key in conversations if key not in begun or any(key == one for one, _ in failed)}
    if asked:
        bodies = {one.blob[0]: one.blob[1] for one in records if one.blob is not None}
        _Search(connection, bodies).run(sorted(asked), tellings, failed)


def rebuild_reports(connection: sqlite3.Connection) -> None:
    """Work out the reports of every stored failure."""
    connection.execute("DELETE FROM failure_reports")
    rows = connection.execute(
        "SELECT DISTINCT conversation_id FROM trajectory_events WHERE kind = 'error' AND error_id IS NOT NULL"
    ).fetchall()
    for (conversation_id,) in rows:
        failed = connection.execute(
            "SELECT conversation_id, error_id FROM trajectory_events"
            " WHERE conversation_id = ? AND kind = 'error' AND error_id IS NOT NULL",
            (conversation_id,),
        ).fetchall()
        _Search(connection, {}, everything=True).run([conversation_id], [], set(failed))


def _look_at(rows: Iterable[tuple[Any, ...]]) -> tuple[list[_Telling], set[tuple[str, str]]]:
    """Pick what tells, and the keys of what failed, out of the rows of a batch."""
    tellings: list[_Telling] = []
    failed: set[tuple[str, str]] = set()
    kind_at, error_at, status_at = _AT["kind"], _AT["error_id"], _AT["status"]
    for row in rows:
        kind = row[kind_at]
        if kind == "error":
            if row[error_at] is not None:
                failed.add((row[0], row[error_at]))
        elif kind == "model_call" or (kind == "agent_end" and row[status_at] == "ok"):
            tellings.append(
                _Telling(row[0], row[1], kind, row[_AT["ts_ns"]], row[_AT["event_id"]], row[_AT["payload"]])
            )
    return tellings, failed


def _output_of(payload: str) -> Any:
    """Give what the call of a ``tool_result`` handed on."""
    result = json.loads(payload)
    return result.get("output") if isinstance(result, dict) else None


def _message_of(payload: str) -> Any:
    """Give what an ``error`` says: of the call around, of the same tool in another process."""
    error = json.loads(payload).get("error")
    return error.get("message") if isinstance(error, dict) else None


class _Search:
    """One look at failures and tellings; remembers what it has parsed."""

    def __init__(
        self, connection: sqlite3.Connection, bodies: dict[str, bytes], *, everything: bool = False
    ) -> None:
        self._connection = connection
        self._limit = -1 if everything else _INPUTS_READ
        self._sql = _UNTOLD.replace(f"LIMIT {_FAILURES_LOOKED_FOR}", "") if everything else _UNTOLD
        self._parents: dict[tuple[str, str], str | None] = {}
        self._inputs = InputReader(connection, bodies)

    def run(self, asked: list[str], tellings: list[_Telling], fresh: set[tuple[str, str]]) -> None:
        """Find who was told of what, and write it down."""
        failures = list(self._failures(asked))
        if not failures:
            return
        by_agent: defaultdict[tuple[str, str], list[_Telling]] = defaultdict(list)
        for one in tellings:
            by_agent[one.conversation_id, one.agent_id].append(one)
        found = []
        for failure in failures:
            is_fresh = (failure.conversation_id, failure.error_id) in fresh
            telling = self._find(failure, by_agent, is_fresh)
            if telling is not None:
                found.append(
                    (
                        failure.conversation_id,
                        failure.error_id,
                        telling.agent_id,
                        telling.kind,
                        telling.event_id,
                        telling.ts_ns // 1_000_000,
                    )
                )
        if found:
            self._connection.executemany(_INSERT, found)

    def _failures(self, asked: list[str]) -> Iterator[_Failure]:
        for row in self._connection.execute(self._sql, (json.dumps(asked),)).fetchall():
            conversation_id, agent_id, parent_agent_id, error_id, error_type, ts_ns, payload, call_id = row[
                :8
            ]
            try:
                error = json.loads(payload)
                described = error.get("error", error) if isinstance(error, dict) else error
                outputs = [_output_of(each) for each in json.loads(row[8] or "[]")]
                outputs += [_message_of(row[9])] if row[9] else []
                failed = build_failed(described, error_type, call_id, outputs)
            except Exception as exc:
                contain("store.failure_texts", exc)
                continue
            self._parents[conversation_id, agent_id] = parent_agent_id
            is_handed_back = isinstance(error, dict) and error.get("rebuilt") is True
            yield _Failure(
                conversation_id, agent_id, parent_agent_id, error_id, ts_ns or 0, failed, is_handed_back
            )

    def _find(
        self,
        failure: _Failure,
        by_agent: dict[tuple[str, str], list[_Telling]],
        is_fresh: bool,
    ) -> _Telling | None:
        """
        Give the first model input or answer that tells of *failure*: of its agent or of one above.

        Where one node of a graph makes the calls and another asks the model, that is an agent beside it;
        where an agent hands over to another, that is one below it. Only an input with the result of that
        very call tells there.
        """
        listeners = [*((one, False) for one in self._lineage(failure)), *self._beside(failure)]
        for agent_id, is_beside in listeners:
            given: Iterable[_Telling] = by_agent.get((failure.conversation_id, agent_id), ())
            if is_fresh:  # what tells of it may be stored already: another process was faster
                given = [*given, *self._stored_later(failure, agent_id)]
            for telling in given:
                if telling.ts_ns < failure.ts_ns:
                    continue
                try:
                    if self._tells(telling, failure, is_beside):
                        return telling
                except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
                    contain("store.told", exc)
        return None

    def _stored_later(self, failure: _Failure, agent_id: str) -> list[_Telling]:
        key = {
            "conversation_id": failure.conversation_id,
            "agent_id": agent_id,
            "ts_ns": failure.ts_ns,
            "limit": self._limit,
        }
        return [
            _Telling(*row) for sql in _TOLD_LATER_BY for row in self._connection.execute(sql, key).fetchall()
        ]

    def _lineage(self, failure: _Failure) -> Iterator[str]:
        agent_id: str | None = failure.agent_id
        seen: set[str] = set()
        while agent_id is not None and agent_id not in seen and len(seen) < _ANCESTORS:
            seen.add(agent_id)
            yield agent_id
            agent_id = self._parent(failure.conversation_id, agent_id)

    def _beside(self, failure: _Failure) -> Iterator[tuple[str, bool]]:
        if failure.failed.call_id is not None:
            agent_id = failure.agent_id
            key = (failure.conversation_id, failure.parent_agent_id, agent_id, agent_id)
            for (agent_id,) in self._connection.execute(_BESIDE, key).fetchall():
                yield agent_id, True

    def _parent(self, conversation_id: str, agent_id: str) -> str | None:
        key = (conversation_id, agent_id)
        if key not in self._parents:
            row = self._connection.execute(_PARENT, key).fetchone()
            self._parents[key] = row[0] if row else None
        return self._parents[key]

    def _tells(self, telling: _Telling, failure: _Failure, is_beside: bool = False) -> bool:
        if failure.is_handed_back and telling.kind == "model_call" and telling.agent_id == failure.agent_id:
            return True
        conversation_id, call_id = telling.conversation_id, failure.failed.call_id
        if is_beside and (
            telling.kind != "model_call"
            or not self._inputs.holds(conversation_id, telling.payload, str(call_id).lower())
        ):
            return False
        if not failure.failed.may_be_in(
            lambda piece: self._inputs.holds(conversation_id, telling.payload, piece)
        ):
            return False
        if telling.kind == "agent_end":
            told = self._inputs.read_answer(conversation_id, telling.payload)
        else:
            before = self._input_before(telling, failure)
            told = self._inputs.read_input(conversation_id, telling.payload, before)
        if is_beside:
            told = [each for each in told if call_id in each.call_ids]
        return any(failure.failed.is_told_by(each) for each in told)

    def _input_before(self, telling: _Telling, failure: _Failure) -> str | None:
        """Give the input that the agent's model was given last before the failure."""
        key = (telling.conversation_id, telling.agent_id, failure.ts_ns)
        row = self._connection.execute(_INPUT_BEFORE, key).fetchone()
        return None if row is None else str(row[0])
