"""
Multi-row INSERT statements of a few fixed sizes, compiled once by peewee.

Invariant: the SQL text of a size never changes, so that sqlite3's statement
cache always has it. One statement of many rows matters twice: it costs less
CPU than ``executemany``, and under a busy main thread every statement waits
once for the GIL (one row a statement: 550 rows/s; 1,000 rows: 50,000).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import peewee

__all__ = ["MultiInsert"]

_SIZES = (1000, 250, 60, 15, 4, 1)


class MultiInsert:
    """
    Insert tuples in the order of *fields*, with one statement per 1,000, 250, … 1 rows.

    Args:
        query: An INSERT of exactly one row that peewee compiles; what stands
            after VALUES (such as ON CONFLICT) must take no parameters.
        max_variables: SQLite's limit of parameters in one statement (32,766 by default since 3.32).
    """

    def __init__(self, query: peewee.Insert, *, max_variables: int = 32_766) -> None:
        context: Any = peewee.SqliteDatabase(None).get_sql_context()
        sql, params = context.sql(query).query()
        row = "(" + ", ".join("?" * len(params)) + ")"
        head, found, tail = sql.partition(f"VALUES {row}")
        if not found:
            raise ValueError(f"not an INSERT of one row: {sql}")
        fits = max_variables // len(params)
        self._statements = tuple(
            (size, f"{head}VALUES {', '.join([row] * size)}{tail}") for size in _SIZES if size <= fits
        )

    def run(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Insert *rows* in order; the first that cannot be inserted raises what sqlite3 raises."""
        for sql, start, end in self._plan(len(rows)):
            connection.execute(sql, list(chain.from_iterable(rows[start:end])))

    def _plan(self, count: int) -> Iterator[tuple[str, int, int]]:
        start = 0
        for size, sql in self._statements:
            while count - start >= size:
                yield sql, start, start + size
                start += size
