"""The schema: up, down, up again, and by many processes at once."""

from __future__ import annotations

import logging
import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from agenttrace.errors import StoreError
from agenttrace.events import COLUMNS
from agenttrace.store import migrate, models, rows, views
from agenttrace.store.batch import EventSink
from agenttrace.store.connection import SCHEMA_VERSION, StoreDatabase
from agenttrace.store.database import open_database
from tests.store.scenes import Scene

NAMES = [
    "0001_tables",
    "0002_views",
    "0003_failures",
    "0004_reports",
    "0005_attempts",
    "0006_ties",
    "0007_indexes",
    "0008_calls",
]


def schema_of(database: StoreDatabase) -> list[tuple[str, str, str]]:
    """Read every table, index and view."""
    return database.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
    ).fetchall()


class TestMigration:
    """``migrate.up`` and ``migrate.down`` (S0.4, S4.9)."""

    def test_goes_up_and_down_and_up_again(self, path: str) -> None:
        """Each step down takes back what its step up made; all the way down leaves nothing."""
        database = open_database(path)
        whole = schema_of(database)
        for left in range(len(NAMES) - 1, -1, -1):
            assert migrate.down(database) == [NAMES[left]]
            assert database.execute("PRAGMA user_version").fetchone() == (left,)
            assert [one.is_applied for one in migrate.status(database)] == [
                n < left for n in range(len(NAMES))
            ]
        assert schema_of(database) == []
        assert migrate.up(database) == NAMES
        assert schema_of(database) == whole
        assert migrate.down(database, NAMES[0]) == NAMES[::-1]
        database.close()

    def test_of_views_keeps_every_event(self, path: str) -> None:
        """Down to the tables and up again, the views show what they showed."""
        with EventSink(path) as sink:
            scene = Scene()
            root = scene.agent()
            scene.end(root, scene.fail(root))
            scene.store(sink)
            database = sink.database
            before = [
                views.read_failures(database),
                views.read_tool_traces(database),
                views.read_agents(database, "c1"),
            ]
            migrate.down(database, NAMES[1])
            migrate.up(database)
            after = [
                views.read_failures(database),
                views.read_tool_traces(database),
                views.read_agents(database, "c1"),
            ]
            assert before == after

    def test_that_is_not_applied_cannot_be_taken_back(self, path: str) -> None:
        """An unknown name changes nothing and names those that are applied."""
        database = open_database(path)
        with pytest.raises(StoreError, match=r"'0009_x' is not applied; applied are 0001_tables"):
            migrate.down(database, "0009_x")
        database.close()

    def test_that_fails_leaves_no_half(
        self, path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A migration and its record are one transaction, and those before it stay."""
        folder = tmp_path / "migrations"
        folder.mkdir()
        for name in NAMES[:1]:
            (folder / f"{name}.py").write_text(Path(migrate.MIGRATIONS, f"{name}.py").read_text())
        (folder / "0002_broken.py").write_text(
            "def up(migrator, db):\n"
            "    db.execute_sql('CREATE TABLE half (id)')\n"
            "    db.execute_sql('CREATE TABEL x')\n"
        )
        monkeypatch.setattr(migrate, "MIGRATIONS", str(folder))
        with pytest.raises(StoreError):
            open_database(path)
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT name FROM schema_migration").fetchall() == [("0001_tables",)]
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchall() == []
        connection.close()

    def test_numbers_are_the_schema_version(self) -> None:
        """The newest migration is the version that this package reads."""
        names = sorted(one.stem for one in Path(migrate.MIGRATIONS).glob("0*.py"))
        assert names == NAMES
        assert int(names[-1][:4]) == SCHEMA_VERSION

    def test_runs_once_in_memory(self, sink: EventSink) -> None:
        """A database in memory gets the same schema (S0.4)."""
        assert [one.name for one in migrate.status(sink.database) if one.is_applied] == NAMES

    @pytest.mark.slow
    @pytest.mark.parametrize("attempt", range(3))
    def test_is_run_once_by_sixteen_processes(self, attempt: int, path: str) -> None:
        """Sixteen processes open one new file at once: all succeed, and each migration stands there once."""
        context = multiprocessing.get_context("spawn")
        with context.Pool(16) as pool:
            results = pool.map(open_and_write, [(path, number) for number in range(16)], chunksize=1)
        assert results == ["ok"] * 16
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT count(*) FROM schema_migration").fetchone() == (len(NAMES),)
        assert connection.execute("SELECT count(*) FROM trajectory_events").fetchone() == (16,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def open_and_write(job: tuple[str, int]) -> str:
    """Open the database, write one event and close it; in a process of its own."""
    path, number = job
    try:
        with EventSink(path, busy_timeout_ms=10_000) as sink:
            scene = Scene(f"c{number}", f"{number:016x}")
            scene.agent()
            scene.store(sink)
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
    return "ok"


class TestModels:
    """The three places that name columns."""

    @pytest.mark.parametrize("model", models.TABLES, ids=lambda model: model.__name__)
    def test_have_the_columns_of_their_tables(self, model: type[models.Model], sink: EventSink) -> None:
        """Models and migrated tables name the same columns in the same order."""
        meta = model._meta  # type: ignore[attr-defined]
        found = [row[1] for row in sink.database.execute(f"PRAGMA table_info({meta.table_name})")]
        assert [field.column_name for field in meta.sorted_fields] == found

    def test_have_no_database(self) -> None:
        """No model is bound: two stores may be open at once."""
        assert all(model._meta.database is None for model in models.TABLES)  # type: ignore[attr-defined]

    def test_of_events_have_the_columns_of_the_vocabulary(self, sink: EventSink) -> None:
        """``trajectory_events`` is ``id`` and ``events.COLUMNS`` (S0.1)."""
        found = [row[1:4] for row in sink.database.execute("PRAGMA table_info(trajectory_events)")]
        assert [name for name, _, _ in found] == ["id", *COLUMNS]
        required = {name for name, _, is_required in found if is_required}
        assert required == {"conversation_id", "agent_id", "seq", "ts_ms", "kind", "payload"}

    @pytest.mark.parametrize("row_type", views._SOURCES, ids=lambda row_type: row_type.__name__)
    def test_hand_out_rows_with_the_columns_of_their_view(
        self, row_type: type[object], sink: EventSink
    ) -> None:
        """A row's fields are the columns of its table or view, in order."""
        columns = [row[1] for row in sink.database.execute(f"PRAGMA table_info({views._SOURCES[row_type]})")]
        fields = [name.removesuffix("_json") for name in row_type.__dataclass_fields__]  # type: ignore[attr-defined]
        assert fields == columns

    def test_hand_out_frozen_rows(self) -> None:
        """Rows cannot be changed."""
        for row_type in views._SOURCES:
            assert row_type.__dataclass_params__.frozen  # type: ignore[attr-defined]
            assert "__slots__" in vars(row_type)
        assert rows.Page((), None).items == ()


class TestQuiet:
    """A program that logs everything does not find our migrations in its log."""

    def test_is_not_logged(self, path: str, caplog: pytest.LogCaptureFixture) -> None:
        """Neither statements nor names of migrations; and nothing is left at the loggers."""
        caplog.set_level(logging.DEBUG)
        before = [list(logging.getLogger(name).filters) for name in ("peewee", "peewee.migrations")]
        open_database(path).close()
        assert [record for record in caplog.records if record.name.startswith("peewee")] == []
        assert before == [list(logging.getLogger(name).filters) for name in ("peewee", "peewee.migrations")]
