"""
One run in memory, as the finders look at it: tree, failures, ends, and what earlier runs were like.

Invariant: every question about one run is answered from one read of its events; only history is
read later, and only where a finder has something to compare. Cost: one tree; then one indexed
range per tool or agent that looks unusual.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from agenttrace import clock
from agenttrace.query.percentiles import percentile
from agenttrace.query.reading import Reader
from agenttrace.query.steps import find_owner, name_paths
from agenttrace.query.timeline import PAYLOADS_NO_TREE_NEEDS, iter_events
from agenttrace.query.tree import Liveness, Tree, TreeNode, build_tree, parse_payload
from agenttrace.store.rows import ConversationRow, Event, Failure

__all__ = ["EarlierRun", "LoadedRun", "is_nothing", "load_run", "percentile"]

_FINISH_REASONS = """
SELECT span_id, json_extract(payload, '$.finish_reason') FROM trajectory_events
WHERE conversation_id = ? AND kind = 'model_turn' AND json_extract(payload, '$.finish_reason') IS NOT NULL
"""
_PAYLOADS = "SELECT id, payload FROM trajectory_events WHERE id IN (SELECT value FROM json_each(?))"
_DROPPED = """
SELECT dropped FROM processes WHERE dropped IS NOT NULL AND process_id IN (SELECT value FROM json_each(?))
"""
_CALLS_BEFORE = """
SELECT duration_ms FROM trajectory_events
WHERE kind = 'tool_result' AND tool_name = ? AND ts_ms < ? AND duration_ms IS NOT NULL
ORDER BY ts_ms DESC LIMIT ?
"""
_RUNS_BEFORE = """
SELECT r.conversation_id, r.agent_id FROM (SELECT id FROM conversations
    WHERE created_ms <= ? AND id <> ? ORDER BY created_ms DESC, id DESC LIMIT ? * 8) c
CROSS JOIN agent_rollups r ON r.conversation_id = c.id
WHERE r.agent_name = ? AND r.last_status IS NOT NULL LIMIT ?
"""
_OUTPUT = """
SELECT payload FROM trajectory_events
WHERE conversation_id = ? AND agent_id = ? AND kind = 'agent_end' AND status = 'ok'
ORDER BY ts_ns DESC LIMIT 1
"""
_MODELS = """
SELECT DISTINCT model FROM (SELECT model FROM trajectory_events
    WHERE conversation_id = ? AND agent_id = ? AND kind = 'model_call' LIMIT ?) WHERE model IS NOT NULL
"""
_TURNS_LIMIT = 200
_NOTHING_TEXT = re.compile(
    r"\W*((nothing|none|null|nil|no|not|n/a|empty|unknown|unavailable)\b.{0,40})?\W*",
    re.IGNORECASE | re.DOTALL,
)
_AGENTS_BEFORE = """
SELECT coalesce(r.input_tokens, 0) + coalesce(r.output_tokens, 0), r.cost_usd,
    r.last_ts_ms - r.first_ts_ms, r.model_turns
FROM (SELECT id FROM conversations WHERE created_ms <= ? AND id <> ?
    ORDER BY created_ms DESC, id DESC LIMIT ?) c
CROSS JOIN agent_rollups r ON r.conversation_id = c.id
WHERE r.agent_name = ? AND r.last_status IS NOT NULL
"""


class EarlierRun(NamedTuple):
    """What one agent used in one earlier run."""

    tokens: int
    cost_usd: float | None
    duration_ms: int
    turns: int


class LoadedRun:
    """
    One conversation.

    Args:
        reader: Where to read history.
        conversation: Its row.
        status: How it stands.
        tree: Its tree.
        events: Its events, in any order.
        failures: Its failures, oldest first.
    """

    def __init__(
        self,
        reader: Reader,
        conversation: ConversationRow,
        status: str,
        tree: Tree,
        events: Sequence[Event],
        failures: Sequence[Failure],
    ) -> None:
        self._reader = reader
        self.conversation = conversation
        self.status = status
        self.tree = tree
        self.events = events
        self.failures = failures
        self.paths = name_paths(tree)
        self.by_span: dict[str, int] = {}
        self.by_call: dict[tuple[str, str], int] = {}
        self.of_error: dict[str, int] = {}
        """The operation that a failure left first."""
        self.closed_with: defaultdict[str, list[int]] = defaultdict(list)
        """The operations that a failure ended."""
        for at, node in enumerate(tree.nodes):
            if node.span_id is not None and node.family != "event":
                self.by_span.setdefault(node.span_id, at)
            if node.call_id is not None and node.family == "call":
                self.by_call.setdefault((node.agent_id, node.call_id), at)
            for failure in node.failures:
                if failure.error_id is not None:
                    self.of_error.setdefault(failure.error_id, at)
            if node.error_id is not None and node.family != "event":
                self.closed_with[node.error_id].append(at)
        self.ends: dict[str, Event] = {
            event.span_id: event
            for event in events
            if event.kind in ("tool_result", "agent_end", "model_turn") and event.span_id is not None
        }
        last = {event.id: event for event in self.ends.values()}
        for node in tree.nodes:  # of a call that was made again by hand the last attempt ends it
            if node.attempts > 1 and node.span_id is not None and node.end_row_id in last:
                self.ends[node.span_id] = last[node.end_row_id]

    @property
    def nodes(self) -> tuple[TreeNode, ...]:
        """The tree's nodes, parents before children."""
        return self.tree.nodes

    def owner(self, at: int) -> int | None:
        """Give the agent that a node stands in; for an agent, the one around it."""
        return find_owner(self.tree, at)

    def path(self, at: int) -> str:
        """Give the path of the agent that a node is, or stands in."""
        if at in self.paths:
            return self.paths[at]
        owner = self.owner(at)
        return "" if owner is None else self.paths[owner]

    def lineage(self, at: int) -> list[int]:
        """Give the operations around a node, the nearest first."""
        found = []
        parent = self.nodes[at].parent
        while parent is not None:
            found.append(parent)
            parent = self.nodes[parent].parent
        return found

    def output(self, node: TreeNode) -> object:
        """Give what a call or an agent gave back; None where nothing did."""
        end = self.ends.get(node.span_id or "")
        return None if end is None else parse_payload(end.payload_json).get("output")

    def read_payloads(self, row_ids: Iterable[int]) -> list[tuple[int, str]]:
        """Read the payloads of rows that were loaded without theirs, as ``(row id, JSON)``."""
        ids = json.dumps(list(row_ids))
        return [(row_id, text) for row_id, text in self._reader.rows(_PAYLOADS, [ids])]

    def end_row(self, node: TreeNode) -> int:
        """Give the row that closes a node, or else the one that opens it."""
        end = self.ends.get(node.span_id or "")
        return node.row_id if end is None else end.id

    def handled_in(self, failure: Failure) -> list[int]:
        """Give the row that tells where a failure was caught, if that is a row of its own."""
        return self._handled.get(failure.error_id or "", [])[:1]

    @cached_property
    def _handled(self) -> dict[str, list[int]]:
        found: defaultdict[str, list[int]] = defaultdict(list)
        for event in sorted(self.events, key=lambda each: each.id):
            if event.kind == "handled" and event.error_id is not None:
                found[event.error_id].append(event.id)
        return found

    @cached_property
    def lost_events(self) -> int:
        """How many events the processes that recorded this run have dropped, of whatever run."""
        ids = {event.event_id.partition("-")[0] for event in self.events if event.event_id}
        rows = self._reader.rows(_DROPPED, [json.dumps(sorted(ids))])
        return sum(count for (dropped,) in rows for count in parse_payload(dropped).values())

    @cached_property
    def finish_reasons(self) -> dict[str, str]:
        """Why each model's turn ended, by span."""
        rows = self._reader.rows(_FINISH_REASONS, [self.tree.conversation_id])
        return {span: str(reason) for span, reason in rows if span is not None}

    @cached_property
    def streamed(self) -> set[str]:
        """Spans of turns of which a piece of a stream is recorded."""
        return {event.span_id for event in self.events if event.kind == "model_delta" and event.span_id}

    @cached_property
    def _operations(self) -> dict[str, list[int]]:
        """What each agent did, in the order in which it began: its calls, turns and subagents."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for at, node in enumerate(self.nodes):
            agent_id = node.parent_agent_id if node.family == "agent" else node.agent_id
            if node.family != "event" and agent_id is not None:
                found[agent_id].append(at)
        for operations in found.values():
            operations.sort(key=lambda at: _began(self.nodes[at]))
        return found

    def operations_after(self, node: TreeNode, limit: int) -> list[int]:
        """Give what the agent of an operation (of a subagent, the one above) did next."""
        agent_id = node.parent_agent_id if node.family == "agent" else node.agent_id
        operations = self._operations.get(agent_id or "", [])
        place = bisect_right(operations, _began(node), key=lambda at: _began(self.nodes[at]))
        return operations[place : place + limit]

    @cached_property
    def calls_of_agent(self) -> dict[str, list[int]]:
        """Give the calls of each agent, in the order in which they began."""
        return {
            agent_id: [at for at in operations if self.nodes[at].family == "call"]
            for agent_id, operations in self._operations.items()
        }

    @cached_property
    def giving(self) -> set[tuple[str, bool]]:
        """Names of the tools of which a call gave something, each with whether that call was rebuilt."""
        found: set[tuple[str, bool]] = set()
        for node in self.nodes:
            key = (node.name, "rebuilt" in node.notes)
            is_open = node.family == "call" and node.status == "ok" and key not in found
            if is_open and not is_nothing(self.output(node)):
                found.add(key)
        return found

    @cached_property
    def outputs_of_rebuilt(self) -> defaultdict[str, Counter[str]]:
        """How often the model was told what, by tool; of calls that are rebuilt from that alone."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for node in self.nodes:
            if node.family == "call" and "rebuilt" in node.notes:
                found[node.name][str(self.output(node))] += 1
        return found

    def runs_before(self, name: str, limit: int) -> list[tuple[str, str]]:
        """Give conversation and agent id of the newest earlier runs of the agents of a name."""
        return self._reader.rows(
            _RUNS_BEFORE, [self.conversation.ts_ms, self.conversation.id, limit, name, limit]
        )

    def outputs_before(self, name: str, limit: int) -> list[object]:
        """Give what the agents of a name answered in earlier runs that ended ok; None where nothing."""
        found: list[object] = []
        for conversation_id, agent_id in self.runs_before(name, limit):
            rows = self._reader.rows(_OUTPUT, [conversation_id, agent_id])
            found += [parse_payload(payload).get("output") for (payload,) in rows]
        return found

    def models_before(self, name: str, limit: int) -> list[set[str]]:
        """Give the models that the agents of a name asked in earlier runs, a set for each run."""
        return [
            {model for (model,) in self._reader.rows(_MODELS, [conversation_id, agent_id, _TURNS_LIMIT])}
            for conversation_id, agent_id in self.runs_before(name, limit)
        ]

    def durations_before(self, tool_name: str, limit: int) -> list[float]:
        """Give how long the newest calls of a tool took before this run began."""
        rows = self._reader.rows(_CALLS_BEFORE, [tool_name, self.conversation.ts_ms, limit])
        return [duration_ms for (duration_ms,) in rows]

    def agents_before(self, name: str, limit: int) -> list[EarlierRun]:
        """Give what the agents of a name used in earlier runs, by run."""
        rows = self._reader.rows(_AGENTS_BEFORE, [self.conversation.ts_ms, self.conversation.id, limit, name])
        return [EarlierRun(*row) for row in rows]


def load_run(reader: Reader, conversation: ConversationRow, status: str, liveness: Liveness) -> LoadedRun:
    """
    Read one run.

    Args:
        reader: Where to read; the caller holds a snapshot.
        conversation: Its row.
        status: How it stands.
        liveness: Tells of an open operation's process.
    """
    failures = reader.select(Failure, "WHERE conversation_id = ? ORDER BY ts_ms, id", [conversation.id])
    events = list(iter_events(reader, conversation.id, without_payload_of=PAYLOADS_NO_TREE_NEEDS))
    tree = build_tree(
        events,
        conversation_id=conversation.id,
        fates={each.error_id: each.fate for each in failures if each.error_id is not None},
        liveness=liveness,
        now_ns=clock.now_ns(),
    )
    return LoadedRun(reader, conversation, status, tree, events, failures)


def _began(node: TreeNode) -> tuple[int, int]:
    return node.start_ns, node.row_id


def is_nothing(value: object) -> bool:
    """Tell whether a result holds nothing: None, zero, empty, only that at its top level, or says so."""
    if isinstance(value, str):
        return _NOTHING_TEXT.fullmatch(value) is not None
    if isinstance(value, dict):
        return all(one is None or (one in ("", [], {}, 0) and one is not False) for one in value.values())
    return value is None or value in ("", [], 0)
