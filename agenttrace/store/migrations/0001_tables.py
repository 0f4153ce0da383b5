"""
Make the tables and their indexes: schema 1.

Plain DDL, frozen: a later change is a later migration, and within a major
version a migration only adds, so that an older writer goes on working. Each
index stands beside the query it is for; `tests/store/test_plans.py` runs
every one of those queries and looks at its plan.
"""

from __future__ import annotations

from typing import Any

__all__ = ["down", "up"]

TABLES = (
    """
    CREATE TABLE conversations (
        id TEXT NOT NULL PRIMARY KEY,
        task TEXT,
        metadata TEXT,
        created_ms INTEGER NOT NULL,
        process_id TEXT
    )
    """,
    """
    CREATE TABLE trajectory_events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        agent_id TEXT NOT NULL,
        parent_agent_id TEXT,
        seq INTEGER NOT NULL,
        ts_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        payload TEXT NOT NULL,
        ts_ns INTEGER,
        event_id TEXT,
        agent_name TEXT,
        span_id TEXT,
        parent_span_id TEXT,
        call_id TEXT,
        tool_name TEXT,
        status TEXT,
        error_id TEXT,
        cause_error_id TEXT,
        error_type TEXT,
        duration_ms REAL,
        turn INTEGER,
        attempt INTEGER,
        retry_of TEXT,
        model TEXT,
        provider TEXT,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cache_read_tokens INTEGER,
        cache_write_tokens INTEGER,
        reasoning_tokens INTEGER,
        cost_usd REAL
    )
    """,
    """
    CREATE TABLE agent_rollups (
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        agent_id TEXT NOT NULL,
        agent_name TEXT,
        parent_agent_id TEXT,
        next_seq INTEGER NOT NULL,
        turn_base INTEGER NOT NULL DEFAULT 0,
        max_turn INTEGER NOT NULL DEFAULT 0,
        events INTEGER NOT NULL DEFAULT 0,
        runs INTEGER NOT NULL DEFAULT 0,
        tool_calls INTEGER NOT NULL DEFAULT 0,
        failed_calls INTEGER NOT NULL DEFAULT 0,
        errors INTEGER NOT NULL DEFAULT 0,
        retries INTEGER NOT NULL DEFAULT 0,
        model_turns INTEGER NOT NULL DEFAULT 0,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cache_read_tokens INTEGER,
        cache_write_tokens INTEGER,
        reasoning_tokens INTEGER,
        cost_usd REAL,
        first_ts_ms INTEGER NOT NULL,
        last_ts_ms INTEGER NOT NULL,
        last_status TEXT,
        model TEXT,
        provider TEXT,
        first_start_seq INTEGER,
        last_start_seq INTEGER,
        last_start_ts_ms INTEGER,
        last_end_seq INTEGER,
        last_end_ts_ms INTEGER,
        PRIMARY KEY (conversation_id, agent_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE open_spans (
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        agent_id TEXT NOT NULL,
        span_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        ts_ns INTEGER NOT NULL,
        process_id TEXT,
        PRIMARY KEY (conversation_id, agent_id, span_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE processes (
        process_id TEXT NOT NULL PRIMARY KEY,
        parent_process_id TEXT,
        host TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        pid INTEGER NOT NULL,
        python_version TEXT NOT NULL,
        agenttrace_version TEXT NOT NULL,
        argv TEXT NOT NULL,
        cwd TEXT NOT NULL,
        git_commit TEXT,
        started_ms INTEGER NOT NULL,
        last_seen_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        exit TEXT,
        dropped TEXT,
        failed TEXT
    )
    """,
    """
    CREATE TABLE rings (
        ring_id TEXT NOT NULL PRIMARY KEY,
        process_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        closed_ms INTEGER
    )
    """,
    """
    CREATE TABLE payload_blobs (
        sha256 TEXT NOT NULL PRIMARY KEY,
        bytes INTEGER NOT NULL,
        body BLOB NOT NULL,
        created_ms INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE trace_settings (
        key TEXT NOT NULL PRIMARY KEY,
        value TEXT
    )
    """,
)

INDEXES = (
    # One agent's events in order; the next page of them; the foreign key's cascade.
    """
    CREATE UNIQUE INDEX idx_trajectory_lookup
        ON trajectory_events (conversation_id, agent_id, seq)
    """,
    # A page of a conversation's timeline.
    """
    CREATE INDEX idx_events_time ON trajectory_events (conversation_id, ts_ns)
    """,
    # A start with its end, its retries and its errors.
    """
    CREATE INDEX idx_events_span ON trajectory_events (span_id, kind) WHERE span_id IS NOT NULL
    """,
    # Errors of the last hour, of one agent or of all.
    """
    CREATE INDEX idx_events_error_time ON trajectory_events (ts_ms, agent_name) WHERE kind = 'error'
    """,
    # Failures of one conversation.
    """
    CREATE INDEX idx_events_error ON trajectory_events (conversation_id, ts_ms) WHERE kind = 'error'
    """,
    # Everything that one failure touched.
    """
    CREATE INDEX idx_events_error_id ON trajectory_events (error_id, kind) WHERE error_id IS NOT NULL
    """,
    # The failure that was raised from another one.
    """
    CREATE INDEX idx_events_cause ON trajectory_events (cause_error_id) WHERE cause_error_id IS NOT NULL
    """,
    # The exception groups of a conversation.
    """
    CREATE INDEX idx_events_group ON trajectory_events (conversation_id)
        WHERE kind = 'error' AND instr(payload, '"leaves"') > 0
    """,
    # The later attempts of a call.
    """
    CREATE INDEX idx_events_retry ON trajectory_events (retry_of)
        WHERE kind = 'tool_call' AND retry_of IS NOT NULL
    """,
    # The slowest tools.
    """
    CREATE INDEX idx_events_duration ON trajectory_events (tool_name, duration_ms)
        WHERE kind = 'tool_result'
    """,
    # The last calls of one tool.
    """
    CREATE INDEX idx_events_tool ON trajectory_events (tool_name, ts_ms) WHERE kind = 'tool_call'
    """,
    # What an agent told its model, and what it answered.
    """
    CREATE INDEX idx_events_told ON trajectory_events (conversation_id, agent_id, kind, ts_ns)
        WHERE kind = 'model_call' OR kind = 'agent_end'
    """,
    # Tokens and cost by model.
    """
    CREATE INDEX idx_events_usage
        ON trajectory_events (model, input_tokens, output_tokens, cost_usd) WHERE kind = 'model_turn'
    """,
    # The newest conversations.
    """
    CREATE INDEX idx_conversations_created ON conversations (created_ms, id)
    """,
)

DROPS = (
    "open_spans",
    "agent_rollups",
    "trajectory_events",
    "conversations",
    "processes",
    "rings",
    "payload_blobs",
    "trace_settings",
)


def up(migrator: Any, database: Any) -> None:
    """Create tables, indexes and the setting that retention starts with."""
    for statement in (*TABLES, *INDEXES):
        database.execute_sql(statement)
    database.execute_sql("INSERT INTO trace_settings (key, value) VALUES ('retention_days', '30')")


def down(migrator: Any, database: Any) -> None:
    """Drop every table; the events go with them."""
    for table in DROPS:
        database.execute_sql(f"DROP TABLE {table}")
