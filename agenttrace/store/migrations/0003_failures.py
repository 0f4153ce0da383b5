"""
Make the view ``failures``: one row per failure, with what became of it. Schema 3.

The fate is found from the rows alone. ``failure_facts`` says of each failure,
taken by itself, whether somebody was told (``told``: retried or reported) and
which way it went (``way``: escaped, swallowed or open). ``failures`` follows
the chain from a failure to those raised from it (``cause_error_id``, or an
exception group that holds it), and takes the first that was told, or else the
way of the chain's end.

Cost: a handful of index look-ups per failure, and a substring search in at
most 20 model inputs each of two agents; nothing is read twice per event, so
failures of an hour cost the same beside a thousand events and ten million.
"""

from __future__ import annotations

from typing import Any

__all__ = ["down", "up"]

_ENDS = "('tool_result', 'agent_end', 'model_turn')"
_MODEL_INPUTS_READ = 10
"""How many of an agent's model inputs after the failure are searched for its text."""
_SHORT_CHARS = 8
"""A message shorter than this must come with its error type to count as told."""
_CHAIN_LIMIT = 16
"""How many failures, each raised from the one before, are followed; a ring of causes ends there."""
_PROBE_CHARS = 200
"""How much of a message is searched for: programs cut long ones before they pass them on."""


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


def _escaped(text: str) -> str:
    """Render SQL for *text* as it stands inside a JSON string."""
    return f"substr(json_quote({text}), 2, length(json_quote({text})) - 2)"


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

_RETRIED = f"""EXISTS (SELECT 1 FROM trajectory_events r
        WHERE r.error_id = e.error_id AND r.kind = 'retry' AND +r.conversation_id = e.conversation_id)
    OR EXISTS (SELECT 1 FROM trajectory_events c
        WHERE c.span_id IN (SELECT e.span_id UNION ALL SELECT x.span_id {_CLOSED})
        AND c.kind = 'tool_call' AND +c.conversation_id = e.conversation_id
        AND EXISTS (SELECT 1 FROM trajectory_events n
            WHERE n.retry_of = coalesce(c.retry_of, c.span_id) AND n.kind = 'tool_call'
            AND +n.conversation_id = e.conversation_id
            AND coalesce(n.attempt, 1) > coalesce(c.attempt, 1)))"""

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

# The agent in whose operation the failure stopped: of the operation around the outermost one that it closed.
_CATCHER = f"""(SELECT p.agent_id FROM trajectory_events p
        WHERE p.span_id = (SELECT x.parent_span_id {_OUTERMOST})
        AND p.kind IN ('tool_call', 'agent_start', 'model_call') AND +p.conversation_id = e.conversation_id
        ORDER BY p.id LIMIT 1)"""


def _contains(payload: str) -> str:
    """Render SQL: *payload* holds the probe, as text or as JSON text in text; a short one with its type."""
    return (
        f"(instr({payload}, e.once) > 0 OR e.twice <> e.once AND instr({payload}, e.twice) > 0)"
        f" AND (e.chars >= {_SHORT_CHARS} OR instr({payload}, e.type) > 0)"
    )


def _told(kind: str, agent: str, condition: str = "") -> str:
    """Render SQL: a row of *kind* and *agent* after the failure holds its text, itself or in its blob."""
    return f"""EXISTS (
        SELECT 1 FROM (
            SELECT m.payload AS payload FROM trajectory_events m
            WHERE m.conversation_id = e.conversation_id AND m.agent_id = {agent}
            AND m.kind = '{kind}' AND m.ts_ns >= e.ts_ns {condition}
            ORDER BY m.ts_ns LIMIT {_MODEL_INPUTS_READ}) m
        WHERE {_contains("m.payload")}
        OR instr(m.payload, '"$agenttrace"') > 0 AND EXISTS (
            SELECT 1 FROM payload_blobs b WHERE b.sha256 = json_extract(m.payload, '$.sha256')
            AND {_contains("CAST(b.body AS TEXT)")}))"""


def _reported() -> str:
    ended_ok = "AND m.status = 'ok'"
    return f"""{_told("model_call", "e.agent_id")} OR {_told("agent_end", "e.agent_id", ended_ok)}
    OR e.catcher <> e.agent_id AND (
        {_told("model_call", "e.catcher")} OR {_told("agent_end", "e.catcher", ended_ok)})"""


# A LIMIT keeps SQLite from merging the inner SELECTs, and so from working out a column anew for every use.
FAILURE_FACTS = f"""
CREATE VIEW failure_facts AS
SELECT
    e.id AS id,
    e.conversation_id AS conversation_id,
    e.error_id AS error_id,
    e.ts_ms AS ts_ms,
    CASE WHEN {_RETRIED} THEN 'retried' ELSE (
        SELECT 'reported' FROM (
            SELECT q.*, {_escaped("q.once")} AS twice FROM (
                SELECT z.*, {_escaped("z.probe")} AS once, length(z.probe) AS chars FROM (
                    SELECT e.conversation_id AS conversation_id, e.agent_id AS agent_id, e.ts_ns AS ts_ns,
                        coalesce(json_extract(e.payload, '$.error.type'), e.error_type, '') AS type,
                        {_CATCHER} AS catcher,
                        substr({_message("e.payload")}, 1, {_PROBE_CHARS}) AS probe
                    LIMIT 1
                ) z LIMIT 1
            ) q LIMIT 1
        ) e
        WHERE {_reported()})
    END AS told,
    {_WAY} AS way
FROM trajectory_events e
WHERE {_FIRST}
"""

# The failures that were raised from the one of chain, as a JSON list: a join here would, once the
# database has been analyzed, make SQLite build a Bloom filter over all events for every failure.
_NEXT = """(SELECT json_group_array(next.error_id) FROM (
                SELECT s.error_id AS error_id FROM trajectory_events s
                WHERE s.cause_error_id = chain.error_id AND s.kind = 'error'
                AND +s.conversation_id = e.conversation_id AND s.error_id <> chain.error_id
                UNION ALL
                SELECT g.error_id FROM trajectory_events g INDEXED BY idx_events_group
                WHERE g.conversation_id = e.conversation_id AND g.kind = 'error'
                AND instr(g.payload, '"leaves"') > 0 AND g.error_id <> chain.error_id
                AND EXISTS (SELECT 1 FROM json_each(g.payload, '$.error.leaves') leaf
                    WHERE leaf.type = 'object' AND json_extract(leaf.value, '$.error_id') = chain.error_id)
            ) next)"""

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
            SELECT raised.value, chain.depth + 1 FROM chain CROSS JOIN json_each({_NEXT}) raised
                WHERE chain.depth < {_CHAIN_LIMIT}
        )
        SELECT coalesce(fact.told, fact.way) FROM (
            SELECT chain.depth AS depth, {_NEXT} AS next,
                (SELECT f.told FROM failure_facts f
                    WHERE f.error_id = chain.error_id AND +f.conversation_id = e.conversation_id) AS told,
                (SELECT f.way FROM failure_facts f
                    WHERE f.error_id = chain.error_id AND +f.conversation_id = e.conversation_id) AS way
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
    e.seq AS seq
FROM trajectory_events e
WHERE {_FIRST}
"""


def up(migrator: Any, database: Any) -> None:
    """Create the views."""
    database.execute_sql(FAILURE_FACTS)
    database.execute_sql(FAILURES)


def down(migrator: Any, database: Any) -> None:
    """Drop the views; no event is touched."""
    database.execute_sql("DROP VIEW failures")
    database.execute_sql("DROP VIEW failure_facts")
