"""
Many runs side by side, in groups: how often they end well, what they take and what they cost.

A run is a conversation, and stands in exactly one group, so that nothing is counted twice: by model in
the group of all the models that answered in it (``a + b``), by a key of its metadata in that of its value.
By ``agent_name`` it is agents that are compared, root and sub, each with what it did itself. Invariant:
a share of few runs comes with how far it can be trusted (Wilson's interval, 95 of 100). Cost: the rollups
of the runs, one read of an index for the models, and the fates of the failures (about 30 µs for each).
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from agenttrace.errors import ConfigError
from agenttrace.events import MARK
from agenttrace.query.fates import count_swallowed
from agenttrace.query.reading import Reader
from agenttrace.query.runs import RunFilter, parse_json
from agenttrace.query.shares import nearest_rank, wilson_interval

__all__ = ["BY", "Comparison", "Group", "build_comparison"]

BY = ("model", "agent_name", "root_agent", "task", "metadata.KEY")
"""What runs can be grouped by."""

_RUNS = """
SELECT s.id, NULL, s.id, s.status, coalesce(s.duration_ms, 0), coalesce(s.tool_calls, 0),
    coalesce(s.failed_calls, 0), coalesce(s.errors, 0), coalesce(s.retries, 0), coalesce(s.model_turns, 0),
    s.total_tokens, s.total_cost_usd
FROM agent_sessions s WHERE {condition} ORDER BY s.ts_ms, s.id
"""
_AGENTS = """
SELECT r.conversation_id, r.agent_id, r.agent_name,
    CASE WHEN EXISTS (SELECT 1 FROM open_spans o WHERE o.conversation_id = r.conversation_id
        AND o.agent_id = r.agent_id AND o.kind = 'agent_start') THEN 'running'
        ELSE coalesce(r.last_status, 'ok') END,
    r.last_ts_ms - r.first_ts_ms, r.tool_calls, r.failed_calls, r.errors, r.retries, r.model_turns,
    coalesce(r.input_tokens, 0) + coalesce(r.output_tokens, 0), r.cost_usd
FROM conversations c CROSS JOIN agent_rollups r ON r.conversation_id = c.id
WHERE {condition} AND r.events > 0 ORDER BY c.created_ms, c.id, r.first_ts_ms, r.agent_id
"""
_MODELS = """
SELECT DISTINCT conversation_id, model FROM trajectory_events INDEXED BY idx_events_time
WHERE kind = 'model_turn' AND model IS NOT NULL {condition}
"""
_MODELS_ASKED = """
SELECT r.conversation_id, r.model FROM conversations c CROSS JOIN agent_rollups r ON r.conversation_id = c.id
WHERE {condition} AND r.model IS NOT NULL
"""
_ROOTS = """
SELECT c.id, r.agent_name, c.task, c.metadata, (
    SELECT json_extract(s.payload, '$.metadata') FROM trajectory_events s
    WHERE s.conversation_id = r.conversation_id AND s.agent_id = r.agent_id AND s.seq = r.first_start_seq)
FROM conversations c LEFT JOIN agent_rollups r ON r.conversation_id = c.id AND r.agent_id = (
    SELECT b.agent_id FROM agent_rollups b WHERE b.conversation_id = c.id AND b.parent_agent_id IS NULL
    ORDER BY b.first_ts_ms, b.agent_id LIMIT 1)
WHERE {condition}
"""


@dataclass(frozen=True, slots=True)
class Group:
    """Runs, or agents, that have something in common."""

    key: str | None
    """What they have in common; None where it is not recorded, shown as ``(none)``."""
    runs: int
    ended: int
    """Those that are over; shares and durations are of these."""
    ok: int
    """Those that ended well."""
    ok_share: float | None
    """``ok / ended``; None while none has ended."""
    ok_low: float | None
    """What the share would be at least, were there many runs: the lower end of Wilson's interval."""
    ok_high: float | None
    errors: int
    """Failures, each counted once."""
    retries: int
    swallowed: int
    """Failures that nobody was told of."""
    calls: int
    failed_calls: int
    turns: int
    duration_p50_ms: float | None
    duration_p95_ms: float | None
    """95 of 100 took at most this long; of up to 20 it is the longest."""
    tokens: int
    cost_usd: float | None
    """Of those whose price is known; None when none is."""
    newest: str
    """Conversation of the newest one."""
    newest_failed: str | None
    """Conversation of the newest that ended, and not well."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Groups of runs, the best first."""

    by: str
    unit: str
    """What is counted: ``run``, or ``agent`` for ``agent_name``."""
    groups: tuple[Group, ...]

    @property
    def runs(self) -> int:
        """How many were looked at."""
        return sum(group.runs for group in self.groups)


class _Row(NamedTuple):
    conversation_id: str
    agent_id: str | None
    key: str | None
    status: str
    duration_ms: float
    calls: int
    failed_calls: int
    errors: int
    retries: int
    turns: int
    tokens: int
    cost_usd: float | None


_OK = frozenset({"completed", "ok", "stopped_early"})
_OPEN = frozenset({"running"})


def build_comparison(reader: Reader, by: str, which: RunFilter) -> Comparison:
    """
    Compare runs.

    Args:
        reader: Where to read; the caller holds a snapshot.
        by: One of ``BY``.
        which: Which runs.

    Raises:
        ConfigError: They cannot be grouped by that.
    """
    is_of_agents = by == "agent_name"
    if not is_of_agents and by not in BY and not (by.startswith("metadata.") and by[9:]):
        raise ConfigError(f"by={by!r}: give one of {', '.join(BY)}.")
    rows = _read_agents(reader, which) if is_of_agents else _read_runs(reader, by, which)
    condition, values = which.condition("c.id", "c.created_ms", "c.task")
    swallowed: Counter[tuple[str, str | None]] = Counter()
    for (conversation_id, agent_id), count in count_swallowed(reader, condition, values).items():
        swallowed[conversation_id, agent_id if is_of_agents else None] += count
    grouped: defaultdict[str | None, list[_Row]] = defaultdict(list)
    for row in rows:
        grouped[row.key].append(row)
    groups = sorted((_sum_up(key, of_key, swallowed) for key, of_key in grouped.items()), key=_rank)
    return Comparison(by, "agent" if is_of_agents else "run", tuple(groups))


def _rank(group: Group) -> tuple[float, int, bool, str]:
    """Put the best first: by what is sure of its share, as three lucky runs are not better than forty."""
    return (
        -(group.ok_low if group.ok_low is not None else -1.0),
        -group.runs,
        group.key is None,
        group.key or "",
    )


def _read_runs(reader: Reader, by: str, which: RunFilter) -> Iterator[_Row]:
    condition, values = which.condition("s.id", "s.ts_ms", "s.task")
    rows = [_Row(*row) for row in reader.rows(_RUNS.format(condition=condition), values)]
    keys = _read_models(reader, which) if by == "model" else _read_keys(reader, by, which)
    for row in rows:
        yield row._replace(key=keys.get(row.conversation_id))


def _read_agents(reader: Reader, which: RunFilter) -> Iterator[_Row]:
    condition, values = which.condition("c.id", "c.created_ms", "c.task")
    for row in map(_Row._make, reader.rows(_AGENTS.format(condition=condition), values)):
        if which.agent is None or which.agent in (row.key, row.agent_id):
            yield row


def _read_models(reader: Reader, which: RunFilter) -> dict[str, str]:
    """Give the models of each run: those that answered, else those that were asked."""
    condition, values = which.condition("c.id", "c.created_ms", "c.task")
    within = f"AND conversation_id IN (SELECT c.id FROM conversations c WHERE {condition})"
    answered = reader.rows(
        _MODELS.format(condition="" if which.is_all else within), () if which.is_all else values
    )
    asked = reader.rows(_MODELS_ASKED.format(condition=condition), values)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for conversation_id, model in answered:
        found[conversation_id].add(model)
    had_answers = set(found)
    for conversation_id, model in asked:
        if conversation_id not in had_answers:
            found[conversation_id].add(model)
    return {conversation_id: " + ".join(sorted(models)) for conversation_id, models in found.items()}


def _read_keys(reader: Reader, by: str, which: RunFilter) -> dict[str, str | None]:
    condition, values = which.condition("c.id", "c.created_ms", "c.task")
    keys: dict[str, str | None] = {}
    for conversation_id, name, task, *metadata in reader.rows(_ROOTS.format(condition=condition), values):
        if by == "root_agent":
            keys[conversation_id] = name
        elif by == "task":
            keys[conversation_id] = task
        else:
            found = (_look_up(parse_json(text), by[9:]) for text in metadata)
            keys[conversation_id] = next((each for each in found if each is not None), None)
    return keys


def _look_up(metadata: Any, path: str) -> str | None:
    """Give a value of metadata as text: that of the key as it is written, else along its dots."""
    value = metadata
    if not (isinstance(value, dict) and path in value):
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    else:
        value = value[path]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and MARK in value:
        return f"({value[MARK]})"
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _sum_up(key: str | None, rows: Sequence[_Row], swallowed: Counter[tuple[str, str | None]]) -> Group:
    ended = [row for row in rows if row.status not in _OPEN]
    ok = sum(row.status in _OK for row in ended)
    low, high = wilson_interval(ok, len(ended)) if ended else (None, None)
    durations = [float(row.duration_ms) for row in ended]
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    return Group(
        key=key,
        runs=len(rows),
        ended=len(ended),
        ok=ok,
        ok_share=ok / len(ended) if ended else None,
        ok_low=low,
        ok_high=high,
        errors=sum(row.errors for row in rows),
        retries=sum(row.retries for row in rows),
        swallowed=sum(swallowed[row.conversation_id, row.agent_id] for row in rows),
        calls=sum(row.calls for row in rows),
        failed_calls=sum(row.failed_calls for row in rows),
        turns=sum(row.turns for row in rows),
        duration_p50_ms=nearest_rank(durations, 0.5),
        duration_p95_ms=nearest_rank(durations, 0.95),
        tokens=sum(row.tokens for row in rows),
        cost_usd=math.fsum(costs) if costs else None,
        newest=rows[-1].conversation_id,
        newest_failed=next((row.conversation_id for row in reversed(ended) if row.status not in _OK), None),
    )
