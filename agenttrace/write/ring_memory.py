"""
The memory under a ring: a locked file that others can see, or private memory.

Invariant: a file is sized for real, locked and headed before it gets its name, so
nobody ever sees an unfinished ring; what cannot be had in a file is had in private
memory, with the reason kept for ``doctor``.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import NamedTuple

from agenttrace.write import ring_files
from agenttrace.write.header import RingInfo, build_header
from agenttrace.write.ring_files import RingFile

__all__ = ["Memory", "make_memory"]

_SMALLER_BYTES = (1024 * 1024, 256 * 1024)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG})


class Memory(NamedTuple):
    """A mapping with a ring's head in it."""

    mapping: mmap.mmap
    data_at: int
    """Where the frames begin."""
    file: RingFile | None
    """None for private memory."""
    reason: str
    """Why it is not what was asked for; empty when it is."""


def make_memory(info: RingInfo, ring_id: bytes, ring_bytes: int, kind: str, first: int) -> Memory:
    """
    Make the memory of an empty ring.

    Args:
        info: Goes into the head.
        ring_id: 16 random bytes.
        ring_bytes: Room for frames. Where the file system has too little: 1 MiB, 256 KiB, then
            private memory.
        kind: ``auto``, or ``memory`` for private memory.
        first: Where the stream begins.
    """
    folder, reason = _choose_folder(kind, info.database)
    if folder is None:
        return _make_private(info, ring_id, ring_bytes, first, reason)
    for capacity in (ring_bytes, *(size for size in _SMALLER_BYTES if size < ring_bytes)):
        try:
            return _make_shared(folder, info, ring_id, capacity, first, reason)
        except OSError as exc:
            reason = f"{folder}: {exc.strerror or exc}"
            if exc.errno not in _NO_ROOM:
                break
    return _make_private(info, ring_id, min(ring_bytes, _SMALLER_BYTES[0]), first, reason)


def _choose_folder(kind: str, database: str) -> tuple[str | None, str]:
    if kind == "memory":
        return None, "private memory was asked for"
    if database == ":memory:":
        return None, "the database is in memory too"
    folder = ring_files.ring_directory()
    return folder, "" if folder else "this system has no folder for shared memory"


def _make_shared(
    folder: str, info: RingInfo, ring_id: bytes, capacity: int, first: int, reason: str
) -> Memory:
    header = build_header(ring_id, capacity, first, info)
    size = len(header) + capacity
    maker, generation = os.getpid(), ring_files.generation
    file = ring_files.make_file(folder, size)
    try:
        ring_files.own(file, info.process.process_id)
        # Populated now: otherwise the first round through the ring takes a page fault every 4 KiB.
        mapping = mmap.mmap(file.descriptor, size, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
        header_bytes = len(header)
        # A signal handler may have forked: then the memory is the parent's, which may be in use by now.
        if ring_files.generation is not generation:
            raise OSError(errno.ECHILD, "forked meanwhile")
        mapping[:header_bytes] = header
        stem = ring_files.build_stem(info.database, info.process.process_id)
        if os.getpid() != maker:
            raise OSError(errno.ECHILD, "forked meanwhile")
        return Memory(mapping, len(header), ring_files.name_file(file, folder, stem), reason)
    except BaseException:
        ring_files.disown(file)
        if os.getpid() == maker:
            ring_files.remove(file.path)
        os.close(file.descriptor)
        raise


def _make_private(info: RingInfo, ring_id: bytes, capacity: int, first: int, reason: str) -> Memory:
    header = build_header(ring_id, capacity, first, info)
    size = len(header) + capacity
    if hasattr(mmap, "MAP_PRIVATE"):
        mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    else:
        mapping = mmap.mmap(-1, size)
    mapping[: len(header)] = header
    return Memory(mapping, len(header), None, reason)
