"""
Where a database is: from what users write to a file of the right mode.

Invariant: nothing here opens an existing database file. Closing any descriptor
of a file frees all POSIX locks that this process holds on it, SQLite's own
included, so whether a file is ours is asked through SQLite alone (`database`).
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from agenttrace.errors import ConfigError, StoreUnavailable

__all__ = [
    "MEMORY",
    "Identity",
    "Target",
    "create_private_file",
    "exists",
    "file_system_of",
    "is_shared_file_system",
    "log_path",
    "make_private_folder",
    "read_identity",
    "remove_journal",
    "resolve_target",
]

MEMORY = ":memory:"

_SHARED_FILE_SYSTEMS = frozenset(
    (
        "9p acfs afp afpfs afs beegfs ceph cifs coda davfs drvfs gfs gfs2 glusterfs gpfs hgfs lustre ncpfs"
        " nfs nfs3 nfs4 ocfs2 orangefs panfs prl_fs pvfs2 smb2 smb3 smbfs vboxsf virtiofs vmhgfs webdav"
    ).split()
)
_SHARED_FUSE = (
    "sshfs",
    "s3fs",
    "gcsfuse",
    "rclone",
    "glusterfs",
    "vmhgfs",
    "davfs",
    "ceph",
    "osxfs",
    "grpcfuse",
)


class Target(NamedTuple):
    """One database, as the user named it and where that is."""

    name: str
    """What messages show."""
    path: str
    """Absolute path, symbolic links kept; ``:memory:`` for one that lives in this process."""

    @property
    def is_memory(self) -> bool:
        """Tell whether the database has no file."""
        return self.path == MEMORY


class Identity(NamedTuple):
    """Which file stands at a path: another one there has another identity."""

    device: int
    inode: int


def resolve_target(target: str | os.PathLike[str]) -> Target:
    """
    Read a path, ``sqlite:///path`` or ``:memory:``.

    Args:
        target: ``~`` is expanded; ``sqlite:///x.db`` is relative and ``sqlite:////x.db`` absolute.

    Raises:
        ConfigError: It is empty, or another kind of URL.
    """
    text = os.fsdecode(target)
    if text == MEMORY or text in ("sqlite://", "sqlite:///:memory:"):
        return Target(MEMORY, MEMORY)
    path = text
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() in ("sqlite", "sqlite3"):
        if not rest.startswith("/"):
            raise ConfigError(f"database={text!r}: write sqlite:///relative.db or sqlite:////absolute.db.")
        path = unquote(rest[1:].partition("?")[0])
    elif separator and scheme.isalnum():
        shown = f"{scheme}://{rest.rpartition('@')[2]}"
        raise ConfigError(
            f"database={shown!r}: this agenttrace stores in SQLite; give a path or sqlite:///path."
        )
    if not path or "\0" in path:
        raise ConfigError(f"database={text!r}: give a path or sqlite:///path.")
    absolute = os.path.abspath(os.path.expanduser(path))
    return Target(absolute, absolute)


def read_identity(path: str) -> Identity | None:
    """Ask which file stands at *path* now (links followed); None when there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Identity(status.st_dev, status.st_ino)


def exists(path: str) -> bool:
    """
    Tell whether a database file may be there.

    Raises:
        StoreUnavailable: What is there is a folder, a device or a pipe, or cannot be looked at.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise _unavailable(path, exc) from exc
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise StoreUnavailable(f"{path}: is {kind}; name a database file, such as traces.db.")
    return True


def make_private_folder(path: str) -> None:
    """
    Make the folder of *path* and what is missing above it, each with mode 0700; existing ones keep theirs.

    Raises:
        StoreUnavailable: It cannot be made.
    """
    folder = Path(os.path.realpath(path)).parent
    try:
        for one in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
            one.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise _unavailable(path, exc) from exc


def create_private_file(path: str) -> None:
    """
    Make an empty file that nobody but this user can read; one that is there already is left as it is.

    A journal that lies beside a missing file belonged to a deleted database, and
    would be played into the new one: it is removed. The caller holds the lock
    of ``lockfile``, so that nobody else has just made the file.

    Args:
        path: A dangling symbolic link makes the file that it names.

    Raises:
        StoreUnavailable: It cannot be made there.
    """
    real = os.path.realpath(path)
    if os.path.exists(real):
        return
    try:
        remove_journal(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        os.close(os.open(real, flags, 0o600))
    except FileExistsError:
        return
    except OSError as exc:
        raise _unavailable(path, exc) from exc


def remove_journal(path: str) -> None:
    """Remove what SQLite has left beside *path*; the caller holds the lock of ``lockfile``."""
    for suffix in ("-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.realpath(path) + suffix)


def log_path(target: Target) -> str:
    """Name the write-ahead log of *target*."""
    return os.path.realpath(target.path) + "-wal"


def _unavailable(path: str, exc: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path}: cannot make the database there ({exc.strerror}); name another with AGENTTRACE_DB or --db."
    )


def file_system_of(path: str, mounts: str = "/proc/self/mounts") -> str | None:
    """
    Name the type of file system that *path* lies on, such as ``ext4`` or ``nfs4``.

    Args:
        path: Need not exist.
        mounts: The table to read, in the form of fstab(5).

    Returns:
        None where there is no such table (macOS, Windows).

    Source: proc_pid_mounts(5); blanks and backslashes stand there in octal.
    """
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    best, found = "", None
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = _unescape_octal(fields[1])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount hides an earlier one
            best, found = point, fields[2]
    return found


def _unescape_octal(text: str) -> str:
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escaped, plain)
    return text


def is_shared_file_system(kind: str | None) -> bool:
    """Tell whether other machines may hold the same files, so that shared memory does not reach them."""
    if kind is None:
        return False
    kind = kind.lower()
    return kind in _SHARED_FILE_SYSTEMS or (kind.startswith("fuse.") and kind[5:].startswith(_SHARED_FUSE))
