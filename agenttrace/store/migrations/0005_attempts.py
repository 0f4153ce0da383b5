"""
Let ``tool_traces`` show a retried call alike, whoever retried it. Schema 5.

A call may be several pairs of rows (a loop around it), or one pair with an ``error`` and a
``retry`` inside for each failed attempt (a library, or a loop within the tool). Two cases differed.
A process that dies while it waits for the next attempt leaves the last pair closed, but the one
pair open: whoever recovers it closes it as interrupted, and now its attempt's error counts. And
what a library raises when it gives up says nothing of why: now ``error`` is that of the last attempt.

``tool_traces`` is else as in schema 2, and costs one more look-up per failed or interrupted call.
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


# The row that says why the call failed, `w`: of an attempt that nothing followed, `u`; or of an attempt
# in this very call from which its error was raised; or of its error.
_WHY = """CASE
    WHEN u.id IS NOT NULL THEN u.id
    WHEN r.error_id IS NOT NULL THEN coalesce((
        SELECT f.id FROM trajectory_events f
        WHERE f.error_id = (
            SELECT g.cause_error_id FROM trajectory_events g
            WHERE g.error_id = r.error_id AND g.kind = 'error' AND +g.span_id = r.span_id
            AND +g.conversation_id = r.conversation_id
            ORDER BY g.id LIMIT 1)
        AND f.kind = 'error' AND +f.span_id = r.span_id AND +f.conversation_id = r.conversation_id
        AND coalesce(json_extract(f.payload, '$.handled'), 0) = 0
        ORDER BY f.id LIMIT 1), (
        SELECT x.id FROM trajectory_events x
        WHERE x.error_id = r.error_id AND x.kind = 'error' AND +x.conversation_id = r.conversation_id
        ORDER BY x.id LIMIT 1))
    END"""

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
    {_utc("coalesce(u.ts_ms, r.ts_ms)")} AS finished_at,
    CASE WHEN l.id IS NULL AND u.id IS NULL THEN r.duration_ms
        ELSE (coalesce(u.ts_ns, r.ts_ns) - c.ts_ns) / 1000000.0 END AS latency_ms,
    r.input_tokens + coalesce(r.output_tokens, 0) AS tokens_used,
    r.cache_read_tokens AS cache_tokens,
    r.reasoning_tokens AS reasoning_tokens,
    CASE WHEN w.id IS NOT NULL
        THEN coalesce(w.error_type || ': ', '') || coalesce({_text("w.payload", "$.error.message")}, '')
        END AS error,
    CASE WHEN u.id IS NULL THEN r.status ELSE 'error' END AS outcome,
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
      + (u.id IS NOT NULL)
        AS failed_attempts,
    CASE WHEN u.id IS NULL THEN coalesce(r.status, 'running') ELSE 'error' END AS status,
    CASE WHEN w.id IS NULL THEN r.error_id ELSE w.error_id END AS error_id,
    CASE WHEN w.id IS NULL THEN r.error_type ELSE w.error_type END AS error_type,
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
LEFT JOIN trajectory_events u ON u.id = CASE r.status WHEN 'interrupted' THEN (
    SELECT CASE WHEN z.kind = 'error' AND coalesce(json_extract(z.payload, '$.handled'), 0) = 0 THEN z.id END
    FROM trajectory_events z
    WHERE z.span_id = r.span_id AND z.kind IN ('error', 'retry') AND +z.conversation_id = r.conversation_id
    ORDER BY z.id DESC LIMIT 1) END
LEFT JOIN trajectory_events w ON w.id = {_WHY}
WHERE c.kind = 'tool_call' AND (c.retry_of IS NULL OR NOT EXISTS (
    SELECT 1 FROM trajectory_events f
    WHERE f.span_id = c.retry_of AND f.kind = 'tool_call' AND +f.conversation_id = c.conversation_id))
"""


def up(migrator: Any, database: Any) -> None:
    """Make the view anew."""
    database.execute_sql("DROP VIEW tool_traces")
    database.execute_sql(TOOL_TRACES)


def down(migrator: Any, database: Any) -> None:
    """Make the view of schema 2 again; no event is touched."""
    # Late, and by name: a module whose name begins with a digit.
    from importlib import import_module

    database.execute_sql("DROP VIEW tool_traces")
    database.execute_sql(import_module("agenttrace.store.migrations.0002_views").TOOL_TRACES)
