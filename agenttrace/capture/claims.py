"""
Which of the calls that a model asked for is this traced one?

Invariants: the id goes to one call; further attempts at it keep it, and a call that the model asked
for besides is no attempt again; nothing is raised into the program. Cost: parsing the arguments of the
asked calls of that name, about 3 µs each.
"""

from __future__ import annotations

import contextlib
from typing import Any

from agenttrace.capture.asked import ledger_of
from agenttrace.capture.context import PIPE, Agent, Operation
from agenttrace.capture.matching import compare_arguments
from agenttrace.encode import codec
from agenttrace.errors import contained

__all__ = ["claim_id", "find_id", "note_id"]


def claim_id(agent: Agent, call: Operation, arguments: bytes) -> str | None:
    """Give the id of the asked call that *call* is."""
    with contained("capture.call_id"):
        return _claim(agent, call, arguments)
    return None


def find_id(agent: Agent, call: Operation, arguments: bytes) -> str | None:
    """Give the id of the asked call that *call* is; that of the attempt before, among attempts."""
    parent, asked = call.parent, agent.asked
    if asked is not None and call.retry_of is not None and parent is not None and parent.is_series:
        before = asked.find_attempt(call.retry_of)
        if before is not None:
            return before.call_id
    found = None if agent.unclaimed is None else claim_id(agent, call, arguments)
    if found is None and asked is not None and call.retry_of is not None:
        before = asked.find_attempt(call.retry_of)
        found = None if before is None else before.call_id
    return found


def note_id(
    agent: Agent, call: Operation, call_id: str, extra: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Let *call* be the call *call_id*: an attempt again at the same, or one that was asked for besides."""
    call.call_id = call_id
    with contained("capture.call_id"):
        asked = ledger_of(agent)
        before = None if call.retry_of is None else asked.find_attempt(call.retry_of)
        if before is not None and before.call_id != call_id:
            call.attempt = call.retry_of = call.repeats = None
            extra = None
        asked.give(agent, call, call_id)
    return extra


def _claim(agent: Agent, call: Operation, arguments: bytes) -> str | None:
    """
    Give *call* the id of the asked call that it is: of equal name and arguments, the newest answer's first.

    Args:
        agent: Its ``unclaimed`` is not None.
        arguments: JSON by parameter name; ``null`` where nobody told them.
    """
    ledger = agent.unclaimed
    if ledger is None or ledger.epoch != PIPE.epoch:
        return None
    named = [asked for asked in list(ledger.unclaimed.values()) if asked.name == call.name]
    if not named:
        return None
    traced = codec.loads(arguments)
    if type(traced) is str:
        with contextlib.suppress(ValueError):  # as the provider sent them
            traced = codec.loads(traced)
    ranked = [
        (compare_arguments(codec.loads(asked.arguments), traced), asked.answer.given_ns, -asked.number, asked)
        for asked in named
    ]
    ranked = sorted((one for one in ranked if one[0]), key=lambda one: one[:3], reverse=True)
    for *_, asked in ranked:
        if ledger.unclaimed.pop(asked.key, None) is asked:
            asked.begin(call)
            ledger.note_claimed(agent)
            return asked.call_id
    ledger.lookalikes.append((call.name, call.span_id, call.started_ns))
    return None
