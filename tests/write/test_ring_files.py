"""Ring files: named after what they belong to, held by whom they belong to."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agenttrace.store.target import resolve_target
from agenttrace.write import ring_files
from agenttrace.write.recovery import held_processes
from agenttrace.write.ring import Ring
from tests.write.factory import build_info

pytestmark = pytest.mark.shared_ring

HOLDER = """
import sys
from tests.write.factory import build_info
from agenttrace.write.ring import Ring
ring = Ring.create(build_info(sys.argv[1], process_id="feedfacefeedface"), 65536)
ring.put(b"x")
print(ring.file.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder() -> Path:
    """Where this test's rings lie."""
    return Path(os.environ["AGENTTRACE_RING_DIR"])


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestARingFile:
    def test_has_a_telling_name_and_is_private(self, folder: Path, tmp_path: Path) -> None:
        """User, database, process and a random part; mode 0600; nothing else lies there."""
        ring = Ring.create(build_info(tmp_path / "t.db", process_id="0123456789abcdef"), 65_536)
        (name,) = _names(folder)
        key = ring_files.database_key(str(tmp_path / "t.db"))
        assert name.startswith(f"agenttrace-{os.getuid()}-{key}-01234567-")
        assert name.endswith(".ring")
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        assert ring.kind == "shared"
        ring.dispose()
        assert _names(folder) == []

    def test_is_sized_for_real(self, folder: Path, tmp_path: Path) -> None:
        """Every block is set aside before anything is mapped: a full tmpfs cannot kill the program."""
        Ring.create(build_info(tmp_path / "t.db"), 1_048_576)
        (name,) = _names(folder)
        found = (folder / name).stat()
        assert found.st_blocks * 512 >= found.st_size > 1_048_576

    def test_goes_by_the_real_path_of_its_database(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A link, a relative path and a URL of the same file find the same rings."""
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        monkeypatch.chdir(tmp_path)
        key = ring_files.database_key(str(tmp_path / "real" / "t.db"))
        for spelling in ("link/t.db", "real/t.db", f"sqlite:///{tmp_path}/link/t.db", "./real/../link/t.db"):
            assert ring_files.database_key(spelling) == key
        assert ring_files.database_key("real/u.db") != key

    def test_is_not_on_the_disk_under_its_name_before_it_is_locked(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When the final name appears, size, lock and head are there."""
        seen = []
        rename = os.rename

        def watching(source: str, target: str) -> None:
            seen.append((_names(folder), os.stat(source).st_size, Path(source).read_bytes()[:8]))
            rename(source, target)

        monkeypatch.setattr(os, "rename", watching)
        Ring.create(build_info(tmp_path / "t.db"), 65_536)
        ((names, size, magic),) = seen
        assert [name.startswith(".new-") for name in names] == [True]
        assert size > 65_536
        assert magic == b"agtrace\n"

    @pytest.mark.parametrize(
        "spelling",
        [
            "x.db",
            "sqlite:///x.db",
            "sqlite:////a/b%20c.db",
            "sqlite:///:memory:",
            ":memory:",
            "~/x.db",
            "sqlite://",
        ],
    )
    def test_reads_a_target_as_the_store_does(self, spelling: str) -> None:
        """Rings lie where the events go, however the database is spelled."""
        path = resolve_target(spelling).path
        assert ring_files.resolve_database(spelling) == (
            path if path == ":memory:" else os.path.realpath(path)
        )


class TestWithoutRoom:
    def _limit(self, monkeypatch: pytest.MonkeyPatch, limit_bytes: int, number: int = errno.ENOSPC) -> None:
        real = os.posix_fallocate

        def limited(descriptor: int, offset: int, length: int) -> None:
            if length > limit_bytes:
                raise OSError(number, os.strerror(number))
            real(descriptor, offset, length)

        monkeypatch.setattr(os, "posix_fallocate", limited)

    @pytest.mark.parametrize(
        ("limit_bytes", "capacity_bytes", "kind"),
        [
            (2_000_000, 1_048_576, "shared"),
            (500_000, 262_144, "shared"),
            (100_000, 1_048_576, "memory"),
        ],
    )
    def test_makes_do_with_less(
        self,
        limit_bytes: int,
        capacity_bytes: int,
        kind: str,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """On ENOSPC 1 MiB, then 256 KiB, then private memory; the reason is kept and no file lies about."""
        self._limit(monkeypatch, limit_bytes)
        ring = Ring.create(build_info(tmp_path / "t.db"))
        assert (ring.capacity_bytes, ring.kind) == (capacity_bytes, kind)
        assert "No space" in ring.kind_reason
        assert len(_names(folder)) == (kind == "shared")
        assert ring.put(b"x") <= 1

    def test_takes_private_memory_at_once_for_other_reasons(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What no smaller file would cure is not tried again."""
        self._limit(monkeypatch, 0, errno.EOPNOTSUPP)
        assert Ring.create(build_info(tmp_path / "t.db")).kind == "memory"
        assert _names(folder) == []

    @pytest.mark.parametrize("how", ["setting", "no folder", "no fcntl", "memory database"])
    def test_is_private_memory_where_files_cannot_be(
        self, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``ring=memory``, no /dev/shm, no locks, or nothing to recover into: memory, with the reason."""
        database = ":memory:" if how == "memory database" else str(tmp_path / "t.db")
        if how == "no folder":
            monkeypatch.setenv("AGENTTRACE_RING_DIR", str(tmp_path / "missing"))
        if how == "no fcntl":
            monkeypatch.setattr(ring_files, "fcntl", None)
        ring = Ring.create(build_info(database), 65_536, "memory" if how == "setting" else "auto")
        assert ring.kind == "memory"
        assert ring.kind_reason
        ring.put(b"x")
        ring.close()
        ring.dispose()

    def test_leaves_no_file_that_is_no_ring(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that did not become a ring is removed, also where the user interrupts its making."""

        def interrupted(source: str, target: str) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Ring.create(build_info(tmp_path / "t.db"), 65_536)
        assert _names(folder) == []


class TestHolding:
    @pytest.mark.slow
    def test_ends_with_the_process(self, tmp_path: Path) -> None:
        """A living process's ring is held, as others see it; once it is dead, the lock is free."""
        database = str(tmp_path / "t.db")
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        ) as child:
            assert child.stdout is not None
            path = child.stdout.readline().strip()
            assert held_processes(database) == {"feedfacefeedface"}
            assert held_processes(database) == {"feedfacefeedface"}  # asking took nothing away
            descriptor = ring_files.open_foreign(path)
            assert descriptor is not None
            assert not ring_files.try_lock(descriptor)
            child.kill()
            child.wait()
            assert held_processes(database) == frozenset()
            assert ring_files.try_lock(descriptor)
            os.close(descriptor)

    def test_of_an_own_ring_is_known_without_opening_it(self, folder: Path, tmp_path: Path) -> None:
        """A process never opens its own ring by name: closing it would free the lock."""
        ring = Ring.create(build_info(tmp_path / "t.db", process_id="0123456789abcdef"), 65_536)
        assert ring.file is not None
        assert ring_files.open_foreign(ring.file.path) is None
        assert held_processes(str(tmp_path / "t.db")) == {"0123456789abcdef"}
        assert held_processes(str(tmp_path / "other.db")) == frozenset()


class TestSweeping:
    def test_removes_what_never_became_a_ring(self, folder: Path) -> None:
        """Dot names that are unlocked and a minute old go; young ones, and others' files, stay."""
        prefix = f".new-agenttrace-{os.getuid()}-"
        for name in (prefix + "old", prefix + "young", ".new-other", "agenttrace-x.ring"):
            (folder / name).write_bytes(b"x")
            if not name.endswith("young"):
                os.utime(folder / name, (time.time() - 61, time.time() - 61))
        assert ring_files.sweep(str(folder)) == 1
        assert _names(folder) == [
            ".new-agenttrace-" + f"{os.getuid()}-young",
            ".new-other",
            "agenttrace-x.ring",
        ]

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
    def test_leaves_files_of_other_users(self, folder: Path, tmp_path: Path) -> None:
        """A file that somebody else made under our name is neither opened nor removed."""
        name = ring_files.build_stem(str(tmp_path / "t.db"), "0" * 16) + ".ring"
        (folder / name).write_bytes(b"x")
        os.chown(folder / name, 12_345, -1)
        assert ring_files.open_foreign(str(folder / name)) is None

    def test_follows_no_links(self, folder: Path, tmp_path: Path) -> None:
        """A link under a ring's name leads nowhere."""
        (tmp_path / "precious").write_bytes(b"x")
        name = ring_files.build_stem(str(tmp_path / "t.db"), "0" * 16) + ".ring"
        (folder / name).symlink_to(tmp_path / "precious")
        assert ring_files.open_foreign(str(folder / name)) is None
