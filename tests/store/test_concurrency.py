"""Several writers, threads and processes on one database, and forks in the midst of them."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace.errors import RingTaken, StoreBusy
from agenttrace.store.batch import EventSink, RingPosition, Written
from agenttrace.store.event_store import TraceStore
from agenttrace.store.plan import Record
from tests.store.scenes import START_NS, Scene, build_record


def notes(process_id: str, start: int, count: int, agent_id: str = "shared") -> list[Record]:
    """Give numbered notes of one process."""
    return [
        build_record(
            "note",
            START_NS + number,
            {"n": number},
            f"{process_id}-{number:x}",
            conversation_id="c1",
            agent_id=agent_id,
        )
        for number in range(start, start + count)
    ]


def patiently(sink: EventSink, records: list[Record], ring: RingPosition | None = None) -> Written:
    """Write, and try again while another process holds the lock."""
    deadline_s = time.monotonic() + 60
    while True:
        try:
            return sink.write(records, ring)
        except StoreBusy:
            assert time.monotonic() < deadline_s


def write_notes(job: tuple[str, int, int]) -> int:
    """Write batches of several sizes to one agent; in a process of its own."""
    path, number, count = job
    stored = 0
    with EventSink(path) as sink:
        for size in (1, 7, 40, 250, count - 298):
            stored += patiently(sink, notes(f"{number:016x}", stored, size)).events
    return stored


class TestSeveralWriters:
    """Processes and threads that write to one agent."""

    @pytest.mark.slow
    @pytest.mark.stress
    def test_in_four_processes_leave_no_gap(self, path: str) -> None:
        """seq is gapless over all of them, and each one's events stand in its own order."""
        count = 1_000
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            results = pool.map(write_notes, [(path, number, count) for number in range(4)], chunksize=1)
        assert results == [count] * 4
        with TraceStore(path) as store:
            found = store.events("c1", "shared")
            assert [event.seq for event in found] == list(range(4 * count))
            for number in range(4):
                mine = [
                    one.payload["n"] for one in found if (one.event_id or "").startswith(f"{number:016x}")
                ]
                assert mine == list(range(count))
            assert store.verify() == []

    @pytest.mark.slow
    @pytest.mark.stress
    def test_in_eight_threads_leave_no_gap(self, path: str) -> None:
        """The same for sinks in threads of one process, with readers beside them."""
        EventSink(path).open()
        failures: list[BaseException] = []

        def write(number: int) -> None:
            try:
                with EventSink(path, busy_timeout_ms=5) as sink:
                    for start in range(0, 200, 20):
                        patiently(sink, notes(f"{number:016x}", start, 20))
            except BaseException as exc:
                failures.append(exc)

        def read() -> None:
            try:
                with TraceStore(path) as store:
                    for _ in range(20):
                        seqs = [event.seq for event in store.events("c1", "shared")]
                        assert seqs == list(range(len(seqs)))
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        threads += [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        with TraceStore(path) as store:
            assert [event.seq for event in store.events("c1", "shared")] == list(range(1_600))
            assert store.verify() == []

    @pytest.mark.slow
    @given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=20))
    @settings(max_examples=40, deadline=None)
    def test_take_turns_in_any_way(self, turns: list[tuple[int, int]]) -> None:
        """However batches of several sinks interleave, seq is gapless and the rollups right."""
        sink = EventSink(":memory:")
        database = sink.database
        sinks = [sink, EventSink(":memory:"), EventSink(":memory:")]
        for other in sinks[1:]:
            other._database = database
        done = [0, 0, 0]
        for who, size in turns:
            sinks[who].write(notes(f"{who:016x}", done[who], size, f"a{size % 2}"))
            done[who] += size
        store = TraceStore(sink)
        for agent in ("a0", "a1"):
            seqs = [event.seq for event in store.events("c1", agent)]
            assert seqs == list(range(len(seqs)))
        assert len(store.events("c1")) == sum(done)
        assert store.verify() == []
        sink.close()


def drain(job: tuple[str, int]) -> tuple[int, int]:
    """Drain one ring beside others: read the position, write what follows, begin again when taken."""
    path, total = job
    stored = taken = 0
    with EventSink(path, busy_timeout_ms=20) as sink:
        while True:
            position = sink.position("r1") or 0
            if position >= total:
                return stored, taken
            size = min(17, total - position)
            try:
                ring = RingPosition("r1", "f" * 16, position, position + size)
                stored += patiently(sink, notes("f" * 16, position, size), ring).events
            except RingTaken:
                taken += 1


class TestSeveralDrainers:
    """Recoverers that race for one ring."""

    @pytest.mark.slow
    @pytest.mark.stress
    def test_write_every_frame_once(self, path: str) -> None:
        """Three processes drain one ring: every frame is stored exactly once, in order."""
        total = 3_000
        with multiprocessing.get_context("spawn").Pool(3) as pool:
            results = pool.map(drain, [(path, total)] * 3, chunksize=1)
        assert sum(stored for stored, _ in results) == total
        with TraceStore(path) as store:
            assert [event.payload["n"] for event in store.events("c1", "shared")] == list(range(total))

    def test_find_one_position(self, path: str) -> None:
        """Two sinks read the same position; one writes, the other learns that it came late."""
        with EventSink(path) as one, EventSink(path) as two:
            one.write(notes("f" * 16, 0, 5), RingPosition("r1", "f" * 16, 0, 5))
            position = one.position("r1")
            assert position == two.position("r1") == 5
            two.write(notes("f" * 16, 5, 5), RingPosition("r1", "f" * 16, 5, 10))
            with pytest.raises(RingTaken):
                one.write(notes("f" * 16, 5, 5), RingPosition("r1", "f" * 16, 5, 10))
            assert one.position("r1") == 10


def in_child(work: object) -> str:
    """Fork, run *work* in the child, and give what it returned."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result = str(work())  # type: ignore[operator]
        except BaseException as exc:
            result = f"{type(exc).__name__}: {exc}"
        os.write(writer, result.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        result = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return result


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
class TestFork:
    """A store or sink that was open when its process forked."""

    def test_opens_its_own_connection_in_the_child(self, path: str) -> None:
        """The child writes and reads through a new connection; the parent's goes on undisturbed."""
        with EventSink(path) as sink, TraceStore(path) as store:
            sink.write(notes("a" * 16, 0, 3))
            assert len(store.events("c1")) == 3
            inherited = id(sink.database.connection)

            def child() -> int:
                sink.write(notes("b" * 16, 0, 2))
                assert id(sink.database.connection) != inherited
                return len(store.events("c1"))

            assert in_child(child) == "5"
            sink.write(notes("a" * 16, 3, 1))
            assert len(store.events("c1")) == 6
            assert sink.database.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_leaves_the_parent_s_locks_alone(self, path: str) -> None:
        """A fork inside a transaction of the parent does not end it, though the child ends first."""
        with EventSink(path) as sink:
            sink.open()
            with sink.database.writing() as database:
                database.execute("INSERT INTO trace_settings VALUES ('a', 'b')")

                def child() -> str:
                    other = EventSink(path, busy_timeout_ms=10)
                    try:
                        other.write(notes("b" * 16, 0, 1))
                    except StoreBusy:
                        return "busy"
                    return "wrote into the parent's transaction"

                assert in_child(child) == "busy"
                assert in_child(lambda: sink.close()) == "None"
                with sqlite3.connect(path, timeout=0.01, isolation_level=None) as other:
                    with pytest.raises(sqlite3.OperationalError, match="locked"):
                        other.execute("BEGIN IMMEDIATE")
            other.close()
            assert TraceStore(path).settings["a"] == "b"

    def test_keeps_memory_in_the_child(self) -> None:
        """A database in memory is copied with the process: both go on, each in its own."""
        sink = EventSink(":memory:")
        sink.write(notes("a" * 16, 0, 3))
        store = TraceStore(sink)

        def child() -> int:
            sink.write(notes("b" * 16, 0, 2))
            return len(store.events("c1"))

        assert in_child(child) == "5"
        assert len(store.events("c1")) == 3
        sink.close()

    @pytest.mark.slow
    def test_survives_the_interpreter_s_end_in_the_child(self, path: str, tmp_path: Path) -> None:
        """A forked child that runs to the end of its program harms neither journal nor database."""
        program = tmp_path / "forks.py"
        program.write_text(
            "import os, sys\n"
            "from agenttrace.store import EventSink, TraceStore\n"
            "path = sys.argv[1]\n"
            "store = TraceStore(path)\n"
            "for n in range(5):\n"
            "    store.record('note', {'n': n}, conversation_id='c1', agent_id='a')\n"
            "    if os.fork() == 0:\n"
            "        sys.exit(0)\n"  # finalises the interpreter, with the inherited connection in it
            "    os.wait()\n"
            "print(len(store.events('c1')))\n"
        )
        result = subprocess.run([sys.executable, program, path], capture_output=True, text=True, timeout=60)
        assert (result.stdout.strip(), result.stderr) == ("5", "")
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM trajectory_events").fetchone() == (5,)
        connection.close()


class TestThreads:
    """One sink used by one thread after another, and one store by several at once."""

    def test_may_take_turns_with_a_sink(self, path: str) -> None:
        """The connection passes from thread to thread."""
        sink = EventSink(path)
        for number in range(5):
            thread = threading.Thread(target=sink.write, args=(notes("a" * 16, number, 1),))
            thread.start()
            thread.join()
        assert len(TraceStore(path).events("c1")) == 5
        sink.close()

    def test_share_a_store_in_memory(self) -> None:
        """Readers see whole batches while a writer writes to the same connection."""
        sink = EventSink(":memory:")
        store = TraceStore(sink)
        sink.write(notes("a" * 16, 0, 10))
        counts: list[int] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                counts.append(len(store.events("c1")))

        reader = threading.Thread(target=read)
        reader.start()
        for start in range(10, 310, 10):
            sink.write(notes("a" * 16, start, 10))
        stop.set()
        reader.join()
        assert all(count % 10 == 0 for count in counts)
        assert len(store.events("c1")) == 310
        sink.close()


class TestScene:
    """A whole history, however it is cut into batches."""

    @pytest.mark.slow
    @given(st.lists(st.integers(1, 12), min_size=1, max_size=12))
    @settings(max_examples=40, deadline=None)
    def test_ends_in_the_same_database(self, sizes: list[int]) -> None:
        """Rows, rollups and views are those of one batch, whatever the batches were."""

        def build() -> list[Record]:
            scene = Scene()
            root = scene.agent()
            first = scene.call(root)
            scene.end(first, scene.error(first))
            second = scene.call(root, attempt=2, retry_of=first.span_id)
            scene.end(second)
            child = scene.agent("child", root)
            scene.model(child, input_tokens=3, output_tokens=4, cost_usd=0.1, model="m", turn_in_run=1)
            scene.end(child, scene.fail(child))
            scene.model(root, "no such file: a.txt", turn_in_run=1)
            scene.end(root)
            scene.end(scene.agent())
            scene.call(scene.agent("open", root))
            return scene.records

        def tables(sink: EventSink) -> dict[str, list[tuple[object, ...]]]:
            names = (
                "trajectory_events",
                "agent_rollups",
                "open_spans",
                "conversations",
                "failures",
                "tool_traces",
            )
            return {
                name: sink.database.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall()
                for name in names
            }

        whole, cut = EventSink(":memory:"), EventSink(":memory:")
        whole.write(build())
        records = build()
        while records:
            size = sizes[len(records) % len(sizes)]
            cut.write(records[:size])
            records = records[size:]
        assert tables(cut) == tables(whole)
        assert TraceStore(cut).verify() == []
        whole.close()
        cut.close()
