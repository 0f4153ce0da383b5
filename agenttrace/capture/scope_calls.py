"""
Where a framework's call runs, and how it is the call that a ``tool_scope`` opened.

Invariant: a scope and the call that is its own have one row, the scope's, which ends by itself.
"""

from __future__ import annotations

from agenttrace.capture import context
from agenttrace.capture.context import Operation, ToolCall
from agenttrace.capture.emit import announce_agent
from agenttrace.capture.series import Series

__all__ = ["ground_of", "join_scope", "leave_tool_scope"]


def ground_of(standing: Operation | None) -> Operation:
    """Give the operation that a call made at *standing* runs in: attempts at it too, while they go on."""
    while isinstance(standing, Series) and not standing.is_running():
        standing = standing.parent
    if standing is not None and standing.agent is not None:
        return standing
    ground = context.enclosing_agent(announce_agent)
    if isinstance(standing, Series):
        standing.settle_on(ground)
        return standing
    return ground


def join_scope(scope: Operation, arguments: bytes) -> Operation:
    """Make a stand-in for *scope*: what is told of it is told of the scope, which ends by itself."""
    agent, around = scope.agent, scope.parent
    assert agent is not None and around is not None, "a tool scope is opened in an agent"
    scope.merges = False
    if not scope.payload and arguments != b"null":
        scope.joined_arguments = arguments
    call = ToolCall(scope.name, agent, around, scope.payload or arguments)
    call.span_id, call.call_id = scope.span_id, scope.call_id
    call.attempt, call.retry_of = scope.attempt, scope.retry_of
    return call


def leave_tool_scope(scope: Operation, call: Operation, status: str, output: bytes) -> None:
    """Leave to *scope* how *call*, which stood for it, ended."""
    if call.caught is not None:
        call.caught.settle()
    if call.joined_arguments is not None and not scope.payload:
        scope.joined_arguments = call.joined_arguments
    scope.joined_output = output if status == "ok" else None
    scope.joined_failed = status != "ok"
    scope.error_id, scope.error_type = call.error_id, call.error_type
