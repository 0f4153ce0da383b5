"""
How long things usually take: the newest earlier calls of a tool, turns of a model, runs of an agent.

Invariant: nothing is usual of which fewer than ``history_count`` are known. Cost: for a tool one range of
an index; for a model the newest ``_ROWS_LOOKED_AT`` rows at most; for an agent the newest conversations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agenttrace.query.liveness import RUNNING
from agenttrace.query.percentiles import percentile
from agenttrace.query.reading import Reader
from agenttrace.query.thresholds import DEFAULTS, Thresholds
from agenttrace.store.rows import OpenOperation

__all__ = ["OpenNow", "Usual", "compare_open", "read_usual"]

_ROWS_LOOKED_AT = 20_000
_TOOL = """
SELECT duration_ms FROM trajectory_events
WHERE kind = 'tool_result' AND tool_name = ? AND duration_ms IS NOT NULL ORDER BY ts_ms DESC LIMIT ?
"""
_MODEL = f"""
SELECT duration_ms FROM trajectory_events
WHERE id > (SELECT max(id) FROM trajectory_events) - {_ROWS_LOOKED_AT}
AND +kind = 'model_turn' AND +model = ? AND duration_ms IS NOT NULL ORDER BY id DESC LIMIT ?
"""
_AGENT = """
SELECT r.last_ts_ms - r.first_ts_ms
FROM (SELECT id FROM conversations ORDER BY created_ms DESC, id DESC LIMIT ?) c
CROSS JOIN agent_rollups r ON r.conversation_id = c.id
WHERE r.agent_name = ? AND r.last_status IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Usual:
    """What earlier ones took."""

    count: int
    """How many were looked at."""
    p95_ms: float
    """The time that 95 of 100 did not exceed."""


@dataclass(frozen=True, slots=True)
class OpenNow:
    """One operation that has started and not ended, beside what is usual for its like."""

    operation: OpenOperation
    state: str
    """``running`` or ``out of contact``."""
    open_for_ms: int
    usual: Usual | None
    """None where too few of its like are known."""
    is_stalled: bool
    """It runs, and takes ``stall_factor`` times the p95 of its like, and at least ``stall_min_ms``."""

    @property
    def times_usual(self) -> float | None:
        """How many times the p95 of its like it has taken; None where that is not known."""
        return self.open_for_ms / self.usual.p95_ms if self.usual and self.usual.p95_ms > 0 else None


def read_usual(reader: Reader, kind: str, name: str | None, limits: Thresholds = DEFAULTS) -> Usual | None:
    """
    Look up how long operations of a kind and name took.

    Args:
        reader: Where to read.
        kind: ``tool_call``, ``model_call`` or ``agent_start``.
        name: Of the tool, the model or the agent.
        limits: How many are looked at, and how many it takes.
    """
    if name is None:
        return None
    values: list[Any] = [name, limits.history_limit]
    if kind == "tool_call":
        rows = reader.rows(_TOOL, values)
    elif kind == "model_call":
        rows = reader.rows(_MODEL, values)
    else:
        rows = reader.rows(_AGENT, values[::-1])
    if len(rows) < limits.history_count:
        return None
    return Usual(len(rows), percentile([duration_ms for (duration_ms,) in rows], limits.usual_call_share))


def compare_open(
    reader: Reader, opened: list[tuple[OpenOperation, str]], now_ms: int, limits: Thresholds = DEFAULTS
) -> tuple[OpenNow, ...]:
    """
    Put what is open beside what is usual for its like.

    Args:
        reader: Where to read.
        opened: What is open, and how it stands.
        now_ms: The time.
        limits: When it is stalled.
    """
    known: dict[tuple[str, str | None], Usual | None] = {}
    found = []
    for operation, state in opened:
        # The view names an agent by its model, where it has one.
        is_agent = operation.kind == "agent_start"
        like = operation.kind, operation.agent_name if is_agent else operation.name
        if like not in known:
            known[like] = read_usual(reader, *like, limits)
        usual = known[like]
        open_for_ms = max(0, now_ms - operation.ts_ms)
        is_stalled = (
            state == RUNNING
            and usual is not None
            and open_for_ms >= limits.stall_min_ms
            and open_for_ms > limits.stall_factor * usual.p95_ms
        )
        found.append(OpenNow(operation, state, open_for_ms, usual, is_stalled))
    return tuple(found)
