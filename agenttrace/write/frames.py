"""
Frames: how one event lies in a ring.

A frame is ``length, CRC-32 of the body, frame number`` and the body. The number is
the frame's own place in the endless stream of bytes that the ring is a window of,
so a reader that stands at place *p* accepts only a frame numbered *p*.
Invariant: a frame is never empty, so zeroed memory holds no frame.

The top bit of the length marks a body that stands for an event kept outside the
ring, in a side file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

__all__ = [
    "FRAME_BYTES",
    "OUTSIDE",
    "PART_BYTES",
    "Frame",
    "Outside",
    "build_outside",
    "check_sum",
    "iter_fields",
    "iter_frames",
    "needed_bytes",
    "pack_frame",
    "pack_head",
    "parse_outside",
    "render_event_id",
]

_HEAD = struct.Struct("<IIQ")
FRAME_BYTES = _HEAD.size
"""What a frame adds to its body."""

OUTSIDE = 0x8000_0000
"""Flag in the length: the body names a side file."""

PART_BYTES = 5120
"""The longest body whose CRC zlib computes without giving up the GIL."""

_OUTSIDE_BODY = struct.Struct("<QIQ")

pack_head = _HEAD.pack
"""``pack_head(length, crc, number)``: the 16 bytes before a body."""
_unpack_from = _HEAD.unpack_from


class Frame(NamedTuple):
    """One whole frame."""

    number: int
    """Its place in the ring's stream of bytes."""
    end: int
    """The place of the next frame."""
    body: bytes
    outside: bool
    """The body is ``build_outside``'s."""


class Outside(NamedTuple):
    """Which side file holds an event, and what it must contain."""

    number: int
    crc: int
    size_bytes: int


def check_sum(body: bytes) -> int:
    """
    Compute the CRC-32 of *body* without giving up the GIL.

    Beside a busy thread, getting it back takes 5 ms.
    """
    if len(body) <= PART_BYTES:
        return crc32(body)
    crc = 0
    parts = memoryview(body)
    for start in range(0, len(body), PART_BYTES):
        crc = crc32(parts[start : start + PART_BYTES], crc)
    return crc


def pack_frame(body: bytes, number: int, flags: int = 0) -> bytes:
    """Build the frame of *body* (not empty) that belongs at the place *number*."""
    return pack_head(len(body) | flags, check_sum(body), number) + body


def iter_frames(data: bytes, start: int) -> Iterator[Frame]:
    """
    Read frames from a stretch of the stream, up to the first place that holds none.

    Args:
        data: Bytes of the stream; what follows the last whole frame is left alone.
        start: The place of ``data[0]``, where a frame must begin.

    Yields:
        Frames whose number and CRC agree. A damaged one ends the reading, because
        only its length would tell where the next one begins.
    """
    return map(Frame._make, iter_fields(data, start))


def iter_fields(data: bytes, start: int) -> Iterator[tuple[int, int, bytes, bool]]:
    """Read frames as ``iter_frames`` does, each as a bare tuple of its fields."""
    offset = 0
    last = len(data) - FRAME_BYTES
    while offset < last:
        length, crc, number = _unpack_from(data, offset)
        outside = length >= OUTSIDE
        if outside:
            length -= OUTSIDE
        begin = offset + FRAME_BYTES
        body = data[begin : begin + length]
        if number != start + offset or length == 0 or len(body) != length:
            return
        if (crc32(body) if length <= PART_BYTES else check_sum(body)) != crc:
            return
        offset = begin + length
        yield number, start + offset, body, outside


def needed_bytes(data: bytes) -> int:
    """Tell how long the frame at the beginning of *data* claims to be; 0 where too little is there."""
    if len(data) < FRAME_BYTES:
        return 0
    return int(_unpack_from(data)[0] & ~OUTSIDE) + FRAME_BYTES


def build_outside(number: int, body: bytes) -> bytes:
    """Build the body that stands in the ring for *body*, which lies in the side file *number*."""
    return _OUTSIDE_BODY.pack(number, check_sum(body), len(body))


def parse_outside(body: bytes) -> Outside:
    """
    Read what ``build_outside`` built.

    Raises:
        ValueError: *body* has another length.
    """
    if len(body) != _OUTSIDE_BODY.size:
        raise ValueError(f"a side file's frame has {_OUTSIDE_BODY.size} bytes, not {len(body)}")
    return Outside(*_OUTSIDE_BODY.unpack(body))


def render_event_id(process_id: str, number: int) -> str:
    """Name an event for ever: the process and the frame's number in hex."""
    return f"{process_id}-{number:x}"
