"""
What became of each failure: ``retried reported swallowed escaped open``.

The fate itself is found in the view ``failures``; here it is asked for. Cost: a
handful of index look-ups per failure, none per event.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agenttrace.errors import ConfigError
from agenttrace.events import FATES
from agenttrace.query.reading import Reader, build_page, parse_cursor
from agenttrace.query.timeline import Moment, to_ms
from agenttrace.store.rows import Failure, Page

__all__ = ["count_swallowed", "read_failures", "read_fates"]

# The fate of a failure that none was raised from is what `failure_facts` says of it, at less than half the
# price of following a chain of causes. Runs in which there may be such a chain are asked of the view.
_CHAINED = """
SELECT DISTINCT e.conversation_id FROM conversations c
CROSS JOIN trajectory_events e ON e.conversation_id = c.id AND e.kind = 'error'
WHERE {condition} AND (e.cause_error_id IS NOT NULL
    OR instr(e.payload, '"leaves"') > 0 OR instr(e.payload, '"returned"') > 0)
"""
_SWALLOWED = """
SELECT f.conversation_id, (SELECT x.agent_id FROM trajectory_events x WHERE x.id = f.id)
FROM conversations c CROSS JOIN failure_facts f ON f.conversation_id = c.id
WHERE {condition} AND c.id NOT IN (SELECT value FROM json_each(?))
AND CASE f.way WHEN 'swallowed' THEN f.told IS NULL ELSE 0 END
"""
_SWALLOWED_IN_CHAINS = """
SELECT f.conversation_id, f.agent_id FROM json_each(?) c CROSS JOIN failures f ON f.conversation_id = c.value
WHERE f.fate = 'swallowed'
"""


def read_failures(
    reader: Reader,
    *,
    conversation_id: str | None = None,
    agent: str | None = None,
    fate: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Failure]:
    """
    Read failures, newest first.

    Args:
        reader: Where to read.
        conversation_id: Only in this conversation.
        agent: Only of this agent: its id or its name.
        fate: Only with this fate.
        since: Not before this time.
        until: Not after this time.
        limit: How many at most.
        cursor: ``next_cursor`` of the page before.

    Raises:
        ConfigError: There is no such fate, or the cursor is none of ours.
    """
    if fate is not None and fate not in FATES:
        raise ConfigError(f"fate={fate!r}: give one of {', '.join(FATES)}.")
    where: list[str] = []
    params: list[Any] = []
    if conversation_id is not None:
        where.append("conversation_id = ?")
        params.append(conversation_id)
    if agent is not None:
        where.append("(agent_name = ? OR agent_id = ?)")
        params += [agent, agent]
    for moment, compare in ((since, ">="), (until, "<=")):
        if moment is not None:
            where.append(f"ts_ms {compare} ?")
            params.append(to_ms(moment))
    if cursor is not None:
        where.append("(ts_ms, id) < (?, ?)")
        params += parse_cursor(cursor, 2)
    if fate is not None:
        where.append("fate = ?")
        params.append(fate)
    tail = f"WHERE {' AND '.join(where)} " if where else ""
    rows = reader.select(Failure, f"{tail}ORDER BY ts_ms DESC, id DESC LIMIT ?", [*params, limit + 1])
    return build_page(rows, limit, lambda row: (row.ts_ms, row.id))


def read_fates(reader: Reader, conversation_id: str) -> dict[str, str]:
    """Give what became of each failure of a conversation, by ``error_id``."""
    rows = reader.rows(
        "SELECT error_id, fate FROM failures WHERE conversation_id = ? AND error_id IS NOT NULL",
        [conversation_id],
    )
    return {error_id: fate for error_id, fate in rows if fate is not None}


def count_swallowed(reader: Reader, condition: str, values: Sequence[Any]) -> Counter[tuple[str, str]]:
    """
    Count the failures that nobody was told of, in many conversations at once.

    Args:
        reader: Where to read; the caller holds a snapshot.
        condition: SQL of which rows ``c`` of ``conversations``.
        values: Its values.

    Returns:
        How many, by conversation and agent.
    """
    chained = json.dumps([row[0] for row in reader.rows(_CHAINED.format(condition=condition), values)])
    rows = reader.rows(_SWALLOWED.format(condition=condition), [*values, chained])
    return Counter([*rows, *reader.rows(_SWALLOWED_IN_CHAINS, [chained])])
