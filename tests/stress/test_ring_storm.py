"""Interrupted at any moment, recording loses nothing, doubles nothing, and never locks up."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.reading import ROOT
from tests.ways import environment_of
from tests.write.factory import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.stress]


def _run(command: str, database: Path, count: int, way: str) -> dict[str, Any]:
    """Run a command of ``ring_storm``, with a seed that is printed where it fails."""
    seed = random.randrange(1_000_000)
    print(f"{command}: seed {seed}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.stress.ring_storm", command, str(database), str(seed), str(count)],
        cwd=ROOT,
        env={**os.environ, **environment_of(way)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _texts(database: Path) -> list[str]:
    rows = read_rows(database, "SELECT payload FROM trajectory_events ORDER BY id")
    return [json.loads(payload)["text"] for (payload,) in rows]


def _check(acknowledged: list[str], stored: list[str]) -> None:
    counts = Counter(stored)
    assert [name for name in acknowledged if not counts[name]] == []
    assert [name for name, count in counts.items() if count > 1] == []


class TestInterrupts:
    @pytest.mark.parametrize(("way", "count"), [("default", 10_000), ("python", 3_000)])
    def test_leave_the_ring_whole_and_usable(self, way: str, count: int, tmp_path: Path) -> None:
        """10,000 KeyboardInterrupts and nested puts, in ``finally`` too: each event whole, at most once."""
        found = _run("ring", tmp_path / "t.db", count, way)
        assert found["interrupts"] >= count
        assert found["usable"]
        dropped = found["dropped"].get("full", 0)
        lost = set(found["acknowledged"]) - set(found["seen"])
        assert len(lost) <= dropped  # a nested event that found no room is a counted drop
        _check([name for name in found["acknowledged"] if name not in lost], found["seen"])

    @pytest.mark.parametrize(("way", "count"), [("default", 4_000), ("python", 1_000)])
    def test_leave_the_recorder_whole_and_usable(self, way: str, count: int, tmp_path: Path) -> None:
        """The same for ``publish`` and ``flush`` with the writer at work: all is stored, once."""
        found = _run("recorder", tmp_path / "t.db", count, way)
        assert found["usable"]
        written, pending, dropped = found["result"]
        assert (pending, dropped) == (0, 0)
        stored = _texts(tmp_path / "t.db")
        assert written == len(stored)
        _check(found["acknowledged"], stored)


class TestFinalisers:
    @pytest.mark.parametrize(("way", "count"), [("default", 10_000), ("python", 2_000)])
    def test_that_record_lose_nothing(self, way: str, count: int, tmp_path: Path) -> None:
        """Ten thousand objects that record as they die, wherever the collector finds them."""
        found = _run("finalisers", tmp_path / "t.db", count, way)
        assert found["result"] == [2 * count, 0, 0]
        _check(found["acknowledged"], _texts(tmp_path / "t.db"))
