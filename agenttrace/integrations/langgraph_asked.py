"""
Which agent asked for a tool call, so that the call becomes its own wherever a graph makes it.

In a graph one node asks the model and another runs the tools. Invariants: an id counts within the run
of the graph whose node asked, or in the conversation outside graphs; of several graphs around the
program the innermost counts, and of several askers the last; at most 512 ids are remembered, the
oldest are forgotten first.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agenttrace.capture.context import Operation

__all__ = ["agent_run_around", "find_asker", "note_asked", "stand_for"]

_LIMIT_COUNT = 512

_ASKED: OrderedDict[tuple[Any, str], Operation] = OrderedDict()
"""By the place of the graph, or the conversation, and the id."""


def agent_run_around(operation: Operation | None) -> Operation | None:
    """Give the run of an agent that *operation* is, or stands in; None outside any agent."""
    while operation is not None and (operation.kind != "agent" or operation.is_series):
        operation = operation.parent
    return operation


def note_asked(operation: Operation | None, calls: Iterable[Any]) -> None:
    """
    Remember that the agent around *operation* asked for *calls*.

    Args:
        operation: Where the model was asked.
        calls: LangChain's tool calls, ``{id, name, args}``; those without an id are left out.
    """
    asker = agent_run_around(operation)
    if asker is None:
        return
    where = next(_places_around(asker.parent), asker.conversation_id)
    for call in calls:
        call_id = call.get("id") if isinstance(call, Mapping) else None
        if isinstance(call_id, str) and call_id:
            key = (where, call_id)
            with contextlib.suppress(KeyError):  # another thread was quicker
                _ASKED[key] = asker
                _ASKED.move_to_end(key)
                if len(_ASKED) > _LIMIT_COUNT:
                    _ASKED.popitem(last=False)


def _places_around(operation: Operation | None) -> Iterator[Any]:
    """Give the places of the graphs and nodes that *operation* stands in, the innermost first."""
    while operation is not None:
        place = operation.__dict__.get("place")
        if place is not None:
            yield place
        operation = operation.parent


def find_asker(here: Operation | None, call_id: Any) -> Operation | None:
    """Give the run in which *call_id* was asked for, as seen from *here*; None where nobody is known."""
    if here is None or not isinstance(call_id, str):
        return None
    for where in (*_places_around(here), here.conversation_id):
        asker = _ASKED.get((where, call_id))
        if asker is not None:
            return asker
    return None


def stand_for(asker: Operation, here: Operation | None) -> Operation:
    """
    Give what stands for the run *asker* where the program stands now, for calls to be made in.

    It has the agent and the span of that run, which may be over, and no rows; what leaves it goes on
    to *here*.
    """
    made = Operation("agent", asker.name, asker.conversation_id, asker.agent, here)
    made.span_id = asker.span_id
    if asker.agent is not None:
        asker.agent.closed = False  # it goes on
    place = asker.__dict__.get("place")
    if place is not None:
        made.__dict__["place"] = place
    return made
