"""
The one way from this package to rows: SELECT statements on one open database.

Invariant: nothing here writes. A row type's fields are the columns of its table
or view (a trailing ``_json`` is ours alone), so one function reads them all.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from agenttrace.errors import ConfigError
from agenttrace.frozen import build_maker
from agenttrace.store.rows import (
    AgentRow,
    ConversationRow,
    Event,
    Failure,
    OpenOperation,
    Page,
    ProcessRow,
    ToolTrace,
)

if TYPE_CHECKING:
    from agenttrace.store.event_store import TraceStore

__all__ = ["Reader", "build_page", "check_limit", "parse_cursor", "render_cursor"]

Row = TypeVar("Row")

_SOURCES: dict[Any, str] = {
    AgentRow: "agents",
    ConversationRow: "agent_sessions",
    Event: "trajectory_events",
    Failure: "failures",
    OpenOperation: "open_operations",
    ProcessRow: "processes",
    ToolTrace: "tool_traces",
}


@cache
def _columns(row_type: Any) -> str:
    return ", ".join(field.name.removesuffix("_json") for field in fields(row_type))


class Reader:
    """Reads rows of one store; made by ``TraceViewer``."""

    def __init__(self, store: TraceStore) -> None:
        self.store = store

    def snapshot(self) -> AbstractContextManager[Any]:
        """Hold one state of the database over several reads."""
        return self.store.open_reader().reading()

    def rows(self, sql: str, params: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """
        Run one SELECT.

        Raises:
            StoreError: The database refuses it, in our words.
        """
        return self.store.query(sql, tuple(params))[1]

    def value(self, sql: str, params: Iterable[Any] = ()) -> Any:
        """Give the first column of the first row; None without rows."""
        found = self.rows(sql, params)
        return found[0][0] if found else None

    def select(self, row_type: type[Row], tail: str = "", params: Iterable[Any] = ()) -> tuple[Row, ...]:
        """
        Read rows of the table or view of *row_type*.

        Args:
            row_type: One of the dataclasses of ``store.rows``.
            tail: What follows the table's name: WHERE, ORDER BY, LIMIT.
            params: Values for the tail's question marks.
        """
        kind: Any = row_type  # a class is hashable, whatever its type parameter
        sql = f"SELECT {_columns(kind)} FROM {_SOURCES[kind]} {tail}"
        make = build_maker(kind)
        return tuple(make(*row) for row in self.rows(sql, params))


def check_limit(limit: int) -> int:
    """
    Give *limit* back.

    Raises:
        ConfigError: It is below 1: a page of nothing would never end.
    """
    if limit < 1:
        raise ConfigError(f"limit={limit}: give 1 or more.")
    return limit


def render_cursor(values: Sequence[Any]) -> str:
    """Render the sort key of a page's last row as opaque text."""
    text = json.dumps(list(values), separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_cursor(cursor: str, length: int) -> list[Any]:
    """
    Read what ``render_cursor`` gave.

    Raises:
        ConfigError: *cursor* is not one of ours, or of another call.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        values = json.loads(text)
    except (ValueError, TypeError):
        values = None
    if not isinstance(values, list) or len(values) != length:
        raise ConfigError(f"cursor={cursor!r}: hand in the next_cursor of a page of the same call.")
    return values


def build_page(rows: Sequence[Row], limit: int, key: Any) -> Page[Row]:
    """Make a page of *rows*, of which one more than *limit* was read when there is a next page."""
    if len(rows) <= limit:
        return Page(tuple(rows), None)
    kept = tuple(rows[:limit])
    return Page(kept, render_cursor(key(kept[-1])))
