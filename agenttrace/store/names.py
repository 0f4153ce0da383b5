"""
A few names out of a database, for a shell that completes a word while somebody waits.

Invariants: nothing is made, recovered, migrated or written; whatever is wrong with the file, there are
then no names, and nobody is told; it takes at most a tenth of a second. Cost: the newest conversations
by their index, one seek of an index for each tool. No peewee: its import alone would take too long.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any
from urllib.parse import quote

from agenttrace.errors import AgentTraceError
from agenttrace.store.target import resolve_target

__all__ = ["read_agent_names", "read_conversations", "read_tool_names"]

_PATIENCE_S = 0.1
_STEPS_BETWEEN_LOOKS = 2_000
_CONVERSATIONS = "SELECT id, coalesce(task, '') FROM conversations ORDER BY created_ms DESC, id DESC LIMIT ?"
_BEGINNING = "SELECT id, coalesce(task, '') FROM conversations WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
_AGENTS = """
SELECT DISTINCT r.agent_name FROM
    (SELECT id FROM conversations ORDER BY created_ms DESC, id DESC LIMIT 200) c
CROSS JOIN agent_rollups r ON r.conversation_id = c.id
WHERE r.agent_name IS NOT NULL ORDER BY 1 LIMIT ?
"""
# From each name to the next one, past all its calls.
_TOOLS = """
WITH RECURSIVE names (name) AS (
    SELECT min(tool_name) FROM trajectory_events WHERE kind = 'tool_call'
    UNION ALL
    SELECT (SELECT min(tool_name) FROM trajectory_events WHERE kind = 'tool_call' AND tool_name > name)
    FROM names WHERE name IS NOT NULL
)
SELECT name FROM names WHERE name IS NOT NULL LIMIT ?
"""


def read_conversations(database: str, beginning: str = "", limit: int = 20) -> list[tuple[str, str]]:
    """Give ids with their tasks: the newest, or those that begin so; [] where none can be read."""
    if beginning:
        return _read(database, _BEGINNING, [beginning, beginning + "\U0010ffff", limit])
    return _read(database, _CONVERSATIONS, [limit])


def read_agent_names(database: str, limit: int = 100) -> list[str]:
    """Give the names of agents in the newest conversations; [] where none can be read."""
    return [name for (name,) in _read(database, _AGENTS, [limit])]


def read_tool_names(database: str, limit: int = 200) -> list[str]:
    """Give the names of tools that were called; [] where none can be read."""
    return [name for (name,) in _read(database, _TOOLS, [limit])]


def _read(database: str, sql: str, params: list[Any]) -> list[Any]:
    until_s = time.monotonic() + _PATIENCE_S
    try:
        where = resolve_target(database)
        if where.is_memory:
            return []
        connection = sqlite3.connect(f"file:{quote(where.path)}?mode=ro", uri=True, timeout=0)
        try:
            connection.set_progress_handler(lambda: time.monotonic() > until_s, _STEPS_BETWEEN_LOOKS)
            return connection.execute(sql, params).fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, AgentTraceError, OSError, ValueError):
        return []
