"""
Asked calls that a program sends to another process: the id goes along.

Invariants: the id is taken here, once, as the task is packed, so that the call is not rebuilt beside
the rows that the other process writes; whether it ended, and how, only that one says. Cost: nothing
while no asked call waits for a traced one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agenttrace.capture.asked import ledger_of
from agenttrace.capture.attempts import find_tracer
from agenttrace.capture.claims import claim_id
from agenttrace.capture.context import PIPE, Operation, ToolCall, real_of
from agenttrace.capture.matching import ANYTHING
from agenttrace.errors import contained

__all__ = ["expect_call", "is_asked_for", "send_call"]

_NULL = b"null"


def is_asked_for(scope: Operation | None) -> bool:
    """Tell whether the agent of *scope* was asked for a call that nobody has made yet."""
    scope = real_of(scope)
    return scope is not None and scope.agent is not None and scope.agent.unclaimed is not None


def send_call(
    scope: Operation | None, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, str]:
    """
    Take the id of the asked call that *function* is about to be in another process.

    Returns:
        ``call_id`` and ``tool_name``, for ``expect_call`` over there; {} where it is no asked call.
    """
    with contained("capture.call_id"):
        scope = real_of(scope)
        agent = None if scope is None else scope.agent
        tracer = None if agent is None or agent.unclaimed is None else find_tracer(function)
        if scope is None or agent is None or tracer is None:
            return {}
        arguments = _NULL
        if tracer.plan is not None:
            arguments = tracer.plan.encode(args, dict(kwargs), PIPE.limit_bytes)
        call_id = claim_id(agent, ToolCall(tracer.name, agent, scope, arguments), arguments)
        asked = None if call_id is None else ledger_of(agent).calls.get(call_id)
        if call_id is not None and asked is not None:
            asked.is_elsewhere = True
            return {"call_id": call_id, "tool_name": tracer.name}
    return {}


def expect_call(scope: Operation, ids: Mapping[str, str]) -> None:
    """Let the next call of that tool in *scope* have the id that ``send_call`` gave."""
    agent, call_id, name = scope.agent, ids.get("call_id"), ids.get("tool_name")
    if agent is not None and call_id and name:
        ledger_of(agent).expect(agent, scope, call_id, name, ANYTHING)
