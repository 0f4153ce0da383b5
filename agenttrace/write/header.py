"""
The head of a ring: who owns it, where its events go, and how far they have come.

The first page holds fixed fields and counters, the pages after it what a recoverer
needs as JSON: database, process, redaction rules and limits. Invariant: whatever
bytes it is given, ``read_header`` gives a consistent header or raises ValueError;
a format number that it does not know raises ``UnknownRing``, and such a ring is
left untouched.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple
from zlib import crc32

from agenttrace.events import ProcessInfo

__all__ = [
    "DROP_REASONS",
    "FORMAT",
    "PAGE_BYTES",
    "ROOM_REASONS",
    "WORDS_AT",
    "WORDS_BYTES",
    "WORD_CLEAN",
    "WORD_DROPS",
    "WORD_HEAD",
    "WORD_SEEN",
    "WORD_SHORT_SINCE",
    "WORD_TAIL",
    "WORD_TOLD",
    "RingHeader",
    "RingInfo",
    "Shortage",
    "UnknownRing",
    "build_header",
    "read_drops",
    "read_header",
    "read_shortage",
]

FORMAT = 1
"""Number of this layout and of the frame's."""

PAGE_BYTES = 4096
_MAGIC = b"agtrace\n"
_BYTE_ORDER = 0x0102_0304
_FIXED = struct.Struct("=8sII16sQQQI")
_CHECK = struct.Struct("=I")
_METADATA_AT = 1024
_LAST_PLACE = 2**63 - 1
"""What the database can hold."""
_METADATA_LIMIT_BYTES = 4 * 1024 * 1024

WORDS_AT = 64
WORDS_BYTES = 512
"""The 64 words of 8 bytes, in the machine's order, that change while the ring lives."""

WORD_HEAD = 0
"""Where the next frame will begin. One aligned store of it publishes a frame."""
WORD_TAIL = 1
"""Where the first frame that is not in the database begins."""
WORD_CLEAN = 2
"""1 once the process has begun its shutdown: what is left was no crash."""
WORD_SEEN = 3
"""When the process was last seen alive, in ns since 1970; at most some seconds old."""
WORD_TOLD = 4
"""How many drops for want of room a note in the trace has told of."""
WORD_SHORT_SINCE = 5
"""When the first drop came that no note has told of, in ns since 1970; 0 where that is not known."""
WORD_DROPS = 8
"""The first of the drop counters, in the order of ``DROP_REASONS``."""

DROP_REASONS = (
    "full",
    "side_file",
    "writer_thread",
    "after_fork",
    "late",
    "error",
)
"""Why events were dropped: no room in time; no room for an event larger than the ring;
recorded by the writer itself; cut off by a fork; no ring any more; recording it failed."""


ROOM_REASONS = ("full", "side_file")
"""Which of these are a want of room, so that a note tells of them once there is some again."""


class Shortage(NamedTuple):
    """Events dropped for want of room that no note has told of."""

    dropped: dict[str, int]
    """All drops for want of room so far, by reason, those told of included."""
    told: int
    """How many of them were told of."""
    since_ns: int
    """When the first of the others was dropped; 0 where that is not known."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.dropped.values())


class UnknownRing(ValueError):
    """Say that a ring was made by another version; whoever made it will know what to do."""


class RingInfo(NamedTuple):
    """What a recoverer must know to do the writer's work."""

    database: str
    """Real path of the database."""
    process: ProcessInfo
    redaction: Any
    """Data of ``redact.Rules``."""
    settings: dict[str, Any]
    """``max_payload_bytes`` and ``max_blob_bytes``."""

    def to_bytes(self) -> bytes:
        """Render as JSON in ASCII, so that any str survives."""
        data = self._asdict() | {"process": self.process.to_data()}
        return json.dumps(data, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> RingInfo:
        """
        Read what ``to_bytes`` gave.

        Raises:
            ValueError: It is something else.
        """
        try:
            found = json.loads(data)
            return cls(
                str(found["database"]),
                ProcessInfo.from_data(found["process"]),
                found["redaction"],
                dict(found["settings"]),
            )
        except (KeyError, TypeError, RecursionError) as exc:
            raise ValueError(f"not a ring's metadata ({type(exc).__name__}: {exc})") from exc


class RingHeader(NamedTuple):
    """A ring's head as it stood when it was read."""

    ring_id: str
    """32 hex."""
    capacity_bytes: int
    data_at: int
    """Where in the file the ring itself begins."""
    first: int
    """Where the stream began."""
    head: int
    tail: int
    clean: bool
    seen_ns: int
    dropped: dict[str, int]
    """Counts that are not 0, by reason."""
    shortage: Shortage | None
    info: RingInfo


def build_header(ring_id: bytes, capacity_bytes: int, first: int, info: RingInfo) -> bytes:
    """
    Build the whole head of an empty ring, in whole pages.

    Args:
        ring_id: 16 random bytes.
        capacity_bytes: Room for frames.
        first: Where the stream begins; head and tail stand there.
        info: As in the class.
    """
    metadata = info.to_bytes()
    if len(metadata) > _METADATA_LIMIT_BYTES:
        short = info.process._replace(argv="[]")
        metadata = info._replace(process=short).to_bytes()
    data_at = -(-(_METADATA_AT + len(metadata)) // PAGE_BYTES) * PAGE_BYTES
    fixed = _FIXED.pack(_MAGIC, FORMAT, _BYTE_ORDER, ring_id, capacity_bytes, data_at, first, len(metadata))
    fixed += _CHECK.pack(crc32(metadata, crc32(fixed)))
    words = struct.pack("=QQ", first, first)
    head = fixed.ljust(WORDS_AT, b"\0") + words.ljust(WORDS_BYTES, b"\0")
    return (head.ljust(_METADATA_AT, b"\0") + metadata).ljust(data_at, b"\0")


def read_header(data: bytes) -> RingHeader:
    """
    Read the head of a ring from the beginning of its file.

    Args:
        data: At least the head's pages; may go on.

    Raises:
        UnknownRing: Another version or a machine of another byte order made it.
        ValueError: It is no ring, or the head is damaged.
    """
    if len(data) < _METADATA_AT or not data.startswith(_MAGIC):
        raise ValueError("not a ring")
    _, format_number, order, ring_id, capacity, data_at, first, length = _FIXED.unpack_from(data)
    if format_number != FORMAT or order != _BYTE_ORDER:
        raise UnknownRing(f"ring format {format_number}, this agenttrace reads {FORMAT}")
    metadata = data[_METADATA_AT : _METADATA_AT + length]
    (crc,) = _CHECK.unpack_from(data, _FIXED.size)
    if len(metadata) != length or crc32(metadata, crc32(data[: _FIXED.size])) != crc:
        raise ValueError("the ring's head is damaged")
    words = struct.unpack_from("=64Q", data, WORDS_AT)
    head, tail = words[WORD_HEAD], words[WORD_TAIL]
    if not first <= tail <= head <= min(tail + capacity, _LAST_PLACE):
        raise ValueError("the ring's head is damaged")
    info = RingInfo.from_bytes(metadata)
    return RingHeader(
        ring_id.hex(),
        capacity,
        data_at,
        first,
        head,
        tail,
        bool(words[WORD_CLEAN]),
        words[WORD_SEEN],
        read_drops(words),
        read_shortage(words),
        info,
    )


def read_shortage(words: tuple[int, ...] | memoryview) -> Shortage | None:
    """Give what is to be told; None where nothing is."""
    dropped = {reason: count for reason, count in read_drops(words).items() if reason in ROOM_REASONS}
    found = Shortage(dropped, words[WORD_TOLD], words[WORD_SHORT_SINCE])
    return found if found.total > found.told else None


def read_drops(words: tuple[int, ...] | memoryview) -> dict[str, int]:
    """Give the drop counters that are not 0, by reason."""
    counts = {reason: words[WORD_DROPS + place] for place, reason in enumerate(DROP_REASONS)}
    return {reason: count for reason, count in counts.items() if count}
