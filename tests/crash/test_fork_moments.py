"""Forks while the writer imports, or waits for a lock: no child hangs, and each side keeps its events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.crash.amounts import draw_seed, scaled
from tests.crash.children import run_program
from tests.crash.law import hold

pytestmark = [pytest.mark.slow, pytest.mark.crash, pytest.mark.shared_ring]


class TestAFork:
    """Together with the 300 forks amid writing and amid a frame of ``test_ring_kill``: at 500 moments."""

    @pytest.mark.parametrize(
        ("command", "part", "forks", "way"),
        [
            ("importing", 1, 40, "default"),
            ("importing", 2, 20, "python"),
            ("locked", 1, 80, "default"),
            ("locked", 2, 60, "python"),
        ],
    )
    def test_while_the_writer_is_busy(
        self, command: str, part: int, forks: int, way: str, tmp_path: Path
    ) -> None:
        """The child ends in time, whatever it does; what either had recorded is there once."""
        database, forks = tmp_path / "t.db", scaled(forks)
        seed = draw_seed(f"fork {command} {part}")
        found = json.loads(run_program("fork_moments", command, database, seed, forks, way=way))
        assert found["hung"] == 0
        assert found["amid"] > forks // 4  # otherwise this test looks at nothing
        kept = hold(database, found["acknowledged"])
        assert sum(name.startswith("child-") for name in kept.numbers) == forks
