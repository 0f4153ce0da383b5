"""Asked calls that are made in other processes: the id goes along, and nothing is rebuilt beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reading import ROOT, open_store, query

PROGRAM = ROOT / "tests" / "capture" / "pool_program.py"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    "kind",
    ["executor", pytest.param("pool", marks=pytest.mark.shared_ring)],  # a Pool terminates its workers
)
class TestPools:
    def test_leave_each_call_once(self, kind: str, method: str, tmp_path: Path) -> None:
        """With its id, its end, and one failure; only what nobody traced is rebuilt."""
        database = tmp_path / "t.db"
        done = subprocess.run(
            [sys.executable, str(PROGRAM), kind, method],
            env={**os.environ, "AGENTTRACE": "1", "AGENTTRACE_DB": str(database), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        open_store(database)
        assert query(
            database,
            "SELECT t.call_id, t.tool_name, t.status, json_extract(e.payload, '$.rebuilt') FROM tool_traces t"
            " JOIN trajectory_events e ON e.id = t.id ORDER BY t.call_id",
        ) == [
            ("c1", "look", "ok", None),
            ("c2", "look", "error", None),
            ("c3", "plain", "ok", 1),
            ("c4", "look", "ok", None),
            ("c5", "look", "ok", None),
        ]
        assert query(database, "SELECT call_id, error_type, fate FROM failures") == [
            ("c2", "ValueError", "reported")
        ]
        assert query(database, "SELECT 1 FROM trajectory_events WHERE kind = 'result_dropped'") == []
