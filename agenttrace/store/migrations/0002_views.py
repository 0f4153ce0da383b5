"""
Make the views that people and `agenttrace` read: schema 2.

``tool_traces``, ``agents``, ``agent_sessions`` and ``open_operations`` show
times as UTC text beside ``ts_ms``. Every one of them is a plain SELECT with
correlated look-ups, without DISTINCT, GROUP BY or window, so that SQLite merges
it into the query around it and a condition on ``ts_ms``, ``agent_name``,
``tool_name`` or ``conversation_id`` reaches an index.

``+column`` in a condition keeps SQLite from choosing the index of that column:
without statistics it would walk a whole conversation rather than the two rows
of a span. And a look-up is a nested SELECT rather than a join: with statistics,
a join would build a Bloom filter over all events for every row.
"""

from __future__ import annotations

from typing import Any

__all__ = ["down", "up"]


def _utc(ms: str) -> str:
    """Render SQL for milliseconds as ``YYYY-MM-DD HH:MM:SS.fff``."""
    return f"strftime('%Y-%m-%d %H:%M:%f', {ms} / 1000.0, 'unixepoch')"


def _text(payload: str, path: str) -> str:
    """Render SQL for a text in a payload; of a text that was cut, its head."""
    return (
        f"CASE json_extract({payload}, '{path}.\"$agenttrace\"') WHEN 'cut'"
        f" THEN coalesce(json_extract({payload}, '{path}.head'), json_extract({payload}, '{path}'))"
        f" ELSE json_extract({payload}, '{path}') END"
    )


TOOL_TRACES = f"""
CREATE VIEW tool_traces AS
SELECT
    c.id AS id,
    c.conversation_id AS session_id,
    c.conversation_id AS chat_id,
    NULL AS message_id,
    c.turn AS turn_number,
    c.tool_name AS tool_name,
    coalesce(json_extract(c.payload, '$.arguments'), json_extract(r.payload, '$.arguments')) AS tool_input,
    json_extract(r.payload, '$.output') AS tool_output,
    {_utc("c.ts_ms")} AS started_at,
    {_utc("r.ts_ms")} AS finished_at,
    CASE WHEN l.id IS NULL THEN r.duration_ms ELSE (r.ts_ns - c.ts_ns) / 1000000.0 END AS latency_ms,
    r.input_tokens + coalesce(r.output_tokens, 0) AS tokens_used,
    r.cache_read_tokens AS cache_tokens,
    r.reasoning_tokens AS reasoning_tokens,
    (SELECT coalesce(x.error_type || ': ', '') || coalesce({_text("x.payload", "$.error.message")}, '')
        FROM trajectory_events x
        WHERE x.error_id = r.error_id AND x.kind = 'error' AND +x.conversation_id = c.conversation_id
        ORDER BY x.id LIMIT 1) AS error,
    r.status AS outcome,
    {_utc("c.ts_ms")} AS created_at,
    c.conversation_id AS conversation_id,
    c.agent_id AS agent_id,
    c.agent_name AS agent_name,
    c.span_id AS span_id,
    c.parent_span_id AS parent_span_id,
    c.call_id AS call_id,
    1 + (SELECT count(*) FROM trajectory_events n
            WHERE n.retry_of = c.span_id AND n.kind = 'tool_call' AND +n.conversation_id = c.conversation_id)
      + (SELECT count(*) FROM trajectory_events y
            WHERE y.span_id = c.span_id AND y.kind = 'retry' AND +y.conversation_id = c.conversation_id)
      + (SELECT coalesce(sum((SELECT count(*) FROM trajectory_events y
                WHERE y.span_id = n.span_id AND y.kind = 'retry'
                AND +y.conversation_id = c.conversation_id)), 0)
            FROM trajectory_events n
            WHERE n.retry_of = c.span_id AND n.kind = 'tool_call' AND +n.conversation_id = c.conversation_id)
        AS attempts,
    (SELECT count(*) FROM trajectory_events y
            WHERE y.span_id = c.span_id AND +y.conversation_id = c.conversation_id
            AND (y.kind = 'retry' OR y.kind = 'tool_result' AND y.status = 'error'))
      + (SELECT coalesce(sum((SELECT count(*) FROM trajectory_events y
                WHERE y.span_id = n.span_id AND +y.conversation_id = c.conversation_id
                AND (y.kind = 'retry' OR y.kind = 'tool_result' AND y.status = 'error'))), 0)
            FROM trajectory_events n
            WHERE n.retry_of = c.span_id AND n.kind = 'tool_call' AND +n.conversation_id = c.conversation_id)
        AS failed_attempts,
    coalesce(r.status, 'running') AS status,
    r.error_id AS error_id,
    r.error_type AS error_type,
    c.ts_ms AS ts_ms,
    r.id AS result_id
FROM trajectory_events c
LEFT JOIN trajectory_events l ON l.id = (
    SELECT n.id FROM trajectory_events n
    WHERE n.retry_of = c.span_id AND n.kind = 'tool_call' AND +n.conversation_id = c.conversation_id
    ORDER BY n.attempt DESC, n.id DESC LIMIT 1)
LEFT JOIN trajectory_events r ON r.id = (
    SELECT y.id FROM trajectory_events y
    WHERE y.span_id = coalesce(l.span_id, c.span_id) AND y.kind = 'tool_result'
    AND +y.conversation_id = c.conversation_id
    ORDER BY y.id LIMIT 1)
WHERE c.kind = 'tool_call' AND (c.retry_of IS NULL OR NOT EXISTS (
    SELECT 1 FROM trajectory_events f
    WHERE f.span_id = c.retry_of AND f.kind = 'tool_call' AND +f.conversation_id = c.conversation_id))
"""

AGENTS = f"""
CREATE VIEW agents AS
SELECT
    a.conversation_id AS conversation_id,
    a.agent_id AS agent_id,
    a.agent_name AS agent_name,
    a.parent_agent_id AS parent_agent_id,
    a.runs AS runs,
    CASE
        WHEN EXISTS (SELECT 1 FROM open_spans o WHERE o.conversation_id = a.conversation_id
            AND o.agent_id = a.agent_id AND o.kind = 'agent_start') THEN 'running'
        ELSE coalesce(a.last_status, 'ok')
    END AS status,
    a.events AS events,
    a.tool_calls AS tool_calls,
    a.failed_calls AS failed_calls,
    a.errors AS errors,
    a.retries AS retries,
    a.model_turns AS model_turns,
    a.model AS model,
    a.provider AS provider,
    a.input_tokens AS input_tokens,
    a.output_tokens AS output_tokens,
    a.cache_read_tokens AS cache_read_tokens,
    a.cache_write_tokens AS cache_write_tokens,
    a.reasoning_tokens AS reasoning_tokens,
    a.cost_usd AS cost_usd,
    {_utc("a.first_ts_ms")} AS started_at,
    {_utc("a.last_end_ts_ms")} AS ended_at,
    a.first_ts_ms AS ts_ms,
    a.last_end_ts_ms AS ended_ms,
    a.last_ts_ms AS last_ts_ms,
    substr({_text("s.payload", "$.input")}, 1, 200) AS input_preview,
    substr({_text("e.payload", "$.output")}, 1, 200) AS output_preview,
    e.error_id AS error_id,
    e.error_type AS error_type
FROM agent_rollups a
LEFT JOIN trajectory_events s ON s.conversation_id = a.conversation_id AND s.agent_id = a.agent_id
    AND s.seq = a.first_start_seq
LEFT JOIN trajectory_events e ON e.conversation_id = a.conversation_id AND e.agent_id = a.agent_id
    AND e.seq = a.last_end_seq
"""


def _sum(column: str) -> str:
    return f"(SELECT sum(a.{column}) FROM agent_rollups a WHERE a.conversation_id = c.id) AS {column}"


_LAST_ROOT = """SELECT CASE
            WHEN EXISTS (SELECT 1 FROM open_spans o WHERE o.conversation_id = c.id AND o.kind = 'agent_start'
                AND o.agent_id IN (SELECT b.agent_id FROM agent_rollups b
                    WHERE b.conversation_id = c.id AND b.parent_agent_id IS NULL)) THEN 'running'
            WHEN a.last_status = 'error' THEN 'failed'
            WHEN a.last_status = 'cancelled' THEN 'cancelled'
            WHEN a.last_status = 'interrupted' THEN CASE WHEN EXISTS (
                SELECT 1 FROM processes p WHERE p.process_id = c.process_id AND p.exit LIKE 'exception%')
                THEN 'failed' ELSE 'interrupted' END
            ELSE 'completed' END
        FROM agent_rollups a WHERE a.conversation_id = c.id AND a.parent_agent_id IS NULL AND a.runs > 0
        ORDER BY coalesce(a.last_end_ts_ms, a.last_start_ts_ms) DESC LIMIT 1"""

AGENT_SESSIONS = f"""
CREATE VIEW agent_sessions AS
SELECT
    c.id AS id,
    c.id AS conversation_id,
    c.task AS task,
    {_utc("c.created_ms")} AS started_at,
    CASE WHEN EXISTS (SELECT 1 FROM open_spans o WHERE o.conversation_id = c.id AND o.kind = 'agent_start')
        THEN NULL
        ELSE (SELECT {_utc("max(a.last_end_ts_ms)")} FROM agent_rollups a WHERE a.conversation_id = c.id)
        END AS completed_at,
    coalesce(({_LAST_ROOT}),
        CASE WHEN EXISTS (SELECT 1 FROM processes p WHERE p.process_id = c.process_id AND p.ended_ms IS NULL)
            THEN 'running' ELSE 'completed' END) AS status,
    (SELECT coalesce(sum(a.events), 0) FROM agent_rollups a WHERE a.conversation_id = c.id) AS total_events,
    (SELECT coalesce(sum(coalesce(a.input_tokens, 0) + coalesce(a.output_tokens, 0)), 0)
        FROM agent_rollups a WHERE a.conversation_id = c.id) AS total_tokens,
    (SELECT sum(a.cost_usd) FROM agent_rollups a WHERE a.conversation_id = c.id) AS total_cost_usd,
    (SELECT count(*) FROM agent_rollups a WHERE a.conversation_id = c.id) AS agents,
    {_sum("tool_calls")},
    {_sum("failed_calls")},
    {_sum("errors")},
    {_sum("retries")},
    {_sum("model_turns")},
    {_sum("input_tokens")},
    {_sum("output_tokens")},
    (SELECT max(a.last_ts_ms) FROM agent_rollups a WHERE a.conversation_id = c.id) - c.created_ms
        AS duration_ms,
    c.created_ms AS ts_ms,
    (SELECT max(a.last_ts_ms) FROM agent_rollups a WHERE a.conversation_id = c.id) AS last_ts_ms,
    c.metadata AS metadata,
    c.process_id AS process_id
FROM conversations c
"""

OPEN_OPERATIONS = f"""
CREATE VIEW open_operations AS
SELECT
    s.id AS id,
    o.conversation_id AS conversation_id,
    o.agent_id AS agent_id,
    s.agent_name AS agent_name,
    s.parent_agent_id AS parent_agent_id,
    o.kind AS kind,
    coalesce(s.tool_name, s.model, s.agent_name) AS name,
    s.tool_name AS tool_name,
    s.model AS model,
    o.span_id AS span_id,
    s.parent_span_id AS parent_span_id,
    s.call_id AS call_id,
    s.turn AS turn,
    s.attempt AS attempt,
    {_utc("o.ts_ns / 1000000")} AS started_at,
    o.ts_ns / 1000000 AS ts_ms,
    o.ts_ns AS ts_ns,
    o.process_id AS process_id,
    p.host AS host,
    p.boot_id AS boot_id,
    p.pid AS pid,
    p.last_seen_ms AS last_seen_ms,
    p.ended_ms AS process_ended_ms
FROM open_spans o
LEFT JOIN trajectory_events s
    ON s.conversation_id = o.conversation_id AND s.agent_id = o.agent_id AND s.seq = o.seq
LEFT JOIN processes p ON p.process_id = o.process_id
"""

VIEWS = (TOOL_TRACES, AGENTS, AGENT_SESSIONS, OPEN_OPERATIONS)


def up(migrator: Any, database: Any) -> None:
    """Create the views."""
    for statement in VIEWS:
        database.execute_sql(statement)


def down(migrator: Any, database: Any) -> None:
    """Drop the views; no event is touched."""
    for name in ("open_operations", "agent_sessions", "agents", "tool_traces"):
        database.execute_sql(f"DROP VIEW {name}")
