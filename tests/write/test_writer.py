"""The writer's thread: there when needed, away when asked, and never in anybody's way."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agenttrace import errors
from agenttrace.errors import SchemaTooNew, StoreBusy, StoreUnavailable
from agenttrace.store.batch import EventSink, Written
from agenttrace.write import writer as writer_module
from agenttrace.write.recorder import Recorder
from agenttrace.write.writer import FlushResult
from tests.write.factory import (
    build_body,
    build_recorder,
    read_numbers,
    read_rows,
    recording,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("each_way")


class Sink(EventSink):
    """A sink that counts its transactions, and raises as long as ``trouble`` is set."""

    trouble: Exception | None = None

    def __init__(self, database: str) -> None:
        super().__init__(database)
        self.sizes: list[int] = []
        self.tries = 0
        self.threads: set[int] = set()

    def write(self, records: Sequence[Any], *args: Any, **kwargs: Any) -> Written:
        """Write, or raise what troubles it."""
        self.tries += 1
        self.threads.add(threading.get_ident())
        if self.trouble is not None:
            raise self.trouble
        written = super().write(records, *args, **kwargs)
        self.sizes.append(len(records))
        return written


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Where the events go."""
    return str(tmp_path / "t.db")


def _with_sink(database: str, **settings: Any) -> tuple[Recorder, Sink]:
    sink = Sink(database)
    return build_recorder(database, build_sink=lambda: sink, **settings), sink


class TestTheWriter:
    def test_stores_by_itself(self, database: str) -> None:
        """Without any call, an event is in the database soon after."""
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            wait_until(lambda: read_numbers(database) == [1])
            recorder.publish(build_body(2))
            wait_until(lambda: read_numbers(database) == [1, 2])

    def test_gathers_events_into_one_transaction(self, database: str) -> None:
        """Events of one flush interval share a transaction, the first one after a rest too."""
        recorder, sink = _with_sink(database, flush_interval_s=0.3)
        for round_number in range(2):
            for number in range(50):
                recorder.publish(build_body(number))
            wait_until(lambda expected=50 * (round_number + 1): sum(sink.sizes) == expected)  # type: ignore[misc]
        recorder.shutdown()
        assert sink.sizes == [50, 50, 0]

    @pytest.mark.parametrize(
        ("interval_s", "count", "stride_s"),
        [(0.05, 49, 0.05), (0.05, 50, 0.25), (0.01, 50, 0.05), (0.2, 50, 0.25), (3.0, 50, 3.0)],
    )
    def test_takes_longer_strides_where_many_events_come(
        self, database: str, interval_s: float, count: int, stride_s: float
    ) -> None:
        """After 50 events and more the next wait for more company, a quarter of a second at most."""

        class Drained:
            written_count = 1000

            def step(self) -> bool:
                self.written_count += count
                return False

        recorder, _ = _with_sink(database, flush_interval_s=interval_s)
        recorder.publish(build_body(0))
        writer = recorder._writer
        assert writer is not None
        assert writer._rounds._stride_s() == interval_s
        recorder.shutdown()
        writer._rounds._store_all(Drained())  # type: ignore[arg-type]
        assert writer._rounds._stride_s() == pytest.approx(stride_s)

    def test_stores_early_when_half_of_the_ring_is_full(self, database: str) -> None:
        """It does not wait for its interval while the ring fills."""
        with recording(database, flush_interval_s=3600.0, ring_bytes=65_536) as recorder:
            for number in range(70):
                recorder.publish(build_body(number, "x" * 500))
            wait_until(lambda: len(read_numbers(database)) >= 50)

    def test_runs_in_no_registry_of_threads(self, database: str) -> None:
        """No program waits for it at its end, and none finds it in ``threading.enumerate``."""
        before = threading.enumerate()
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            recorder.flush(10)
            assert set(threading.enumerate()) <= set(before)

    def test_blocks_every_signal(self, database: str) -> None:
        """A signal that the program waits for with ``sigwait`` never lands in the writer."""
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            recorder.flush(10)
            masks = {
                int(thread.name): re.search(r"SigBlk:\s*(\w+)", (thread / "status").read_text())
                for thread in Path("/proc/self/task").iterdir()
            }
            blocked = [int(mask[1], 16) for mask in masks.values() if mask]
            everything = sum(1 << (number - 1) for number in signal.valid_signals()) & ~(1 << 8) & ~(1 << 18)
            everything &= ~sum(1 << (number - 1) for number in (32, 33, 34))
            assert any(mask & everything == everything for mask in blocked)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()

    def test_is_started_once_by_many_threads(self, database: str) -> None:
        """Eight threads whose first events race: one ring, one writer, every event once."""
        recorder, sink = _with_sink(database)
        gate = threading.Barrier(8)

        def work(name: int) -> None:
            gate.wait()
            for number in range(100):
                recorder.publish(build_body(name * 100 + number))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recorder.flush(10) == FlushResult(800, 0, 0)
        assert sorted(read_numbers(database)) == list(range(800))
        assert len(sink.threads) == 1
        recorder.shutdown()

    def test_that_comes_to_run_after_the_end_leaves_at_once(self, database: str) -> None:
        """A thread that was started, and gets its first turn when the ring is gone, touches nothing."""
        recorder = build_recorder(database)
        recorder.publish(build_body(0))
        writer = recorder._writer
        assert writer is not None
        recorder.shutdown()
        thread = threading.Thread(target=writer._run)
        thread.start()
        thread.join(5.0)
        assert not thread.is_alive() and writer.turn.ident == 0
        assert errors.LOSSES == {}

    def test_that_never_comes_to_run_is_replaced(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without memory a thread may end before any code of ours runs in it; another is started then."""
        start = writer_module.start_masked
        started: list[Any] = []

        def start_second(function: Any) -> bool:
            started.append(function)
            return len(started) == 1 or start(function)

        monkeypatch.setattr(writer_module, "start_masked", start_second)
        monkeypatch.setattr(writer_module, "_START_WAIT_S", 0.05)
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            assert recorder.flush(10) == FlushResult(1, 0, 0)
        assert len(started) == 2

    def test_that_lacks_memory_to_end_is_followed_by_another(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever fails as the thread begins or ends, the next event has a thread again."""
        recorder = build_recorder(database)
        recorder.publish(build_body(1))
        recorder.flush(10)
        writer = recorder._writer
        assert writer is not None

        def lacking() -> None:
            raise MemoryError

        for name in ("end", "begin"):
            with monkeypatch.context() as patch:
                patch.setattr(writer.turn, name, lacking)
                recorder.before_fork()
                recorder.after_in_parent()
                patch.setattr(writer_module, "_START_AGAIN_S", 0.0)
                recorder.publish(build_body(2))
                recorder.flush(0.1)
        recorder.publish(build_body(3))
        wait_until(lambda: recorder.flush(10) == FlushResult(4, 0, 0))
        recorder.shutdown()

    def test_discards_and_counts_what_it_records_itself(self, database: str) -> None:
        """Recording that its own work sets off never feeds on itself."""
        recorder, sink = _with_sink(database)
        write = sink.write

        def recording_write(records: Sequence[Any], *args: Any, **kwargs: Any) -> Written:
            recorder.publish(build_body(99))
            assert recorder.flush(None).pending >= 0  # returns at once, in its own thread
            return write(records, *args, **kwargs)

        sink.write = recording_write  # type: ignore[method-assign]
        recorder.publish(build_body(1))
        assert recorder.flush(10) == FlushResult(1, 0, 1)
        assert recorder.counters()["dropped"] == {"writer_thread": 1}
        sink.write = write  # type: ignore[method-assign]
        recorder.shutdown()
        assert read_numbers(database) == [1]
        assert read_rows(database, "SELECT dropped FROM processes") == [('{"writer_thread": 1}',)]


class TestFlush:
    @pytest.mark.usefixtures("python_way")
    def test_in_the_middle_of_a_put_does_not_lock_up(self, database: str) -> None:
        """A signal handler that flushes while its thread holds the ring's lock: what was before is stored."""
        with recording(database, flush_interval_s=60.0) as recorder:
            recorder.publish(build_body(1))
            assert recorder.ring is not None
            with recorder.ring._lock:
                recorder.publish(build_body(2))
                assert recorder.flush(None) == FlushResult(1, 1, 0)
            assert recorder.flush(None) == FlushResult(2, 0, 0)

    def test_serves_many_threads_at_once(self, database: str) -> None:
        """Each caller's own events are in the database when its flush returns."""
        with recording(database, flush_interval_s=60.0) as recorder:
            missing: list[int] = []

            def work(number: int) -> None:
                for step in range(5):
                    recorder.publish(build_body(number * 10 + step))
                    recorder.flush(10)
                    if number * 10 + step not in read_numbers(database):
                        missing.append(number)

            threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert missing == []


class TestATurn:
    """The right to drain, taken in the calling thread where no other can be had."""

    @pytest.mark.parametrize("how", ["flush", "an event", "shutdown"])
    def test_that_an_interrupt_left_is_given_back(self, how: str, database: str) -> None:
        """A KeyboardInterrupt in the very ``finally`` that gives it back does not end the storing."""
        recorder = build_recorder(database)
        recorder.publish(build_body(1))
        recorder.flush(10)
        writer = recorder._writer
        assert writer is not None
        recorder.before_fork()  # ends the thread
        recorder.after_in_parent()
        assert writer.turn.take(10.0)  # as if the function that took it were gone
        recorder.publish(build_body(2))
        if how == "flush":
            assert recorder.flush(10) == FlushResult(2, 0, 0)
        elif how == "an event":
            wait_until(lambda: read_numbers(database) == [1, 2])
        assert recorder.shutdown() == FlushResult(2, 0, 0)

    def test_that_is_used_stays_where_it_is(self, database: str) -> None:
        """A signal handler that flushes amid a drain of its own thread returns at once."""
        recorder, sink = _with_sink(database)
        recorder.publish(build_body(1))
        recorder.flush(10)
        recorder.before_fork()
        recorder.after_in_parent()
        writer = recorder._writer
        assert writer is not None
        write = sink.write
        nested: list[bool] = []

        def interrupted_write(records: Sequence[Any], *args: Any, **kwargs: Any) -> Written:
            recorder.flush(None)
            nested.append(writer.drain_here(None))
            return write(records, *args, **kwargs)

        sink.write = interrupted_write  # type: ignore[method-assign]
        writer._is_closing = True  # so that no thread drains
        recorder.publish(build_body(2))
        assert writer.drain_here(time.monotonic() + 10.0)
        assert nested == [False]
        assert not writer.turn.is_mine()
        writer._is_closing = False
        sink.write = write  # type: ignore[method-assign]
        assert recorder.shutdown() == FlushResult(2, 0, 0)


class TestAFork:
    def test_does_not_wait_for_ever(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A writer that does not end in time is counted, and the fork goes on."""
        monkeypatch.setattr(writer_module, "_FORK_WAIT_S", 0.05)
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            recorder.flush(10)
            assert recorder._writer is not None
            turn = recorder._writer.turn
            taken, over = threading.Event(), threading.Event()

            def hold() -> None:
                while not turn.take(1.0):
                    pass
                taken.set()
                over.wait(20)
                turn.give()

            recorder._writer._is_closing = True
            recorder._writer.call()
            holder = threading.Thread(target=hold)
            holder.start()
            assert taken.wait(20)
            recorder.before_fork()
            assert errors.LOSSES["write.fork_wait"] == 1
            recorder.after_in_parent()
            over.set()
            holder.join()
            recorder._writer._is_closing = False
            recorder.publish(build_body(2))
            assert recorder.flush(10) == FlushResult(2, 0, 0)


class TestTrouble:
    def test_with_a_lock_is_waited_out(self, database: str) -> None:
        """While another process holds the database events wait in the ring, and flush waits with them."""
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            recorder.flush(10)
            other = sqlite3.connect(database, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            recorder.publish(build_body(2))
            assert recorder.flush(0.3) == FlushResult(1, 1, 0)
            other.execute("COMMIT")
            other.close()
            assert recorder.flush(10) == FlushResult(2, 0, 0)

    def test_with_a_lock_is_not_in_the_way_of_a_fork(self, database: str) -> None:
        """The writer that waits for a lock ends within one try, not within its patience."""
        recorder, sink = _with_sink(database)
        sink.trouble = StoreBusy("busy")
        recorder.publish(build_body(1))
        wait_until(lambda: sink.tries > 6)  # its pauses are long by now
        began_s = time.monotonic()
        recorder.before_fork()
        assert time.monotonic() - began_s < 0.2
        assert not sink.is_open()
        tries = sink.tries
        sink.trouble = None
        recorder.publish(build_body(2))
        assert sink.tries == tries  # nobody drains while the process forks
        recorder.after_in_parent()
        wait_until(lambda: read_numbers(database) == [1, 2])
        recorder.shutdown()

    def test_that_passes_is_survived(self, database: str, caplog: pytest.LogCaptureFixture) -> None:
        """A database that cannot be written for a while costs no event, and is said once."""
        errors._logged_at_s.clear()
        recorder, sink = _with_sink(database)
        sink.trouble = StoreUnavailable("t.db: the disk is full; free some room.")
        recorder.publish(build_body(1))
        assert recorder.flush(10) == FlushResult(0, 1, 0)  # says so at once, and does not wait for a miracle
        assert recorder.flush(10) == FlushResult(0, 1, 0)
        sink.trouble = None
        recorder.publish(build_body(2))
        wait_until(lambda: read_numbers(database) == [1, 2])
        assert [record.name for record in caplog.records] == ["agenttrace"]
        assert errors.LOSSES["write.store"] >= 2
        recorder.shutdown()

    @pytest.mark.shared_ring
    def test_that_does_not_pass_ends_the_draining(
        self, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A newer schema: nothing more is tried, the ring keeps all, and the reason is shown."""
        recorder, sink = _with_sink(database, ring_bytes=65_536)
        sink.trouble = SchemaTooNew("t.db: schema 99")
        recorder.publish(build_body(1))
        recorder.flush(10)
        tries = sink.tries
        for number in range(10):
            recorder.publish(build_body(number))
        assert recorder.flush(10) == FlushResult(0, 11, 0)
        assert sink.tries == tries == 1
        assert recorder.counters()["stopped"] == "t.db: schema 99"
        path = recorder.counters()["ring_path"]
        assert recorder.shutdown() == FlushResult(0, 11, 0)
        assert Path(path).exists()

    def test_in_one_event_costs_only_that_event(self, database: str) -> None:
        """Rubbish is counted as given up, and the totals still add up."""
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            recorder.publish(b"rubbish")
            recorder.publish(build_body(2))
            assert recorder.flush(10) == FlushResult(2, 0, 1)

    def test_in_the_sink_itself_is_contained(self, database: str) -> None:
        """An error that nobody thought of is counted, and tried again later."""
        recorder, sink = _with_sink(database)
        sink.trouble = RuntimeError("surprise")
        recorder.publish(build_body(1))
        assert recorder.flush(10) == FlushResult(0, 1, 0)
        sink.trouble = None
        wait_until(lambda: read_numbers(database) == [1])
        recorder.shutdown()

    def test_with_starting_a_thread_is_no_reason_to_wait_for_it(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where no thread can be had, flush drains in the calling thread."""
        monkeypatch.setattr(writer_module, "start_masked", lambda function: False)
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            recorder.publish(build_body(2))
            assert recorder.flush(10) == FlushResult(2, 0, 0)


class TestHousekeeping:
    def test_says_that_the_process_lives(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """``last_seen_ms`` moves on while nothing is recorded."""
        from agenttrace.write import housekeeping, rounds

        monkeypatch.setattr(housekeeping, "TOUCH_EVERY_S", 0.0)
        monkeypatch.setattr(rounds, "_REST_S", 0.02)
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            recorder.flush(10)
            ((first,),) = read_rows(database, "SELECT last_seen_ms FROM processes")
            wait_until(lambda: read_rows(database, "SELECT last_seen_ms FROM processes")[0][0] > first)

    def test_syncs_the_log_when_asked_to(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """``sync_interval_s`` has the write-ahead log put on the disk after what was stored."""
        synced: list[str] = []
        fsync = os.fsync

        def watching(descriptor: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", watching)
        with recording(database, sync_interval_s=0.01) as recorder:
            recorder.publish(build_body(1))
            recorder.flush(10)
            wait_until(lambda: synced)
        assert set(synced) == {os.path.realpath(database) + "-wal"}


class TestImports:
    @pytest.mark.slow
    def test_bring_no_database_library(self) -> None:
        """The recorder is imported without peewee and sqlite3; the writer's thread brings them."""
        program = "import sys, json, agenttrace.write.recorder; print(json.dumps(sorted(sys.modules)))"
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert not {"peewee", "sqlite3", "playhouse"} & set(json.loads(found.stdout))
