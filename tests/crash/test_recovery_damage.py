"""A damaged ring ends the reading, never the reader, and never yields what was not recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agenttrace.write import ring_files
from agenttrace.write.dead_ring import DeadRing, read_file_header
from agenttrace.write.frames import iter_frames
from agenttrace.write.recovery import recover
from agenttrace.write.ring import NUDGE
from agenttrace.write.ring_native import choose_ring
from tests.write.factory import build_body, build_info, read_numbers

pytestmark = [pytest.mark.crash, pytest.mark.shared_ring]

_CAPACITY_BYTES = 4096
_EVENTS = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The ring of a dead process that has gone round once, with five events in it."""
    ring = choose_ring().create(build_info(tmp_path / "t.db"), _CAPACITY_BYTES)
    for number in range(40):
        assert ring.put(build_body(number, "x" * number)) <= NUDGE
        if number < 40 - _EVENTS:
            ring.advance(ring.head)
    assert ring.file is not None
    ring_files.disown(ring.file)
    ring._words.release()
    ring._mapping.close()
    os.close(ring.file.descriptor)
    return Path(ring.file.path)


def _read(path: Path) -> list[tuple[int, bytes]]:
    """Read as a recoverer does; nothing where the head is refused."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        ring = DeadRing(descriptor, str(path), read_file_header(descriptor))
        data = ring.read(ring.tail, ring.head)
        return [(frame.number, frame.body) for frame in iter_frames(data, ring.tail)]
    except ValueError:
        return []
    finally:
        os.close(descriptor)


def _flips(path: Path, places: range) -> Iterator[tuple[int, list[tuple[int, bytes]]]]:
    """Flip each of *places* in turn, and give what is read then."""
    content = path.read_bytes()
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(bytes([content[place] ^ 0xFF]))
            file.flush()
            yield place, _read(path)
            file.seek(place)
            file.write(content[place : place + 1])
            file.flush()


class TestARingFile:
    def test_cut_at_every_byte_gives_its_first_events(self, path: Path) -> None:
        """Whatever is left of the file: a beginning of what was recorded, or nothing."""
        whole = _read(path)
        assert len(whole) == _EVENTS
        found = set()
        for size in range(path.stat().st_size - 1, -1, -1):
            os.truncate(path, size)
            events = _read(path)
            assert events == whole[: len(events)]
            found.add(len(events))
        assert 0 in found
        assert len(found) > 1

    def test_with_any_byte_of_its_last_frame_flipped_gives_the_others(self, path: Path) -> None:
        """The last event is then missing, or the byte was the flag of a side file; the others are there."""
        whole = _read(path)
        head = read_file_header(os.open(path, os.O_RDONLY))
        size = head.head - whole[-1][0]
        first = head.data_at + whole[-1][0] % _CAPACITY_BYTES
        places = [head.data_at + (first - head.data_at + offset) % _CAPACITY_BYTES for offset in range(size)]
        for place in places:
            ((_, events),) = _flips(path, range(place, place + 1))
            assert events in (whole[:-1], whole), place

    def test_with_any_byte_of_its_head_flipped_gives_nothing_wrong(self, path: Path) -> None:
        """A head that lies about places is caught by the frames' own numbers and checks."""
        whole = _read(path)
        head = read_file_header(os.open(path, os.O_RDONLY))
        for place, events in _flips(path, range(head.data_at)):
            assert all(event in whole for event in events), place

    def test_is_recovered_as_far_as_it_goes(self, path: Path, tmp_path: Path) -> None:
        """The real recovery of damaged rings stores what can be read, and raises nothing."""
        content = path.read_bytes()
        path.unlink()
        numbers: set[int] = set()
        for damage in range(0, len(content), 173):
            copy = path.with_name(f"{path.stem}{damage:04x}.ring")
            damaged = bytearray(content)
            damaged[damage] ^= 0xFF
            copy.write_bytes(damaged[: len(content) - damage // 3])
            database = str(tmp_path / "t.db")
            recover(database)
            copy.unlink(missing_ok=True)
            numbers |= set(read_numbers(database))
        assert numbers <= set(range(40 - _EVENTS, 40))
