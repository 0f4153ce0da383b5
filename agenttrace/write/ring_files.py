"""
Ring files: their names, how one comes to be, and who holds it.

A ring is held while its process has a POSIX record lock on it; exec and exit free
the lock and a fork does not inherit it, so no decision rests on a pid.

Invariants: a ring file is locked before it has its final name, so a free lock on a
named ring means that its owner is dead; and a process never opens a ring of its own
by name, because closing any descriptor of a file frees all its locks of the process.
``GUARD`` protects the descriptors of foreign rings: of two threads in here, the one
that closes must not free the other's lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import sys
import time
from _thread import RLock
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

from agenttrace.config import MEMORY
from agenttrace.events import new_id

try:
    import fcntl
except ImportError:  # Windows: rings are private memory there
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "GUARD",
    "RingFile",
    "build_stem",
    "database_key",
    "find_rings",
    "forget_own",
    "is_held",
    "is_own",
    "make_file",
    "name_file",
    "open_foreign",
    "own",
    "remove_ring",
    "resolve_database",
    "ring_directory",
    "still_named",
    "sweep",
    "try_lock",
]

_SUFFIX = ".ring"
_NEW = ".new-agenttrace-"
_STALE_S = 60.0
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux

GUARD = RLock()
"""Held while a foreign ring is open in this process."""

_own: dict[tuple[int, int], str] = {}

generation: object = object()
"""Another object in each forked child; asking takes no call, so no fork fits between question and answer."""


class RingFile(NamedTuple):
    """A ring file of this process, open and locked."""

    descriptor: int
    path: str


def ring_directory() -> str | None:
    """
    Give the folder where rings lie: ``AGENTTRACE_RING_DIR``, otherwise /dev/shm.

    Returns:
        None where this system cannot hold rings in files; then they are private memory.
    """
    if fcntl is None or not hasattr(os, "posix_fallocate"):
        return None
    folder = os.environ.get("AGENTTRACE_RING_DIR") or "/dev/shm"
    return folder if os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK) else None


def resolve_database(database: str) -> str:
    """
    Give the spelling of *database* that all processes agree on: its real path, or ``:memory:``.

    As ``store.target.resolve_target`` reads it; that one would bring the database library along.
    """
    scheme, separator, rest = database.partition("://")
    if separator and scheme.lower() in ("sqlite", "sqlite3"):
        database = unquote(rest[1:].partition("?")[0]) or MEMORY
    return MEMORY if database == MEMORY else os.path.realpath(os.path.expanduser(database))


def database_key(database: str) -> str:
    """Give the 16 hex digits that stand for *database* in the names of its rings."""
    path = resolve_database(database).encode("utf-8", "surrogateescape")
    return hashlib.sha256(path).hexdigest()[:16]


def build_stem(database: str, process_id: str) -> str:
    """Build the name of a new ring, without its ending: user, database, process and a random part."""
    return f"{_prefix(database)}{process_id[:8]}-{new_id(8)}"


def _prefix(database: str) -> str:
    return f"agenttrace-{os.getuid()}-{database_key(database)}-"


def make_file(folder: str, size_bytes: int) -> RingFile:
    """
    Make a locked file of *size_bytes*, all of which the file system has really set aside.

    Its name begins with a dot, so scans pass over it, until ``name_file``.

    Raises:
        OSError: ENOSPC where there is no room, or whatever else forbids it.
    """
    path = os.path.join(folder, f"{_NEW}{os.getuid()}-{new_id()}")
    maker = os.getpid()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        # Not ftruncate: on a full tmpfs the first touch of a page would be a SIGBUS.
        os.posix_fallocate(descriptor, 0, size_bytes)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        if os.getpid() == maker:  # a signal handler may have forked; then the file is the parent's
            remove(path)
        raise
    return RingFile(descriptor, path)


def name_file(file: RingFile, folder: str, stem: str) -> RingFile:
    """Give a finished ring its final name; from now on others look at it."""
    path = os.path.join(folder, stem + _SUFFIX)
    os.rename(file.path, path)
    return RingFile(file.descriptor, path)


def own(file: RingFile, process_id: str) -> None:
    """Remember a file as this process's own, before it gets its name."""
    found = os.fstat(file.descriptor)
    _own[found.st_dev, found.st_ino] = process_id


def disown(file: RingFile) -> None:
    """Forget a file that has lost its name."""
    found = os.fstat(file.descriptor)
    _own.pop((found.st_dev, found.st_ino), None)


def forget_own() -> None:
    """Begin anew in a forked child: what it inherited belongs to its parent."""
    global GUARD, generation
    _own.clear()
    GUARD = RLock()
    generation = object()


def is_own(path: str) -> str | None:
    """Give the process id of the own ring at *path*, without opening it; None for others and none."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return _own.get((found.st_dev, found.st_ino))


def find_rings(folder: str, database: str | None = None) -> Iterator[str]:
    """Give the paths of this user's rings, of one database or of all, in the order of their names."""
    prefix = f"agenttrace-{os.getuid()}-" if database is None else _prefix(database)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        if name.startswith(prefix) and name.endswith(_SUFFIX):
            yield os.path.join(folder, name)


def open_foreign(path: str) -> int | None:
    """
    Open a ring of another process; the caller holds ``GUARD`` until it has closed it.

    Returns:
        A descriptor, or None where the file is gone, of another user, or no plain file.
    """
    if is_own(path) is not None:
        return None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    found = os.fstat(descriptor)
    foreign = (found.st_dev, found.st_ino) not in _own
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and foreign:
        return descriptor
    os.close(descriptor)
    return None


def try_lock(descriptor: int) -> bool:
    """Take the lock of a dead process's ring; False while it lives or another recovers it."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def still_named(descriptor: int, path: str) -> bool:
    """Tell whether *path* still is the file that was opened: another may have recovered and removed it."""
    try:
        named = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def is_held(descriptor: int) -> bool:
    """Tell whether another process has the lock, without taking it."""
    if sys.platform == "linux" and sys.maxsize > 2**32:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer: tuple[int, ...] = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        return answer[0] != fcntl.F_UNLCK
    return not try_lock(descriptor)


def remove(path: str) -> None:
    """Remove a file; that it is gone already is as good."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def remove_ring(path: str) -> None:
    """Remove a ring and the side files that belong to it, the ring last: a scan finds the rest by it."""
    folder, name = os.path.split(path)
    stem = name.removesuffix(_SUFFIX) + "."
    with contextlib.suppress(OSError):
        for other in os.listdir(folder):
            if other.startswith(stem) and other != name:
                remove(os.path.join(folder, other))
    remove(path)


def sweep(folder: str) -> int:
    """
    Remove files of this user that never became rings: dot names, unlocked and a minute old.

    Returns:
        How many were removed. The caller holds ``GUARD``.
    """
    removed = 0
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(f"{_NEW}{os.getuid()}-"):
                removed += _sweep_one(os.path.join(folder, name))
    return removed


def _sweep_one(path: str) -> int:
    descriptor = open_foreign(path)
    if descriptor is None:
        return 0
    try:
        if time.time() - os.fstat(descriptor).st_mtime < _STALE_S or is_held(descriptor):
            return 0
        remove(path)
        return 1
    finally:
        os.close(descriptor)
