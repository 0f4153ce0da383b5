"""
The lock that makes and migrates a database one process at a time: ``<database>.lock``.

The file stays when the lock is released: removing it would let two hold it at
once. Where a file system knows no locks, SQLite's own transaction must do.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from agenttrace.errors import StoreBusy, StoreUnavailable
from agenttrace.store.target import Target

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None
"""Whether a lock leaves a file that others see."""

__all__ = ["HAS_LOCKS", "POLL_S", "WAIT_S", "hold_lock", "lock_path"]

WAIT_S = 30.0
POLL_S = 0.01


def lock_path(target: Target) -> str:
    """Name the lock file of *target*."""
    return os.path.realpath(target.path) + ".lock"


@contextlib.contextmanager
def hold_lock(target: Target) -> Iterator[None]:
    """
    Hold the lock of *target*; one in memory needs none.

    Raises:
        StoreBusy: Another process has held it for 30 s.
        StoreUnavailable: The file cannot be made.
    """
    if target.is_memory or fcntl is None:
        yield
        return
    path = lock_path(target)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StoreUnavailable(
            f"{path}: cannot be made ({exc.strerror}); look at the folder's rights."
        ) from exc
    try:
        _lock(descriptor, target.name)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, name: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise StoreBusy(
                    f"{name}: another process has been making or migrating it for {WAIT_S:.0f} s; try again."
                ) from None
            time.sleep(POLL_S)
        except OSError:
            return  # no locks there
