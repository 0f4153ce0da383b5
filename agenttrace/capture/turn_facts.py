"""
What is said of one model turn: who answered what, why it stopped, and what it took.

Invariants: values are bytes at once, for the program may change them later; where a framework
and the SDK inside it both say something, the framework's word stands, and tokens count once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agenttrace.capture.emit import encode_value
from agenttrace.capture.usage import add_usage, read_usage

__all__ = ["TurnFacts"]


class _Failure(NamedTuple):
    """A failure that came as an answer."""

    value: Any


class TurnFacts:
    """All that a turn says of itself, and what the turns that are a part of it say."""

    __slots__ = (
        "_part",
        "_part_usage",
        "answered",
        "ending",
        "failure",
        "has_others",
        "output",
        "provider",
        "usage",
    )

    def __init__(self, provider: str | None) -> None:
        self.provider = provider
        self.answered: str | None = None
        """The model that answered, where that was said."""
        self.output: bytes | None = None
        self.ending: dict[str, bytes | None] = {}
        """``finish_reason``, ``response_id``, ``service_tier`` and the provider's own ``usage``."""
        self.usage: dict[str, Any] = {}
        self.has_others = False
        """Turns with rows of their own ran inside, and account for themselves."""
        self.failure: _Failure | None = None
        self._part: TurnFacts | None = None
        """Of the turn inside that ended last."""
        self._part_usage: dict[str, Any] = {}
        """Of all turns that were a part of this one."""

    def set_output(self, value: Any, finish_reason: str | None, response_id: str | None) -> None:
        """Keep the answer."""
        self.output = encode_value(value)
        self.ending["finish_reason"] = None if finish_reason is None else encode_value(finish_reason)
        self.ending["response_id"] = None if response_id is None else encode_value(response_id)

    def set_usage(self, usage: Any, counts: dict[str, Any]) -> None:
        """Keep counts, and *usage* as the provider sent it."""
        self.usage.update(read_usage(usage, counts))
        if usage is not None:
            self.ending["usage"] = encode_value(usage)

    def set_service_tier(self, service_tier: str) -> None:
        """Keep the provider's word for how fast, and so how dear, its service was."""
        self.ending["service_tier"] = encode_value(service_tier)

    def set_failure(self, value: Any) -> None:
        """Keep that the answer is a failure."""
        self.failure = _Failure(value)

    def told_failure(self) -> _Failure | None:
        """Give the failure that this turn says, or that stands in for an answer nobody else gave."""
        if self.failure is not None or self.output is not None:
            return self.failure
        return None if self._part is None else self._part.told_failure()

    def take(self, part: TurnFacts) -> None:
        """Take over what a turn says that was a part of this one."""
        self._part = part
        add_usage(self._part_usage, part.told_usage())

    def told_usage(self) -> dict[str, Any]:
        """Give the usage columns; what this turn says itself only where no other turn accounts for it."""
        return dict(self._part_usage) if self.has_others else {**self._part_usage, **self.usage}

    def told(self, name: str) -> Any:
        """Give ``output``, ``answered`` or ``provider`` from who says it; None where nobody does."""
        facts: TurnFacts | None = self
        while facts is not None:
            value = getattr(facts, name)
            if value is not None:
                return value
            facts = facts._part
        return None

    def told_ending(self) -> dict[str, bytes | None]:
        """Give each member of ``ending`` from who says it."""
        told: dict[str, bytes | None] = {}
        facts: TurnFacts | None = self
        while facts is not None:
            for name, value in facts.ending.items():
                if told.get(name) is None:
                    told[name] = value
            facts = facts._part
        return told
