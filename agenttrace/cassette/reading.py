"""
From the rows of one conversation to its runs, calls and turns.

Invariant: every operation that has a start, or an end, is in the run of the agent that it stands in;
payloads are whole where they were kept whole. Calls that nobody traced (rebuilt from what a model was
told) are left out: no traced tool will ask for them. Cost: one read of the events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from agenttrace.cassette.recorded import RecordedCall, RecordedModelTurn, RecordedRun
from agenttrace.errors import NotFound
from agenttrace.query.operations import Operation, collect_operations
from agenttrace.query.order import order_key
from agenttrace.query.reading import Reader
from agenttrace.query.timeline import iter_events
from agenttrace.store.event_store import TraceStore
from agenttrace.store.rows import Event

__all__ = ["read_runs"]

_OF_A_RESULT = frozenset({"is_error", "output", "stream", "arguments", "late", "rebuilt"})
_COUNTS = (
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("reasoning_tokens", "cost_usd"),
)
_CHAIN_LIMIT = 100_000


def read_runs(store: TraceStore, conversation_id: str, agent_id: str | None = None) -> list[RecordedRun]:
    """
    Read the runs of a conversation in the order in which they began.

    Args:
        store: Where.
        conversation_id: Which.
        agent_id: Id or name of one agent: only its runs and those below, with paths that begin there.

    Raises:
        NotFound: No such agent ran.
    """
    events = sorted(iter_events(Reader(store), conversation_id), key=order_key)
    runs = _RunReader(events, store.payload_reader(conversation_id)).read()
    return runs if agent_id is None else _below(runs, agent_id)


class _RunReader:
    """Puts the operations of one conversation together."""

    def __init__(self, events: list[Event], read: Callable[[Event], Any]) -> None:
        self._read_payload = read
        self._operations = [one for one in collect_operations(events) if one.family != "event"]
        self._by_span = {one.span_id: one for one in reversed(self._operations) if one.span_id is not None}
        self._runs_of: defaultdict[str, list[Operation]] = defaultdict(list)
        self._made: list[RecordedCall] = []
        self._errors: dict[str, Event] = {}
        self._retries: defaultdict[str, list[Event]] = defaultdict(list)
        self._deltas: defaultdict[str, list[Event]] = defaultdict(list)
        for one in self._operations:
            if one.family == "agent":
                self._runs_of[one.agent_id].append(one)
        for event in events:
            if event.kind == "error" and event.error_id is not None:
                self._errors.setdefault(event.error_id, event)
            elif event.kind == "retry" and event.span_id is not None:
                self._retries[event.span_id].append(event)
            elif event.kind == "model_delta" and event.span_id is not None:
                self._deltas[event.span_id].append(event)

    def read(self) -> list[RecordedRun]:
        """Give the runs, each with what it did."""
        agents = [one for one in self._operations if one.family == "agent"]
        at = {id(one): index for index, one in enumerate(agents)}
        owners = {id(one): self._owner(one) for one in self._operations}
        runs = [self._build_run(one, owners, at) for one in agents]
        for one in self._operations:
            owner, inside = owners[id(one)]
            if one.family == "agent" or owner is None:
                continue
            run = runs[at[id(owner)]]
            if one.family == "turn":
                run.turns.append(self._build_turn(one, inside))
            elif not _is_rebuilt(one):
                run.calls.append(self._build_call(one, inside))
        self._note_agents(agents)
        self._number_ends()
        for run in runs:
            run.calls.sort(key=lambda call: call.row or 0)
        return runs

    def _note_agents(self, agents: Iterable[Operation]) -> None:
        holding: set[int] = set()
        for agent in agents:
            above = self._parent(agent)
            while above is not None and above.family != "agent":
                holding.add(above.first.id)
                above = self._parent(above)
        for call in self._made:
            call.has_agents = call.row in holding

    def _number_ends(self) -> None:
        """Count the calls in the order in which they ended."""
        ends = [one.end for one in self._operations if one.family == "call" and one.end is not None]
        ended = {end.id: at for at, end in enumerate(sorted(ends, key=order_key), 1)}
        for call in self._made:
            call.ended = ended.get(call.end_row or 0)

    def _parent(self, one: Operation) -> Operation | None:
        """Give the operation around one: by its span, else the run of its agent, or of the parent agent."""
        found = self._by_span.get(one.parent_span_id) if one.parent_span_id is not None else None
        if found is not None and found is not one:
            return found
        agent_id = one.parent_agent_id if one.family == "agent" else one.agent_id
        candidates = [run for run in self._runs_of.get(agent_id or "", ()) if run is not one]
        earlier = [run for run in candidates if run.key <= one.key]
        return earlier[-1] if earlier else (candidates[0] if candidates else None)

    def _owner(self, one: Operation) -> tuple[Operation | None, list[str]]:
        """Give the agent's run that an operation stands in, and the tools between the two."""
        inside: list[str] = []
        above = self._parent(one)
        for _ in range(_CHAIN_LIMIT):
            if above is None or above.family == "agent":
                break
            if above.family == "call":
                inside.append(above.name)
            above = self._parent(above)
        return above, inside[::-1]

    def _build_run(
        self,
        one: Operation,
        owners: dict[int, tuple[Operation | None, list[str]]],
        at: dict[int, int],
    ) -> RecordedRun:
        path, seen = [one.name], {id(one)}
        owner, inside = owners[id(one)]
        above = owner
        while above is not None and id(above) not in seen:
            seen.add(id(above))
            path.append(above.name)
            above = owners[id(above)][0]
        return RecordedRun(
            path=path[::-1],
            parent=None if owner is None else at[id(owner)],
            input=self._payload(one.start).get("input"),
            status=_status(one),
            output=self._payload(one.end).get("output"),
            inside=inside,
            rows=[one.first.id],
            span_id=one.span_id,
            agent_id=one.agent_id,
        )

    def _build_call(self, one: Operation, inside: list[str]) -> RecordedCall:
        given, back = self._payload(one.start), self._payload(one.end)
        arguments = given.get("arguments")
        if arguments is None and "arguments" in back:
            arguments = back["arguments"]  # of a tool scope that was given none: the traced tool's inside
        end = one.end
        error, is_returned = self._error(None if end is None else end.error_id)
        call = RecordedCall(
            tool=one.name,
            arguments=arguments,
            inside=inside,
            status=_status(one),
            output=back.get("output"),
            stream=back.get("stream") if isinstance(back.get("stream"), dict) else None,
            error_type=None if end is None else end.error_type,
            error=error,
            is_returned=is_returned,
            attempts=self._attempts(one),
            members={name: value for name, value in back.items() if name not in _OF_A_RESULT},
            duration_ms=None if end is None else end.duration_ms,
            row=one.first.id,
            end_row=None if end is None else end.id,
        )
        self._made.append(call)
        return call

    def _build_turn(self, one: Operation, inside: list[str]) -> RecordedModelTurn:
        given, back = self._payload(one.start), self._payload(one.end)
        first, end = one.start or one.first, one.end
        error, _ = self._error(None if end is None else end.error_id)
        pieces = [self._payload(each) for each in self._deltas.get(one.span_id or "", ())]
        pieces.sort(key=lambda each: each.get("index") or 0)
        counts = {} if end is None else {name: getattr(end, name) for name in _COUNTS}
        return RecordedModelTurn(
            model=first.model or one.name,
            provider=first.provider,
            input=given.get("input"),
            params=given.get("params"),
            status=_status(one),
            answered_by=None if end is None else end.model,
            payload=back,
            counts={name: count for name, count in counts.items() if count is not None},
            deltas=[str(each.get("text") or "") for each in pieces],
            error_type=None if end is None else end.error_type,
            error=error,
            attempts=self._attempts(one),
            inside=inside,
            duration_ms=None if end is None else end.duration_ms,
            row=one.first.id,
            end_row=None if end is None else end.id,
        )

    def _attempts(self, one: Operation) -> list[dict[str, Any]]:
        """Describe what each attempt but the last failed with."""
        found = []
        for retry in self._retries.get(one.span_id or "", ()):
            error, is_returned = self._error(retry.error_id)
            described = dict(error or {"type": retry.error_type or "Exception", "message": ""})
            if is_returned:
                described["rejected"] = True
            told = self._payload(retry)
            described.update({name: told[name] for name in ("by", "wait_ms", "limit_count") if name in told})
            found.append(described)
        return found

    def _error(self, error_id: str | None) -> tuple[dict[str, Any] | None, bool]:
        """Describe a failure; and tell whether it came back as data."""
        row = self._errors.get(error_id or "")
        if row is None:
            return None, False
        payload = self._payload(row)
        error = payload.get("error")
        if not isinstance(error, dict):
            error = {
                "type": row.error_type or "Exception",
                "message": str(error or payload.get("message", "")),
            }
        return error, "returned" in payload

    def _payload(self, event: Event | None) -> dict[str, Any]:
        payload = None if event is None else self._read_payload(event)
        return payload if isinstance(payload, dict) else {}


def _status(one: Operation) -> str:
    end = one.end
    if end is None:
        return "open"
    return end.status or "ok"


def _is_rebuilt(one: Operation) -> bool:
    if one.start is None or '"rebuilt"' not in one.start.payload_json:
        return False
    payload = one.start.payload  # one that was cut has its mark at the end
    return isinstance(payload, dict) and payload.get("rebuilt") is True


def _below(runs: list[RecordedRun], agent_id: str) -> list[RecordedRun]:
    """Keep the runs of one agent and those below it, as if it were the root."""
    roots = {at for at, run in enumerate(runs) if run.agent_id == agent_id}
    roots = roots or {at for at, run in enumerate(runs) if run.path[-1] == agent_id}
    if not roots:
        names = tuple(dict.fromkeys(run.path[-1] for run in runs))
        raise NotFound(
            f"no agent {agent_id!r} ran in that conversation; these did: {', '.join(names)}", names
        )
    cut: dict[int, int] = {}
    new: dict[int, int] = {}
    kept: list[RecordedRun] = []
    waiting = True
    while waiting:  # a parent may have been stored behind its child
        waiting = False
        for at, run in enumerate(runs):
            if at in cut:
                continue
            if at in roots and (run.parent is None or run.parent not in roots):
                cut[at] = len(run.path) - 1
            elif run.parent in cut:
                cut[at] = cut[run.parent]
            else:
                continue
            waiting = True
    for at, run in enumerate(runs):
        if at not in cut:
            continue
        new[at] = len(kept)
        is_root = len(run.path) - 1 == cut[at]
        run.path = run.path[cut[at] :]
        if is_root:
            run.parent, run.inside = None, []
        kept.append(run)
    for run in kept:
        run.parent = None if run.parent is None else new[run.parent]
    return kept
