"""Opening a database: what is made, what is refused, and in which words."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agenttrace.errors import (
    ConfigError,
    SchemaTooNew,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreMissing,
    StoreUnavailable,
)
from agenttrace.store import migrate
from agenttrace.store.batch import EventSink
from agenttrace.store.connection import APPLICATION_ID, SCHEMA_VERSION
from agenttrace.store.database import open_database
from agenttrace.store.event_store import TraceStore
from tests.store.scenes import Scene


def snapshot(path: str) -> dict[str, bytes]:
    """Read every file of a folder, apart from SQLite's shared memory."""
    folder = Path(path).parent
    return {
        one.name: one.read_bytes()
        for one in folder.iterdir()
        if one.is_file() and not one.name.endswith("-shm")
    }


def make_recorded(path: str) -> None:
    """Make a database with one short conversation."""
    with EventSink(path) as sink:
        scene = Scene()
        scene.end(scene.agent())
        scene.store(sink)


class TestNewDatabase:
    """A database that is made."""

    def test_is_migrated_and_in_wal(self, path: str) -> None:
        """It has the newest schema, our application id, WAL, and can give room back (S0.26)."""
        database = open_database(path)
        assert database.journal_mode == "wal"
        assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert database.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert database.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert database.execute("PRAGMA synchronous").fetchone() == (1,)
        database.close()

    def test_makes_its_folder_for_nobody_else(self, tmp_path: Path) -> None:
        """Missing folders get mode 0700, the file 0600, whatever the umask."""
        path = tmp_path / "a" / "b" / "traces.db"
        before = os.umask(0)
        try:
            open_database(path).close()
        finally:
            os.umask(before)
        assert [
            stat.S_IMODE(os.stat(one).st_mode) for one in (tmp_path / "a", tmp_path / "a" / "b", path)
        ] == [
            0o700,
            0o700,
            0o600,
        ]

    def test_leaves_an_existing_folder_as_it_is(self, tmp_path: Path) -> None:
        """The mode of a folder that was there is its owner's affair."""
        os.chmod(tmp_path, 0o755)
        open_database(tmp_path / "traces.db").close()
        assert stat.S_IMODE(os.stat(tmp_path).st_mode) == 0o755

    def test_may_be_named_through_a_link(self, tmp_path: Path) -> None:
        """A symbolic link is followed, also one whose target is still to be made."""
        link = tmp_path / "link.db"
        link.symlink_to(tmp_path / "real" / "traces.db")
        make_recorded(str(link))
        assert (tmp_path / "real" / "traces.db").stat().st_size > 0
        assert link.is_symlink()
        with TraceStore(tmp_path / "real" / "traces.db") as store:
            assert len(store.events("c1")) == 2

    @pytest.mark.parametrize("name", ["a b.db", "ä#?.db", "100%.db", "x&mode=memory.db"])
    def test_may_have_any_name(self, name: str, tmp_path: Path) -> None:
        """Blanks, signs and letters of any kind name the file that they say."""
        make_recorded(str(tmp_path / name))
        assert (tmp_path / name).exists()
        with TraceStore(tmp_path / name) as store:
            assert len(store.events("c1")) == 2

    def test_is_made_in_an_empty_file(self, path: str) -> None:
        """An empty file is no database of anybody."""
        Path(path).touch(mode=0o600)
        open_database(path).close()
        assert Path(path).stat().st_size > 0

    def test_throws_away_the_journal_of_a_deleted_one(self, path: str) -> None:
        """What lies beside a missing file is not played into the new one."""
        for suffix in ("-wal", "-shm", "-journal"):
            Path(path + suffix).write_bytes(b"left behind" * 1000)
        make_recorded(path)
        with TraceStore(path) as store:
            assert len(store.events("c1")) == 2


class TestRefusedDatabase:
    """A file that is not ours, or not now."""

    def check(self, path: str, error: type[StoreError], words: str) -> None:
        """Open it in every way; each gives the one line, and no byte is changed."""
        before = snapshot(path)
        for readonly in (False, True):
            with pytest.raises(error, match=words) as caught:
                open_database(path, readonly=readonly).close()
            assert type(caught.value) is error
            assert "\n" not in str(caught.value)
            assert str(caught.value).startswith(path)
        with pytest.raises(error):
            EventSink(path).write([])
        assert snapshot(path) == before

    def test_is_missing(self, path: str) -> None:
        """Reading makes no file, and the message names the commands that do."""
        for options in ({"readonly": True}, {"create": False}):
            with pytest.raises(StoreMissing, match=r"no database there; record one with AGENTTRACE=1"):
                open_database(path, **options)
        with pytest.raises(StoreMissing):
            TraceStore(path).events("c1")
        assert os.listdir(os.path.dirname(path)) == []

    def test_is_empty(self, path: str) -> None:
        """Reading an empty file says so and leaves it empty."""
        Path(path).touch()
        with pytest.raises(StoreMissing, match="is empty"):
            open_database(path, readonly=True)
        assert Path(path).stat().st_size == 0

    def test_is_no_database(self, path: str) -> None:
        """Any other file is left as it is."""
        Path(path).write_bytes(b"dear diary, " * 1000)
        self.check(path, StoreCorrupt, "is no SQLite database; name another")

    def test_is_a_short_text(self, path: str) -> None:
        """Also one that is shorter than a header."""
        Path(path).write_text("hi")
        self.check(path, StoreCorrupt, "is no SQLite database")

    def test_is_somebody_else_s(self, path: str) -> None:
        """A database with other tables is named by them."""
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE invoices (id)")
        other.commit()
        other.close()
        self.check(path, StoreCorrupt, r"database of something else \(invoices\)")

    def test_is_somebody_else_s_with_our_version(self, path: str) -> None:
        """The same, when its user_version happens to be ours."""
        other = sqlite3.connect(path)
        other.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        other.execute("CREATE TABLE trajectory_events (id)")
        other.commit()
        other.close()
        self.check(path, StoreCorrupt, r"database of something else \(trajectory_events\)")

    def test_is_newer(self, path: str) -> None:
        """A newer schema is refused, with what to do."""
        make_recorded(path)
        other = sqlite3.connect(path)
        other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 5}")
        other.close()
        self.check(
            path,
            SchemaTooNew,
            rf"schema {SCHEMA_VERSION + 5}, .* reads up to {SCHEMA_VERSION}; upgrade agenttrace",
        )

    def test_is_older_and_only_to_be_read(self, path: str) -> None:
        """Reading does not migrate, and names the command that does."""
        database = open_database(path)
        migrate.down(database)
        database.close()
        with pytest.raises(StoreUnavailable, match="run `agenttrace migrate up`"):
            open_database(path, readonly=True)
        open_database(path).close()
        open_database(path, readonly=True).close()

    @pytest.mark.parametrize("length", [20, 100, 511, 4096, 20_000])
    def test_is_cut_short(self, length: int, path: str) -> None:
        """A truncated file is refused at the latest when it is written, and stays as it is."""
        make_recorded(path)
        whole = Path(path).read_bytes()
        assert len(whole) > 20_000
        Path(path).write_bytes(whole[:length])
        before = snapshot(path)
        with pytest.raises(StoreCorrupt):
            with EventSink(path) as sink:
                scene = Scene()
                scene.agent()
                scene.store(sink)
        assert snapshot(path) == before

    def test_is_damaged(self, path: str) -> None:
        """Pages of rubbish are named as damage, in one line."""
        make_recorded(path)
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
        with pytest.raises(StoreCorrupt, match="is damaged"):
            TraceStore(path).events("c1")

    def test_is_a_folder(self, tmp_path: Path) -> None:
        """A folder is no file."""
        self.check(str(tmp_path), StoreUnavailable, "is a folder; name a database file")

    def test_is_a_pipe(self, path: str) -> None:
        """Nor is a pipe; nothing waits for its other end."""
        os.mkfifo(path)
        with pytest.raises(StoreUnavailable, match="is no regular file"):
            open_database(path)

    def test_lies_under_a_file(self, tmp_path: Path) -> None:
        """A path through a file cannot be made."""
        (tmp_path / "file").touch()
        with pytest.raises(StoreUnavailable):
            open_database(tmp_path / "file" / "traces.db")

    def test_is_locked(self, path: str) -> None:
        """Whoever holds the whole file keeps others out for the time-out, no longer."""
        make_recorded(path)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusy):
            EventSink(path, busy_timeout_ms=1).write([])
        other.execute("ROLLBACK")
        other.close()

    @pytest.mark.parametrize(
        ("target", "words"),
        [
            ("", "give a path"),
            ("postgresql://me:secret@db/x", "stores in SQLite"),
            ("sqlite://x.db", "sqlite:///"),
        ],
    )
    def test_is_no_target(self, target: str, words: str) -> None:
        """A setting that names no file says what is allowed, and shows no password."""
        with pytest.raises(ConfigError, match=words) as caught:
            EventSink(target)
        assert "secret" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX rights")
class TestRights:
    """A database that this user may not write, or not read."""

    def run(self, folder: Path, code: str) -> str:
        """Run *code* as a user without rights of ours; gives what it prints."""
        if os.geteuid() != 0:
            pytest.skip("needs root, to become somebody else")
        (folder / "home").mkdir(exist_ok=True)
        program = f"import os; os.setgid(65534); os.setuid(65534)\n{textwrap.dedent(code)}"
        # While the checkout can still be read.
        preload = "from agenttrace.store import *; import agenttrace.store.migrate\n"
        result = subprocess.run(
            [sys.executable, "-c", preload + program], cwd=folder, capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A recorded database that all may read, in a folder that all may enter."""
        for one in (tmp_path, *tmp_path.parents):
            if one.stat().st_uid == os.geteuid() and one != Path("/"):
                one.chmod(one.stat().st_mode | 0o055)
        make_recorded(str(tmp_path / "traces.db"))
        (tmp_path / "traces.db").chmod(0o644)
        return tmp_path

    def test_reads_what_it_may_not_write(self, folder: Path) -> None:
        """No shared memory can be made beside the file; it is read as it is."""
        code = """
            from agenttrace.store import TraceStore
            print(len(TraceStore("traces.db").events("c1")))
        """
        assert self.run(folder, code) == "2"

    def test_names_what_it_may_not_write(self, folder: Path) -> None:
        """Writing says that it cannot, and where to look."""
        code = """
            from agenttrace.store import EventSink
            try:
                EventSink("traces.db").touch(None)
            except Exception as exc:
                print(type(exc).__name__, exc)
        """
        assert self.run(folder, code).startswith("StoreUnavailable " + str(folder))

    def test_names_what_it_may_not_read(self, folder: Path) -> None:
        """So does reading."""
        (folder / "traces.db").chmod(0o600)
        code = """
            from agenttrace.store import TraceStore
            try:
                TraceStore("traces.db").events("c1")
            except Exception as exc:
                print(type(exc).__name__, exc)
        """
        assert self.run(folder, code).startswith("StoreUnavailable " + str(folder))

    def test_names_the_folder_where_nothing_can_be_made(self, folder: Path) -> None:
        """A missing database in somebody else's folder is a clear error and no file."""
        code = """
            from agenttrace.store import EventSink
            try:
                EventSink("other.db").open()
            except Exception as exc:
                print(type(exc).__name__, exc)
        """
        assert self.run(folder, code).startswith("StoreUnavailable " + str(folder))


class TestReadingOnly:
    """``readonly=True``."""

    def test_changes_nothing(self, path: str) -> None:
        """A statement that writes is refused in one line."""
        make_recorded(path)
        database = open_database(path, readonly=True)
        with pytest.raises(StoreUnavailable, match="readonly"):
            database.execute("DELETE FROM trajectory_events")
        database.close()

    def test_sees_what_a_writer_beside_it_commits(self, path: str) -> None:
        """Each question is answered from the newest committed state."""
        make_recorded(path)
        with TraceStore(path) as store, EventSink(path) as sink:
            assert len(store.events("c1")) == 2
            scene = Scene("c2")
            scene.agent()
            scene.store(sink)
            assert len(store.events("c2")) == 1

    def test_gives_a_migration_a_moment(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reader that comes while another process makes the database waits for it."""
        database = open_database(path)
        migrate.down(database)
        monkeypatch.setattr("agenttrace.store.database.time.sleep", lambda s: migrate.up(database))
        open_database(path, readonly=True).close()
        database.close()

    def test_follows_a_file_that_is_replaced(self, path: str) -> None:
        """A store asks the file that stands there now."""
        make_recorded(path)
        with TraceStore(path) as store:
            assert len(store.events("c1")) == 2
            for suffix in ("", "-wal", "-shm"):
                Path(path + suffix).unlink(missing_ok=True)
            with pytest.raises(StoreMissing):
                store.events("c1")
            with EventSink(path) as sink:
                sink.open()
            assert store.events("c1") == []


class TestTwoDatabases:
    """Two stores open at once."""

    def test_know_nothing_of_each_other(self, tmp_path: Path) -> None:
        """Queries go to the store that they were asked of, in any interleaving."""
        with TraceStore(tmp_path / "a.db") as a, TraceStore(tmp_path / "b.db") as b:
            for number in range(3):
                a.record("note", {"n": number}, conversation_id="c1", agent_id="x")
                b.record("note", {"n": -number}, conversation_id="c1", agent_id="x")
            assert [event.payload["n"] for event in a.events("c1")] == [0, 1, 2]
            assert [event.payload["n"] for event in b.events("c1")] == [0, -1, -2]
            assert a.delete("c1")
            assert len(b.events("c1")) == 3


class TestClosedDatabase:
    """A database after ``close``."""

    def test_says_so(self, path: str) -> None:
        """Using it is an error in our words; closing it again is none."""
        database = open_database(path)
        database.close()
        database.close()
        with pytest.raises(StoreUnavailable, match="was closed"):
            database.execute("SELECT 1")
