"""
What the store hands out: frozen dataclasses, one per table or view that people read.

Invariant: a class's fields are the columns of its table or view, in order, so
that ``Event(*row)`` is the whole conversion; tests compare them. Times are
``ts_ms`` (UTC milliseconds) and the same as text, ``YYYY-MM-DD HH:MM:SS.fff``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

__all__ = [
    "AgentRow",
    "ConversationRow",
    "Event",
    "Failure",
    "OpenOperation",
    "Page",
    "ProcessRow",
    "ToolTrace",
]

Row = TypeVar("Row")


class Page(NamedTuple, Generic[Row]):
    """Some rows, and where the next ones begin."""

    items: tuple[Row, ...]
    next_cursor: str | None
    """Hand it in to get the next page; None when this was the last."""


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded fact: a row of ``trajectory_events``."""

    id: int
    conversation_id: str
    agent_id: str
    parent_agent_id: str | None
    seq: int
    ts_ms: int
    kind: str
    payload_json: str
    ts_ns: int | None = None
    event_id: str | None = None
    agent_name: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    call_id: str | None = None
    tool_name: str | None = None
    status: str | None = None
    error_id: str | None = None
    cause_error_id: str | None = None
    error_type: str | None = None
    duration_ms: float | None = None
    turn: int | None = None
    attempt: int | None = None
    retry_of: str | None = None
    model: str | None = None
    provider: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None

    @property
    def payload(self) -> Any:
        """``payload_json`` parsed; every access parses anew. Text that is no JSON comes back as it is."""
        try:
            return json.loads(self.payload_json)
        except ValueError:
            return self.payload_json

    @property
    def has_raw_input(self) -> bool:
        """Whether the payload says what went in: arguments, or an input."""
        payload = self.payload
        return isinstance(payload, dict) and (
            payload.get("arguments") is not None or payload.get("input") is not None
        )

    @property
    def has_raw_output(self) -> bool:
        """Whether the payload says what came out."""
        payload = self.payload
        return isinstance(payload, dict) and payload.get("output") is not None


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """One conversation with its counts and sums: a row of ``agent_sessions``."""

    id: str
    conversation_id: str
    task: str | None
    started_at: str
    completed_at: str | None
    status: str
    """``running completed failed cancelled interrupted``."""
    total_events: int
    total_tokens: int
    total_cost_usd: float | None
    """None when no price is known."""
    agents: int
    tool_calls: int | None
    failed_calls: int | None
    errors: int | None
    retries: int | None
    model_turns: int | None
    input_tokens: int | None
    output_tokens: int | None
    duration_ms: int | None
    """First to last event."""
    ts_ms: int
    last_ts_ms: int | None
    metadata_json: str | None
    process_id: str | None

    @property
    def metadata(self) -> Any:
        """``metadata_json`` parsed; None when there is none."""
        return None if self.metadata_json is None else json.loads(self.metadata_json)


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent of one conversation: a row of ``agents``."""

    conversation_id: str
    agent_id: str
    agent_name: str | None
    parent_agent_id: str | None
    runs: int
    status: str
    """``running`` or the status of the run that ended last."""
    events: int
    tool_calls: int
    failed_calls: int
    errors: int
    retries: int
    model_turns: int
    model: str | None
    provider: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    started_at: str
    ended_at: str | None
    ts_ms: int
    ended_ms: int | None
    last_ts_ms: int
    input_preview: str | None
    output_preview: str | None
    error_id: str | None
    error_type: str | None


@dataclass(frozen=True, slots=True)
class ToolTrace:
    """One tool call with all its attempts: a row of ``tool_traces``."""

    id: int
    session_id: str
    chat_id: str
    message_id: str | None
    turn_number: int | None
    tool_name: str | None
    tool_input: Any
    """JSON text of the arguments."""
    tool_output: Any
    started_at: str
    finished_at: str | None
    latency_ms: float | None
    tokens_used: int | None
    cache_tokens: int | None
    reasoning_tokens: int | None
    error: str | None
    """``Type: message`` of the failure that the last attempt ended with."""
    outcome: str | None
    """Status of the last attempt; None while it runs."""
    created_at: str
    conversation_id: str
    agent_id: str
    agent_name: str | None
    span_id: str | None
    parent_span_id: str | None
    call_id: str | None
    attempts: int
    failed_attempts: int
    status: str
    """``running`` or the status of the last attempt."""
    error_id: str | None
    error_type: str | None
    ts_ms: int
    result_id: int | None
    """Row id of the last attempt's ``tool_result``."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure, however many operations it left: a row of ``failures``."""

    id: int
    """Row id of its first ``error`` row."""
    error_id: str | None
    conversation_id: str
    agent_id: str
    agent_name: str | None
    span_id: str | None
    tool_name: str | None
    error_type: str | None
    message: str
    raised_at: str | None
    """``file:line function`` of the innermost frame."""
    handled_at: str | None
    """``file:line function`` of the handler, where it is known."""
    attempt: int | None
    turn: int | None
    ts_ms: int
    at: str
    returned: Any
    """What found the failure in returned data; None for an exception."""
    handled: int
    cause_error_id: str | None
    fate: str
    """``retried reported swallowed escaped open``."""
    parent_span_id: str | None
    call_id: str | None
    parent_agent_id: str | None
    seq: int
    claimed_by: str | None
    """The agent in whose operation it stopped, if that ended ok afterwards."""


@dataclass(frozen=True, slots=True)
class OpenOperation:
    """One operation that has started and not ended: a row of ``open_operations``."""

    id: int
    """Row id of its start."""
    conversation_id: str
    agent_id: str
    agent_name: str | None
    parent_agent_id: str | None
    kind: str
    """``agent_start``, ``tool_call`` or ``model_call``."""
    name: str | None
    """Of the tool, the model or the agent."""
    tool_name: str | None
    model: str | None
    span_id: str
    parent_span_id: str | None
    call_id: str | None
    turn: int | None
    attempt: int | None
    started_at: str
    ts_ms: int
    ts_ns: int
    process_id: str | None
    host: str | None
    boot_id: str | None
    pid: int | None
    last_seen_ms: int | None
    process_ended_ms: int | None


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One recording process: a row of ``processes``."""

    process_id: str
    parent_process_id: str | None
    host: str
    boot_id: str
    pid: int
    python_version: str
    agenttrace_version: str
    argv: str
    """JSON list, redacted."""
    cwd: str
    git_commit: str | None
    started_ms: int
    last_seen_ms: int
    ended_ms: int | None
    exit: str | None
    dropped_json: str | None
    failed_json: str | None

    @property
    def dropped(self) -> dict[str, int]:
        """Events dropped, by reason."""
        counts: dict[str, int] = json.loads(self.dropped_json or "{}")
        return counts

    @property
    def failed(self) -> dict[str, int]:
        """Events that could not be stored, by what was wrong with them."""
        counts: dict[str, int] = json.loads(self.failed_json or "{}")
        return counts
