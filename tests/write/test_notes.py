"""Notes: once there is room again, the trace says how many events are missing, why and since when."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agenttrace.clock import now_ns, render_utc
from agenttrace.encode.redact import Rules
from agenttrace.errors import StoreBusy
from agenttrace.store.batch import EventSink, Written
from agenttrace.write import drain as drain_module
from agenttrace.write import ring_files
from agenttrace.write.drain import Drain
from agenttrace.write.header import WORD_SHORT_SINCE, WORD_TAIL, WORD_TOLD
from agenttrace.write.pipeline import Pipeline
from agenttrace.write.recorder import Recorder
from agenttrace.write.recovery import recover
from agenttrace.write.ring import NUDGE, Ring
from tests.write.factory import build_body, build_conversation, build_recorder, build_ring, read_rows

pytestmark = pytest.mark.usefixtures("each_way")


class Locked(EventSink):
    """A sink whose database is locked until told otherwise."""

    is_locked = True

    def write(self, records: Sequence[Any], *args: Any, **kwargs: Any) -> Written:
        """Write, unless it is locked."""
        if self.is_locked:
            raise StoreBusy("locked")
        return super().write(records, *args, **kwargs)


class Told(NamedTuple):
    """A note as it is stored."""

    agent_id: str
    ts_ns: int
    dropped: int
    reasons: list[str]
    text: str


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Where the events go."""
    return str(tmp_path / "t.db")


def _told(database: str) -> list[Told]:
    rows = read_rows(
        database,
        "SELECT agent_id, ts_ns, payload FROM trajectory_events"
        " WHERE kind = 'note' AND json_extract(payload, '$.level') = 'warning' ORDER BY id",
    )
    payloads = [(agent_id, ts_ns, json.loads(payload)) for agent_id, ts_ns, payload in rows]
    return [Told(a, t, p["dropped"], p["reasons"], p["text"]) for a, t, p in payloads]


def _count(database: str) -> int:
    ((count,),) = read_rows(database, "SELECT count(*) FROM trajectory_events")
    return int(count)


def _fill(recorder: Recorder, agent_id: str = "agent") -> int:
    """Publish until the ring has room for no large event; gives how many went in."""
    count = 0
    start = recorder.ring.head if recorder.ring is not None else 0
    while recorder.ring is None or recorder.ring.head - start < 64_000:
        recorder.publish(build_body(count, "x" * 700, agent_id=agent_id))
        count += 1
    return count


def _drop(recorder: Recorder, count: int, agent_id: str = "agent") -> None:
    for number in range(count):
        recorder.publish(build_body(number, "y" * 1500, agent_id=agent_id))


class TestANote:
    def test_tells_how_many_why_and_since_when(self, database: str) -> None:
        """One note for 30 drops: of the agent at work, at the time of the first; it counts as no event."""
        sink = Locked(database)
        recorder = build_recorder(database, build_sink=lambda: sink, ring_bytes=65_536, on_full="drop")
        stored = _fill(recorder, "before")
        began_ns = now_ns()
        _drop(recorder, 30, "dropped")
        ended_ns = now_ns()
        sink.is_locked = False
        assert recorder.flush(10) == (stored, 0, 30)
        recorder.publish(build_body(1, agent_id="after"))
        assert recorder.shutdown() == (stored + 1, 0, 30)
        (note,) = _told(database)
        assert (note.agent_id, note.dropped, note.reasons) == ("before", 30, ["full"])
        assert began_ns <= note.ts_ns <= ended_ns
        since = render_utc(note.ts_ns // 1_000_000)
        assert note.text.startswith(f"30 events were dropped from {since} UTC on: the ring was full")
        assert _count(database) == stored + 2
        assert read_rows(database, "SELECT dropped FROM processes") == [('{"full": 30}',)]

    def test_tells_of_each_gap_by_itself(self, database: str) -> None:
        """A second gap has its own note with its own count; without a further gap nothing more is said."""
        sink = Locked(database)
        recorder = build_recorder(database, build_sink=lambda: sink, ring_bytes=65_536, on_full="drop")
        for count in (1, 5):
            sink.is_locked = True
            _fill(recorder)
            _drop(recorder, count)
            sink.is_locked = False
            recorder.flush(10)
            recorder.publish(build_body(1))
            recorder.flush(10)
        recorder.shutdown()
        notes = _told(database)
        assert [note.dropped for note in notes] == [1, 5]
        assert notes[0].text.startswith("1 event was dropped from ")

    def test_comes_without_a_further_event(self, database: str) -> None:
        """What was read before the gap is stored first; the note does not wait for the program to go on."""
        sink = Locked(database)
        recorder = build_recorder(database, build_sink=lambda: sink, ring_bytes=65_536, on_full="drop")
        stored = _fill(recorder)
        assert recorder.flush(0.2).pending == stored  # a batch of all of it has been tried
        _drop(recorder, 3)
        sink.is_locked = False
        recorder.flush(10)
        assert [note.dropped for note in _told(database)] == [3]
        recorder.shutdown()

    @pytest.mark.shared_ring
    def test_tells_of_events_larger_than_the_ring(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where no side file can be kept, the event is dropped under a reason of its own."""
        from agenttrace.write import side_files

        def full(path: str, body: bytes) -> None:
            raise OSError(28, "No space left on device")

        recorder = build_recorder(database, ring_bytes=65_536, on_full="drop")
        recorder.publish(build_body(0))
        monkeypatch.setattr(side_files, "_write_file", full)
        recorder.publish(build_body(1, "large " * 20_000))
        recorder.publish(build_body(2))
        assert recorder.flush(10) == (2, 0, 1)
        assert recorder.counters()["dropped"] == {"side_file": 1}
        recorder.shutdown()
        (note,) = _told(database)
        assert (note.dropped, note.reasons) == (1, ["side_file"])

    def test_stands_where_the_gap_is(self, database: str) -> None:
        """Stored behind the last event that is older than the gap, whoever recorded after it."""
        ring = build_ring(database)
        drain = Drain(ring, EventSink(database), Pipeline(Rules.build(None)), ring.info.process)
        for number in range(3):
            ring.put(build_body(number, agent_id=f"a{number}"))
        ring.begin_shortage(now_ns())
        ring.count_drop("full", 4)
        ring.put(build_conversation("a task"))  # describes, and is no agent's
        ring.put(build_body(3, agent_id="a3"))
        assert not drain.step()
        rows = read_rows(database, "SELECT agent_id, kind, seq FROM trajectory_events ORDER BY id")
        assert [row[0] for row in rows] == ["a0", "a1", "a2", "a2", "a3"]
        assert drain.written_count == 4
        ring.close()
        ring.dispose()

    def test_is_not_told_again_by_a_later_ring(self, database: str) -> None:
        """What is recorded after the shutdown goes through rings that take the counts over."""
        sink = Locked(database)
        recorder = build_recorder(database, build_sink=lambda: sink, ring_bytes=65_536, on_full="drop")
        _fill(recorder)
        _drop(recorder, 2)
        sink.is_locked = False
        recorder.shutdown()
        recorder.publish(build_body(1))
        assert [note.dropped for note in _told(database)] == [2]
        assert read_rows(database, "SELECT dropped FROM processes") == [('{"full": 2}',)]


def _die(ring: Ring) -> None:
    """Let the process of *ring* be dead."""
    assert ring.file is not None
    ring_files.disown(ring.file)
    ring._words.release()
    ring._mapping.close()
    os.close(ring.file.descriptor)


@pytest.mark.shared_ring
class TestOfADeadProcess:
    """Its drops are told of by whoever recovers it, once."""

    def test_is_written_by_the_recoverer(self, database: str) -> None:
        """How many, and since when, stands in the ring's head."""
        ring = build_ring(database)
        ring.put(build_body(1))
        since_ns = now_ns()
        ring.begin_shortage(since_ns)
        ring.begin_shortage(since_ns + 1_000)  # the first of them counts
        ring.count_drop("full", 7)
        _die(ring)
        assert recover(database).events == 1
        assert [(note.dropped, note.ts_ns) for note in _told(database)] == [(7, since_ns)]

    def test_is_not_repeated_by_a_second_one(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A recoverer that was interrupted has told it with its first transaction."""
        monkeypatch.setattr(drain_module, "ROWS_PER_BATCH", 10)
        ring = build_ring(database)
        for number in range(25):
            ring.put(build_body(number))
        ring.count_drop("full", 7)
        _die(ring)
        stops = iter([False, False, True])
        assert recover(database, must_stop=lambda: next(stops, True)).events == 10
        assert recover(database).events == 15
        assert [note.dropped for note in _told(database)] == [7]

    def test_is_not_repeated_after_a_commit_that_was_not_noted(self, database: str) -> None:
        """A process that dies between the commit and its own head leaves nothing to be told twice."""
        ring = build_ring(database)
        drain = Drain(ring, EventSink(database), Pipeline(Rules.build(None)), ring.info.process)
        ring.put(build_body(1))
        ring.begin_shortage(now_ns())
        ring.count_drop("full", 7)
        head = [ring._words[word] for word in (WORD_TAIL, WORD_TOLD, WORD_SHORT_SINCE)]
        drain.step()
        for word, value in zip((WORD_TAIL, WORD_TOLD, WORD_SHORT_SINCE), head, strict=True):
            ring._words[word] = value
        _die(ring)
        recover(database)
        assert [note.dropped for note in _told(database)] == [7]
        assert _count(database) == 2

    def test_without_any_event_has_only_its_counter(self, database: str) -> None:
        """There is no agent whose trace could say it."""
        ring = build_ring(database)
        ring.count_drop("full", 7)
        _die(ring)
        assert recover(database).rings == 1
        assert _count(database) == 0
        assert read_rows(database, "SELECT dropped FROM processes") == [('{"full": 7}',)]


def test_the_last_drop_of_a_put_under_the_lock_is_told(database: str) -> None:
    """What the ring itself drops has no known beginning: the note then stands beside the last event."""
    ring = build_ring(database)
    drain = Drain(ring, EventSink(database), Pipeline(Rules.build(None)), ring.info.process)
    assert ring.put(build_body(1)) <= NUDGE
    ring.count_drop("full", 2)
    drain.step()
    ((ts_ns,),) = read_rows(
        database, "SELECT ts_ns FROM trajectory_events WHERE json_extract(payload, '$.number') = 1"
    )
    assert [(note.dropped, note.ts_ns) for note in _told(database)] == [(2, ts_ns)]
    ring.close()
    ring.dispose()
