"""
Keep the durations of a tool in the order of time. Schema 7.

``idx_events_duration`` had them by length, so that each row of a batch went to a page of its own.
The slowest tools are summed up from the whole index whatever its order; entries that come at its
end cost a third of the processor time, and fewer pages of the log.
"""

from __future__ import annotations

from typing import Any

__all__ = ["down", "up"]


def _build(columns: str) -> str:
    return f"CREATE INDEX idx_events_duration ON trajectory_events ({columns}) WHERE kind = 'tool_result'"


def up(migrator: Any, database: Any) -> None:
    """Order them by time."""
    database.execute_sql("DROP INDEX IF EXISTS idx_events_duration")
    database.execute_sql(_build("tool_name, ts_ms, duration_ms"))


def down(migrator: Any, database: Any) -> None:
    """Order them by length again."""
    database.execute_sql("DROP INDEX IF EXISTS idx_events_duration")
    database.execute_sql(_build("tool_name, duration_ms"))
