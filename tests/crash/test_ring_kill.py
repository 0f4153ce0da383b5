"""Real kills and forks at drawn moments: what was acknowledged is there once, whole, in its order."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from agenttrace.write.recovery import recover
from tests.reading import ROOT
from tests.write.factory import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.crash]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Where the events go."""
    return str(tmp_path / "t.db")


def _run(command: str, database: str, count: int) -> dict[str, Any]:
    """Run a command of ``ring_children``, with a seed that is printed where it fails."""
    seed = random.randrange(1_000_000)
    print(f"{command}: seed {seed}")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.crash.ring_children",
            command,
            database,
            str(seed),
            str(count),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _check(database: str, acknowledged: list[str]) -> dict[str, list[int]]:
    """Hold the stored events against the acknowledged ones; give each recorder's numbers."""
    left = recover(database)
    assert left.left == ()
    assert os.listdir(os.environ["AGENTTRACE_RING_DIR"]) == []
    rows = read_rows(
        database,
        "SELECT agent_id, payload, event_id FROM trajectory_events WHERE status IS NOT 'interrupted' ORDER BY id",
    )
    stored: dict[str, list[int]] = defaultdict(list)
    for agent_id, payload, _ in rows:
        stored[agent_id].append(json.loads(payload).get("number", 0))
    missing = [line for line in acknowledged if int(line.split()[1]) not in set(stored[line.split()[0]])]
    assert not missing
    for agent_id, numbers in stored.items():
        assert numbers == list(range(len(numbers))), f"{agent_id}: lost, doubled or out of order"
    assert len({row[2] for row in rows}) == len(rows)
    assert read_rows(database, "PRAGMA integrity_check") == [("ok",)]
    return stored


class TestAKill:
    def test_at_fifty_drawn_moments_loses_nothing(self, database: str) -> None:
        """SIGKILL amid threads, forks, a busy writer and large events: every acknowledged event, once."""
        found = _run("kill", database, 50)
        assert len(found["acknowledged"]) > 500
        _check(database, found["acknowledged"])
        open_calls = read_rows(
            database, "SELECT count(*) FROM trajectory_events WHERE status = 'interrupted'"
        )
        assert open_calls == [(50,)]
        exits = read_rows(database, "SELECT DISTINCT exit FROM processes")
        assert exits == [("died",)]


class TestAFork:
    def test_amid_writing_harms_neither_side(self, database: str) -> None:
        """A hundred forks while three threads record and the writer writes: no hang, no loss, no double."""
        found = _run("fork", database, 100)
        assert (found["hung"], found["pending"], found["dropped"]) == (0, 0, 0)
        stored = _check(database, found["acknowledged"])
        assert sum(name.startswith("child-") for name in stored) == 100

    def test_in_the_middle_of_a_frame_belongs_to_the_parent(self, database: str) -> None:
        """A signal handler forks while an event goes in: the parent has it once, the child does not."""
        found = _run("fork_in_frame", database, 60)
        assert (found["hung"], found["pending"], found["dropped"]) == (0, 0, 0)
        stored = _check(database, found["acknowledged"])
        children = [numbers for name, numbers in stored.items() if name.startswith("child-")]
        assert children == [[0, 1, 2]] * 60


class TestRecoverers:
    def test_race_without_harm(self, database: str) -> None:
        """Three recoverers, and owners that die or end in order: each event once, each end as it was."""
        found = _run("race", database, 30)
        assert found["hung"] == 0
        stored = _check(database, found["acknowledged"])
        assert len(stored) == 30
        exits = read_rows(
            database,
            "SELECT DISTINCT substr(e.agent_id, 1, 4), p.exit FROM trajectory_events e"
            " JOIN processes p ON p.process_id = substr(e.event_id, 1, 16) ORDER BY 1",
        )
        assert exits == [("dies", "died"), ("ends", "ok")]
