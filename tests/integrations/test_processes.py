"""Child processes of every kind begin where their caller stands, at that call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reading import ROOT, open_store, query

PROGRAM = ROOT / "tests" / "integrations" / "process_program.py"


def run_program(database: Path, method: str, switch: str) -> subprocess.CompletedProcess[str]:
    """Run the program, switched on by its environment or in its own code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if switch == "environment":
        environment |= {"AGENTTRACE": "1", "AGENTTRACE_DB": str(database)}
    else:
        environment.pop("AGENTTRACE_DB", None)
    argument = "-" if switch == "environment" else str(database)
    return subprocess.run(
        [sys.executable, str(PROGRAM), argument, method],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
class TestScopeOfAChild:
    """A child gets the scope of its caller at that call, with nothing but tracing switched on."""

    @pytest.mark.parametrize("switch", ["environment", "code"])
    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "subprocess", "threads"])
    def test_is_that_of_its_caller(self, method: str, switch: str, tmp_path: Path) -> None:
        """Each agent's tasks run under that agent, though they share workers; it all is one conversation."""
        database = tmp_path / "t.db"
        done = run_program(database, method, switch)
        assert done.returncode == 0, done.stderr
        for way, pairs in json.loads(done.stdout).items():
            assert pairs, way
            assert [seen for seen, _ in pairs] == [caller for _, caller in pairs], way
        open_store(database)
        assert query(database, "SELECT count(DISTINCT conversation_id) FROM trajectory_events") == [(1,)]
        assert query(database, "SELECT agent_name FROM agents WHERE parent_agent_id IS NULL") == [("root",)]
        assert query(database, "SELECT DISTINCT status FROM agents") == [("ok",)]
        assert query(
            database,
            "SELECT count(*) FROM trajectory_events c LEFT JOIN trajectory_events p"
            " ON p.span_id = c.parent_span_id AND p.kind = 'agent_start'"
            " WHERE c.kind IN ('agent_start', 'tool_call') AND c.agent_name != 'root'"
            " AND p.agent_id IS NOT iif(c.kind = 'tool_call', c.agent_id, c.parent_agent_id)",
        ) == [(0,)]
        processes = query(
            database, "SELECT count(*), count(DISTINCT substr(process_id, 1, 8)) FROM processes"
        )
        assert processes[0][0] == processes[0][1] > (0 if method == "threads" else 2)
