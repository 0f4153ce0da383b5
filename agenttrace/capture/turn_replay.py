"""
What a replay gives in the place of a model's answer, for one turn.

Invariants: a turn asks once, however many turns (a framework's, an SDK's) are that same one; its
recorded attempts are given one by one, each once, and then its end. What the substitute raises is
the program's to see. Cost while no replay goes on: none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agenttrace.capture.context import PIPE, Operation
from agenttrace.capture.turn_facts import TurnFacts
from agenttrace.errors import contained

if TYPE_CHECKING:
    from agenttrace.capture.substitution import RecordedTurn

__all__ = ["Replayed", "TurnReplay"]


class Replayed:
    """The recorded course of one turn."""

    def __init__(self, recorded: RecordedTurn) -> None:
        self.recorded = recorded
        self._attempts = deque(recorded.attempts)
        self._is_told = False

    def next_failure(self) -> Mapping[str, Any] | None:
        """Give the next attempt that failed, each once; None once the last attempt is the next."""
        return self._attempts.popleft() if self._attempts else None

    def tell(self, facts: TurnFacts) -> Any:
        """
        Give the answer, and let what was said of it fill in what is not said again in *facts*.

        Raises:
            Exception: What the recorded turn ended with.
        """
        if self.recorded.exception is not None:
            raise self.recorded.exception
        if not self._is_told:
            self._is_told = True
            with contained("capture.tell_recorded"):
                facts.take(self._facts())
        return self.recorded.output

    def _facts(self) -> TurnFacts:
        recorded = self.recorded
        facts = TurnFacts(recorded.provider)
        facts.answered = recorded.model
        facts.set_output(recorded.output, recorded.finish_reason, recorded.response_id)
        facts.set_usage(recorded.usage, dict(recorded.counts))
        return facts


class TurnReplay:
    """The question of one turn, asked once."""

    def __init__(self, operation: Operation, model: str, input: Any, params: Any) -> None:
        self._operation = operation
        self._model = model
        self._given: tuple[Any, Any] | None = (input, params)
        self._replayed: Replayed | None = None

    def ask(self, provider: str | None) -> Replayed | None:
        """
        Ask the replay that goes on; None where the request is to be sent.

        Raises:
            ReplayError: Nothing like it was recorded, and nothing may be sent.
        """
        substitute, given, self._given = PIPE.substitute, self._given, None
        if substitute is not None and given is not None:
            recorded = substitute.turn(self._operation, self._model, provider, *given)
            self._replayed = None if recorded is None else Replayed(recorded)
        return self._replayed
