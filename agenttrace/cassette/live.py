"""
Where a program that runs again stands: in which run of an agent, and inside which tools.

Invariant: a run is known by its operation, which is held while the replay goes on; its path is the
names of the agents around it, from the root.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agenttrace.capture.context import Operation
from agenttrace.cassette.siblings import Live, Siblings

__all__ = ["LiveRuns"]

_IMPLICIT = "main"


class LiveRuns:
    """
    Knows the runs of agents that go on now.

    Args:
        siblings: Chooses the recorded runs for them.
        redact: Gives encoded data as it would stand in the record.
        is_heir: The outermost run goes on in another process, and the names around it are not known here.
    """

    def __init__(self, siblings: Siblings, redact: Callable[[bytes], Any], *, is_heir: bool = False) -> None:
        self._is_heir = is_heir
        self._siblings = siblings
        self._redact = redact
        self._runs: dict[str, Live] = {}
        """By their spans: a graph's tools run in what stands for the run that asked for them."""
        self._nowhere: Live | None = None

    def conversation_of(self, operation: Operation) -> str | None:
        """Give the conversation in which the run that an agent is was recorded."""
        live = self._runs.get(operation.span_id)
        if live is None or live.bound is None:
            return None
        return self._siblings.runs[live.bound].conversation_id

    def begin(self, operation: Operation, input_json: bytes) -> Live:
        """Take note of a run that begins."""
        above = _agent_around(operation.parent)
        parent = None if above is None else self._of_agent(above)
        name = operation.name or (operation.agent.name if operation.agent is not None else "")
        path = (*(() if parent is None else parent.path), name)
        if parent is None and self._is_heir:
            path = self._siblings.complete(path)
        live = Live(path, self._redact(input_json), parent, operation=operation)
        self._runs[operation.span_id] = live
        self._siblings.begin(live)
        return live

    def of(self, call: Operation) -> tuple[Live, tuple[str, ...]]:
        """Give the run that a call stands in, and the tools around it."""
        return self.of_place(call.parent)

    def of_place(self, place: Operation | None) -> tuple[Live, tuple[str, ...]]:
        """Give the run that a place in the program belongs to, and the tools around it."""
        inside: list[str] = []
        above = place
        while above is not None and above.kind != "agent":
            if above.kind == "tool" and not above.is_series:
                inside.append(above.name)
            above = above.parent
        if above is None:
            return self._of_nowhere(place), tuple(reversed(inside))
        return self._of_agent(above), tuple(reversed(inside))

    def _of_agent(self, operation: Operation) -> Live:
        live = self._runs.get(operation.span_id)
        return self.begin(operation, b"null") if live is None else live

    def _of_nowhere(self, place: Operation | None) -> Live:
        """Give the run of what stands in no agent's: the agent ``main`` that tracing makes for it."""
        if self._nowhere is None:
            name = _IMPLICIT if place is None or place.agent is None else place.agent.name
            self._nowhere = Live((name,), None, None)
            self._siblings.begin(self._nowhere)
        return self._nowhere


def _agent_around(place: Operation | None) -> Operation | None:
    while place is not None and place.kind != "agent":
        place = place.parent
    return place
