"""A ring's head: read whole, or refused; never half."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace.events import ProcessInfo
from agenttrace.write.header import (
    FORMAT,
    PAGE_BYTES,
    RingInfo,
    UnknownRing,
    build_header,
    read_header,
)
from tests.write.factory import build_info

_ID = bytes(range(16))


class TestAHeader:
    @given(st.text(), st.dictionaries(st.text(), st.integers()), st.integers(0, 2**62))
    def test_comes_back_as_it_was_built(self, path: str, limits: dict[str, int], first: int) -> None:
        """Database, process, rules and limits survive, whatever characters they have."""
        info = RingInfo(
            path, ProcessInfo("0" * 16, path, "", 1, "", "", path, path, None, 0), {"a": [path]}, limits
        )
        data = build_header(_ID, 4096, first, info)
        assert len(data) % PAGE_BYTES == 0
        header = read_header(data)
        assert header.info == info
        assert (header.ring_id, header.first, header.head, header.tail) == (_ID.hex(), first, first, first)
        assert (header.capacity_bytes, header.data_at, header.clean, header.dropped) == (
            4096,
            len(data),
            False,
            {},
        )

    def test_loses_its_arguments_before_it_grows_without_bound(self, tmp_path: Path) -> None:
        """A command line of megabytes does not stand in the ring; the process still does."""
        info = build_info(tmp_path / "t.db")
        huge = info._replace(process=info.process._replace(argv="x" * 5_000_000))
        found = read_header(build_header(_ID, 4096, 0, huge)).info.process
        assert found == info.process._replace(argv="[]")

    def test_of_another_format_is_told_from_a_damaged_one(self, tmp_path: Path) -> None:
        """A newer version's ring raises UnknownRing, whatever the rest of it looks like."""
        data = bytearray(build_header(_ID, 4096, 0, build_info(tmp_path / "t.db")))
        data[8:12] = (FORMAT + 1).to_bytes(4, "little")
        with pytest.raises(UnknownRing):
            read_header(bytes(data))

    @given(st.data())
    @settings(max_examples=300)
    def test_is_consistent_or_refused(self, data: st.DataObject) -> None:
        """Whatever bytes stand there: a header whose places fit together, or ValueError."""
        header = bytearray(build_header(_ID, 4096, 100, build_info("/t.db")))
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, 1400))
            header[place] = data.draw(st.integers(0, 255))
        cut = bytes(header[: data.draw(st.integers(0, len(header)))])
        try:
            found = read_header(cut)
        except ValueError:
            return
        assert found.first <= found.tail <= found.head <= found.tail + found.capacity_bytes
