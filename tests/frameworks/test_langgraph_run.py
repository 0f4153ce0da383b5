"""An unchanged LangGraph program under ``agenttrace run``: what it does stays, what went wrong is found."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.provider import Provider
from tests.clients.provider_replies import rate_limited, text, tool_calls

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("langgraph_program.py")
LINES = {
    marker: number
    for number, line in enumerate(PROGRAM.read_text(encoding="utf-8").splitlines(), 1)
    for marker in ("the line of the swallowed error", "the line that ran the graph", "await graph.ainvoke")
    if marker in line or (marker.startswith("await") and "asyncio.run(graph" in line)
}


def run(way: str, database: Path | None) -> subprocess.CompletedProcess[str]:
    """Run the program against a provider; with *database*, under ``agenttrace run``."""
    with Provider() as provider:
        provider.queue(
            tool_calls([("divide", {"a": 1, "b": 0}), ("conquer", {"b": 1})]),
            rate_limited(),
            text("It cannot be done."),
        )
        environment = {**os.environ, **provider.environment, "AGENTTRACE_STRICT": "1"}
        environment.pop("AGENTTRACE", None)
        command = [sys.executable]
        if database is not None:
            command += ["-m", "agenttrace", "run", "--db", str(database)]
        return subprocess.run(
            [*command, str(PROGRAM), way],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def read(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """Give the rows of *sql*."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("way", ["sync", "async"])
class TestProgram:
    """A hallucinated tool, a retried 429, a swallowed error."""

    def test_does_what_it_does_without_us(self, tmp_path: Path, way: str) -> None:
        """Output and exit code are the same, and so is the end of what it says to stderr."""
        plain, traced = run(way, None), run(way, tmp_path / "t.db")
        assert plain.stdout == traced.stdout and "It cannot be done." in plain.stdout
        assert (plain.returncode, traced.returncode) == (4, 4)
        assert traced.stderr.startswith(plain.stderr) and "Traceback" not in traced.stderr

    def test_is_found_out(self, tmp_path: Path, way: str) -> None:
        """All three failures, each with its call or turn, its line, and what became of it."""
        database = tmp_path / "t.db"
        run(way, database)
        failures = read(
            database,
            "SELECT f.tool_name, f.error_type, f.fate, f.agent_name, e.payload, c.call_id FROM"
            " failures f JOIN trajectory_events e ON e.id = f.id LEFT JOIN trajectory_events c"
            " ON c.kind = 'tool_call' AND c.span_id = e.span_id ORDER BY f.error_type",
        )
        assert [row[:4] for row in failures] == [
            (None, "RateLimitError", "retried", "agent"),
            ("conquer", "ReturnedFailure", "reported", "agent"),
            ("divide", "ZeroDivisionError", "reported", "agent"),
        ]
        assert [row[-1] is not None for row in failures] == [False, True, True]
        frames = {row[1]: json.loads(row[4])["error"]["frames"] for row in failures}
        assert frames["ZeroDivisionError"][-1]["line"] == LINES["the line of the swallowed error"]
        ran = LINES["the line that ran the graph"] if way == "sync" else LINES["await graph.ainvoke"]
        assert [(one["file"], one["line"]) for one in frames["ReturnedFailure"]] == [(str(PROGRAM), ran)]
        asked = frames["RateLimitError"][0]
        # LangChain asks an async model in a task of its own, below which no line of the node stands.
        assert (asked["file"], asked["function"]) == (str(PROGRAM), "agent" if way == "sync" else "main")
        assert read(database, "SELECT agent_name, status, runs FROM agents ORDER BY agent_name") == [
            ("agent", "ok", 2),
            ("calculator", "ok", 1),
        ]
        assert read(
            database, "SELECT turn, attempt, status FROM trajectory_events WHERE kind = 'model_turn'"
        ) == [
            (1, None, "ok"),
            (2, 2, "ok"),
        ]
