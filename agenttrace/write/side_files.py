"""
Side files: events that are larger than a quarter of their ring.

The event lies whole in a file beside the ring; a frame in the ring names it, so the
order of events holds. Invariants: a file is complete before its frame is published
and removed only after its event was committed; what a crash leaves behind goes
together with the ring (``ring_files.remove_ring``). A ring in private memory keeps
such events in memory too.
"""

from __future__ import annotations

import errno
import itertools
import os

from agenttrace.write.frames import Outside, build_outside, check_sum
from agenttrace.write.ring_files import remove

__all__ = ["SideFiles", "read_side_file", "side_path"]

_ROOM_IN_RINGS = 16
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What says nothing about the file, and may be gone at the next try."""


class SideFiles:
    """The side files of one ring of this process."""

    def __init__(self, ring_path: str | None, capacity_bytes: int) -> None:
        self._ring_path = ring_path
        self._room_bytes = capacity_bytes * _ROOM_IN_RINGS
        self._numbers = itertools.count(1)
        self._sizes: dict[int, int] = {}
        self._bodies: dict[int, bytes] = {}

    def keep(self, body: bytes) -> bytes | None:
        """
        Keep *body* outside the ring.

        Returns:
            The body of the frame that stands for it, or None where there is no room.
        """
        if self._sizes and sum(tuple(self._sizes.values())) + len(body) > self._room_bytes:
            return None
        number = next(self._numbers)
        if self._ring_path is None:
            self._bodies[number] = body
        else:
            try:
                _write_file(side_path(self._ring_path, number), body)
            except OSError:
                return None
        self._sizes[number] = len(body)
        return build_outside(number, body)

    def read(self, outside: Outside) -> bytes:
        """
        Give the event that a frame names.

        Raises:
            ValueError: It is not there, or damaged.
            OSError: As ``read_side_file``.
        """
        if self._ring_path is not None:
            return read_side_file(self._ring_path, outside)
        try:
            return self._bodies[outside.number]
        except KeyError:
            raise ValueError(f"there is no side file {outside.number}") from None

    def forget(self, number: int) -> None:
        """Remove a file whose event is committed, or was never published."""
        self._sizes.pop(number, None)
        self._bodies.pop(number, None)
        if self._ring_path is not None:
            remove(side_path(self._ring_path, number))


def side_path(ring_path: str, number: int) -> str:
    """Name the side file *number* of the ring at *ring_path*."""
    return f"{ring_path.removesuffix('.ring')}.{number:x}.side"


def read_side_file(ring_path: str, outside: Outside) -> bytes:
    """
    Read a side file of any ring.

    Raises:
        ValueError: It is not there, or not what its frame says.
        OSError: This process has no descriptor or memory left for it now.
    """
    path = side_path(ring_path, outside.number)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            body = file.read(outside.size_bytes + 1)
    except OSError as exc:
        if exc.errno in _PASSING:
            raise
        raise ValueError(f"{path}: {exc.strerror}") from exc
    if len(body) != outside.size_bytes or check_sum(body) != outside.crc:
        raise ValueError(f"{path}: damaged")
    return body


def _write_file(path: str, body: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        remove(path)
        raise
    finally:
        os.close(descriptor)
