"""Where a database is, and on what kind of file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agenttrace.store.database import open_database
from agenttrace.store.target import MEMORY, file_system_of, is_shared_file_system, resolve_target

MOUNTS = """\
/dev/vda / ext4 rw 0 0
proc /proc proc rw 0 0
server:/home /home nfs4 rw 0 0
/dev/vdb /home/me/local\\040disk ext4 rw 0 0
host /mnt/shared 9p rw 0 0
me@box:/ /mnt/box fuse.sshfs rw 0 0
/dev/sdc /mnt/usb fuseblk rw 0 0
tmpfs /mnt/shared tmpfs rw 0 0
"""


class TestTarget:
    """What users write for a database."""

    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("/a/b.db", "/a/b.db"),
            ("b.db", os.path.abspath("b.db")),
            ("~/b.db", "/home/me/b.db"),
            ("sqlite:///b.db", os.path.abspath("b.db")),
            ("sqlite:////a/b.db", "/a/b.db"),
            ("sqlite:////a/b%20c.db?timeout=5", "/a/b c.db"),
            ("/a/../b.db", "/b.db"),
            (":memory:", MEMORY),
            ("sqlite://", MEMORY),
            ("sqlite:///:memory:", MEMORY),
        ],
    )
    def test_is_a_path_or_a_url(self, text: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Relative and absolute, with a tilde, or nowhere but in memory."""
        monkeypatch.setenv("HOME", "/home/me")
        assert resolve_target(text).path == path

    def test_may_be_a_path_object(self, tmp_path: Path) -> None:
        """Anything with ``__fspath__``."""
        assert resolve_target(tmp_path / "x.db").path == str(tmp_path / "x.db")


class TestFileSystem:
    """Which file systems can hold a WAL's shared memory."""

    @pytest.mark.parametrize(
        ("path", "kind", "is_shared"),
        [
            ("/var/lib/x.db", "ext4", False),
            ("/home/me/x.db", "nfs4", True),
            ("/homely/x.db", "ext4", False),
            ("/home/me/local disk/x.db", "ext4", False),
            ("/mnt/shared/x.db", "tmpfs", False),
            ("/mnt/box/x.db", "fuse.sshfs", True),
            ("/mnt/usb/x.db", "fuseblk", False),
        ],
    )
    def test_is_that_of_the_nearest_mount(
        self, path: str, kind: str, is_shared: bool, tmp_path: Path
    ) -> None:
        """The longest mount point wins, and of two at one place the later."""
        mounts = tmp_path / "mounts"
        mounts.write_text(MOUNTS)
        assert file_system_of(path, str(mounts)) == kind
        assert is_shared_file_system(kind) is is_shared

    def test_is_unknown_without_a_table(self, tmp_path: Path) -> None:
        """Systems without /proc count as local."""
        assert file_system_of("/x.db", str(tmp_path / "nothing")) is None
        assert is_shared_file_system(None) is False

    def test_that_is_shared_gets_no_wal(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A new database there keeps the rollback journal, and says so when asked."""
        monkeypatch.setattr("agenttrace.store.migrate.file_system_of", lambda path: "nfs4")
        database = open_database(path)
        assert database.journal_mode == "delete"
        database.close()
