"""
What a finding is, and the kinds that there are.

Invariants: a finding names the rows that prove it; its sentence says nothing that those rows do
not; ``KINDS`` is in the order of which kind speaks for a span of which several are found.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GENERAL", "KINDS", "Finding"]

KINDS: dict[str, str] = {
    "unknown_tool": "a tool was asked for that there is not",
    "interrupted": "its process died while it was open",
    "retry_storm": "one call was tried again and again",
    "truncated": "a model's answer was cut off, or its stream was left or broke",
    "subagent_ignored": "a subagent failed, and the agent above ended ok and told nobody",
    "returned_failure": "a result that says it failed came back as if it were one",
    "dropped_result": "the model was never told what a call gave",
    "loop": "the same calls with the same results again and again",
    "empty_answer": "a subagent answered nothing, or with the text of an error",
    "swallowed_error": "an exception was caught and nobody was told",
    "failed_call": "a call, a model's turn or an agent failed",
    "stalled": "a call took much longer than its own history",
    "outlier": "an agent used far more tokens, or cost far more, than in earlier runs",
    "model_switched": "an agent went on with another model, and no reason is recorded",
    "slow_path": "the run took far longer than earlier ones; here it lost most time",
}
"""What each kind means."""

GENERAL = frozenset({"swallowed_error", "failed_call"})
"""Kinds that give way to any other kind about the same failure."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that went wrong, or is unusual."""

    kind: str
    """One of ``KINDS``."""
    confidence: float
    """How sure it is that this is a fault and no habit of the program, 0 to 1."""
    sentence: str
    """What happened, in one sentence without a full stop."""
    agent: str
    """Path of the agent it happened to, ``lead/search#2``."""
    span_id: str | None
    error_id: str | None
    rows: tuple[int, ...]
    """Ids of the rows that prove it, the most telling first; ``show --event`` takes them."""
    raised_at: str | None
    """``file:line`` where it was raised, if it was."""
    handled_at: str | None
    """``file:line`` where it was caught, if a row tells."""
    fate: str | None
    """What became of the failure: one of ``events.FATES``; None where it is no failure."""
    ts_ns: int
    """When it showed."""
    is_told: bool
    """Somebody could act on it: a model was told, or it says only that something is unusual."""

    @property
    def where(self) -> str | None:
        """The line to look at first: where it was caught, or else where it was raised."""
        return self.handled_at or self.raised_at
