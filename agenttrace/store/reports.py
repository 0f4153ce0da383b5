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
from agenttrace.events import COLUMNS, MARK
from agenttrace.store.plan import Plan, Record
from agenttrace.store.telling import Failed, Told, build_failed, is_instruction, read_told

__all__ = ["put_reports", "rebuild_reports"]

_FAILURES_LOOKED_FOR = 64
"""Per conversation and batch: the newest that nobody was told of."""
_INPUTS_READ = 10
"""How many stored model inputs after a failure that comes late are read."""
_ANCESTORS = 16
_MESSAGES = ("messages", "input", "contents")
"""Under which key of an object a model's input has its messages."""
_REFERENCES_READ = 64
_AT = {name: at for at, name in enumerate(COLUMNS)}

_UNTOLD = f"""
SELECT e.conversation_id, e.agent_id, e.parent_agent_id, e.error_id, e.error_type, e.ts_ns, e.payload,
    coalesce(e.call_id, (SELECT c.call_id FROM trajectory_events c WHERE c.span_id = e.span_id
        AND c.kind = 'tool_call' AND +c.conversation_id = e.conversation_id LIMIT 1)) AS call_id
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
_BLOB = "SELECT body FROM payload_blobs WHERE sha256 = ?"
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


def _drop_known(items: list[Any], before: list[Any]) -> list[Any]:
    """
    Drop the messages that were there before: those at the beginning that are alike.

    Instructions stand apart: they are often made anew for each input, in front of the same messages.
    """
    fresh = [one for one in items if is_instruction(one) and one not in before]
    items = [one for one in items if not is_instruction(one)]
    count = 0
    for old, new in zip((one for one in before if not is_instruction(one)), items, strict=False):
        if old != new:
            break
        count += 1
    return fresh + items[count:]


class _Payload:
    """A payload in lower case, and which pieces were found in it: failures in a row share theirs."""

    __slots__ = ("_found", "_text")

    def __init__(self, raw: str) -> None:
        self._text = raw.lower()
        self._found: dict[str, bool] = {}

    def holds(self, piece: str) -> bool:
        """Tell whether *piece* is in it."""
        found = self._found.get(piece)
        if found is None:
            found = self._found[piece] = piece in self._text
        return found


class _Search:
    """One look at failures and tellings; remembers what it has parsed."""

    def __init__(
        self, connection: sqlite3.Connection, bodies: dict[str, bytes], *, everything: bool = False
    ) -> None:
        self._connection = connection
        self._bodies = bodies
        self._limit = -1 if everything else _INPUTS_READ
        self._sql = _UNTOLD.replace(f"LIMIT {_FAILURES_LOOKED_FOR}", "") if everything else _UNTOLD
        self._parents: dict[tuple[str, str], str | None] = {}
        self._resolved = 0
        self._whole: dict[str, str] = {}
        self._payloads: dict[str, _Payload] = {}
        self._items: dict[tuple[str, str], list[Any]] = {}
        self._told: dict[tuple[str, str | None], list[Told]] = {}

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
            conversation_id, agent_id, parent_agent_id, error_id, error_type, ts_ns, payload, call_id = row
            try:
                error = json.loads(payload)
                described = error.get("error", error) if isinstance(error, dict) else error
                failed = build_failed(described, error_type, call_id)
            except Exception as exc:
                contain("store.failure_texts", exc)
                continue
            self._parents[conversation_id, agent_id] = parent_agent_id
            yield _Failure(conversation_id, agent_id, parent_agent_id, error_id, ts_ns or 0, failed)

    def _find(
        self,
        failure: _Failure,
        by_agent: dict[tuple[str, str], list[_Telling]],
        is_fresh: bool,
    ) -> _Telling | None:
        """Give the first model input or answer that tells of *failure*: of its agent or of one above."""
        for agent_id in self._lineage(failure):
            given: Iterable[_Telling] = by_agent.get((failure.conversation_id, agent_id), ())
            if is_fresh:  # what tells of it may be stored already: another process was faster
                given = [*given, *self._stored_later(failure, agent_id)]
            for telling in given:
                if telling.ts_ns < failure.ts_ns:
                    continue
                try:
                    if self._tells(telling, failure):
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

    def _parent(self, conversation_id: str, agent_id: str) -> str | None:
        key = (conversation_id, agent_id)
        if key not in self._parents:
            row = self._connection.execute(_PARENT, key).fetchone()
            self._parents[key] = row[0] if row else None
        return self._parents[key]

    def _tells(self, telling: _Telling, failure: _Failure) -> bool:
        raw = self._read_whole(telling.payload)
        payload = self._payloads.get(raw)
        if payload is None:
            payload = self._payloads[raw] = _Payload(raw)
        if not failure.failed.may_be_in(payload.holds):
            return False
        return any(failure.failed.is_told_by(told) for told in self._read(telling, raw, failure))

    def _read(self, telling: _Telling, raw: str, failure: _Failure) -> list[Told]:
        """Read what *telling* says that was not said before the failure."""
        is_answer = telling.kind == "agent_end"
        before = None if is_answer else self._input_before(telling, failure)
        key = (raw, before)
        if key not in self._told:
            items = self._split_items(raw, telling.kind)
            if before is not None:
                items = _drop_known(items, self._split_items(before, telling.kind))
            elif items and is_instruction(items[0]):
                items = items[1:]  # the first input of this agent: what it says to every model
            self._told[key] = [read_told(self._resolve(item), is_answer=is_answer) for item in items]
        return self._told[key]

    def _input_before(self, telling: _Telling, failure: _Failure) -> str | None:
        """Give the input that the agent's model was given last before the failure."""
        row = self._connection.execute(
            _INPUT_BEFORE, (telling.conversation_id, telling.agent_id, failure.ts_ns)
        ).fetchone()
        return None if row is None else self._read_whole(row[0])

    def _split_items(self, raw: str, kind: str) -> list[Any]:
        """Give the messages of a model's input, and what stands beside them; an answer is the only one."""
        key = (kind, raw)
        if key not in self._items:
            payload = json.loads(raw)
            value = payload.get("output" if kind == "agent_end" else "input", payload)
            items = [value]
            if kind == "model_call" and isinstance(value, dict):
                name = next((name for name in _MESSAGES if isinstance(value.get(name), list)), None)
                if name is not None:
                    beside = {key: each for key, each in value.items() if key != name}
                    items = [{"role": "system", "beside": beside}, *value[name]]
            elif kind == "model_call" and isinstance(value, list):
                items = value
            self._items[key] = items
        return self._items[key]

    def _resolve(self, item: Any) -> Any:
        """Put what references name in their place, a few of them."""
        if not (isinstance(item, dict) and item.get(MARK) == "ref"):
            return item
        self._resolved += 1
        body = self._blob(item.get("sha256")) if self._resolved <= _REFERENCES_READ else None
        return item if body is None else json.loads(body)

    def _read_whole(self, payload: str) -> str:
        """Give the payload, or of one that was cut the whole where it was kept."""
        whole = self._whole.get(payload)
        if whole is None:
            body = None
            if f'"{MARK}":"cut"' in payload:
                mark = json.loads(payload)
                body = self._blob(mark.get("sha256")) if mark.get(MARK) == "cut" else None
            whole = self._whole[payload] = payload if body is None else body
        return whole

    def _blob(self, sha256: Any) -> str | None:
        if not isinstance(sha256, str):
            return None
        body = self._bodies.get(sha256)
        if body is None:
            row = self._connection.execute(_BLOB, (sha256,)).fetchone()
            body = None if row is None else row[0]
        return None if body is None else bytes(body).decode("utf-8", "replace")
