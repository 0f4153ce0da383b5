"""
The ring of a dead process, read from its file.

Invariant: it is read with ``pread`` and never mapped, so that a file which is cut
short, whenever that happens, ends the reading and not the reader.
"""

from __future__ import annotations

import os

from agenttrace.write.frames import Outside
from agenttrace.write.header import PAGE_BYTES, RingHeader, Shortage, read_header
from agenttrace.write.ring_files import remove
from agenttrace.write.side_files import read_side_file, side_path

__all__ = ["DeadRing", "read_file_header"]

_LONGEST_HEADER_BYTES = 8 * 1024 * 1024


def read_file_header(descriptor: int) -> RingHeader:
    """
    Read the head of an open ring file.

    Raises:
        UnknownRing: Another version made it.
        ValueError: It is no ring, or its head is damaged.
    """
    head = os.pread(descriptor, PAGE_BYTES, 0)
    if len(head) == PAGE_BYTES:
        try:
            return read_header(head)
        except ValueError:
            head = os.pread(descriptor, _LONGEST_HEADER_BYTES, 0)
    return read_header(head)


class DeadRing:
    """Source of a ``Drain``; the caller has opened and locked the file."""

    def __init__(self, descriptor: int, path: str, header: RingHeader) -> None:
        self.path = path
        self.header = header
        self.ring_id = header.ring_id
        self.process_id = header.info.process.process_id
        self.head = header.head
        self.tail = header.tail
        self._descriptor = descriptor
        self._shortage = header.shortage

    def read(self, start: int, end: int) -> bytes:
        """Copy the stream from *start* to *end*; shorter where the file has been cut."""
        begin = start % self.header.capacity_bytes
        first = min(end - start, self.header.capacity_bytes - begin)
        data = self._read_all(first, self.header.data_at + begin)
        if len(data) == first < end - start:
            data += self._read_all(end - start - first, self.header.data_at)
        return data

    def _read_all(self, size: int, offset: int) -> bytes:
        parts = []
        while size > 0 and (part := os.pread(self._descriptor, size, offset)):
            parts.append(part)
            size -= len(part)
            offset += len(part)
        return b"".join(parts)

    def advance(self, place: int) -> None:
        """Go on behind *place*; the file stays as it is, since the database knows the position."""
        self.tail = place

    def dropped(self) -> dict[str, int]:
        """Give what the process counted while it lived."""
        return self.header.dropped

    def shortage(self) -> Shortage | None:
        """Give the drops for want of room that no note has told of."""
        return self._shortage

    def tell(self, shortage: Shortage) -> None:
        """Take note that a note has told of them."""
        self._shortage = None

    def failures(self) -> dict[str, int]:
        """Give nothing: what its capture failed at died with the process, but for its last heartbeat."""
        return {}

    def read_outside(self, outside: Outside) -> bytes:
        """Give an event kept in a side file; ValueError where there is none."""
        return read_side_file(self.path, outside)

    def forget_outside(self, number: int) -> None:
        """Remove a side file whose event is stored."""
        remove(side_path(self.path, number))
