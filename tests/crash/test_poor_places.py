"""Too little disk, shared memory or memory: the program goes on, and what found no room is counted."""

from __future__ import annotations

import functools
import json
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.crash.amounts import draw_seed, scaled
from tests.crash.children import run_program
from tests.crash.law import hold
from tests.crash.steady_program import Steady
from tests.ways import WAYS

pytestmark = [pytest.mark.slow, pytest.mark.crash]


@functools.cache
def _namespace() -> tuple[str, ...]:
    """Give the command under which a file system may be mounted that nobody else sees; () where none may."""
    for command in (("unshare", "-m"), ("unshare", "-r", "-m")):
        try:
            done = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return command
    return ()


@pytest.fixture
def namespace() -> tuple[str, ...]:
    """A command that runs another where it may mount."""
    if not _namespace():
        pytest.skip("nothing may be mounted here; TestAQuota fills a disk without that")
    return _namespace()


def _run(command: str, folder: Path, count: int, **how: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        run_program("poor_places", command, folder, draw_seed(command), count, **how)
    )
    return found


class TestAFullDisk:
    """A small file system, filled to the brim."""

    @pytest.mark.parametrize("way", WAYS)
    def test_costs_only_what_was_counted(self, way: str, namespace: tuple[str, ...], tmp_path: Path) -> None:
        """Events wait in the ring, then are dropped and counted; once there is room the rest is stored."""
        found = _run("full_disk", tmp_path, scaled(2), prefix=namespace, way=way)
        assert found["dropped"]["full"] > 0

    @pytest.mark.shared_ring
    def test_loses_nothing_of_a_program_that_dies(self, namespace: tuple[str, ...], tmp_path: Path) -> None:
        """Its ring is left, with the reason, until there is room to recover it."""
        found = _run("death_on_a_full_disk", tmp_path, 1, prefix=namespace)
        assert ["disk is full" in reason for reason in found["left"]] == [True]
        assert found["interrupted"] == 1


class TestAQuota:
    """No file of the program may grow, as on a full disk."""

    @pytest.mark.parametrize("way", WAYS)
    def test_costs_only_what_was_counted(self, way: str, tmp_path: Path) -> None:
        """A limit that is set and lifted again under a program that records."""
        database = tmp_path / "t.db"
        with Steady(database, way=way, AGENTTRACE_RING_BYTES="65536") as program:
            for _ in range(scaled(2)):
                program.emit(20)
                program.flush_all()
                soft, hard = resource.prlimit(program.pid, resource.RLIMIT_FSIZE)
                limit_bytes = max(path.stat().st_size for path in tmp_path.iterdir())
                resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (limit_bytes, hard))
                dropped = sum(program.counters()["dropped"].values())
                for _ in range(
                    400
                ):  # the log is taken into the database, and begins again, before that is full
                    program.emit(50)
                    if sum(program.counters()["dropped"].values()) > dropped:
                        break
                resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (soft, hard))
                result = program.flush_all()
                assert result.written + result.dropped == program.emitted
            program.end()
        kept = hold(database, emitted=program.emitted, has_gaps=True)
        assert kept.dropped["full"] > 0
        assert sum(note["dropped"] for note in kept.notes) == kept.dropped["full"]


class TestSmallSharedMemory:
    """2 MiB for the rings of 64 processes that live at the same time."""

    @pytest.mark.shared_ring
    def test_makes_small_rings_and_private_ones(self, namespace: tuple[str, ...], tmp_path: Path) -> None:
        """Some get 1 MiB or 256 KiB, the others private memory; nobody dies, and each event is there once."""
        found = _run("small_memory", tmp_path, 64, prefix=namespace)
        kinds = {line.split()[0] for line in found["rings"]}
        assert (kinds, found["hung"]) == ({"shared", "memory"}, 0)
        assert set(found["dropped"]) <= {"side_file"}  # a large event whose ring has no room beside it


class TestNoMemory:
    """``RLIMIT_AS`` at what the program has, and all of that in use."""

    @pytest.mark.parametrize("way", WAYS)
    def test_costs_only_what_was_counted(self, way: str, tmp_path: Path) -> None:
        """Recording raises nothing; what was recorded is stored once there is some memory."""
        found = _run("no_memory", tmp_path, scaled(15), way=way)
        assert found["hung"] == 0
        assert set(found["dropped"]) <= {"error", "write.error", "write.no_ring", "side_file", "full"}
