"""
Close what a process left open.

Every ``agent_start``, ``tool_call`` and ``model_call`` of the process that has no
end gets one with ``status=interrupted``, innermost first, at the last time that
is known of the process. ``open_spans`` holds exactly these operations, so the
cost follows what is open and not what was recorded. The id of such a row is the
process id, ``-i`` and the start's frame number: the same whoever writes it.
"""

from __future__ import annotations

import sqlite3

from agenttrace.events import END_OF
from agenttrace.store.plan import Record

__all__ = ["build_ends"]

_PAYLOADS = {
    "agent_end": b'{"output":null,"is_error":false}',
    "tool_result": b'{"is_error":false,"output":null}',
    "model_turn": b'{"output":null}',
}

_OPEN_OF_PROCESS = """
SELECT e.kind, e.ts_ns, e.conversation_id, e.agent_id, e.agent_name, e.parent_agent_id, e.span_id,
    e.parent_span_id, e.tool_name, e.call_id, e.turn, e.attempt, e.retry_of, e.model, e.provider, e.event_id
FROM open_spans o JOIN trajectory_events e
    ON e.conversation_id = o.conversation_id AND e.agent_id = o.agent_id AND e.seq = o.seq
WHERE o.process_id = ?
ORDER BY e.ts_ns DESC, e.id DESC
"""

_LAST_TIME = """
SELECT max(last_ms) FROM (
    SELECT last_seen_ms AS last_ms FROM processes WHERE process_id = :process_id
    UNION ALL
    SELECT max(r.last_ts_ms) FROM agent_rollups r WHERE (r.conversation_id, r.agent_id) IN (
        SELECT o.conversation_id, o.agent_id FROM open_spans o WHERE o.process_id = :process_id))
"""


def build_ends(connection: sqlite3.Connection, process_id: str, at_ns: int = 0) -> list[Record]:
    """
    Build the closing records of everything that *process_id* has open.

    Args:
        at_ns: The process's last known time; 0 takes the last that the database knows.

    Returns:
        Innermost first, which is the order in which they are to be stored; [] when nothing is open.
    """
    starts = connection.execute(_OPEN_OF_PROCESS, (process_id,)).fetchall()
    if not starts:
        return []
    if at_ns <= 0:
        (last_ms,) = connection.execute(_LAST_TIME, {"process_id": process_id}).fetchone()
        at_ns = (last_ms or 0) * 1_000_000
    at_ns = max(at_ns, max(start[1] for start in starts))
    return [_build_end(start, process_id, at_ns) for start in starts]


def _build_end(start: tuple[object, ...], process_id: str, at_ns: int) -> Record:
    (
        kind,
        ts_ns,
        conversation_id,
        agent_id,
        agent_name,
        parent_agent_id,
        span_id,
        parent_span_id,
        tool_name,
        call_id,
        turn,
        attempt,
        retry_of,
        model,
        provider,
        event_id,
    ) = start
    end = END_OF[str(kind)]
    duration_ms = (at_ns - int(str(ts_ns))) / 1e6
    extra = {"turn": turn, "attempt": attempt, "retry_of": retry_of, "model": model, "provider": provider}
    header = [
        end,
        at_ns,
        conversation_id,
        agent_id,
        agent_name,
        parent_agent_id,
        span_id,
        parent_span_id,
        tool_name,
        "interrupted",
        duration_ms,
        call_id,
        None,
        None,
        {name: value for name, value in extra.items() if value is not None},
    ]
    frame = str(event_id or "").partition("-")[2] or str(span_id)
    return Record(header, _PAYLOADS[end], f"{process_id}-i{frame}")
