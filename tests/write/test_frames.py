"""Frames: whole or not at all, and never taken from the wrong place."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from agenttrace.write.frames import (
    FRAME_BYTES,
    OUTSIDE,
    build_outside,
    check_sum,
    iter_frames,
    pack_frame,
    parse_outside,
    render_event_id,
)

_BODIES = st.lists(st.binary(min_size=1, max_size=60), max_size=8)
_STARTS = st.integers(0, 2**60)


def _stream(bodies: list[bytes], start: int) -> bytes:
    data = b""
    for body in bodies:
        data += pack_frame(body, start + len(data))
    return data


class TestFrames:
    @given(_BODIES, _STARTS)
    def test_come_back_as_they_went_in(self, bodies: list[bytes], start: int) -> None:
        """read(write(bodies)) == bodies, at any place of the stream, each with its place."""
        frames = list(iter_frames(_stream(bodies, start), start))
        assert [frame.body for frame in frames] == bodies
        assert [frame.number for frame in frames] == [
            start + len(_stream(bodies[:index], start)) for index in range(len(bodies))
        ]

    @given(_BODIES.filter(bool), _STARTS, st.data())
    def test_end_where_the_data_is_cut(self, bodies: list[bytes], start: int, data: st.DataObject) -> None:
        """Cut anywhere, the frames that are whole are read, and nothing of the next."""
        stream = _stream(bodies, start)
        size = data.draw(st.integers(0, len(stream)))
        whole = [frame.body for frame in iter_frames(stream[:size], start)]
        assert whole == bodies[: len(whole)]
        assert len(_stream(bodies[: len(whole)], start)) <= size
        if len(whole) < len(bodies):
            assert len(_stream(bodies[: len(whole) + 1], start)) > size

    @given(_BODIES.filter(bool), _STARTS, st.data())
    def test_end_where_a_byte_is_wrong(self, bodies: list[bytes], start: int, data: st.DataObject) -> None:
        """One flipped byte costs its frame and what follows, and never yields a wrong body."""
        stream = bytearray(_stream(bodies, start))
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place] ^= data.draw(st.integers(1, 255))
        read = [frame.body for frame in iter_frames(bytes(stream), start)]
        damaged = sum(1 for index in range(len(bodies)) if len(_stream(bodies[: index + 1], start)) <= place)
        flag_only = len(read) == len(bodies)  # the flag for a side file is the one bit without a check
        assert read == (bodies if flag_only else bodies[:damaged])
        if flag_only:
            assert any(frame.outside for frame in iter_frames(bytes(stream), start))

    @given(_BODIES.filter(bool), _STARTS, st.integers(1, 2**40))
    def test_are_not_read_at_another_place(self, bodies: list[bytes], start: int, shift: int) -> None:
        """A frame of an earlier round through the ring is not taken for one of this round."""
        assert list(iter_frames(_stream(bodies, start), start + shift)) == []

    def test_are_not_found_in_zeroed_memory(self) -> None:
        """Memory that was never written holds no frame, at the very beginning of a stream either."""
        assert list(iter_frames(bytes(4096), 0)) == []

    def test_add_sixteen_bytes(self) -> None:
        """The frame is the body and its length, check and number."""
        assert len(pack_frame(b"abc", 0)) == 3 + FRAME_BYTES == 19


class TestACheckSum:
    @given(st.integers(0, 40_000), st.binary(min_size=1, max_size=50))
    def test_is_the_crc_however_long_the_body(self, size: int, seed: bytes) -> None:
        """Computed in parts, so as to keep the GIL, it is the CRC-32 of the whole."""
        body = (seed * (size // len(seed) + 1))[:size]
        assert check_sum(body) == zlib.crc32(body)


class TestAFrameForASideFile:
    def test_carries_number_check_and_size(self) -> None:
        """What is built is parsed again, and marked as standing for something else."""
        body = build_outside(7, b"large")
        (frame,) = iter_frames(pack_frame(body, 5, OUTSIDE), 5)
        assert frame.outside
        found = parse_outside(frame.body)
        assert (found.number, found.size_bytes) == (7, 5)


class TestAnEventId:
    def test_names_process_and_frame(self) -> None:
        """``event_id`` is the process id, a hyphen and the frame number in hex."""
        assert render_event_id("0123456789abcdef", 4096) == "0123456789abcdef-1000"
