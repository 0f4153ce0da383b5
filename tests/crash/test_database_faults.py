"""What happens to a database while a program records into it, and what is then in it."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agenttrace.store import migrate, open_database
from agenttrace.store.connection import SCHEMA_VERSION
from agenttrace.write.recovery import recover
from tests.crash.amounts import draw_seed, scaled
from tests.crash.children import HANG_S
from tests.crash.law import hold
from tests.crash.steady_program import Steady
from tests.ways import WAYS

pytestmark = [pytest.mark.slow, pytest.mark.crash]

_SMALL_RING = {"AGENTTRACE_RING_BYTES": "65536"}

_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the events go."""
    return tmp_path / "t.db"


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    """Let another process hold the lock of a database."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _LOCK, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    yield
    holder.communicate(timeout=HANG_S)
    assert holder.returncode == 0


class TestALock:
    """Another process keeps the database locked, for longer than the ring has room."""

    @pytest.mark.parametrize("way", WAYS)
    def test_costs_only_what_was_counted(self, way: str, database: Path) -> None:
        """The program goes on; what found no room is counted and told of; the rest is stored afterwards."""
        with Steady(database, way=way, **_SMALL_RING) as program:
            program.emit(20)
            program.flush_all()
            with _locked(database):
                until_s = time.monotonic() + min(30.0, 1.5 * scaled(1))
                while time.monotonic() < until_s or not program.counters()["dropped"]:
                    program.emit(50)
            result = program.flush_all()
            assert result.written + result.dropped == program.emitted
            program.end()
        kept = hold(database, emitted=program.emitted, has_gaps=True)
        assert kept.dropped["full"] > 0
        assert sum(note["dropped"] for note in kept.notes) == kept.dropped["full"]

    @pytest.mark.shared_ring
    def test_loses_nothing_of_a_program_that_dies_meanwhile(self, database: Path) -> None:
        """Killed while it waits for the lock: what its ring held is recovered once the lock is free."""
        with Steady(database) as program:
            program.emit(5)
            program.flush_all()
            with _locked(database):
                program.emit(200)
                program.kill()
                assert "another process holds the lock" in recover(str(database), timeout_s=0.2).left[0]
        kept = hold(database, emitted=program.emitted)
        assert kept.interrupted == 1
        assert kept.numbers == {"steady": list(range(205))}


def _delete(database: Path, draw: random.Random) -> None:
    for suffix in ("-wal", "-shm", "") if draw.random() < 0.5 else ("",):
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def _move_away(database: Path, draw: random.Random) -> None:
    os.rename(database, f"{database}.{draw.randrange(1 << 30):x}")


def _put_back_a_copy(database: Path, draw: random.Random) -> None:
    copy = f"{database}.copy"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    os.replace(copy, database)


def _put_an_empty_file(database: Path, draw: random.Random) -> None:
    other = Path(f"{database}.empty")
    other.touch(mode=0o600)
    os.replace(other, database)


class TestAFile:
    """The file of a database under a program that records into it."""

    @pytest.mark.parametrize("way", WAYS)
    def test_that_is_deleted_or_replaced_costs_what_it_held(self, way: str, database: Path) -> None:
        """Again and again at drawn moments: later events are in the new file, and those gone are counted."""
        draw = random.Random(draw_seed(f"replace {way}"))
        faults = [_delete, _move_away, _put_back_a_copy, _put_an_empty_file]
        with Steady(database, way=way) as program:
            for _ in range(scaled(12)):
                program.emit(draw.randrange(1, 60))
                if draw.random() < 0.6:
                    program.flush_all()
                if database.exists():
                    draw.choice(faults)(database, draw)
            program.emit(30)
            result = program.flush_all()
            assert result.written + result.dropped == program.emitted
            program.end()
        kept = hold(database, emitted=program.emitted, has_gaps=True)
        assert kept.dropped["database replaced"] > 0
        assert kept.numbers["steady"][-30:] == list(range(kept.numbers["steady"][-1] + 1))[-30:]

    def test_of_somebody_else_put_there_is_left_as_it_is(self, database: Path) -> None:
        """Nothing is written into it; what was recorded waits until the place is free again."""
        other = database.with_name("other.db")
        with closing(sqlite3.connect(other)) as connection, connection:
            connection.execute("CREATE TABLE theirs AS SELECT 'kept' AS x")
        with Steady(database) as program:
            program.emit(10)
            program.flush_all()
            os.replace(other, database)
            program.emit(10)
            assert program.flush().pending == 30
            with closing(sqlite3.connect(database)) as connection:
                assert connection.execute("SELECT * FROM theirs").fetchall() == [("kept",)]
                assert connection.execute("SELECT count(*) FROM sqlite_master").fetchall() == [(1,)]
            database.unlink()
            program.flush_all()
            program.end()
        assert hold(database, emitted=program.emitted, has_gaps=True).dropped == {"database replaced": 31}


class TestASchema:
    """Another version of agenttrace migrates the database under a program that records into it."""

    @pytest.mark.shared_ring
    def test_that_is_newer_stops_the_storing_and_loses_nothing(self, database: Path) -> None:
        """The reason is shown; the ring keeps what it has for a version that can read the schema."""
        with Steady(database) as program:
            program.emit(10)
            program.flush_all()
            _set_version(database, SCHEMA_VERSION + 1)
            program.emit(10)
            assert program.flush().pending == 30
            assert "upgrade agenttrace" in program.counters()["stopped"]
            program.emit(10)
            program.end()
        (left,) = recover(str(database)).left
        assert "upgrade agenttrace" in left
        _set_version(database, SCHEMA_VERSION)
        kept = hold(database, emitted=program.emitted)
        assert kept.numbers == {"steady": list(range(30))}

    def test_that_is_older_is_migrated_up_again(self, database: Path) -> None:
        """``agenttrace migrate down`` beside a program costs no event."""
        with Steady(database) as program:
            for _ in range(scaled(3)):
                program.emit(10)
                program.flush_all()
                with closing(open_database(database)) as other:
                    migrate.down(other)
                program.emit(10)
            program.flush_all()
            program.end()
        hold(database, emitted=program.emitted)


def _set_version(database: Path, version: int) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


class TestAFolder:
    """A folder in which nothing may be made."""

    def test_that_becomes_writable_gets_all_that_waited(self) -> None:
        """No file is made meanwhile, the program goes on, and each event is stored in the end or counted."""
        with tempfile.TemporaryDirectory() as parent, tempfile.TemporaryDirectory() as rings:
            folder = Path(parent) / "closed"
            folder.mkdir()
            for one, mode in ((parent, 0o755), (rings, 0o777), (folder, 0o555)):
                os.chmod(one, mode)
            with Steady(folder / "t.db", AGENTTRACE_RING_DIR=rings, **_SMALL_RING) as program:
                if os.geteuid() == 0:
                    program.order("become", 65534)  # rights do not bind root
                program.emit(300)
                assert program.flush().pending > 0
                assert list(folder.iterdir()) == []
                folder.chmod(0o777)
                result = program.flush_all()
                assert result.written + result.dropped == program.emitted
                program.end()
            kept = hold(folder / "t.db", emitted=program.emitted, has_gaps=True)
            assert kept.dropped["full"] > 0
            assert os.listdir(rings) == []
