"""
The tables and views as peewee models, for building queries.

Invariant: no model is ever bound to a database. Queries are bound one by one
(``query.bind(database)``), so that two stores may be open at once, and rows
leave this package as the dataclasses of ``rows``. The tables themselves are
made by ``migrations/``; a test holds that both say the same.
"""

from __future__ import annotations

from peewee import AutoField, BlobField, CompositeKey, FloatField, IntegerField, Model, TextField

__all__ = [
    "TABLES",
    "AgentRollup",
    "Conversation",
    "FailureReport",
    "OpenSpan",
    "PayloadBlob",
    "Process",
    "Ring",
    "TraceSetting",
    "TrajectoryEvent",
]


class Conversation(Model):
    """One chat or run of the whole agent tree."""

    id = TextField(primary_key=True)
    task = TextField(null=True)
    metadata = TextField(null=True)
    created_ms = IntegerField()
    process_id = TextField(null=True)

    class Meta:
        table_name = "conversations"


class TrajectoryEvent(Model):
    """One recorded fact; a row that was written never changes."""

    id = AutoField()
    conversation_id = TextField()
    agent_id = TextField()
    parent_agent_id = TextField(null=True)
    seq = IntegerField()
    ts_ms = IntegerField()
    kind = TextField()
    payload = TextField()
    ts_ns = IntegerField(null=True)
    event_id = TextField(null=True)
    agent_name = TextField(null=True)
    span_id = TextField(null=True)
    parent_span_id = TextField(null=True)
    call_id = TextField(null=True)
    tool_name = TextField(null=True)
    status = TextField(null=True)
    error_id = TextField(null=True)
    cause_error_id = TextField(null=True)
    error_type = TextField(null=True)
    duration_ms = FloatField(null=True)
    turn = IntegerField(null=True)
    attempt = IntegerField(null=True)
    retry_of = TextField(null=True)
    model = TextField(null=True)
    provider = TextField(null=True)
    input_tokens = IntegerField(null=True)
    output_tokens = IntegerField(null=True)
    cache_read_tokens = IntegerField(null=True)
    cache_write_tokens = IntegerField(null=True)
    reasoning_tokens = IntegerField(null=True)
    cost_usd = FloatField(null=True)

    class Meta:
        table_name = "trajectory_events"


class AgentRollup(Model):
    """Counts and sums of one agent in one conversation, kept in the batch's own transaction."""

    conversation_id = TextField()
    agent_id = TextField()
    agent_name = TextField(null=True)
    parent_agent_id = TextField(null=True)
    next_seq = IntegerField()
    turn_base = IntegerField(default=0)
    max_turn = IntegerField(default=0)
    events = IntegerField(default=0)
    runs = IntegerField(default=0)
    tool_calls = IntegerField(default=0)
    failed_calls = IntegerField(default=0)
    errors = IntegerField(default=0)
    retries = IntegerField(default=0)
    model_turns = IntegerField(default=0)
    input_tokens = IntegerField(null=True)
    output_tokens = IntegerField(null=True)
    cache_read_tokens = IntegerField(null=True)
    cache_write_tokens = IntegerField(null=True)
    reasoning_tokens = IntegerField(null=True)
    cost_usd = FloatField(null=True)
    first_ts_ms = IntegerField()
    last_ts_ms = IntegerField()
    last_status = TextField(null=True)
    model = TextField(null=True)
    provider = TextField(null=True)
    first_start_seq = IntegerField(null=True)
    last_start_seq = IntegerField(null=True)
    last_start_ts_ms = IntegerField(null=True)
    last_end_seq = IntegerField(null=True)
    last_end_ts_ms = IntegerField(null=True)

    class Meta:
        table_name = "agent_rollups"
        primary_key = CompositeKey("conversation_id", "agent_id")


class OpenSpan(Model):
    """One operation that has started and not ended."""

    conversation_id = TextField()
    agent_id = TextField()
    span_id = TextField()
    seq = IntegerField()
    kind = TextField()
    ts_ns = IntegerField()
    process_id = TextField(null=True)

    class Meta:
        table_name = "open_spans"
        primary_key = CompositeKey("conversation_id", "agent_id", "span_id")


class Process(Model):
    """One recording process."""

    process_id = TextField(primary_key=True)
    parent_process_id = TextField(null=True)
    host = TextField()
    boot_id = TextField()
    pid = IntegerField()
    python_version = TextField()
    agenttrace_version = TextField()
    argv = TextField()
    cwd = TextField()
    git_commit = TextField(null=True)
    started_ms = IntegerField()
    last_seen_ms = IntegerField()
    ended_ms = IntegerField(null=True)
    exit = TextField(null=True)
    dropped = TextField(null=True)
    failed = TextField(null=True)

    class Meta:
        table_name = "processes"


class Ring(Model):
    """How far one process's ring has been drained."""

    ring_id = TextField(primary_key=True)
    process_id = TextField()
    position = IntegerField()
    created_ms = IntegerField()
    closed_ms = IntegerField(null=True)

    class Meta:
        table_name = "rings"


class FailureReport(Model):
    """One failure that a model was told of, or that stands in an agent's own answer."""

    conversation_id = TextField()
    error_id = TextField()
    agent_id = TextField()
    kind = TextField()
    event_id = TextField(null=True)
    ts_ms = IntegerField(null=True)

    class Meta:
        table_name = "failure_reports"
        primary_key = CompositeKey("conversation_id", "error_id")


class PayloadBlob(Model):
    """One whole payload that was too long for its row, redacted."""

    sha256 = TextField(primary_key=True)
    bytes = IntegerField()
    body = BlobField()
    created_ms = IntegerField()

    class Meta:
        table_name = "payload_blobs"


class TraceSetting(Model):
    """One setting that belongs to the database, such as ``retention_days``."""

    key = TextField(primary_key=True)
    value = TextField(null=True)

    class Meta:
        table_name = "trace_settings"


TABLES: tuple[type[Model], ...] = (
    Conversation,
    TrajectoryEvent,
    AgentRollup,
    OpenSpan,
    FailureReport,
    Process,
    Ring,
    PayloadBlob,
    TraceSetting,
)
"""Every model, parents before children."""
