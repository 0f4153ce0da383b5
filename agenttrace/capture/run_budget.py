"""
The budget of a conversation: money and model turns, counted as turns end.

Owns the counts of the conversation scopes that are open with a budget. Invariants: each of
``budget_warning``, ``budget_exceeded`` and ``iteration_limit`` is recorded once per scope, in the
agent whose turn crossed the line; nothing is ever stopped. All agents of the conversation in this
process count, whatever thread or task they run in. Cost: one look at an empty dict for a turn of a
conversation without a budget.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from agenttrace.capture.context import Operation
from agenttrace.capture.emit import emit, encode_value
from agenttrace.encode import codec
from agenttrace.errors import ConfigError, count_loss

__all__ = ["RunBudget", "build_budget", "note_turn"]

_WARN_SHARE = Decimal("0.8")

_open: dict[str, tuple[RunBudget, ...]] = {}
"""The budgets that count now, by conversation; replaced as a whole, so that a reader needs no lock."""
_lock = threading.RLock()  # protects what _open holds, and the counts; a signal handler may come in between


def _renew_lock() -> None:
    """Leave to the parent process the thread that held the lock as this one was forked."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class RunBudget:
    """What one conversation scope may cost, and what was spent in it."""

    def __init__(self, budget_usd: float | None, max_turns: int | None) -> None:
        self.budget_usd = None if budget_usd is None else _exactly(budget_usd)
        self.max_turns = max_turns
        self.spent_usd = Decimal(0)
        self.turns = 0
        self._told: set[str] = set()

    def open(self, conversation_id: str) -> None:
        """Count the turns of this conversation from now on."""
        with _lock:
            _open[conversation_id] = (*_open.get(conversation_id, ()), self)

    def close(self, conversation_id: str) -> None:
        """Count no more."""
        with _lock:
            left = tuple(budget for budget in _open.get(conversation_id, ()) if budget is not self)
            if left:
                _open[conversation_id] = left
            else:
                _open.pop(conversation_id, None)

    def add(self, cost_usd: Decimal) -> list[tuple[str, dict[str, Any]]]:
        """
        Count one turn; the lock is held.

        Returns:
            The kinds and payloads of what it crossed.
        """
        self.turns += 1
        self.spent_usd += cost_usd
        crossed = []
        figures: dict[str, Any] = {"spent_usd": float(self.spent_usd), "turns": self.turns}
        if self.budget_usd is not None and self.spent_usd > 0:
            figures["budget_usd"] = float(self.budget_usd)
            if self.spent_usd >= self.budget_usd * _WARN_SHARE:
                crossed.append("budget_warning")
            if self.spent_usd > self.budget_usd:
                crossed.append("budget_exceeded")
        if self.max_turns is not None:
            figures["max_turns"] = self.max_turns
            if self.turns > self.max_turns:
                crossed.append("iteration_limit")
        news = [kind for kind in crossed if kind not in self._told]
        self._told.update(news)
        return [(kind, figures) for kind in news]


def build_budget(budget_usd: Any, max_turns: Any) -> RunBudget | None:
    """
    Check what a conversation scope was given.

    Returns:
        None where neither was given.

    Raises:
        ConfigError: *budget_usd* is no finite number >= 0, or *max_turns* no whole number >= 0.
    """
    if budget_usd is None and max_turns is None:
        return None
    if budget_usd is not None and not _is_amount(budget_usd):
        raise ConfigError(
            f"conversation_scope(budget_usd={budget_usd!r:.60}): give US dollars, a finite number >= 0,"
            " or None."
        )
    if max_turns is not None and (type(max_turns) is not int or max_turns < 0):
        raise ConfigError(
            f"conversation_scope(max_turns={max_turns!r:.60}): give a whole number >= 0, or None."
        )
    return RunBudget(budget_usd, max_turns)


def _is_amount(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return False
    return math.isfinite(value) and value >= 0


def _exactly(amount: float | Decimal) -> Decimal:
    """Read 0.1 as a tenth: three turns of 0.1 are a budget of 0.3, and not more."""
    return amount if isinstance(amount, Decimal) else Decimal(repr(float(amount)))


def _price(operation: Operation, columns: Mapping[str, Any], ending: Mapping[str, bytes | None]) -> Decimal:
    """Price a turn here and now, as the writer will; only a budget cannot wait for that."""
    from agenttrace.prices import price_turn  # late: only a budget asks here

    usage, service_tier = (
        None if value is None else codec.loads(value)
        for value in (ending.get("usage"), ending.get("service_tier"))
    )
    price = price_turn(
        columns.get("model"),
        columns.get("provider"),
        columns,
        usage=usage,
        service_tier=service_tier,
        at_ns=operation.started_ns,
    )
    return Decimal(0) if price is None else _exactly(float(price.cost_usd))


def note_turn(operation: Operation, columns: Mapping[str, Any], ending: Mapping[str, bytes | None]) -> None:
    """
    Count the model turn *operation*, which has just ended, for the budgets of its conversation.

    Args:
        operation: The turn.
        columns: Its model, provider and usage; where they have no ``cost_usd``, it is priced.
        ending: The provider's own ``usage`` and ``service_tier`` as JSON, where they are known.
    """
    if operation.conversation_id not in _open:
        return
    cost, cost_usd = Decimal(0), columns.get("cost_usd")
    if cost_usd is None:
        cost = _price(operation, columns, ending)
    elif _is_amount(cost_usd):
        cost = _exactly(cost_usd)
    else:
        count_loss("capture.cost_unusable")
    with _lock:
        crossed = [news for budget in _open.get(operation.conversation_id, ()) for news in budget.add(cost)]
    agent = operation.agent
    if agent is not None:
        for kind, figures in crossed:
            emit(kind, agent, encode_value(figures), parent_span_id=operation.parent_span_id)
