"""Whoever retries a tool, and wherever: the same rows."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace.testing import memory_recorder
from tests.integrations.retry_forms import FORMS, OUTCOMES, PLACES, GaveUp, World, run
from tests.reading import open_store, query, run_python

TOOL_TRACES = """
    SELECT tool_name, tool_input, tool_output, attempts, failed_attempts, status, outcome, error_type, error
    FROM tool_traces ORDER BY id"""
FAILURES = """
    SELECT error_type, message, fate, CASE error_type WHEN 'OSError' THEN attempt END,
        CASE error_type WHEN 'OSError' THEN tool_name END, returned,
        substr(raised_at, instr(raised_at, ' ') + 1)
    FROM failures ORDER BY id"""
# What an own error is called by, it is an error of the call below, and of the agent above: it left no tool.

_ASKED = ("ask", '{"name":"search"}')


def failure(number: int, fate: str) -> tuple[Any, ...]:
    """Give the row of the tool's error at one attempt."""
    return ("OSError", f"not ready {number}", fate, number, "ask", None, "World.work")


EXPECTED: dict[str, tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]] = {
    "succeeds": (
        [(*_ASKED, "ready", 3, 2, "ok", "ok", None, None)],
        [failure(1, "retried"), failure(2, "retried")],
    ),
    "gives up with reraise": (
        [(*_ASKED, None, 3, 3, "error", "error", "OSError", "OSError: not ready 3")],
        [failure(1, "retried"), failure(2, "retried"), failure(3, "escaped")],
    ),
    "gives up with its own error": (
        [(*_ASKED, None, 3, 3, "error", "error", "OSError", "OSError: not ready 3")],
        [
            failure(1, "retried"),
            failure(2, "retried"),
            failure(3, "escaped"),
            ("GaveUp", "gave up", "escaped", None, None, None),
        ],
    ),
    "killed between attempts": (
        [(*_ASKED, None, 2, 2, "error", "error", "OSError", "OSError: not ready 2")],
        [failure(1, "retried"), failure(2, "open")],
    ),
}

ENDINGS = OUTCOMES[:3]
_PROGRAM = "import runpy; runpy.run_module('tests.integrations.retry_forms', run_name='__main__')"


def check(outcome: str, tool_traces: list[Any], failures: list[Any]) -> None:
    """Compare what was found with what every form must leave."""
    expected_traces, expected_failures = EXPECTED[outcome]
    assert tool_traces == expected_traces
    # Where an own error was raised is the form's own business.
    assert [
        row[: len(wanted)] for row, wanted in zip(failures, expected_failures, strict=True)
    ] == expected_failures


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FORMS)
class TestRetriedTool:
    """One tool, three attempts."""

    @pytest.mark.parametrize("outcome", ENDINGS)
    def test_rows(
        self, name: str, place: str, is_async: bool, outcome: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``tool_traces`` has one row with all attempts, ``failures`` one for each that failed."""
        monkeypatch.setenv("AGENTTRACE_STRICT", "1")
        world = World(outcome, is_async)
        result: Any = None
        with memory_recorder() as recorder:
            agenttrace.install("tenacity", "stamina")
            try:
                result = run(name, place, world)
            except (OSError, GaveUp) as exc:
                result = exc
            columns, traces = recorder.store.query(TOOL_TRACES)
            failures = recorder.store.query(FAILURES)[1]
        assert len(columns) == 9
        check(outcome, traces, failures)
        if outcome == "succeeds":
            assert result == "ready"
        elif outcome == "gives up with reraise":
            assert result is world.raised[-1]
        else:
            assert type(result) is GaveUp and result.__cause__ is world.raised[-1]

    @pytest.mark.slow
    @pytest.mark.shared_ring
    def test_killed(self, name: str, place: str, is_async: bool, tmp_path: Path) -> None:
        """A process that dies while it waits for the third attempt leaves the same two, whoever waits."""
        database = tmp_path / "traces.db"
        outcome = "killed between attempts"
        how = "async" if is_async else "sync"
        done = run_python(_PROGRAM, database, name, place, outcome, how)
        assert done.returncode == -signal.SIGKILL, done.stderr
        open_store(database)
        check(outcome, query(database, TOOL_TRACES), query(database, FAILURES))
