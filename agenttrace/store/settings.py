"""
Settings that belong to a database rather than to a process, such as how long events are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping

from agenttrace.store.connection import StoreDatabase

__all__ = ["DEFAULT_RETENTION_DAYS", "RETENTION_DAYS", "StoreSettings"]

RETENTION_DAYS = "retention_days"
DEFAULT_RETENTION_DAYS = 30


class StoreSettings(MutableMapping[str, str]):
    """
    The table ``trace_settings`` as a mapping of text to text; every access asks the database.

    Args:
        reader: Gives a database to read from.
        change: Does work in a write transaction, and gives what it gives.
    """

    def __init__(
        self, reader: Callable[[], StoreDatabase], change: Callable[[Callable[[StoreDatabase], int]], int]
    ) -> None:
        self._reader = reader
        self._change = change

    def __getitem__(self, key: str) -> str:
        database = self._reader()
        with database.lock:
            found = database.execute("SELECT value FROM trace_settings WHERE key = ?", (key,)).fetchone()
        if found is None or found[0] is None:
            raise KeyError(key)
        return str(found[0])

    def __setitem__(self, key: str, value: object) -> None:
        sql = (
            "INSERT INTO trace_settings (key, value) VALUES (?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        )
        self._change(lambda database: database.execute(sql, (key, str(value))).rowcount)

    def __delitem__(self, key: str) -> None:
        sql = "DELETE FROM trace_settings WHERE key = ?"
        if self._change(lambda database: database.execute(sql, (key,)).rowcount) == 0:
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        database = self._reader()
        with database.lock:
            rows = database.execute("SELECT key FROM trace_settings ORDER BY key").fetchall()
        return iter([row[0] for row in rows])

    def __len__(self) -> int:
        return sum(1 for _ in self)
