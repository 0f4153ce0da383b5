"""
The vocabulary: kinds, statuses, fates, the frame header, and the names outside formats use.

Every stage knows this file and none of its neighbours. One recorded fact travels
as ``header JSON, newline, payload JSON``; the header is a list in the order of
the ``H_*`` positions, so that a caller's thread builds it without a lookup.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

__all__ = [
    "COLUMNS",
    "CONTROL_CONVERSATION",
    "END_OF",
    "EXTRA_COLUMNS",
    "FATES",
    "H_AGENT_ID",
    "H_AGENT_NAME",
    "H_CALL_ID",
    "H_CONVERSATION_ID",
    "H_DURATION_MS",
    "H_ERROR_ID",
    "H_ERROR_TYPE",
    "H_EXTRA",
    "H_KIND",
    "H_PARENT_AGENT_ID",
    "H_PARENT_SPAN_ID",
    "H_SPAN_ID",
    "H_STATUS",
    "H_TOOL_NAME",
    "H_TS_NS",
    "KINDS",
    "MARK",
    "MESSAGE_KEYS",
    "OTEL_NAMES",
    "STATUSES",
    "ProcessInfo",
    "new_id",
]

KINDS = (
    "agent_start",
    "agent_end",
    "tool_call",
    "tool_result",
    "error",
    "retry",
    "handled",
    "model_call",
    "model_turn",
    "model_delta",
    "model_selected",
    "model_switched",
    "result_dropped",
    "message",
    "snapshot",
    "note",
)
"""Kinds with a defined payload; any other ``[a-z][a-z0-9_.]*`` is accepted."""

END_OF = {"agent_start": "agent_end", "tool_call": "tool_result", "model_call": "model_turn"}
"""Which kind closes which; the two share a ``span_id``."""

STATUSES = ("ok", "error", "cancelled", "stopped_early", "interrupted")
FATES = ("retried", "reported", "swallowed", "escaped", "open")

MARK = "$agenttrace"
"""Key of the object that stands for anything not stored as it was."""

MESSAGE_KEYS = ("messages", "input", "contents")
"""Under which key of an object a model's input has its messages."""

CONTROL_CONVERSATION = "$conversation"
"""Header kind of a frame that is no event: it carries ``{task, metadata}`` of a conversation."""

# Positions in a frame header. None where nothing is known.
H_KIND = 0
H_TS_NS = 1
H_CONVERSATION_ID = 2
H_AGENT_ID = 3
H_AGENT_NAME = 4
H_PARENT_AGENT_ID = 5
H_SPAN_ID = 6
H_PARENT_SPAN_ID = 7
H_TOOL_NAME = 8
H_STATUS = 9
H_DURATION_MS = 10
H_CALL_ID = 11
H_ERROR_ID = 12
H_ERROR_TYPE = 13
H_EXTRA = 14
"""A dict with the rarer columns of ``EXTRA_COLUMNS``, or None."""

EXTRA_COLUMNS = (
    "cause_error_id",
    "turn",
    "attempt",
    "retry_of",
    "model",
    "provider",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
)
"""Columns that travel in ``H_EXTRA``. ``turn_in_run`` may stand there too: see ``store.batch``."""

COLUMNS = (
    "conversation_id",
    "agent_id",
    "parent_agent_id",
    "seq",
    "ts_ms",
    "kind",
    "payload",
    "ts_ns",
    "event_id",
    "agent_name",
    "span_id",
    "parent_span_id",
    "call_id",
    "tool_name",
    "status",
    "error_id",
    "cause_error_id",
    "error_type",
    "duration_ms",
    "turn",
    "attempt",
    "retry_of",
    "model",
    "provider",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
)
"""Columns of ``trajectory_events`` after ``id``, in the table's order."""

OTEL_NAMES = {
    "conversation_id": "gen_ai.conversation.id",
    "agent_id": "gen_ai.agent.id",
    "agent_name": "gen_ai.agent.name",
    "tool_name": "gen_ai.tool.name",
    "call_id": "gen_ai.tool.call.id",
    "arguments": "gen_ai.tool.call.arguments",
    "output": "gen_ai.tool.call.result",
    "model": "gen_ai.request.model",
    "provider": "gen_ai.provider.name",
    "response_id": "gen_ai.response.id",
    "finish_reason": "gen_ai.response.finish_reasons",
    "first_chunk_ms": "gen_ai.response.time_to_first_chunk",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_write.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "error_type": "error.type",
    "agent_start": "invoke_agent",
    "tool_call": "execute_tool",
    "model_call": "chat",
}
"""Our words in OpenTelemetry's GenAI conventions (semantic-conventions-genai, 2026)."""


class ProcessInfo(NamedTuple):
    """What is known of one recording process; it stands in the ring's header and in ``processes``."""

    process_id: str
    """16 hex; the first 8 begin the process's span ids."""
    host: str
    boot_id: str
    pid: int
    python_version: str
    agenttrace_version: str
    argv: str
    """JSON list of str, redacted."""
    cwd: str
    git_commit: str | None
    started_ms: int
    parent_process_id: str | None = None

    def to_data(self) -> dict[str, Any]:
        """Give the fields as a JSON object."""
        return self._asdict()

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> ProcessInfo:
        """Read what ``to_data`` gave; unknown keys are ignored, missing ones raise TypeError."""
        return cls(**{name: data[name] for name in cls._fields if name in data})


def new_id(digits: int = 16) -> str:
    """Give *digits* (even) random hex digits from the system's source."""
    return os.urandom(digits // 2).hex()
