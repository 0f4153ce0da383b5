"""Real kills and forks at drawn moments: what was acknowledged is there once, whole, in its order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.crash.amounts import draw_seed, scaled
from tests.crash.children import run_program
from tests.crash.law import hold
from tests.write.factory import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.crash, pytest.mark.shared_ring]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Where the events go."""
    return str(tmp_path / "t.db")


def _run(command: str, database: str, count: int, way: str = "default") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        run_program("ring_children", command, database, draw_seed(f"{command} {way}"), count, way=way)
    )
    return found


class TestAKill:
    @pytest.mark.parametrize(("way", "kills"), [("default", 100), ("python", 30)])
    def test_at_drawn_moments_loses_nothing(self, way: str, kills: int, database: str) -> None:
        """SIGKILL amid threads, forks, a busy writer and large events: every acknowledged event, once."""
        kills = scaled(kills)
        found = _run("kill", database, kills, way)
        assert len(found["acknowledged"]) > 10 * kills
        kept = hold(database, found["acknowledged"])
        assert kept.interrupted == kills
        assert read_rows(database, "SELECT DISTINCT exit FROM processes") == [("died",)]


class TestAFork:
    @pytest.mark.parametrize(("way", "forks"), [("default", 200), ("python", 60)])
    def test_amid_writing_harms_neither_side(self, way: str, forks: int, database: str) -> None:
        """Forks while three threads record and the writer writes: no hang, no loss, no double."""
        forks = scaled(forks)
        found = _run("fork", database, forks, way)
        assert (found["hung"], found["pending"], found["dropped"]) == (0, 0, 0)
        kept = hold(database, found["acknowledged"])
        assert sum(name.startswith("child-") for name in kept.numbers) == forks

    @pytest.mark.parametrize(("way", "forks"), [("default", 40), ("python", 20)])
    def test_in_the_middle_of_a_frame_belongs_to_the_parent(
        self, way: str, forks: int, database: str
    ) -> None:
        """A signal handler forks while an event goes in: the parent has it once, the child does not."""
        forks = scaled(forks)
        found = _run("fork_in_frame", database, forks, way)
        assert (found["hung"], found["pending"], found["dropped"]) == (0, 0, 0)
        kept = hold(database, found["acknowledged"], forked_amid="parent")
        children = [numbers for name, numbers in kept.numbers.items() if name.startswith("child-")]
        assert children == [[0, 1, 2]] * forks


class TestRecoverers:
    def test_race_without_harm(self, database: str) -> None:
        """Three recoverers, killed now and then, and owners that die or end: each event and each end once."""
        owners = scaled(40)
        found = _run("race", database, owners)
        assert found["hung"] == 0
        assert found["killed"] > 0
        kept = hold(database, found["acknowledged"])
        assert len(kept.numbers) == owners
        exits = read_rows(
            database,
            "SELECT DISTINCT substr(e.agent_id, 1, 4), p.exit FROM trajectory_events e"
            " JOIN processes p ON p.process_id = substr(e.event_id, 1, 16) ORDER BY 1",
        )
        assert exits == [("dies", "died"), ("ends", "ok")]
