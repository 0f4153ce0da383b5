"""
Tell calls apart by their ids, and name the call that a failure was handed back for. Schema 8.

A call with another id is not a failed one made again, however alike they are. A failure that was
caught where no call was traced has the name and id of the rebuilt call that closed with it; any
failure has its call's id. Cost: two index look-ups per failure that is shown.
"""

from __future__ import annotations

from typing import Any

__all__ = ["down", "up"]

_AGAIN = "AND +n.tool_name = c.tool_name AND +n.payload = c.payload\n            AND +n.parent_span_id"
_AGAIN_BY_ID = (
    "AND +n.tool_name = c.tool_name AND +n.payload = c.payload\n"
    "            AND coalesce(+n.call_id = c.call_id, 1) AND +n.parent_span_id"
)

_CLOSED_WITH = """(SELECT x.{column} FROM trajectory_events x
        WHERE x.error_id = e.error_id AND x.kind = 'tool_result' AND +x.conversation_id = e.conversation_id
        {condition}ORDER BY x.id LIMIT 1)"""
_REBUILT = "AND json_extract(x.payload, '$.rebuilt') = 1 "

_NAME = "    e.tool_name AS tool_name,\n"
_ITS_NAME = _CLOSED_WITH.format(column="tool_name", condition=_REBUILT)
_NAME_OF_CALL = f"    coalesce(e.tool_name, {_ITS_NAME}) AS tool_name,\n"
_ID = "    e.call_id AS call_id,\n"
_OWN_SPAN = "AND (x.span_id = e.span_id OR json_extract(x.payload, '$.rebuilt') = 1) "
_ITS_ID = _CLOSED_WITH.format(column="call_id", condition=_OWN_SPAN)
_ID_OF_CALL = f"    coalesce(e.call_id, {_ITS_ID}) AS call_id,\n"


def _replace(database: Any, view: str, *changes: tuple[str, str]) -> None:
    (sql,) = database.execute_sql("SELECT sql FROM sqlite_master WHERE name = ?", (view,)).fetchone()
    for before, after in changes:
        assert before in sql, f"{view} is that of schema 7"
        sql = sql.replace(before, after)
    database.execute_sql(f"DROP VIEW {view}")
    database.execute_sql(sql)


def up(migrator: Any, database: Any) -> None:
    """Look at the ids of calls."""
    _replace(database, "failure_facts", (_AGAIN, _AGAIN_BY_ID))
    _replace(database, "failures", (_NAME, _NAME_OF_CALL), (_ID, _ID_OF_CALL))


def down(migrator: Any, database: Any) -> None:
    """Look at the error row alone again."""
    _replace(database, "failure_facts", (_AGAIN_BY_ID, _AGAIN))
    _replace(database, "failures", (_NAME_OF_CALL, _NAME), (_ID_OF_CALL, _ID))
