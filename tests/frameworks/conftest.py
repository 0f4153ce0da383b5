"""A database that a test of a framework reads as a user would: rows of the views."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import errors

__all__ = ["Rows"]


class Rows:
    """What was recorded, read after a flush."""

    def __init__(self, database: Path) -> None:
        self.database = database

    def __call__(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Give the rows of *sql*."""
        agenttrace.flush()
        if not self.database.exists():
            return []
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Give events in the order in which they happened, with what tells them apart from another run's."""
        marks = ",".join("?" * len(kinds))
        rows = self(
            "SELECT kind, agent_name, tool_name, call_id, status, error_type, turn, model, payload"
            f" FROM trajectory_events WHERE kind IN ({marks}) ORDER BY ts_ns, id",
            *kinds,
        )
        names = ("kind", "agent", "tool", "call_id", "status", "error_type", "turn", "model", "payload")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        for one in found:
            one["payload"] = json.loads(one["payload"])
        return found

    def calls(self) -> list[tuple[Any, ...]]:
        """Give ``(tool, arguments, output, status, error type)`` of each call."""
        rows = self(
            "SELECT tool_name, tool_input, tool_output, status, error_type FROM tool_traces ORDER BY id"
        )
        return [(name, _parse(given), _parse(gave), *rest) for name, given, gave, *rest in rows]

    def agents(self) -> list[tuple[str, str | None, str]]:
        """Give ``(name, name of the parent, status)`` of each agent, in the order of their beginnings."""
        return self(
            "SELECT a.agent_name, p.agent_name, a.status FROM agents a LEFT JOIN agents p"
            " ON p.conversation_id = a.conversation_id AND p.agent_id = a.parent_agent_id"
            " ORDER BY a.ts_ms, a.agent_id"
        )

    def failures(self) -> list[tuple[str, str, str]]:
        """Give ``(tool, error type, fate)`` of each failure."""
        return self("SELECT tool_name, error_type, fate FROM failures ORDER BY ts_ms, id")


def _parse(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Record to a new database, and let what fails in recording fail the test."""
    monkeypatch.setenv("AGENTTRACE_STRICT", "1")
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    database = tmp_path / "t.db"
    agenttrace.configure(database=database)
    assert errors.is_strict()
    return Rows(database)
