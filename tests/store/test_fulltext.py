"""The index of words: it catches up, belongs to what the database holds now, and keeps nobody waiting."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from agenttrace import TraceStore
from agenttrace.errors import ConfigError
from agenttrace.store import EventSink, fulltext
from agenttrace.store.fulltext import TextIndex


def add(store: TraceStore, *texts: Any, conversation_id: str = "c", **columns: Any) -> None:
    store.record_many(
        {
            "kind": "note",
            "conversation_id": conversation_id,
            "agent_id": "a",
            "payload": {"text": text},
            **columns,
        }
        for text in texts
    )


def find(store: TraceStore, match: str, *conditions: str, limit: int = 100) -> list[int]:
    with store.open_texts() as index:
        index.catch_up()
        return sorted(row_id for row_id, _ in index.find(match, conditions, (), limit))


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store in a file, and one in memory."""
    with TraceStore(tmp_path / "t.db" if request.param == "file" else EventSink(":memory:")) as made:
        yield made


class TestTextIndex:
    """S1.11, S1.16: search that a write does not pay for."""

    def test_catches_up_when_asked(self, store: TraceStore) -> None:
        """What was recorded after the last search is found by the next one."""
        add(store, "apples and pears")
        assert find(store, "apples") == [1]
        add(store, "more apples", "plums")
        assert find(store, "apples") == [1, 2]
        with store.open_texts() as index:
            assert index.catch_up() == 0

    def test_takes_in_whatever_the_steps(self, store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """However few events a step takes, and however large the gaps between their ids."""
        monkeypatch.setattr(fulltext, "_STEP_EVENTS", 2)
        add(store, *(f"word{number} apples" for number in range(7)))
        database = store._sink.database
        with database.writing():
            database.execute("DELETE FROM trajectory_events WHERE id IN (3, 4, 5)")
        assert find(store, "apples") == [1, 2, 6, 7]

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("line one\nline two", "two"),
            ("a\ttab", "tab"),
            ('she said "hello"', "hello"),
            ("C:\\new\\table", "new"),
            ("Café Zürich", "cafe AND zurich"),
            ("ошибка сети", "сети"),
            ("ΑΒΓ", "αβγ"),
            ("the index did not answer", '"did not answer"'),
            ("timeout", "time*"),
            ({"deep": [{"inner": "needle"}]}, "needle"),
            (12345, "12345"),
        ],
    )
    def test_finds_words_of_any_language(self, store: TraceStore, text: Any, match: str) -> None:
        """Escapes of JSON join nothing; case and accents do not matter."""
        add(store, text, "something else")
        assert find(store, match) == [1]

    def test_finds_what_was_cut_from_its_row(self, tmp_path: Path) -> None:
        """The whole that is kept beside a cut payload is searched, compressed or not."""
        import agenttrace

        path = tmp_path / "t.db"
        agenttrace.configure(path, install=(), max_payload_bytes=1024)
        try:
            with agenttrace.agent_scope("a", input="x " * 5000 + "needle " + "y " * 5000):
                pass
        finally:
            agenttrace.shutdown()
        with TraceStore(path) as store:
            assert "needle" not in next(iter(store.events(store.conversations().items[0].id))).payload_json
            assert len(find(store, "needle")) == 1

    def test_finds_names(self, store: TraceStore) -> None:
        """Tool, agent, model and error type are words too, and weigh more."""
        add(store, "about read_file", tool_name="other")
        add(store, "nothing", tool_name="read_file")
        with store.open_texts() as index:
            index.catch_up()
            found = [row_id for row_id, _ in index.find("read_file", (), (), 10)]
        assert found == [2, 1]

    def test_keeps_to_conditions(self, store: TraceStore) -> None:
        """What the columns say is asked of the database itself."""
        add(store, "apples", conversation_id="one")
        add(store, "apples", conversation_id="two")
        assert find(store, "apples", "conversation_id = 'two'") == [2]

    @pytest.mark.parametrize("match", ['"open', "AND", "(a", "text:", "nosuch: a"])
    def test_refuses_what_makes_no_sense(self, store: TraceStore, match: str) -> None:
        """The error names the query."""
        add(store, "apples")
        with pytest.raises(ConfigError, match="cannot be searched for"):
            find(store, match)


class TestFile:
    """The file beside the database."""

    def test_is_private_and_holds_no_text(self, tmp_path: Path) -> None:
        """Nobody else reads it, and what was said does not stand there."""
        with TraceStore(tmp_path / "t.db") as store:
            add(store, "the quick brown fox said a whole sentence")
            assert find(store, "fox") == [1]
        path = tmp_path / "t.db.search"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"quick brown" not in path.read_bytes()

    @pytest.mark.parametrize("way", ["delete", "prune", "cleanup"])
    def test_goes_with_what_is_deleted(self, tmp_path: Path, way: str) -> None:
        """Right after a deletion nothing deleted is found, and no word of it is left on the disk."""
        with TraceStore(tmp_path / "t.db") as store:
            old = {"ts_ns": 1_000_000_000, "span_id": "1" * 16, "conversation_id": "old", "agent_id": "a"}
            store.record_many(
                [
                    {**old, "kind": "agent_start", "payload": {"input": "secretplan"}},
                    {**old, "kind": "agent_end"},
                ]
            )
            add(store, "apples")
            assert find(store, "secretplan") == [1]
            if way == "delete":
                assert store.delete("old")
            elif way == "prune":
                assert store.prune(older_than_days=1).events == 2
            else:
                assert store.cleanup(1) == 2
            assert not (tmp_path / "t.db.search").exists()
            assert find(store, "secretplan") == [] and find(store, "apples") == [3]

    def test_is_made_anew_for_another_database(self, tmp_path: Path) -> None:
        """A file that was put in the place of the one that was searched has the same ids for other events."""
        with TraceStore(tmp_path / "t.db") as store:
            add(store, "apples", "pears")
            assert find(store, "pears") == [2]
        for path in tmp_path.glob("t.db*"):
            if path.name != "t.db.search":
                path.unlink()
        with TraceStore(tmp_path / "t.db") as store:
            add(store, "plums", "grapes", "figs")
            assert find(store, "pears") == []
            assert find(store, "grapes") == [2]

    @pytest.mark.parametrize(
        "rubbish", [b"", b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096]
    )
    def test_is_made_anew_where_it_is_rubbish(self, tmp_path: Path, rubbish: bytes) -> None:
        """Nothing is lost with it."""
        (tmp_path / "t.db.search").write_bytes(rubbish)
        with TraceStore(tmp_path / "t.db") as store:
            add(store, "apples")
            assert find(store, "apples") == [1]

    @pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/proc"), reason="root may write anywhere")
    def test_is_not_needed(self, tmp_path: Path) -> None:
        """Where no file can be made, the search reads all each time."""
        (tmp_path / "t.db.search").mkdir()
        with TraceStore(tmp_path / "t.db") as store:
            add(store, "apples")
            assert find(store, "apples") == [1]

    def test_does_not_hold_up_who_writes(self, tmp_path: Path) -> None:
        """An event is stored while the index is open in the middle of catching up."""
        with TraceStore(tmp_path / "t.db") as store, TraceStore(tmp_path / "t.db") as writer:
            add(store, "apples")
            with store.open_texts() as index:
                index.catch_up()
                index._connection.execute("BEGIN IMMEDIATE")
                index._connection.execute("SELECT * FROM traces.trajectory_events").fetchall()
                add(writer, "pears")
                index._connection.execute("ROLLBACK")
            assert find(store, "pears") == [2]

    def test_is_made_once_by_many(self, tmp_path: Path) -> None:
        """Several searches at once take each event in once."""
        path = tmp_path / "t.db"
        with TraceStore(path) as store:
            add(store, *(f"apples {number}" for number in range(500)))
        found: list[int] = []

        def search() -> None:
            with TraceStore(path) as mine:
                found.append(len(find(mine, "apples", limit=1000)))

        threads = [threading.Thread(target=search) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [500] * 6
        connection = sqlite3.connect(f"{path}.search")
        assert connection.execute("SELECT count(*) FROM words WHERE words MATCH 'apples'").fetchone() == (
            500,
        )
        connection.close()


def test_open_file_is_closed(tmp_path: Path) -> None:
    """Closing an index lets go of both files."""
    with TraceStore(tmp_path / "t.db") as store:
        add(store, json.dumps({"a": 1}))
        index = TextIndex(store.target)
        index.catch_up()
        index.close()
        with pytest.raises(sqlite3.ProgrammingError):
            index._connection.execute("SELECT 1")
