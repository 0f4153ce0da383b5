"""Draining: each event once in the database, whatever goes wrong in between."""

from __future__ import annotations

import contextlib
import errno
import json
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agenttrace.encode.redact import Rules
from agenttrace.errors import RingTaken, StoreBusy, StoreError, StoreUnavailable
from agenttrace.store.batch import EventSink, Finish, Written
from agenttrace.write.drain import ROWS_PER_BATCH, Drain
from agenttrace.write.frames import Outside
from agenttrace.write.pipeline import Pipeline
from agenttrace.write.ring import NUDGE, Ring
from agenttrace.write.side_files import read_side_file
from tests.write.factory import build_body, build_ring, read_numbers, read_rows

pytestmark = pytest.mark.usefixtures("each_way")


class Troubled(EventSink):
    """A sink that raises *before* or *after* it has really written."""

    before: Exception | None = None
    after: Exception | None = None
    sizes: list[int]

    def write(self, records: Sequence[Any], *args: Any, **kwargs: Any) -> Written:
        """Write, with trouble where it was asked for, once."""
        self.__dict__.setdefault("sizes", []).append(len(records))
        if self.before is not None:
            trouble, self.before = self.before, None
            raise trouble
        written = super().write(records, *args, **kwargs)
        if self.after is not None:
            trouble, self.after = self.after, None
            raise trouble
        return written


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Where the events go."""
    return str(tmp_path / "t.db")


@pytest.fixture
def ring() -> Ring:
    """A ring in private memory."""
    return build_ring(ring_bytes=1_048_576)


@pytest.fixture
def sink(database: str) -> Troubled:
    """A sink without trouble, so far."""
    return Troubled(database)


@pytest.fixture
def drain(ring: Ring, sink: Troubled) -> Drain:
    """The way from one to the other."""
    return Drain(ring, sink, Pipeline(Rules.build(None)), ring.info.process)


def _fill(ring: Ring, numbers: range) -> None:
    for number in numbers:
        assert ring.put(build_body(number)) <= NUDGE


class TestDraining:
    def test_stores_all_in_order_and_frees_the_ring(self, ring: Ring, drain: Drain, database: str) -> None:
        """Rows in the ring's order, event ids of process and place, tail at head."""
        _fill(ring, range(20))
        assert not drain.step()
        assert read_numbers(database) == list(range(20))
        assert ring.tail == ring.head == drain.position
        rows = read_rows(database, "SELECT event_id FROM trajectory_events ORDER BY id")
        assert len(set(rows)) == 20
        assert all(event_id.startswith(ring.process_id + "-") for (event_id,) in rows)
        assert read_rows(database, "SELECT position FROM rings") == [(ring.head,)]

    def test_writes_long_transactions_in_parts(self, ring: Ring, drain: Drain, sink: Troubled) -> None:
        """At most 4,000 rows at once; True as long as more may be left."""
        _fill(ring, range(ROWS_PER_BATCH + 5))
        assert drain.step()
        assert not drain.step()
        assert sink.sizes == [ROWS_PER_BATCH, 5]

    def test_writes_nothing_where_nothing_is(
        self, ring: Ring, drain: Drain, sink: Troubled, database: str
    ) -> None:
        """An empty ring costs no transaction."""
        assert not drain.step()
        assert read_rows(database, "SELECT * FROM rings") == []
        assert not hasattr(sink, "sizes")

    @pytest.mark.parametrize("error", [StoreBusy("busy"), StoreUnavailable("full")])
    def test_tries_again_what_was_not_written(
        self, error: Exception, ring: Ring, drain: Drain, sink: Troubled, database: str
    ) -> None:
        """After an error nothing has moved; the next step writes the same, and then what came meanwhile."""
        _fill(ring, range(3))
        sink.before = error
        with pytest.raises(StoreError):
            drain.step()
        assert ring.tail == 0
        _fill(ring, range(3, 5))
        while drain.step():
            pass
        assert read_numbers(database) == [0, 1, 2, 3, 4]

    def test_does_not_write_twice_what_was_written_after_all(
        self, ring: Ring, drain: Drain, sink: Troubled, database: str
    ) -> None:
        """A commit whose answer was lost is found by its position."""
        _fill(ring, range(3))
        sink.after = StoreUnavailable("disk I/O error")
        with pytest.raises(StoreUnavailable):
            drain.step()
        _fill(ring, range(3, 5))
        while drain.step():
            pass
        assert read_numbers(database) == [0, 1, 2, 3, 4]
        assert ring.tail == ring.head

    def test_stops_where_another_has_drained(
        self, ring: Ring, drain: Drain, sink: Troubled, database: str
    ) -> None:
        """A position that somebody else moved raises RingTaken; nothing is written twice."""
        _fill(ring, range(3))
        other = Drain(ring, EventSink(database), Pipeline(Rules.build(None)), ring.info.process)
        drain.begin()
        other.begin()
        assert not drain.step()
        _fill(ring, range(3, 6))
        with pytest.raises(RingTaken):
            other.step()
        assert read_numbers(database) == [0, 1, 2]

    def test_begins_where_the_database_knows_more_than_the_ring(
        self, ring: Ring, drain: Drain, database: str
    ) -> None:
        """A process that died between commit and tail: the position in the database counts."""
        _fill(ring, range(3))
        tail = ring.tail
        drain.step()
        ring._words[1] = tail
        _fill(ring, range(3, 6))
        later = Drain(ring, EventSink(database), Pipeline(Rules.build(None)), ring.info.process)
        while later.step():
            pass
        assert read_numbers(database) == list(range(6))

    def test_begins_where_the_ring_knows_more_than_the_database(
        self, ring: Ring, drain: Drain, database: str, tmp_path: Path
    ) -> None:
        """Another database in its place gets what is left, not what the old one had."""
        _fill(ring, range(3))
        drain.step()
        _fill(ring, range(3, 6))
        other = str(tmp_path / "other.db")
        later = Drain(ring, EventSink(other), Pipeline(Rules.build(None)), ring.info.process)
        while later.step():
            pass
        assert read_numbers(other) == [3, 4, 5]

    def test_goes_on_with_an_older_copy_of_the_database(
        self, ring: Ring, drain: Drain, sink: Troubled, database: str, tmp_path: Path
    ) -> None:
        """Put back from a copy: what the copy has stays, and what comes is added."""
        _fill(ring, range(2))
        drain.step()
        sink.close()
        copy = Path(database).read_bytes()
        _fill(ring, range(2, 5))
        drain.step()
        sink.position("so that it is open")
        Path(database).unlink()
        for suffix in ("-wal", "-shm"):
            Path(database + suffix).unlink(missing_ok=True)
        Path(database).write_bytes(copy)
        _fill(ring, range(5, 7))
        for _ in range(5):
            try:
                while drain.step():
                    pass
                break
            except StoreError:
                continue
        rows = read_rows(database, "SELECT kind, payload FROM trajectory_events ORDER BY id")
        assert [json.loads(payload).get("number") for _, payload in rows][:4] == [0, 1, 5, 6]


class TestABadFrame:
    def test_costs_only_itself(self, ring: Ring, drain: Drain, database: str) -> None:
        """Rubbish between events is counted by reason, in ``processes`` too."""
        _fill(ring, range(2))
        ring.put(b"rubbish")
        _fill(ring, range(2, 4))
        drain.step()
        assert read_numbers(database) == [0, 1, 2, 3]
        assert sum(drain.failed.values()) == 1
        ((failed,),) = read_rows(database, "SELECT failed FROM processes")
        assert sum(json.loads(failed).values()) == 1

    def test_ends_the_reading_where_it_is_torn(self, ring: Ring, drain: Drain, database: str) -> None:
        """Behind a frame whose check fails nothing can be found; that is counted, and draining goes on."""
        _fill(ring, range(2))
        place = ring.head
        _fill(ring, range(2, 4))
        ring._mapping[ring._data_at + place + 20] ^= 0xFF
        while drain.step():
            pass
        assert read_numbers(database) == [0, 1]
        assert drain.failed == {"torn": 1}
        _fill(ring, range(10, 12))
        while drain.step():
            pass
        assert read_numbers(database) == [0, 1, 10, 11]


class TestAShortage:
    """What this process lacks for a moment (memory, file descriptors) says nothing about the frame."""

    @pytest.mark.parametrize("lack", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
    def test_that_passes_costs_no_event(
        self, lack: Exception, ring: Ring, drain: Drain, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What came before is stored; the frame itself is kept for the next try, with its side file."""
        _fill(ring, range(2))
        assert ring.put_outside(build_body(2, "large " * 200_000)) <= NUDGE
        _fill(ring, range(3, 5))
        read = ring.read_outside
        is_lacking = True

        def read_or_lack(outside: Outside) -> bytes:
            if is_lacking:
                raise lack
            return read(outside)

        monkeypatch.setattr(ring, "read_outside", read_or_lack)
        assert drain.step()
        assert read_numbers(database) == [0, 1]
        with pytest.raises(type(lack)):
            drain.step()
        is_lacking = False
        while drain.step():
            pass
        assert read_rows(
            database, "SELECT count(*), count(DISTINCT event_id), max(id) FROM trajectory_events"
        ) == [(5, 5, 5)]
        assert drain.failed == {}

    def test_that_stays_costs_that_event(
        self, ring: Ring, drain: Drain, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An event that this process never has the memory for is counted in the end, and the others go on."""
        pipeline = drain._pipeline
        prepare = pipeline.prepare

        def prepare_all_but(body: bytes, event_id: str) -> Any:
            if b'"number":1,' in body:
                raise MemoryError
            return prepare(body, event_id)

        monkeypatch.setattr(pipeline, "prepare", prepare_all_but)
        _fill(ring, range(4))
        tries = 0
        while ring.tail != ring.head:
            tries += 1
            with contextlib.suppress(MemoryError):
                drain.step()
        assert 2 < tries < 10
        assert read_numbers(database) == [0, 2, 3]
        assert drain.failed == {"frame: MemoryError": 1}

    def test_of_descriptors_is_told_from_a_missing_file(self, tmp_path: Path) -> None:
        """A side file that cannot be opened now is tried again; one that is gone costs its event."""
        outside = Outside(1, 0, 10)
        with pytest.raises(ValueError, match="No such file"):
            read_side_file(str(tmp_path / "x.ring"), outside)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            with pytest.raises(OSError, match="Too many"):
                read_side_file(str(tmp_path / "x.ring"), outside)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class TestALargeEvent:
    @pytest.mark.shared_ring
    def test_is_stored_in_its_place_and_its_file_removed(self, tmp_path: Path, database: str) -> None:
        """In the order of the ring; nothing is left beside the ring after the commit."""
        ring = build_ring(database, 65_536)
        drain = Drain(ring, EventSink(database), Pipeline(Rules.build(None)), ring.info.process)
        _fill(ring, range(2))
        assert ring.put_outside(build_body(2, "large " * 10_000)) <= NUDGE
        _fill(ring, range(3, 5))
        while drain.step():
            pass
        ring.close()
        assert ring.file is not None
        assert len(list(Path(ring.file.path).parent.iterdir())) == 1
        rows = read_rows(database, "SELECT payload FROM trajectory_events ORDER BY id")
        assert [json.loads(payload)["number"] for (payload,) in rows] == [0, 1, 2, 3, 4]
        ring.dispose()


class TestTheEnd:
    def test_goes_with_the_last_events(self, ring: Ring, drain: Drain, database: str) -> None:
        """Last events, ends of what is open, exit and closing: one transaction, at the last event's time."""
        ring.put(build_body(0, kind="tool_call", span_id="00000000000000aa", tool_name="t"))
        seen: list[int] = []

        def finish(last_ts_ns: int) -> Finish:
            seen.append(last_ts_ns)
            return Finish(ring.process_id, last_ts_ns, exit="died")

        ring.close()
        while drain.step(finish):
            pass
        rows = read_rows(database, "SELECT kind, status, ts_ns FROM trajectory_events ORDER BY id")
        assert [row[:2] for row in rows] == [("tool_call", None), ("tool_result", "interrupted")]
        assert seen == [rows[0][2]]
        assert drain.closed_count == 1
        assert read_rows(database, "SELECT exit FROM processes") == [("died",)]
        assert read_rows(database, "SELECT count(*) FROM rings WHERE closed_ms IS NOT NULL") == [(1,)]
