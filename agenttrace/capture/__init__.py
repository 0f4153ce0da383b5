"""From user code to events: decorators, scopes, and the context they carry."""

from agenttrace.capture.agents import agent_scope
from agenttrace.capture.attempts import attempt
from agenttrace.capture.context import Scope, current
from agenttrace.capture.decorator import traced_agent, traced_tool
from agenttrace.capture.facts import drop_result, record, record_exception, suppressed
from agenttrace.capture.propagation import bind, extract, inject
from agenttrace.capture.scopes import conversation_scope, tool_scope

__all__ = [
    "Scope",
    "agent_scope",
    "attempt",
    "bind",
    "conversation_scope",
    "current",
    "drop_result",
    "extract",
    "inject",
    "record",
    "record_exception",
    "suppressed",
    "tool_scope",
    "traced_agent",
    "traced_tool",
]
