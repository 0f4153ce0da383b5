"""
What became of each failure: ``retried reported swallowed escaped open``.

The fate itself is found in the view ``failures``; here it is asked for. Cost: a
handful of index look-ups per failure, none per event.
"""

from __future__ import annotations

from typing import Any

from agenttrace.errors import ConfigError
from agenttrace.events import FATES
from agenttrace.query.reading import Reader, build_page, parse_cursor
from agenttrace.query.timeline import Moment, to_ms
from agenttrace.store.rows import Failure, Page

__all__ = ["read_failures", "read_fates"]


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
