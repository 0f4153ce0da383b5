"""
What takes the space in a database: tables and indexes, kinds, tools, conversations, months.

Nothing is written. Cost: one pass over the file's pages and one over the payloads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from agenttrace.errors import StoreError
from agenttrace.store.collect import used_bytes
from agenttrace.store.connection import StoreDatabase

__all__ = ["Share", "Space", "measure_space"]


class Share(NamedTuple):
    """One part of the whole."""

    name: str
    row_count: int
    """Rows, or of a table its pages."""
    size_bytes: int


class Space(NamedTuple):
    """Where the bytes are."""

    file_bytes: int
    """The database file itself."""
    journal_bytes: int
    """The write-ahead log beside it."""
    used_bytes: int
    """The file without its free pages."""
    tables: tuple[Share, ...]
    """Pages and bytes of each table and index, largest first; empty where SQLite cannot tell."""
    blobs: Share
    kinds: tuple[Share, ...]
    """Events and bytes of payload of each kind."""
    tools: tuple[Share, ...]
    conversations: tuple[Share, ...]
    months: tuple[Share, ...]
    """``YYYY-MM``, oldest first."""


_BY = (
    "SELECT {name}, count(*), coalesce(sum(length(CAST(payload AS BLOB))), 0) AS bytes"
    " FROM trajectory_events {where} GROUP BY 1 ORDER BY {order} LIMIT {limit}"
)


def measure_space(database: StoreDatabase, limit: int = 10) -> Space:
    """
    Measure a database.

    Args:
        limit: At most this many kinds, tools and conversations, largest first.
    """
    path = database.target.path
    with database.reading():
        blobs = database.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM payload_blobs")
        return Space(
            file_bytes=_size_of(path),
            journal_bytes=_size_of(f"{path}-wal"),
            used_bytes=used_bytes(database),
            tables=_tables(database),
            blobs=Share("payload_blobs", *blobs.fetchone()),
            kinds=_shares(database, "kind", limit=limit),
            tools=_shares(database, "tool_name", "WHERE tool_name IS NOT NULL", limit=limit),
            conversations=_shares(database, "conversation_id", limit=limit),
            months=_shares(database, "strftime('%Y-%m', ts_ms / 1000, 'unixepoch')", order="1", limit=1_200),
        )


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _tables(database: StoreDatabase) -> tuple[Share, ...]:
    try:
        rows = database.execute(
            "SELECT name, count(*), sum(pgsize) FROM dbstat GROUP BY name ORDER BY 3 DESC"
        ).fetchall()
    except StoreError:
        return ()  # a build of SQLite without dbstat
    return _to_shares(rows)


def _shares(
    database: StoreDatabase, name: str, where: str = "", *, order: str = "bytes DESC, 1", limit: int
) -> tuple[Share, ...]:
    sql = _BY.format(name=name, where=where, order=order, limit=int(limit))
    return _to_shares(database.execute(sql).fetchall())


def _to_shares(rows: Sequence[Any]) -> tuple[Share, ...]:
    return tuple(Share(str(name), int(count), int(size)) for name, count, size in rows)
