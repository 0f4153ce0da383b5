"""Sixteen processes on one SQLite file: nobody waits for ever, and nobody's events get lost or mixed up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.crash.amounts import scaled
from tests.crash.children import run_program
from tests.crash.law import hold
from tests.ways import WAYS
from tests.write.factory import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.stress]

PROCESSES, THREADS = 16, 8


def _run(command: str, database: Path, count: int, way: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_program("crowds", command, database, PROCESSES, count, way=way))
    return found


class TestSixteenProcesses:
    @pytest.mark.parametrize("way", WAYS)
    def test_of_eight_threads_each_record_into_one_file(self, way: str, tmp_path: Path) -> None:
        """128 threads, each into an agent of its own and all into a shared one, whose ``seq`` has no gap."""
        database, count = tmp_path / "t.db", scaled(15)
        found = _run("threads", database, count, way)
        assert found["hung"] == 0
        per_process = THREADS * (2 * count + 4)  # two agents, with a start and an end each
        assert found["results"] == [[per_process, 0, 0]] * PROCESSES
        kept = hold(database, emitted=PROCESSES * per_process, shared="shared")
        assert sorted(kept.numbers.pop("shared")) == list(range(PROCESSES * THREADS * count))
        assert kept.numbers == {
            f"p{process}t{thread}": list(range(count))
            for process in range(PROCESSES)
            for thread in range(THREADS)
        }
        assert read_rows(database, "SELECT runs FROM agents WHERE agent_id = 'shared'") == [
            (PROCESSES * THREADS,)
        ]

    @pytest.mark.parametrize("way", WAYS)
    def test_make_one_new_file(self, way: str, tmp_path: Path) -> None:
        """Each first event makes the database: every migration runs once, and every event is there."""
        database, rounds = tmp_path / "t.db", scaled(3)
        assert _run("new_file", database, rounds, way)["hung"] == 0
        for turn in range(rounds):
            kept = hold(f"{database}.{turn}", emitted=PROCESSES * 5)
            assert len(kept.numbers) == PROCESSES
            versions = read_rows(
                f"{database}.{turn}", "SELECT count(*), count(DISTINCT name) FROM schema_migration"
            )
            assert versions[0][0] == versions[0][1] > 5
