"""The recorder: one call to record, one to flush, one to end; whatever the program does meanwhile."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agenttrace import errors
from agenttrace.errors import StoreBusy
from agenttrace.store.batch import EventSink, Written
from agenttrace.write import publisher as publisher_module
from agenttrace.write import ring as ring_module
from agenttrace.write.recorder import Recorder
from agenttrace.write.ring import Ring
from agenttrace.write.writer import FlushResult
from tests.write.factory import build_body, build_recorder, read_numbers, read_rows, recording, wait_until

pytestmark = pytest.mark.usefixtures("each_way")


class Locked(EventSink):
    """A sink whose database is locked until told otherwise."""

    is_locked = True

    def write(self, records: Sequence[Any], *args: Any, **kwargs: Any) -> Written:
        """Write, unless it is locked."""
        if self.is_locked:
            raise StoreBusy("locked")
        return super().write(records, *args, **kwargs)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Where the events go."""
    return str(tmp_path / "t.db")


def _rings() -> list[str]:
    return sorted(os.listdir(os.environ["AGENTTRACE_RING_DIR"]))


class TestARecorder:
    def test_that_records_nothing_leaves_nothing(self, database: str) -> None:
        """No ring, no thread, no database before the first event; flush and shutdown are fine."""
        recorder = build_recorder(database)
        assert recorder.flush(1) == recorder.shutdown() == FlushResult(0, 0, 0)
        assert recorder.counters()["ring"] is None
        assert _rings() == []
        assert not Path(database).exists()

    def test_ends_its_record_at_shutdown(self, database: str) -> None:
        """What is left is stored, open operations are closed, the process has ended, the ring is gone."""
        recorder = build_recorder(database, flush_interval_s=60.0)
        recorder.publish(build_body(1, kind="agent_start", span_id="00000000000000a1"))
        recorder.publish(build_body(2, kind="tool_call", span_id="00000000000000a2", tool_name="t"))
        assert recorder.shutdown() == FlushResult(2, 0, 0)
        rows = read_rows(database, "SELECT kind, status FROM trajectory_events ORDER BY id")
        assert rows[2:] == [("tool_result", "interrupted"), ("agent_end", "interrupted")]
        assert read_rows(database, "SELECT exit FROM processes WHERE ended_ms IS NOT NULL") == [("ok",)]
        assert _rings() == []
        assert recorder.shutdown() == FlushResult(2, 0, 0)

    def test_tells_how_it_goes(self, database: str) -> None:
        """Counts, the ring's kind and place, and why it is not another."""
        with recording(database, ring="memory") as recorder:
            recorder.publish(build_body(1))
            recorder.flush(10)
            counters = recorder.counters()
        assert (counters["written"], counters["ring"], counters["ring_path"]) == (1, "memory", None)
        assert counters["ring_reason"]

    @pytest.mark.shared_ring
    def test_takes_a_large_event(self, database: str) -> None:
        """More than a quarter of the ring goes beside it, in order, and is stored like any other."""
        with recording(database, ring_bytes=65_536, flush_interval_s=60.0) as recorder:
            recorder.publish(build_body(1))
            recorder.publish(build_body(2, "large " * 20_000))
            recorder.publish(build_body(3))
            assert len(_rings()) == 2
            assert recorder.flush(10) == FlushResult(3, 0, 0)
            assert len(_rings()) == 1
        assert read_rows(database, "SELECT count(*) FROM payload_blobs") == [(1,)]

    def test_never_raises(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever breaks in recording is counted, and the caller goes on."""

        def broken(*_: Any, **__: Any) -> Ring:
            raise MemoryError("no")

        with recording(database) as recorder:
            with monkeypatch.context() as patch:
                patch.setattr(Ring, "create", broken)
                recorder.publish(build_body(1))
            recorder.publish(build_body(2))
            recorder.publish(None)  # type: ignore[arg-type]
            assert recorder.flush(10) == FlushResult(1, 0, 2)
        assert errors.LOSSES["write.publish"] == 2

    def test_counts_no_event_as_lost_that_is_in_its_ring(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the writer cannot be called, the event waits in the ring; neither dropped nor put twice."""
        recorder = build_recorder(database)
        recorder.publish(build_body(1))
        recorder.flush(10)
        writer = recorder._writer
        assert writer is not None and recorder.ring is not None
        recorder.ring.expect_writer(resting=True)
        for error in (MemoryError(), ValueError("the memory is gone")):

            def lacking(error: Exception = error) -> None:
                raise error

            with monkeypatch.context() as patch:
                patch.setattr(writer, "call", lacking)
                recorder.publish(build_body(2))
            assert recorder.flush(10).dropped == 0
            recorder.ring.expect_writer(resting=True)
        assert recorder.shutdown() == FlushResult(3, 0, 0)
        assert errors.LOSSES["write.call"] == 2

    def test_does_not_try_for_a_ring_with_every_event(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Making one may take milliseconds to fail: after a second failure it is tried now and then only."""
        tries = 0

        def broken(*_: Any, **__: Any) -> Ring:
            nonlocal tries
            tries += 1
            raise OSError(12, "Cannot allocate memory")

        recorder = build_recorder(database)
        with monkeypatch.context() as patch:
            patch.setattr(Ring, "create", broken)
            for number in range(1000):
                recorder.publish(build_body(number))
        assert tries < 20
        assert recorder.flush(1).dropped == 1000
        wait_until(lambda: recorder.publish(build_body(1)))
        assert recorder.flush(10).written == 1
        recorder.shutdown()

    def test_counts_what_failed_where_a_crash_does_not_lose_it(self, database: str) -> None:
        """An event that could not be recorded is counted in the ring's head."""
        recorder = build_recorder(database, flush_interval_s=60.0)
        recorder.publish(build_body(1))
        recorder.publish(None)  # type: ignore[arg-type]
        assert recorder.ring is not None
        assert recorder.ring.dropped() == {"error": 1}
        recorder.shutdown()
        assert read_rows(database, "SELECT dropped FROM processes") == [('{"error": 1}',)]

    def test_stops_where_its_ring_was_taken(self, database: str) -> None:
        """Somebody else has drained this ring: nothing is stored twice, and the reason is shown."""
        recorder = build_recorder(database)
        recorder.publish(build_body(1))
        recorder.flush(10)
        with closing(sqlite3.connect(database)) as other, other:
            other.execute("UPDATE rings SET position = position + 1000")
        recorder.publish(build_body(2))
        assert recorder.flush(10) == FlushResult(1, 1, 0)
        assert "another process" in recorder.counters()["stopped"]
        assert recorder.shutdown() == FlushResult(1, 1, 0)
        assert read_numbers(database) == [1]


class TestAfterShutdown:
    def test_events_are_stored_by_the_caller(self, database: str) -> None:
        """No thread is started any more; each event is in the database when ``publish`` returns."""
        recorder = build_recorder(database)
        recorder.publish(build_body(1))
        recorder.at_exit()
        threads = len(os.listdir("/proc/self/task"))
        for number in range(2, 5):
            recorder.publish(build_body(number))
            assert read_numbers(database)[-1] == number
        assert len(os.listdir("/proc/self/task")) == threads
        assert recorder.flush(1) == FlushResult(4, 0, 0)
        assert _rings() == []
        assert read_rows(database, "SELECT count(DISTINCT event_id), count(*) FROM trajectory_events") == [
            (4, 4)
        ]
        assert read_rows(database, "SELECT count(*), max(exit) FROM processes") == [(1, "ok")]

    @pytest.mark.shared_ring
    def test_events_wait_in_a_ring_for_the_next_process(self, database: str) -> None:
        """Where the database is locked, they are left to be recovered, and nobody waits long."""
        sink = Locked(database)
        recorder = build_recorder(database, build_sink=lambda: sink)
        recorder.publish(build_body(1))
        assert recorder.shutdown(0.1) == FlushResult(0, 1, 0)
        began_s = time.monotonic()
        recorder.publish(build_body(2))
        assert time.monotonic() - began_s < 1.0
        assert len(_rings()) == 2

    def test_in_finalisers_of_the_interpreter_events_are_counted(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At the very end nothing is opened any more: without a ring an event is only counted."""
        recorder = build_recorder(database)
        recorder.publish(build_body(1))
        recorder.shutdown()
        monkeypatch.setattr(sys, "is_finalizing", lambda: True)
        recorder.publish(build_body(2))
        assert recorder.counters()["dropped"] == {"late": 1}
        assert errors.LOSSES["write.late"] == 1


class TestBackPressure:
    """The ring is full and the database locked: what publishing costs then."""

    def _filled(self, database: str, **settings: Any) -> tuple[Recorder, Locked]:
        sink = Locked(database)
        recorder = build_recorder(database, build_sink=lambda: sink, ring_bytes=65_536, **settings)
        while recorder.ring is None or recorder.ring.head < 64_000:
            recorder.publish(build_body(0, "x" * 700))
        return recorder, sink

    def test_is_a_quarter_of_a_second_in_all(self, database: str) -> None:
        """Fifty events into a full ring, from two threads, wait 0.25 s together; each drop is counted."""
        recorder, sink = self._filled(database)
        began_s = time.monotonic()

        def work() -> None:
            for number in range(25):
                recorder.publish(build_body(number, "y" * 1500))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0.2 < time.monotonic() - began_s < 0.6
        assert recorder.counters()["dropped"] == {"full": 50}
        sink.is_locked = False
        assert recorder.flush(10).dropped == 50
        recorder.publish(build_body(1, "y" * 1500))
        assert recorder.flush(10).dropped == 50
        recorder.shutdown()
        assert read_rows(database, "SELECT dropped FROM processes") == [('{"full": 50}',)]

    def test_begins_anew_when_half_of_the_ring_was_free(self, database: str) -> None:
        """A second time of too little room may wait again."""
        recorder, sink = self._filled(database)
        recorder.publish(build_body(1, "y" * 1500))
        sink.is_locked = False
        recorder.flush(10)
        sink.is_locked = True
        assert recorder.ring is not None
        end = recorder.ring.head + 64_000
        while recorder.ring.head < end:
            recorder.publish(build_body(0, "x" * 700))
        began_s = time.monotonic()
        recorder.publish(build_body(2, "y" * 1500))
        assert 0.2 < time.monotonic() - began_s < 0.6
        sink.is_locked = False
        recorder.shutdown()

    def test_ends_when_room_comes(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Waiting is for room, and over as soon as there is some."""
        monkeypatch.setattr(publisher_module, "WAIT_S", 20.0)
        recorder, sink = self._filled(database)
        threading.Timer(0.02, lambda: setattr(sink, "is_locked", False)).start()
        recorder.publish(build_body(1, "y" * 1500))
        assert recorder.counters()["dropped"] == {}
        recorder.shutdown()
        assert read_numbers(database)[-1] == 1

    @pytest.mark.parametrize("where", ["drop", "event loop", "signal handler", "finaliser"])
    def test_never_waits_where_waiting_does_harm(self, where: str, database: str) -> None:
        """With ``on_full=drop``, in a running loop, a signal handler or a finaliser, drops are instant."""
        recorder, sink = self._filled(database, on_full="drop" if where == "drop" else "block")
        took_s: list[float] = []

        def work(*_: Any) -> None:
            began_s = time.monotonic()
            recorder.publish(build_body(1, "y" * 1500))
            took_s.append(time.monotonic() - began_s)

        async def work_in_loop() -> None:
            work()

        class Dying:
            def __del__(self) -> None:
                work()

        if where == "drop":
            work()
        elif where == "event loop":
            asyncio.run(work_in_loop())
        elif where == "signal handler":
            before = signal.signal(signal.SIGUSR1, work)
            os.kill(os.getpid(), signal.SIGUSR1)
            signal.signal(signal.SIGUSR1, before)
        else:
            Dying()
            gc.collect()
        assert len(took_s) == 1
        assert took_s[0] < 0.1
        assert recorder.counters()["dropped"] == {"full": 1}
        sink.is_locked = False
        recorder.shutdown()

    def test_leaves_no_calls_behind(self, database: str) -> None:
        """A ring that stays full does not fill a queue with calls for the writer."""
        recorder, sink = self._filled(database, on_full="drop")
        for _ in range(500):
            recorder.publish(build_body(1, "y" * 1500))
        assert recorder._writer is not None
        assert recorder._writer._rounds._calls.qsize() < 5
        sink.is_locked = False
        recorder.shutdown()


class TestANestedEvent:
    def test_of_a_signal_handler_is_recorded_once(self, database: str) -> None:
        """A handler that records while the program records: both are there."""
        with recording(database) as recorder:
            before = signal.signal(signal.SIGUSR1, lambda *_: recorder.publish(build_body(2)))
            recorder.publish(build_body(1))
            assert recorder.ring is not None
            with recorder.ring._lock:  # as if the signal came in the middle of a put
                os.kill(os.getpid(), signal.SIGUSR1)
            signal.signal(signal.SIGUSR1, before)
            assert recorder.flush(10) == FlushResult(2, 0, 0)
        assert sorted(read_numbers(database)) == [1, 2]

    @pytest.mark.shared_ring
    def test_while_the_ring_is_made_is_its_first(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An event in the middle of making the ring does not make a second one."""
        create = Ring.create.__func__  # type: ignore[attr-defined]

        def create_and_record(cls: type[Ring], *args: Any, **kwargs: Any) -> Ring:
            recorder.publish(build_body(1))
            ring: Ring = create(cls, *args, **kwargs)
            return ring

        monkeypatch.setattr(Ring, "create", classmethod(create_and_record))
        recorder = build_recorder(database)
        recorder.publish(build_body(2))
        assert len(_rings()) == 1
        assert recorder.shutdown() == FlushResult(2, 0, 0)
        assert read_numbers(database) == [1, 2]

    @pytest.mark.usefixtures("python_way")
    def test_that_shuts_down_leaves_the_outer_event_a_place(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A handler that calls ``shutdown`` in the middle of a put: the interrupted event is stored too."""
        recorder = build_recorder(database)
        recorder.publish(build_body(1))
        recorder.flush(10)
        assert recorder.ring is not None
        recorder.ring.expect_writer(resting=False)
        pack = ring_module.pack_head

        def interrupted_pack(*values: int) -> bytes:
            monkeypatch.setattr(ring_module, "pack_head", pack)
            recorder.publish(build_body(2))
            recorder.shutdown()
            return pack(*values)

        monkeypatch.setattr(ring_module, "pack_head", interrupted_pack)
        recorder.publish(build_body(3))
        assert sorted(read_numbers(database)) == [1, 2, 3]
        assert _rings() == []


class TestMultiprocessing:
    def test_children_shut_down_in_order(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A child of multiprocessing runs no atexit handlers: its own list of finalisers has our end."""
        import multiprocessing.process
        import multiprocessing.util as util

        monkeypatch.setattr(multiprocessing.process, "_parent_process", object())
        before = set(util._finalizer_registry)
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            added = [key for key in util._finalizer_registry if key not in before]
            assert [key[0] for key in added] == [-100]
            util._finalizer_registry[added[0]]()
            assert read_rows(database, "SELECT exit FROM processes") == [("ok",)]


class TestRedaction:
    def test_holds_for_all_that_reaches_the_disk(self, database: str) -> None:
        """No byte of a secret stands in the database, its log, or beside them."""
        secret = "ghp_" + "a1B2" * 9
        with recording(database) as recorder:
            recorder.publish(build_body(1, f"token {secret}", tool_name=secret))
            recorder.flush(10)
            found = b"".join(path.read_bytes() for path in Path(database).parent.iterdir() if path.is_file())
            assert b"note" in found
            assert secret.encode() not in found
        ((payload,),) = read_rows(database, "SELECT payload FROM trajectory_events")
        assert json.loads(payload)["number"] == 1


def test_the_publisher_alone_makes_no_ring() -> None:
    """``Publisher`` is the caller's side; the recorder gives it a ring."""
    with pytest.raises(NotImplementedError):
        publisher_module.Publisher(build_recorder(":memory:")._settings)._make_ring()
