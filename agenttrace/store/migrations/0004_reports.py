"""
Keep who was told of a failure in a table, and make the views of failures from it. Schema 4.

``failure_reports`` has a row for each failure that a model was told of, or that stands in an
agent's own answer; the batch that stores the later of the two writes it (``store/reports.py``).
``failures`` is as before, with ``claimed_by`` beside the fate. A failure that was handled, kept and
raised again later has several ``error`` rows with one ``error_id``, or a later one that names the
first in ``raised_again``; it is one failure, with the fate of the last.

Cost: a handful of index look-ups per failure, and no look into a payload but its own.
"""

from __future__ import annotations

from typing import Any

__all__ = ["down", "up"]

TABLE = """
CREATE TABLE failure_reports (
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    error_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    event_id TEXT,
    ts_ms INTEGER,
    PRIMARY KEY (conversation_id, error_id)
) WITHOUT ROWID
"""

_ENDS = "('tool_result', 'agent_end', 'model_turn')"
_STARTS = "('tool_call', 'agent_start', 'model_call')"
_NEXT_EVENTS = 12
"""How many events behind a failed call the same call may follow."""
_CHAIN_LIMIT = 16
"""How many failures, each raised from the one before, are followed; a ring of causes ends there."""


def _message(payload: str) -> str:
    """Render SQL for the message of an error row; of a message that was cut, its head."""
    return (
        f"coalesce(CASE json_type({payload}, '$.error.message')"
        f" WHEN 'object' THEN json_extract({payload}, '$.error.message.head')"
        f" ELSE json_extract({payload}, '$.error.message') END,"
        f" CASE json_type({payload}, '$.error') WHEN 'text' THEN json_extract({payload}, '$.error') END,"
        f" json_extract({payload}, '$.message'), '')"
    )


def _place(payload: str) -> str:
    """Render SQL for ``{file, line, function}`` as ``file:line function``."""
    return (
        f"json_extract({payload}, '$.handled_at.file') || ':' || json_extract({payload}, '$.handled_at.line')"
        f" || coalesce(' ' || json_extract({payload}, '$.handled_at.function'), '')"
    )


# One row per failure: the first error row of its error_id in its conversation.
_FIRST = """e.kind = 'error' AND NOT EXISTS (
        SELECT 1 FROM trajectory_events f WHERE f.error_id = e.error_id AND f.kind = 'error'
        AND +f.conversation_id = e.conversation_id AND f.id < e.id)"""

# Operations that closed with the failure, and the outermost of them that closed last.
_CLOSED = f"""FROM trajectory_events x WHERE x.error_id = e.error_id AND x.kind IN {_ENDS}
        AND +x.conversation_id = e.conversation_id"""
_OUTERMOST = f"""{_CLOSED} AND NOT EXISTS (
            SELECT 1 FROM trajectory_events y WHERE y.error_id = e.error_id AND y.kind IN {_ENDS}
            AND +y.conversation_id = e.conversation_id AND +y.span_id = x.parent_span_id)
        ORDER BY x.id DESC LIMIT 1"""

_CALLS_LEFT = f"""c.span_id IN (SELECT e.span_id UNION ALL SELECT x.span_id {_CLOSED})
        AND c.kind = 'tool_call' AND +c.conversation_id = e.conversation_id"""

# Another run of an agent of that name follows in the same place, with the same input that is not
# nothing, or with the same call as the one that failed.
_RUN_AGAIN = """EXISTS (
        SELECT 1 FROM agent_rollups r
        WHERE r.conversation_id = x.conversation_id AND r.parent_agent_id = x.parent_agent_id
        AND r.agent_name = x.agent_name AND r.agent_id <> x.agent_id AND r.first_ts_ms >= x.ts_ms
        AND EXISTS (SELECT 1 FROM trajectory_events s, trajectory_events n
            WHERE s.span_id = x.span_id AND s.kind = 'agent_start' AND +s.conversation_id = x.conversation_id
            AND n.conversation_id = x.conversation_id AND n.agent_id = r.agent_id
            AND n.seq = r.first_start_seq AND n.ts_ns >= x.ts_ns AND +n.parent_span_id IS s.parent_span_id
            AND (n.payload = s.payload AND json_extract(s.payload, '$.input') IS NOT NULL
                OR EXISTS (SELECT 1 FROM trajectory_events c, trajectory_events m
                    WHERE c.span_id = e.span_id AND c.kind = 'tool_call'
                    AND +c.conversation_id = x.conversation_id
                    AND m.conversation_id = x.conversation_id AND m.agent_id = r.agent_id
                    AND m.seq > n.seq AND m.seq <= n.seq + 50 AND +m.kind = 'tool_call'
                    AND +m.tool_name = c.tool_name AND +m.payload = c.payload))))"""

# Somebody said so, or a call that it left was made again: as its next attempt, which capture numbers
# when nothing comes between, or soon after other calls (a clean-up, the steps before it), with equal
# arguments and before the model was asked again.
_RETRIED = f"""EXISTS (SELECT 1 FROM trajectory_events r
        WHERE r.error_id = e.error_id AND r.kind = 'retry' AND +r.conversation_id = e.conversation_id)
    OR EXISTS (SELECT 1 FROM trajectory_events c
        WHERE {_CALLS_LEFT}
        AND EXISTS (SELECT 1 FROM trajectory_events n
            WHERE n.retry_of = coalesce(c.retry_of, c.span_id) AND n.kind = 'tool_call'
            AND +n.conversation_id = e.conversation_id
            AND coalesce(n.attempt, 1) > coalesce(c.attempt, 1)))
    OR EXISTS (SELECT 1 FROM trajectory_events c
        WHERE {_CALLS_LEFT}
        AND EXISTS (SELECT 1 FROM trajectory_events d, trajectory_events n
            WHERE d.span_id = c.span_id AND d.kind = 'tool_result' AND d.status = 'error'
            AND +d.conversation_id = c.conversation_id
            AND n.conversation_id = c.conversation_id AND n.agent_id = c.agent_id
            AND n.seq > d.seq AND n.seq <= d.seq + {_NEXT_EVENTS}
            AND +n.kind = 'tool_call' AND +n.tool_name = c.tool_name AND +n.payload = c.payload
            AND +n.parent_span_id IS c.parent_span_id
            AND EXISTS (SELECT 1 FROM trajectory_events o
                WHERE o.conversation_id = c.conversation_id AND o.agent_id = c.agent_id
                AND o.seq > d.seq AND o.seq < n.seq AND +o.kind = 'tool_call')
            AND NOT EXISTS (SELECT 1 FROM trajectory_events m
                WHERE m.conversation_id = c.conversation_id AND m.agent_id = c.agent_id
                AND m.seq > d.seq AND m.seq < n.seq AND +m.kind = 'model_call')))
    OR EXISTS (SELECT 1 {_CLOSED} AND x.kind = 'agent_end' AND x.parent_agent_id IS NOT NULL
        AND {_RUN_AGAIN})"""

# A model turn that failed is tried again when another follows at once and does not tell of the failure.
_TURN_AGAIN = f"""EXISTS (SELECT 1 {_CLOSED} AND x.kind = 'model_turn' AND 'model_call' = (
        SELECT n.kind FROM trajectory_events n
        WHERE n.conversation_id = x.conversation_id AND n.agent_id = x.agent_id AND n.seq > x.seq
        AND +n.kind IN ('model_call', 'tool_call', 'agent_end') ORDER BY n.seq LIMIT 1))"""

# Caught before it left any operation, and what it was raised from was tried again.
_CAUSE_RETRIED = f"""e.cause_error_id IS NOT NULL AND NOT EXISTS (SELECT 1 {_CLOSED}) AND EXISTS (
        SELECT 1 FROM (
            SELECT q.error_id AS error_id, q.conversation_id AS conversation_id, q.span_id AS span_id
            FROM trajectory_events q
            WHERE q.error_id = e.cause_error_id AND q.kind = 'error'
            AND +q.conversation_id = e.conversation_id LIMIT 1) e
        WHERE {_RETRIED})"""

_REPORTED = """EXISTS (SELECT 1 FROM failure_reports r
        WHERE r.conversation_id = e.conversation_id AND r.error_id = e.error_id)"""

_WAY = f"""CASE
    WHEN EXISTS (SELECT 1 {_CLOSED}) THEN (
        SELECT CASE
            WHEN x.parent_span_id IS NULL OR x.kind = 'agent_end' AND x.parent_agent_id IS NULL THEN 'escaped'
            ELSE coalesce((
                SELECT CASE WHEN p.status IN ('interrupted', 'cancelled') THEN 'open' ELSE 'swallowed' END
                FROM trajectory_events p
                WHERE p.span_id = x.parent_span_id AND p.kind IN {_ENDS}
                AND +p.conversation_id = e.conversation_id
                ORDER BY p.id LIMIT 1), 'open')
            END
        {_OUTERMOST})
    ELSE coalesce((
        SELECT CASE WHEN p.status IN ('interrupted', 'cancelled') THEN 'open' ELSE 'swallowed' END
        FROM trajectory_events p
        WHERE p.span_id = e.span_id AND p.kind IN {_ENDS} AND +p.conversation_id = e.conversation_id
        ORDER BY p.id LIMIT 1), 'open')
    END"""

FAILURE_FACTS = f"""
CREATE VIEW failure_facts AS
SELECT
    e.id AS id,
    e.conversation_id AS conversation_id,
    e.error_id AS error_id,
    e.ts_ms AS ts_ms,
    CASE
        WHEN {_RETRIED} THEN 'retried'
        WHEN {_REPORTED} THEN 'reported'
        WHEN {_TURN_AGAIN} THEN 'retried'
        WHEN {_CAUSE_RETRIED} THEN 'retried'
        END AS told,
    {_WAY} AS way
FROM trajectory_events e
WHERE {_FIRST}
"""

# The agent in whose operation the failure stopped (around the outermost one that it closed, or the
# one that it was handled in), if the next end of a run of that agent is a good one.
_CLAIMED_BY = f"""(
        SELECT CASE d.status WHEN 'ok' THEN coalesce(d.agent_name, d.agent_id) END
        FROM trajectory_events d WHERE d.id = (
            SELECT n.id FROM trajectory_events n
            WHERE n.conversation_id = e.conversation_id AND n.agent_id = (
                SELECT p.agent_id FROM trajectory_events p
                WHERE p.span_id = CASE WHEN EXISTS (SELECT 1 {_CLOSED})
                    THEN (SELECT x.parent_span_id {_OUTERMOST}) ELSE e.span_id END
                AND p.kind IN {_STARTS} AND +p.conversation_id = e.conversation_id
                ORDER BY p.id LIMIT 1)
            AND n.kind = 'agent_end' AND n.ts_ns >= e.ts_ns
            ORDER BY n.ts_ns LIMIT 1))"""

# The failures that the one of chain became, as a JSON list: those raised from it, the failure that
# its call gave back as data after it had caught it, and the groups that hold it. A join here would,
# once the database has been analyzed, make SQLite build a Bloom filter over all events for every failure.
_NEXT = """(SELECT json_group_array(next.error_id) FROM (
                SELECT s.error_id AS error_id FROM trajectory_events s
                WHERE s.cause_error_id = {error_id} AND s.kind = 'error'
                AND +s.conversation_id = e.conversation_id AND s.error_id <> {error_id}
                UNION ALL
                SELECT d.error_id FROM trajectory_events d
                WHERE d.span_id IN (SELECT h.span_id FROM trajectory_events h
                    WHERE h.error_id = {error_id} AND h.kind = 'error'
                    AND +h.conversation_id = e.conversation_id AND json_extract(h.payload, '$.handled') = 1)
                AND d.kind = 'error' AND +d.conversation_id = e.conversation_id AND d.error_id <> {error_id}
                AND json_extract(d.payload, '$.returned') IS NOT NULL
                UNION ALL
                SELECT g.error_id FROM trajectory_events g INDEXED BY idx_events_group
                WHERE g.conversation_id = e.conversation_id AND g.kind = 'error'
                AND instr(g.payload, '"leaves"') > 0 AND g.error_id <> {error_id}
                AND instr(g.payload, {error_id}) > 0
                AND EXISTS (SELECT 1 FROM json_each(g.payload, '$.error.leaves') leaf
                    WHERE leaf.type = 'object' AND json_extract(leaf.value, '$.error_id') = {error_id})
            ) next)"""
_NEXT_OF_CHAIN = _NEXT.format(error_id="chain.error_id")

_FACT = """(SELECT f.{name} FROM failure_facts f
                    WHERE f.error_id = chain.error_id AND +f.conversation_id = e.conversation_id)"""

FAILURES = f"""
CREATE VIEW failures AS
SELECT
    e.id AS id,
    e.error_id AS error_id,
    e.conversation_id AS conversation_id,
    e.agent_id AS agent_id,
    e.agent_name AS agent_name,
    e.span_id AS span_id,
    e.tool_name AS tool_name,
    e.error_type AS error_type,
    {_message("e.payload")} AS message,
    (SELECT json_extract(frame.value, '$.file') || ':' || json_extract(frame.value, '$.line')
            || coalesce(' ' || json_extract(frame.value, '$.function'), '')
        FROM json_each(e.payload, '$.error.frames') frame
        WHERE frame.type = 'object' AND json_extract(frame.value, '$.file') IS NOT NULL
        ORDER BY frame.key DESC LIMIT 1) AS raised_at,
    coalesce({_place("e.payload")}, (
        SELECT {_place("h.payload")} FROM trajectory_events h
        WHERE h.error_id = e.error_id AND h.kind = 'handled' AND +h.conversation_id = e.conversation_id
        ORDER BY h.id LIMIT 1)) AS handled_at,
    e.attempt AS attempt,
    e.turn AS turn,
    e.ts_ms AS ts_ms,
    strftime('%Y-%m-%d %H:%M:%f', e.ts_ms / 1000.0, 'unixepoch') AS at,
    json_extract(e.payload, '$.returned') AS returned,
    coalesce(json_extract(e.payload, '$.handled'), 0) OR EXISTS (
        SELECT 1 FROM trajectory_events h
        WHERE h.error_id = e.error_id AND h.kind = 'handled' AND +h.conversation_id = e.conversation_id)
        AS handled,
    e.cause_error_id AS cause_error_id,
    coalesce((
        WITH RECURSIVE chain (error_id, depth) AS (
            SELECT e.error_id, 0
            UNION
            SELECT raised.value, chain.depth + 1 FROM chain CROSS JOIN json_each({_NEXT_OF_CHAIN}) raised
                WHERE chain.depth < {_CHAIN_LIMIT}
        )
        SELECT coalesce(fact.told, fact.way) FROM (
            SELECT chain.depth AS depth, {_NEXT_OF_CHAIN} AS next,
                {_FACT.format(name="told")} AS told,
                {_FACT.format(name="way")} AS way
            FROM chain LIMIT 1000
        ) fact
        WHERE fact.told IS NOT NULL OR fact.way = 'escaped' OR fact.next = '[]'
        ORDER BY CASE WHEN fact.told IS NOT NULL THEN fact.depth WHEN fact.way = 'escaped' THEN 100
            WHEN fact.way = 'open' THEN 101 ELSE 102 END
        LIMIT 1),
        (SELECT coalesce(f.told, f.way) FROM failure_facts f WHERE f.id = e.id)) AS fate,
    e.parent_span_id AS parent_span_id,
    e.call_id AS call_id,
    e.parent_agent_id AS parent_agent_id,
    e.seq AS seq,
    {_CLAIMED_BY} AS claimed_by
FROM trajectory_events e
WHERE {_FIRST}
"""

VIEWS = ("failures", "failure_facts")


def up(migrator: Any, database: Any) -> None:
    """Make the table, fill it from what is stored, and make the views anew."""
    # Late: the words of an error are found by code, which no other migration needs.
    from agenttrace.store.reports import rebuild_reports

    for name in VIEWS:
        database.execute_sql(f"DROP VIEW {name}")
    database.execute_sql(TABLE)
    rebuild_reports(database.connection())
    database.execute_sql(FAILURE_FACTS)
    database.execute_sql(FAILURES)


def down(migrator: Any, database: Any) -> None:
    """Make the views of schema 3 again, and drop the table; no event is touched."""
    # Late, and by name: a module whose name begins with a digit.
    from importlib import import_module

    before = import_module("agenttrace.store.migrations.0003_failures")
    for name in VIEWS:
        database.execute_sql(f"DROP VIEW {name}")
    database.execute_sql("DROP TABLE failure_reports")
    before.up(migrator, database)
