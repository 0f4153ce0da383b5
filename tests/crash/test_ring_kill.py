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
from tests.ways import environment_of
from tests.write.factory import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.crash]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Where the events go."""
    return str(tmp_path / "t.db")


def _run(command: str, database: str, count: int, way: str = "default") -> dict[str, Any]:
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
        env={**os.environ, **environment_of(way)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _check(database: str, acknowledged: list[str], *, forked_amid: str = "") -> dict[str, list[int]]:
    """
    Hold the stored events against the acknowledged ones; give each recorder's numbers.

    *forked_amid* names a recorder that was forked while it called ``publish``. Where that call had
    not begun its work, the child makes it too, as it would make any call: those are left out.
    """
    left = recover(database)
    assert left.left == ()
    names = os.listdir(os.environ["AGENTTRACE_RING_DIR"])
    assert [name for name in names if not name.startswith(".new-")] == []  # those are swept a minute later
    rows = read_rows(
        database,
        "SELECT agent_id, payload, event_id FROM trajectory_events"
        " WHERE status IS NOT 'interrupted' ORDER BY id",
    )
    makers: dict[str, set[str]] = defaultdict(set)
    for agent_id, _, event_id in rows:
        makers[event_id.partition("-")[0]].add(agent_id)
    stored: dict[str, list[int]] = defaultdict(list)
    for agent_id, payload, event_id in rows:
        number = json.loads(payload).get("number", 0)
        if agent_id == forked_amid and len(makers[event_id.partition("-")[0]]) > 1:
            assert f"{agent_id} {number}" in acknowledged, "a child's alone"
            assert event_id.endswith("-0"), "more than the one call that was forked"
            continue
        stored[agent_id].append(number)
    there = {f"{agent_id} {number}" for agent_id, numbers in stored.items() for number in numbers}
    assert sorted(set(acknowledged) - there) == []
    for agent_id, numbers in stored.items():
        assert numbers == list(range(len(numbers))), f"{agent_id}: lost, doubled or out of order"
    assert len({row[2] for row in rows}) == len(rows)
    assert read_rows(database, "PRAGMA integrity_check") == [("ok",)]
    return stored


class TestAKill:
    @pytest.mark.parametrize(("way", "kills"), [("default", 50), ("python", 10)])
    def test_at_fifty_drawn_moments_loses_nothing(self, way: str, kills: int, database: str) -> None:
        """SIGKILL amid threads, forks, a busy writer and large events: every acknowledged event, once."""
        found = _run("kill", database, kills, way)
        assert len(found["acknowledged"]) > 10 * kills
        _check(database, found["acknowledged"])
        open_calls = read_rows(
            database, "SELECT count(*) FROM trajectory_events WHERE status = 'interrupted'"
        )
        assert open_calls == [(kills,)]
        exits = read_rows(database, "SELECT DISTINCT exit FROM processes")
        assert exits == [("died",)]


class TestAFork:
    @pytest.mark.parametrize(("way", "forks"), [("default", 60), ("python", 15)])
    def test_amid_writing_harms_neither_side(self, way: str, forks: int, database: str) -> None:
        """Sixty forks while three threads record and the writer writes: no hang, no loss, no double."""
        found = _run("fork", database, forks, way)
        assert (found["hung"], found["pending"], found["dropped"]) == (0, 0, 0)
        stored = _check(database, found["acknowledged"])
        assert sum(name.startswith("child-") for name in stored) == forks

    @pytest.mark.parametrize(("way", "forks"), [("default", 40), ("python", 15)])
    def test_in_the_middle_of_a_frame_belongs_to_the_parent(
        self, way: str, forks: int, database: str
    ) -> None:
        """A signal handler forks while an event goes in: the parent has it once, the child does not."""
        found = _run("fork_in_frame", database, forks, way)
        assert (found["hung"], found["pending"], found["dropped"]) == (0, 0, 0)
        stored = _check(database, found["acknowledged"], forked_amid="parent")
        children = [numbers for name, numbers in stored.items() if name.startswith("child-")]
        assert children == [[0, 1, 2]] * forks


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
