"""
Let a failure decide how a conversation stands, where two root agents end in one millisecond. Schema 6.

``agent_sessions`` is else as in schema 2, and costs the same.
"""

from __future__ import annotations

from typing import Any

__all__ = ["down", "up"]

_AFTER = "ORDER BY coalesce(a.last_end_ts_ms, a.last_start_ts_ms) DESC"
_TIES = ", a.last_status = 'error' DESC, a.last_end_seq DESC"


def _replace(database: Any, before: str, after: str) -> None:
    (sql,) = database.execute_sql("SELECT sql FROM sqlite_master WHERE name = 'agent_sessions'").fetchone()
    assert sql.count(before) == 1, "the view is that of schema 2"
    database.execute_sql("DROP VIEW agent_sessions")
    database.execute_sql(sql.replace(before, after))


def up(migrator: Any, database: Any) -> None:
    """Order the root agents that end together."""
    _replace(database, f"{_AFTER} LIMIT 1", f"{_AFTER}{_TIES} LIMIT 1")


def down(migrator: Any, database: Any) -> None:
    """Leave their order to chance again."""
    _replace(database, f"{_AFTER}{_TIES} LIMIT 1", f"{_AFTER} LIMIT 1")
