"""
Events paired into operations: each start with its end, its errors and its retries.

Owns the rules of pairing. Rows that carry a ``span_id`` are paired by it; rows
without one (imported, hand-written) by call id and tool name, first open first
closed, so that two anonymous calls of one tool never share a result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from agenttrace.query.order import OrderKey, order_key, time_ns

if TYPE_CHECKING:
    from agenttrace.store.rows import Event

__all__ = ["FAMILIES", "Operation", "collect_operations"]

FAMILIES = {
    "agent_start": "agent",
    "agent_end": "agent",
    "tool_call": "call",
    "tool_result": "call",
    "model_call": "turn",
    "model_turn": "turn",
}
"""Which kinds open or close an operation, and of what family."""

_STARTS = frozenset({"agent_start", "tool_call", "model_call"})
_ABSORBED = frozenset({"error", "retry", "handled", "model_delta", "model_selected"})
"""Kinds that belong to an operation and are no node of their own, where that operation is known."""


class Operation:
    """One agent run, call or turn as its rows tell it, or one event that stands alone."""

    __slots__ = (
        "attempts_merged",
        "children",
        "end",
        "end_ns",
        "errors",
        "failed_merged",
        "family",
        "first",
        "key",
        "made",
        "notes",
        "parent",
        "retries",
        "start",
        "turn",
    )

    def __init__(self, family: str, first: Event, *, made: bool = False) -> None:
        self.family = family
        self.first = first
        self.made = made
        """No row opens or closes it: it stands for an agent known only by what it did."""
        self.key: OrderKey = order_key(first)
        self.start: Event | None = None
        self.end: Event | None = None
        self.end_ns: int | None = None
        self.errors: list[Event] = []
        self.retries = 0
        self.attempts_merged = 0
        """Further attempts, each a call of its own, folded into this one."""
        self.failed_merged = 0
        self.turn: int | None = first.turn
        self.parent: Operation | None = None
        self.children: list[Operation] = []
        self.notes: list[str] = []

    @property
    def span_id(self) -> str | None:
        return None if self.made else self.first.span_id

    @property
    def parent_span_id(self) -> str | None:
        return None if self.made else self.first.parent_span_id

    @property
    def agent_id(self) -> str:
        return self.first.agent_id

    @property
    def parent_agent_id(self) -> str | None:
        return self.first.parent_agent_id

    @property
    def retry_of(self) -> str | None:
        return None if self.made else self.first.retry_of

    @property
    def call_id(self) -> str | None:
        return None if self.made else self.first.call_id

    @property
    def name(self) -> str:
        """Name it as people do: the agent, the tool, the model, the kind."""
        first = self.first
        if self.family == "agent":
            return first.agent_name or first.agent_id
        if self.family == "call":
            return first.tool_name or (self.end.tool_name if self.end else None) or "(unnamed tool)"
        if self.family == "turn":
            return first.model or (self.end.model if self.end else None) or "model"
        return first.kind

    @property
    def attempts(self) -> int:
        """How often it was tried, 1 where nothing was retried."""
        return 1 + self.attempts_merged + self.retries

    @property
    def failed_attempts(self) -> int:
        """How many of the attempts failed."""
        if self.attempts_merged:
            return self.failed_merged
        failed = self.end is not None and self.end.status == "error"
        if self.retries:
            return self.retries + failed
        return int(failed)

    def absorb(self, later: Operation) -> None:
        """Take *later*, a further attempt at the same call, into this one."""
        if self.attempts_merged == 0:
            self.failed_merged = self.retries + (self.end is not None and self.end.status == "error")
        self.attempts_merged += later.attempts
        self.failed_merged += later.failed_attempts
        self.end, self.end_ns = later.end, later.end_ns
        self.errors.extend(later.errors)

    def close(self, event: Event) -> None:
        """Take *event* as the end."""
        self.end = event
        self.end_ns = time_ns(event)


def collect_operations(ordered: Iterable[Event]) -> list[Operation]:
    """
    Pair events that are already in order.

    Returns:
        All operations and stand-alone events, by their first row. An agent that has rows
        but no ``agent_start`` gets an operation of its own, so that its rows hang together.
    """
    pairing = _Pairing()
    waiting: list[Event] = []
    for event in ordered:
        family = FAMILIES.get(event.kind)
        if family is None:
            waiting.append(event)
        elif event.kind in _STARTS:
            pairing.open(family, event)
        else:
            pairing.close(family, event)
    for event in waiting:
        pairing.attach(event)
    pairing.add_missing_agents()
    pairing.operations.sort(key=lambda operation: operation.key)
    return pairing.operations


class _Pairing:
    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._by_span: dict[tuple[str, str], Operation] = {}
        self._of_span: dict[str, Operation] = {}
        self._open: dict[tuple[str | None, ...], list[Operation]] = {}

    def _add(self, family: str, event: Event) -> Operation:
        operation = Operation(family, event)
        self.operations.append(operation)
        return operation

    def open(self, family: str, event: Event) -> None:
        operation = self._add(family, event)
        operation.start = event
        if event.span_id is not None:
            self._by_span[family, event.span_id] = operation
            self._of_span.setdefault(event.span_id, operation)
        else:
            self._open.setdefault(_loose_key(family, event), []).append(operation)

    def close(self, family: str, event: Event) -> None:
        operation: Operation | None = None
        if event.span_id is not None:
            operation = self._by_span.get((family, event.span_id))
            if operation is not None and operation.end is not None:
                operation = None
        else:
            unclosed = self._open.get(_loose_key(family, event))
            if unclosed:
                operation = unclosed.pop(0)
        if operation is None:
            operation = self._add(family, event)
            if event.span_id is not None:
                self._by_span.setdefault((family, event.span_id), operation)
                self._of_span.setdefault(event.span_id, operation)
        operation.close(event)

    def attach(self, event: Event) -> None:
        operation = self._of_span.get(event.span_id) if event.span_id is not None else None
        if operation is None or event.kind not in _ABSORBED:
            alone = self._add("event", event)
            if event.kind == "error":
                alone.errors.append(event)
        elif event.kind == "error":
            operation.errors.append(event)
        elif event.kind == "retry":
            operation.retries += 1

    def add_missing_agents(self) -> None:
        known = {operation.agent_id for operation in self.operations if operation.family == "agent"}
        for operation in sorted(self.operations, key=lambda each: each.key):
            if operation.agent_id not in known:
                known.add(operation.agent_id)
                made = Operation("agent", operation.first, made=True)
                self.operations.append(made)
                made.key = (*operation.key[:4], operation.key[4] - 1)


def _loose_key(family: str, event: Event) -> tuple[str | None, ...]:
    if family == "call":
        return family, event.agent_id, event.call_id, event.tool_name
    return family, event.agent_id
