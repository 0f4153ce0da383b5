"""
One conversation in numbers: how it stands, how long it took, what it did and cost.

Cost: the rollups of its agents, one count by kind over its events, and a look at
its failures; no cap on how many of any.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from agenttrace.query.reading import Reader
from agenttrace.store.rows import AgentRow, ConversationRow

__all__ = ["Summary", "build_summary"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What can be counted of one conversation."""

    conversation: ConversationRow
    status: str
    """``running completed failed cancelled interrupted``, or ``out of contact``."""
    duration_ms: int | None
    """First to last event."""
    total_events: int
    step_count: int
    """Events of kind ``step_started``."""
    error_count: int
    """Failures, each counted once; ``event_counts`` has the rows of kind ``error``."""
    total_tokens: int
    input_tokens: int
    output_tokens: int
    total_cost_usd: float | None
    """None when no price is known."""
    models_used: tuple[str, ...]
    event_counts: dict[str, int]
    """Rows by kind."""
    fates: dict[str, int]
    """Failures by what became of them."""
    agents: tuple[AgentRow, ...]
    """In the order in which they started."""
    tool_calls: int
    failed_calls: int
    retries: int
    model_turns: int


def build_summary(reader: Reader, conversation: ConversationRow, status: str) -> Summary:
    """
    Read and count.

    Args:
        reader: Where to read.
        conversation: Its row.
        status: How it stands, liveness considered.
    """
    of_this = [conversation.id]
    by_kind = "SELECT kind, count(*) FROM trajectory_events WHERE conversation_id = ? GROUP BY kind"
    counts: dict[str, int] = dict(reader.rows(f"{by_kind} ORDER BY kind", of_this))
    models = reader.rows(
        "SELECT DISTINCT model FROM trajectory_events WHERE conversation_id = ? AND kind IN"
        " ('model_call', 'model_turn', 'model_selected') AND model IS NOT NULL ORDER BY model",
        of_this,
    )
    fates = Counter(
        fate for (fate,) in reader.rows("SELECT fate FROM failures WHERE conversation_id = ?", of_this)
    )
    return Summary(
        conversation=conversation,
        status=status,
        duration_ms=conversation.duration_ms,
        total_events=sum(counts.values()),
        step_count=counts.get("step_started", 0),
        error_count=sum(fates.values()),
        total_tokens=conversation.total_tokens,
        input_tokens=conversation.input_tokens or 0,
        output_tokens=conversation.output_tokens or 0,
        total_cost_usd=conversation.total_cost_usd,
        models_used=tuple(model for (model,) in models),
        event_counts=counts,
        fates=dict(fates.most_common()),
        agents=tuple(reader.store.agents(conversation.id)),
        tool_calls=conversation.tool_calls or 0,
        failed_calls=conversation.failed_calls or 0,
        retries=conversation.retries or 0,
        model_turns=conversation.model_turns or 0,
    )
