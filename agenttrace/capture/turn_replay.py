"""
What a replay gives in the place of a model's answer, for one turn.

Invariants: a turn asks once, however many turns (a framework's, an SDK's) are that same one; its
recorded attempts are given one by one, each once, and then its end. What the substitute raises is
the program's to see. Cost while no replay goes on: nothing here is imported.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agenttrace.capture.context import PIPE, Operation
from agenttrace.capture.turn_facts import TurnFacts

if TYPE_CHECKING:
    from agenttrace.capture.substitution import RecordedTurn

__all__ = ["Replayed", "ask_substitute"]


class Replayed:
    """The recorded course of one turn."""

    def __init__(self, recorded: RecordedTurn) -> None:
        self.recorded = recorded
        self._attempts = deque(recorded.attempts)

    def next_failure(self) -> Mapping[str, Any] | None:
        """Give the next attempt that failed, each once; None once the last attempt is the next."""
        return self._attempts.popleft() if self._attempts else None

    def facts(self) -> TurnFacts:
        """Give what was said of the turn, to fill in what the program does not say of it again."""
        recorded = self.recorded
        facts = TurnFacts(recorded.provider)
        facts.answered = recorded.model
        facts.set_output(recorded.output, recorded.finish_reason, recorded.response_id)
        facts.set_usage(recorded.usage, dict(recorded.counts))
        return facts


def ask_substitute(
    operation: Operation | None, model: str, provider: str | None, input: Any, params: Any
) -> Replayed | None:
    """
    Ask the replay that goes on; None where the request is to be sent.

    Raises:
        ReplayError: Nothing like it was recorded, and nothing may be sent.
    """
    substitute = PIPE.substitute
    recorded = None if substitute is None else substitute.turn(operation, model, provider, input, params)
    return None if recorded is None else Replayed(recorded)
