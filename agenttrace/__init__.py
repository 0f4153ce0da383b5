"""
See what an LLM agent really did.

Decorate tools with `traced_tool`, wrap agents in `agent_scope`, set ``AGENTTRACE=1``, and every call,
result, error, retry and model turn becomes a row in a database that you own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agenttrace._version import VERSION as __version__
from agenttrace.capture import (
    Scope,
    agent_scope,
    attempt,
    bind,
    conversation_scope,
    current,
    drop_result,
    extract,
    inject,
    record,
    record_exception,
    suppressed,
    tool_scope,
    traced_agent,
    traced_tool,
)
from agenttrace.runtime import (
    configure,
    disable,
    enable,
    flush,
    install,
    is_enabled,
    shutdown,
    start_from_environment,
    uninstall,
    wire_store,
)

if TYPE_CHECKING:
    from agenttrace.capture.turns import model_turn
    from agenttrace.cassette.replaying import replay
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.event_store import TraceStore

__all__ = [
    "Scope",
    "TraceStore",
    "TraceViewer",
    "__version__",
    "agent_scope",
    "attempt",
    "bind",
    "configure",
    "conversation_scope",
    "current",
    "disable",
    "drop_result",
    "enable",
    "extract",
    "flush",
    "inject",
    "install",
    "is_enabled",
    "model_turn",
    "record",
    "record_exception",
    "replay",
    "shutdown",
    "suppressed",
    "tool_scope",
    "traced_agent",
    "traced_tool",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    # Late: the readers need peewee, and turns of models a fourth of what recording does; a program
    # that has no use for them should not pay at import.
    if name == "model_turn":
        from agenttrace.capture.turns import model_turn

        return globals().setdefault(name, model_turn)
    if name == "TraceStore":
        return wire_store()
    if name == "TraceViewer":
        from agenttrace.query.viewer import TraceViewer

        return TraceViewer
    if name == "replay":
        from agenttrace.cassette.replaying import replay

        return replay
    raise AttributeError(f"module 'agenttrace' has no attribute {name!r}")


start_from_environment()
