"""
What a run may use: tokens, dollars, calls.

Invariant: a limit of something that was not measured fails and says so, because nothing could ever
exceed it. Prices are those of the offline table (see ``agenttrace.prices``) where a turn brought none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from agenttrace import prices
from agenttrace.query.text import pluralize, render_cost, render_count
from agenttrace.query.tree import parse_payload
from agenttrace.store.rows import Event
from agenttrace.testing.assertions import fail
from agenttrace.testing.failing_path import Marks

if TYPE_CHECKING:
    from agenttrace.testing.readings import Readings

__all__ = ["Budget", "check_budget"]


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a run; None is no limit."""

    max_tokens: int | None = None
    """Input and output of all model turns together."""
    max_cost_usd: float | None = None
    max_calls: int | None = None
    """Tool calls as ``Trajectory.tools`` counts them: one tried several times is one."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"{name} is a number from 0 on, not {value!r}")

    def narrowed(self, other: Budget) -> Budget:
        """Give the lower limit of each kind."""
        both = [
            [limit for limit in (getattr(self, each.name), getattr(other, each.name)) if limit is not None]
            for each in fields(self)
        ]
        return Budget(*(min(limits, default=None) for limits in both))


def check_budget(trajectory: Readings, budget: Budget) -> None:
    """
    Claim that the run so far has kept to its limits.

    Raises:
        AssertionError: It has not, or what is limited was not measured.
    """
    __tracebackhide__ = True
    if budget.max_calls is not None:
        calls = trajectory.calls()
        if len(calls) > budget.max_calls:
            over = calls.rows[budget.max_calls]
            headline = f"{pluralize(len(calls), 'tool call')}, and max_calls is {budget.max_calls}"
            fail(trajectory.trees(), headline, Marks({over: f"call {budget.max_calls + 1}"}))
    turns = [event for event in trajectory.events if event.kind == "model_turn"]
    if budget.max_tokens is not None:
        tokens = [(event.input_tokens, event.output_tokens) for event in turns]
        used = [None if each == (None, None) else sum(filter(None, each)) for each in tokens]
        _check_turns(trajectory, turns, used, "max_tokens", budget.max_tokens)
    if budget.max_cost_usd is not None:
        used_usd = [_price(event) for event in turns]
        _check_turns(trajectory, turns, used_usd, "max_cost_usd", budget.max_cost_usd)


def _check_turns(
    trajectory: Readings, turns: list[Event], used: list[Any], limit_name: str, limit: float
) -> None:
    __tracebackhide__ = True
    is_cost = limit_name == "max_cost_usd"
    rows = _rows_of(trajectory, turns)
    if not turns and not trajectory.may_be_empty:
        fail(
            trajectory.trees(),
            f"no model turn was recorded, so {limit_name} cannot be exceeded by anything; use a client that "
            "is followed or agenttrace.model_turn(...), or leave the limit out",
            Marks({}),
        )
    unknown = [
        at for at, event in enumerate(turns) if used[at] is None and event.status in (None, "ok")
    ]  # a request that failed is not paid for
    if unknown:
        what = "cost" if is_cost else "number of tokens"
        how = (
            "the extra `prices` knows many models; turn.set_usage(cost_usd=...) says it"
            if is_cost
            else "turn.set_usage(...) says it"
        )
        headline = (
            f"the {what} of {pluralize(len(unknown), 'turn')} is not known, so {limit_name} is not: {how}"
        )
        marks = {rows[at]: "not known" for at in unknown[:6]}
        fail(trajectory.trees(), headline, Marks(marks))
    total = list(accumulate(each or 0 for each in used))
    if not total or total[-1] <= limit or math.isclose(total[-1], limit):
        return
    at = next(at for at, each in enumerate(total) if each > limit)
    shown = [
        render_cost(each) if is_cost else render_count(int(each)) for each in (total[-1], limit, total[at])
    ]
    headline = f"{shown[0]}{'' if is_cost else ' tokens'} used, and {limit_name} is {shown[1]}"
    fail(trajectory.trees(), headline, Marks({rows[at]: f"at {shown[2]}"}))


def _rows_of(trajectory: Readings, turns: Iterable[Event]) -> list[int]:
    """Give the row of each turn's node in the tree."""
    by_span = {
        node.span_id: node.row_id
        for tree in trajectory.trees()
        for node in tree.nodes
        if node.family == "turn" and node.span_id is not None
    }
    return [by_span.get(event.span_id or "", event.id) for event in turns]


def _price(event: Event) -> float | None:
    if event.cost_usd is not None:
        return event.cost_usd
    said = parse_payload(event.payload_json)
    columns = {
        name: getattr(event, name)
        for name in (
            "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"
        )
    }  # fmt: skip
    price = prices.price_turn(
        event.model, event.provider, columns, usage=said.get("usage"), service_tier=said.get("service_tier")
    )
    return None if price is None else float(price.cost_usd)
