"""
Running counts of one agent within one transaction.

A tally begins with what the agent's rollup row says (next ``seq``, turns) and
collects what the batch adds; ``to_row`` is the difference that the upsert of
``rollups`` adds to the stored row. Invariant: ``rollups.compute`` finds the same
numbers by counting the events.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

__all__ = ["Tally"]


class Tally:
    """What one batch adds to one agent of one conversation."""

    __slots__ = (
        "agent_id",
        "agent_name",
        "cache_read_tokens",
        "cache_write_tokens",
        "conversation_id",
        "cost_usd",
        "errors",
        "events",
        "failed_calls",
        "first_start_seq",
        "first_ts_ms",
        "has_run",
        "input_tokens",
        "last_end_seq",
        "last_end_ts_ms",
        "last_start_seq",
        "last_start_ts_ms",
        "last_status",
        "last_ts_ms",
        "max_turn",
        "model",
        "model_turns",
        "next_seq",
        "output_tokens",
        "parent_agent_id",
        "provider",
        "reasoning_tokens",
        "retries",
        "runs",
        "tool_calls",
        "turn_base",
    )

    def __init__(
        self,
        conversation_id: str,
        agent_id: str,
        next_seq: int = 0,
        turn_base: int = 0,
        max_turn: int = 0,
        runs: int = 0,
    ) -> None:
        self.conversation_id = conversation_id
        self.agent_id = agent_id
        self.next_seq = next_seq
        self.turn_base = turn_base
        self.max_turn = max_turn
        self.has_run = runs > 0
        self.agent_name: str | None = None
        self.parent_agent_id: str | None = None
        self.events = 0
        self.runs = 0
        self.tool_calls = 0
        self.failed_calls = 0
        self.errors = 0
        self.retries = 0
        self.model_turns = 0
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.cache_read_tokens: int | None = None
        self.cache_write_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        self.cost_usd: float | None = None
        self.first_ts_ms: int | None = None
        self.last_ts_ms = 0
        self.last_status: str | None = None
        self.model: str | None = None
        self.provider: str | None = None
        self.first_start_seq: int | None = None
        self.last_start_seq: int | None = None
        self.last_start_ts_ms: int | None = None
        self.last_end_seq: int | None = None
        self.last_end_ts_ms: int | None = None

    def start_run(self, seq: int, ts_ms: int) -> None:
        """Count an ``agent_start``; turns of this run go on from those of the runs before."""
        self.runs += 1
        self.has_run = True
        self.turn_base = self.max_turn
        if self.first_start_seq is None:
            self.first_start_seq = seq
        if self.last_start_seq is None or seq > self.last_start_seq:
            self.last_start_seq = seq
            self.last_start_ts_ms = ts_ms

    def end_run(self, seq: int, ts_ms: int, status: str | None) -> None:
        """Count an ``agent_end``."""
        if self.last_end_seq is None or seq > self.last_end_seq:
            self.last_end_seq = seq
            self.last_end_ts_ms = ts_ms
            self.last_status = status

    def start_call(self, retry_of: str | None) -> None:
        """Count a ``tool_call``; a further attempt is no call of its own and takes the failure back."""
        if retry_of is None:
            self.tool_calls += 1
        else:
            self.retries += 1
            self.failed_calls -= 1

    def end_turn(self, extra: dict[str, Any]) -> None:
        """Count a ``model_turn`` and add up its usage."""
        self.model_turns += 1
        if not extra:
            return
        self.input_tokens = _add(self.input_tokens, extra.get("input_tokens"))
        self.output_tokens = _add(self.output_tokens, extra.get("output_tokens"))
        self.cache_read_tokens = _add(self.cache_read_tokens, extra.get("cache_read_tokens"))
        self.cache_write_tokens = _add(self.cache_write_tokens, extra.get("cache_write_tokens"))
        self.reasoning_tokens = _add(self.reasoning_tokens, extra.get("reasoning_tokens"))
        cost_usd = extra.get("cost_usd")
        if isinstance(cost_usd, (int, float)) and isfinite(cost_usd):
            self.cost_usd = cost_usd if self.cost_usd is None else self.cost_usd + cost_usd

    def to_row(self) -> tuple[Any, ...]:
        """Give the row to upsert, in the order of ``AgentRollup``'s fields."""
        return (
            self.conversation_id,
            self.agent_id,
            self.agent_name,
            self.parent_agent_id,
            self.next_seq,
            self.turn_base,
            self.max_turn,
            self.events,
            self.runs,
            self.tool_calls,
            self.failed_calls,
            self.errors,
            self.retries,
            self.model_turns,
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_tokens,
            self.reasoning_tokens,
            self.cost_usd,
            self.first_ts_ms,
            self.last_ts_ms,
            self.last_status,
            self.model,
            self.provider,
            self.first_start_seq,
            self.last_start_seq,
            self.last_start_ts_ms,
            self.last_end_seq,
            self.last_end_ts_ms,
        )


def _add(total: int | None, count: Any) -> int | None:
    if type(count) is not int:
        return total
    return count if total is None else total + count
