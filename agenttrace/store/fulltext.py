"""
The index of words over all payloads: a file of its own beside the database, made when it is asked for.

Invariants: recording pays nothing for it, and neither waits for the other; it holds no text, only where
each word stands; it is thrown away and made anew whenever it does not belong to what the database holds
now, and with every deletion. Cost: about 10 s for the first 1,000,000 events, then only what is new.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agenttrace.errors import ConfigError
from agenttrace.store.blobs import body_text
from agenttrace.store.connection import translated
from agenttrace.store.target import Target

__all__ = ["Match", "TextIndex", "forget_texts"]

Match = tuple[int, float]
"""Row id of an event, and how well it fits: the smaller, the better."""

_SUFFIX = ".search"
_FORMAT = 1
_STEP_EVENTS = 20_000
_BUSY_TIMEOUT_S = 10.0
_RANKED_LIMIT_COUNT = 20_000
"""How many events may hold a word for the hits to be ranked: how rare each word is, is counted each time."""
_SPACED = "payload"
for _escape in (r"\\", r"\n", r"\t", r"\r", r"\"", r"\/"):
    _SPACED = f"replace({_SPACED}, '{_escape}', ' ')"
# A whole that was cut from its row is read where it was kept; what a reference names stands in another row.
_FILL = f"""
INSERT INTO words (rowid, text, names)
SELECT e.id,
    CASE WHEN instr(payload, '"sha256"') > 0 THEN {_SPACED.replace("payload", "whole")} ELSE {_SPACED} END,
    coalesce(tool_name, '') || ' ' || coalesce(agent_name, '') || ' ' || coalesce(model, '') || ' '
    || coalesce(error_type, '') || ' ' || kind
FROM (SELECT t.*, CASE WHEN instr(t.payload, '"sha256"') > 0 THEN coalesce(
        (SELECT agenttrace_body(b.body) FROM traces.payload_blobs b
         WHERE b.sha256 = json_extract(t.payload, '$.sha256')), t.payload) END AS whole
    FROM traces.trajectory_events t WHERE t.id > ? AND t.id <= ?) e
"""
_TABLES = (
    "CREATE VIRTUAL TABLE words USING fts5(text, names, content='',"
    " tokenize='unicode61 remove_diacritics 2')",
    "CREATE TABLE reached (event_rowid INTEGER NOT NULL, event_id TEXT)",
    f"PRAGMA user_version = {_FORMAT}",
)


class TextIndex:
    """
    The index of one database, open.

    Args:
        target: The database. One in memory, or in a folder that cannot be written, gets an index in memory.
        connection: For a database in memory, its own connection.

    Raises:
        StoreError: The database cannot be read.
    """

    def __init__(self, target: Target, connection: sqlite3.Connection | None = None) -> None:
        self._name = target.name
        self._is_own = connection is None
        self._schema = "main"
        if connection is not None:
            self._connection = connection
            self._attach_memory()
            return
        with translated(self._name):
            self._connection = self._connect(target)
            self._connection.create_function("agenttrace_body", 1, body_text)
            trace = f"{Path(os.path.realpath(target.path)).as_uri()}?mode=ro"
            self._connection.execute("ATTACH ? AS traces", (trace,))

    def close(self) -> None:
        """Let go of the file."""
        if self._is_own:
            self._connection.close()

    def catch_up(self) -> int:
        """
        Take in what was recorded since the last time; all of it, where the index is not of these events.

        Returns:
            How many events were taken in.

        Raises:
            StoreBusy: Another process is at it for longer than 10 s.
        """
        taken = 0
        with translated(self._name):
            while True:
                count, is_all = self._step()
                taken += count
                if is_all:
                    return taken

    def find(
        self,
        match: str,
        conditions: Sequence[str],
        values: Sequence[Any],
        limit: int,
        *,
        words: Sequence[str] = (),
        conversation_id: str | None = None,
    ) -> list[Match]:
        """
        Give the events that fit best; where one of *words* stands in more than 20,000, the newest.

        Args:
            match: A query of FTS5 over the columns ``text`` and ``names``.
            conditions: SQL conditions on ``trajectory_events``, named ``e``.
            values: Their values.
            limit: How many at most.
            words: The words and phrases in it, each as a query of its own.
            conversation_id: Only of this conversation.

        Raises:
            ConfigError: *match* is no such query.
        """
        conditions, values = list(conditions), list(values)
        score = "bm25(words, 1.0, 2.0)"
        try:
            if any(self._is_common(word) for word in words):
                score = "0.0"
            if conversation_id is not None:
                conditions += ["e.conversation_id = ?", "words.rowid >= ?", "words.rowid <= ?"]
                values += [conversation_id, *self._range_of(conversation_id)]
            order = "words.rowid DESC" if score == "0.0" else "score, words.rowid DESC"
            where = "".join(f" AND {condition}" for condition in conditions)
            sql = (
                f"SELECT e.id, {score} AS score FROM {self._schema}.words"
                f" CROSS JOIN {self._traces}.trajectory_events e ON e.id = words.rowid"
                f" WHERE words MATCH ?{where} ORDER BY {order} LIMIT ?"
            )
            return list(self._connection.execute(sql, (match, *values, limit)))
        except sqlite3.OperationalError as exc:
            if any(sign in str(exc) for sign in ("fts5", "syntax", "unterminated", "no such column")):
                raise ConfigError(f"{match!r}: cannot be searched for ({exc}).") from exc
            with translated(self._name):
                raise

    def _is_common(self, word: str) -> bool:
        counted = self._connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {self._schema}.words WHERE words MATCH ? LIMIT ?)",
            (word, _RANKED_LIMIT_COUNT + 1),
        )
        return int(counted.fetchone()[0]) > _RANKED_LIMIT_COUNT

    def _range_of(self, conversation_id: str) -> tuple[int, int]:
        """Give between which rows a conversation stands: the index skips all others."""
        first, last = self._connection.execute(
            f"SELECT min(id), max(id) FROM {self._traces}.trajectory_events WHERE conversation_id = ?",
            (conversation_id,),
        ).fetchone()
        return (0, 0) if first is None else (first, last)

    @property
    def _traces(self) -> str:
        return "traces" if self._is_own else "main"

    def _connect(self, target: Target) -> sqlite3.Connection:
        path = os.path.realpath(target.path) + _SUFFIX
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
        except OSError:
            path = ""
        try:
            return self._open(path)
        except sqlite3.DatabaseError:  # damaged, or of another time: nothing is lost with it
            with contextlib.suppress(OSError):
                os.truncate(path, 0)
            return self._open(path)

    def _open(self, path: str) -> sqlite3.Connection:
        where = f"{Path(path).as_uri()}?mode=rw" if path else "file::memory:"
        connection = sqlite3.connect(
            where, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, _FORMAT):
                raise sqlite3.DatabaseError("of another format")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _attach_memory(self) -> None:
        """Put the index into a schema of its own of a database that lives in memory."""
        attached = {row[1] for row in self._connection.execute("PRAGMA database_list")}
        if "found" not in attached:
            self._connection.execute("ATTACH ':memory:' AS found")
        self._schema = "found"

    def _step(self) -> tuple[int, bool]:
        """Take in the next events; gives how many, and whether there are no more."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE" if self._is_own else "SAVEPOINT search")
        try:
            reached = self._reached()
            traces = self._traces
            last = connection.execute(f"SELECT max(id) FROM {traces}.trajectory_events").fetchone()[0] or 0
            some = connection.execute(
                f"SELECT id FROM {traces}.trajectory_events WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?",
                (reached, _STEP_EVENTS - 1),
            ).fetchone()
            end = last if some is None else some[0]
            count = 0
            if end > reached:
                fill = _FILL.replace("traces.", f"{traces}.").replace(
                    "INTO words", f"INTO {self._schema}.words"
                )
                count = connection.execute(fill, (reached, end)).rowcount
                self._put_reached(end)
            connection.execute("COMMIT" if self._is_own else "RELEASE search")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK" if self._is_own else "ROLLBACK TO search")
            raise
        return count, end >= last

    def _reached(self) -> int:
        """Tell up to which event the index goes; makes it anew where that event is not there any more."""
        connection, schema = self._connection, self._schema
        known = connection.execute(f"SELECT 1 FROM {schema}.sqlite_master WHERE name = 'reached'").fetchone()
        if known:
            row = connection.execute(f"SELECT event_rowid, event_id FROM {schema}.reached").fetchone()
            if row is not None:
                there = connection.execute(
                    f"SELECT event_id FROM {self._traces}.trajectory_events WHERE id = ?", (row[0],)
                ).fetchone()
                if there is not None and there[0] == row[1]:
                    return int(row[0])
            connection.execute(f"DROP TABLE {schema}.words")
            connection.execute(f"DROP TABLE {schema}.reached")
        for statement in _TABLES:
            for head in ("VIRTUAL TABLE ", "CREATE TABLE ", "PRAGMA "):
                statement = statement.replace(head, f"{head}{schema}.", 1)
            connection.execute(statement)
        return 0

    def _put_reached(self, end: int) -> None:
        connection, schema = self._connection, self._schema
        row = connection.execute(
            f"SELECT id, event_id FROM {self._traces}.trajectory_events WHERE id = ?", (end,)
        ).fetchone()
        connection.execute(f"DELETE FROM {schema}.reached")
        connection.execute(f"INSERT INTO {schema}.reached VALUES (?, ?)", row)


def forget_texts(target: Target) -> None:
    """Throw the index away: what was deleted from the database may not be found in it either."""
    if target.is_memory:
        return
    for suffix in ("", "-journal", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            os.unlink(os.path.realpath(target.path) + _SUFFIX + suffix)
