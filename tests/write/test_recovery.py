"""Recovery: what a dead process left is stored once, ended, and cleared away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agenttrace import clock
from agenttrace.encode.redact import Rules
from agenttrace.errors import StoreBusy
from agenttrace.store.batch import EventSink
from agenttrace.write import ring_files
from agenttrace.write.header import FORMAT
from agenttrace.write.recovery import RecoveryResult, recover
from agenttrace.write.ring import NUDGE, Ring
from agenttrace.write.ring_native import choose_ring
from tests.write.factory import (
    build_body,
    build_info,
    build_recorder,
    read_numbers,
    read_rows,
    recording,
    wait_until,
)

pytestmark = [pytest.mark.usefixtures("each_way"), pytest.mark.shared_ring]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Where the events go."""
    return str(tmp_path / "t.db")


def _rings() -> list[str]:
    return sorted(os.listdir(os.environ["AGENTTRACE_RING_DIR"]))


def _die(ring: Ring) -> str:
    """Let the process of *ring* be dead: its lock is free, and nobody knows it as its own."""
    assert ring.file is not None
    ring_files.disown(ring.file)
    ring._words.release()
    ring._mapping.close()
    os.close(ring.file.descriptor)
    return ring.file.path


def _leave(database: str, *bodies: bytes, rules: Rules | None = None, process_id: str = "") -> str:
    """Leave a dead process's ring with events in it."""
    ring = choose_ring().create(build_info(database, rules, process_id), 65_536)
    for body in bodies:
        if ring.put(body) > NUDGE:
            assert ring.put_outside(body) <= NUDGE
    return _die(ring)


class TestRecovery:
    def test_stores_what_is_left_and_removes_the_ring(self, database: str) -> None:
        """Events of a dead process are in the database, its open call is closed, its files are gone."""
        _leave(
            database,
            build_body(1),
            build_body(2, "large " * 20_000),
            build_body(3, kind="tool_call", span_id="00000000000000a2", tool_name="t"),
            process_id="0123456789abcdef",
        )
        assert recover(database) == RecoveryResult(rings=1, events=3, closed=1)
        rows = read_rows(database, "SELECT kind, status FROM trajectory_events ORDER BY id")
        assert rows == [("note", None), ("note", None), ("tool_call", None), ("tool_result", "interrupted")]
        assert read_rows(database, "SELECT process_id, exit FROM processes") == [("0123456789abcdef", "died")]
        assert read_rows(database, "SELECT count(*) FROM rings WHERE closed_ms > 0") == [(1,)]
        assert _rings() == []
        assert recover(database) == RecoveryResult()

    def test_opens_nothing_where_nothing_is_left(self, database: str) -> None:
        """No dead ring, no database file; a ring without any event is just removed."""
        assert recover(database) == RecoveryResult()
        _leave(database)
        assert recover(database) == RecoveryResult(rings=1)
        assert _rings() == []
        assert not Path(database).exists()

    def test_is_only_of_that_database(self, database: str, tmp_path: Path) -> None:
        """Rings of other databases stay where they are."""
        path = _leave(str(tmp_path / "other.db"), build_body(1))
        assert recover(database) == RecoveryResult()
        assert os.path.exists(path)

    def test_leaves_living_rings_alone(self, database: str) -> None:
        """Neither this process's ring nor a held one is touched."""
        with recording(database, flush_interval_s=60.0) as recorder:
            recorder.publish(build_body(1))
            assert recover(database) == RecoveryResult()
            assert read_numbers(database) == []
            assert recorder.flush(10).written == 1

    def test_ends_at_the_time_the_process_was_last_seen(self, database: str) -> None:
        """An operation that the kill cut short did not last until somebody came to look."""
        ring = choose_ring().create(build_info(database), 65_536)
        ring.put(build_body(1, kind="tool_call", span_id="00000000000000a2", tool_name="t"))
        seen_ns = clock.now_ns() + 3_000_000_000
        ring.see(seen_ns)
        _die(ring)
        recover(database)
        rows = read_rows(database, "SELECT ts_ns FROM trajectory_events WHERE status = 'interrupted'")
        assert rows == [(seen_ns,)]

    def test_of_a_process_that_was_shutting_down_is_no_death(self, database: str) -> None:
        """What a shutdown could not store in time is stored later, and the process ended in order."""
        ring = choose_ring().create(build_info(database), 65_536)
        ring.put(build_body(1))
        ring.mark_clean()
        _die(ring)
        recover(database)
        assert read_rows(database, "SELECT exit FROM processes") == [("ok",)]

    def test_uses_the_dead_process_s_own_rules_and_limits(self, database: str) -> None:
        """A custom pattern of the dead process is redacted by whoever recovers."""
        _leave(database, build_body(1, "badge ZX-1234-Q"), rules=Rules.build([r"ZX-\d+-Q"]))
        recover(database)
        found = b"".join(path.read_bytes() for path in Path(database).parent.iterdir() if path.is_file())
        assert b"badge" in found
        assert b"ZX-1234-Q" not in found

    def test_takes_over_what_the_process_counted(self, database: str) -> None:
        """Drops counted in the ring's head reach ``processes``, without any event too."""
        ring = choose_ring().create(build_info(database), 65_536)
        ring.count_drop("full", 7)
        _die(ring)
        recover(database)
        assert read_rows(database, "SELECT dropped FROM processes") == [('{"full": 7}',)]

    def test_goes_on_where_another_was_interrupted(self, database: str) -> None:
        """A recoverer that died between its transactions is followed by the next; nothing is doubled."""
        ring = choose_ring().create(build_info(database), 1_048_576)
        for number in range(4500):
            assert ring.put(build_body(number)) <= NUDGE
        path = _die(ring)
        stops = iter([False, False, True])
        first = recover(database, must_stop=lambda: next(stops, True))
        assert (first.rings, first.events) == (0, 4000)
        assert os.path.exists(path)
        assert recover(database) == RecoveryResult(rings=1, events=500)
        assert read_numbers(database) == list(range(4500))

    def test_waits_for_a_locked_database_and_then_gives_up(self, database: str) -> None:
        """A reader is not held up for ever; the ring stays for the next."""
        EventSink(database).open()
        _leave(database, build_body(1))

        class Locked(EventSink):
            def write(self, *_: object, **__: object) -> object:  # type: ignore[override]
                raise StoreBusy("locked")

        with pytest.raises(StoreBusy):
            recover(database, sink=Locked(database))
        assert len(_rings()) == 1
        assert recover(database).events == 1


class TestRingsThatCannotBeRead:
    @pytest.mark.parametrize("what", ["newer format", "damaged head", "empty file", "other rules"])
    def test_are_left_as_they_are(self, what: str, database: str) -> None:
        """Nothing is removed that another version could still read; the reason is told."""
        path = Path(_leave(database, build_body(1)))
        content = bytearray(path.read_bytes())
        if what == "newer format":
            content[8:12] = (FORMAT + 1).to_bytes(4, "little")
        elif what == "damaged head":
            content[1030] ^= 0xFF
        elif what == "empty file":
            content.clear()
        else:
            info = build_info(database)._replace(redaction={"version": 99, "new": "idea"})
            path.unlink()
            ring = choose_ring().create(info, 65_536)
            ring.put(build_body(1))
            path = Path(_die(ring))
            content = bytearray(path.read_bytes())
        path.write_bytes(content)
        result = recover(database)
        assert (result.rings, result.events) == (0, 0)
        assert [line.partition(":")[0] for line in result.left] == [str(path)]
        assert path.read_bytes() == content

    def test_in_part_are_read_as_far_as_they_go(self, database: str) -> None:
        """Cut short in the middle of a frame: the whole ones are stored, the loss is counted."""
        path = Path(_leave(database, *(build_body(number) for number in range(5))))
        size = path.stat().st_size - 65_536
        one = (read_head(path) - read_tail(path)) // 5
        os.truncate(path, size + one * 3 + 7)
        assert recover(database).events == 3
        assert read_numbers(database) == [0, 1, 2]
        ((failed,),) = read_rows(database, "SELECT failed FROM processes")
        assert json.loads(failed) == {"torn": 1}


def read_head(path: Path) -> int:
    """Read where a ring's stream ends."""
    return int.from_bytes(path.read_bytes()[64:72], "little")


def read_tail(path: Path) -> int:
    """Read where what is not stored begins."""
    return int.from_bytes(path.read_bytes()[72:80], "little")


class TestALivingWriter:
    def test_finds_dead_rings_by_itself(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pool worker's last events do not wait for the next start of anything."""
        from agenttrace.write import housekeeping, rounds

        monkeypatch.setattr(housekeeping, "RECOVER_EVERY_S", 0.0)
        monkeypatch.setattr(rounds, "_REST_S", 0.02)
        with recording(database) as recorder:
            recorder.publish(build_body(1))
            recorder.flush(10)
            _leave(database, build_body(2))
            wait_until(lambda: read_numbers(database) == [1, 2])
            assert len(_rings()) == 1

    def test_finds_them_on_flush_and_at_shutdown(self, database: str) -> None:
        """After ``flush`` and after ``shutdown`` the dead processes' events are there."""
        recorder = build_recorder(database)
        recorder.publish(build_body(1))
        recorder.flush(10)
        _leave(database, build_body(2))
        recorder.flush(10)
        assert read_numbers(database) == [1, 2]
        _leave(database, build_body(3))
        recorder.shutdown()
        assert read_numbers(database) == [1, 2, 3]
        assert _rings() == []

    def test_is_in_nobody_s_way(self, database: str) -> None:
        """Readers that recover in other threads of the process: each ring once, all of it."""
        paths = [_leave(database, *(build_body(10 * ring + n) for n in range(10))) for ring in range(8)]
        results: list[RecoveryResult] = []
        with recording(database) as recorder:
            recorder.publish(build_body(1000))
            threads = [threading.Thread(target=lambda: results.append(recover(database))) for _ in range(4)]
            for thread in threads:
                thread.start()
            recorder.flush(10)
            for thread in threads:
                thread.join()
            recorder.flush(10)
        assert not any(os.path.exists(path) for path in paths)
        assert sorted(read_numbers(database)) == [*range(80), 1000]


@pytest.mark.slow
def test_works_without_the_recorder(database: str) -> None:
    """A reading command recovers with nothing but the database's path."""
    _leave(database, build_body(1))
    program = "import sys; from agenttrace.write.recovery import recover; print(recover(sys.argv[1]).events)"
    done = subprocess.run(
        [sys.executable, "-c", program, database], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
