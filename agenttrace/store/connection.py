"""
One open database: its connection, its errors in our words, its transactions.

Invariants: a file that is not ours is never changed; a connection is never
used, closed or finalised in a process that did not open it; two databases open
at once know nothing of each other. All use of one connection goes through
``lock``, which protects the connection and the transaction on it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peewee

from agenttrace.errors import SchemaTooNew, StoreBusy, StoreCorrupt, StoreError, StoreUnavailable
from agenttrace.store.blobs import body_text
from agenttrace.store.target import Identity, Target, read_identity

__all__ = [
    "APPLICATION_ID",
    "BUSY_TIMEOUT_MS",
    "SCHEMA_VERSION",
    "SchemaTooOld",
    "StoreDatabase",
    "connect",
    "too_new",
    "translated",
]

SCHEMA_VERSION = 8
"""Number of the newest migration; it stands in ``PRAGMA user_version``."""

APPLICATION_ID = 0x61677472
"""``agtr`` in ``PRAGMA application_id``: this file is an agenttrace database."""

BUSY_TIMEOUT_MS = 100
_CACHE_KIB = 16_384
_LOG_PAGES = 4000
"""Pages of 4 KiB in the log before it is put into the file: each time waits for the disk, and writes a page
of an index once that changed in every transaction (2 µs a row less than with the 1,000 of SQLite)."""

_open_databases: weakref.WeakSet[StoreDatabase] = weakref.WeakSet()
_inherited: list[Any] = []
"""Connections of the parent process, kept so that nothing ever finalises them here."""


class StoreDatabase:
    """
    A connection to one database, and which file that is.

    Made by ``database.open_database``. It may be used by any thread; ``lock`` orders them.
    """

    def __init__(self, target: Target, peewee_database: peewee.SqliteDatabase, *, readonly: bool) -> None:
        self.target = target
        self.peewee = peewee_database
        self.readonly = readonly
        self.lock = threading.RLock()
        self._was_closed = False
        self.identity: Identity | None = None if target.is_memory else read_identity(target.path)
        self.log_identity: Identity | None = None
        """Which file its write-ahead log is; None where it has none."""
        self.journal_mode = ""
        _open_databases.add(self)

    def __repr__(self) -> str:
        state = "closed" if self.is_closed() else "open"
        return f"<StoreDatabase {self.target.name!r} {state}>"

    def __del__(self) -> None:
        # In a forked child nothing is open here: see _abandon_in_child.
        with contextlib.suppress(Exception):
            self.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """
        The connection itself; a forked child gets one of its own.

        Raises:
            StoreUnavailable: ``close`` was called.
        """
        if self._was_closed:
            raise StoreUnavailable(f"{self.target.name}: was closed; open it again.")
        database: Any = self.peewee
        connection: sqlite3.Connection = database.connection()
        return connection

    def is_closed(self) -> bool:
        """Tell whether no connection stands: after ``close``, and in a forked child at first."""
        return bool(self.peewee.is_closed())

    def is_current(self) -> bool:
        """Tell whether the path still names the file that was opened (2 µs)."""
        return self.target.is_memory or read_identity(self.target.path) == self.identity

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        with self.lock:
            if not self.is_closed():
                with contextlib.suppress(sqlite3.Error, peewee.PeeweeException):
                    self.peewee.close()  # rolls back what is open
            self._was_closed = True

    def execute(self, sql: str, params: Any = ()) -> sqlite3.Cursor:
        """
        Run one statement.

        Raises:
            StoreError: In our words, whatever SQLite said.
        """
        with translated(self.target.name):
            return self.connection.execute(sql, params)

    @contextlib.contextmanager
    def reading(self) -> Iterator[StoreDatabase]:
        """Hold the lock, and see one state of the database throughout."""
        with self.lock, translated(self.target.name):
            connection = self.connection
            is_inside = bool(connection.in_transaction)
            if not is_inside:
                connection.execute("BEGIN")
            try:
                yield self
            finally:
                if not is_inside and connection.in_transaction:
                    connection.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self) -> Iterator[StoreDatabase]:
        """
        Hold the lock and a write transaction: all of it is kept, or nothing.

        Raises:
            StoreBusy: Another process writes; nothing was written.
            SchemaTooNew: Another process has migrated the database further.
            SchemaTooOld: Another process has migrated it down.
            StoreError: The database cannot be written.
        """
        with self.lock, translated(self.target.name):
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                found = connection.execute("PRAGMA user_version").fetchone()[0]
                if found > SCHEMA_VERSION:
                    raise too_new(self.target, found)
                if found < SCHEMA_VERSION:
                    raise too_old(self.target, found)
                yield self
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise


def connect(target: Target, mode: str = "rw", busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> StoreDatabase:
    """
    Connect without looking at the schema; for ``open_database`` and ``migrate``.

    Args:
        mode: ``rw`` never makes a file; ``ro`` changes nothing; ``immutable`` also
            believes that nobody else does.
    """
    where = target.path
    options: dict[str, Any] = {"check_same_thread": False, "timeout": busy_timeout_ms / 1000}
    if not target.is_memory:
        query = "immutable=1" if mode == "immutable" else f"mode={mode}"
        where = f"{Path(os.path.realpath(target.path)).as_uri()}?{query}"
        options["uri"] = True
    pragmas = {
        "foreign_keys": 1,
        "synchronous": "NORMAL",
        "cache_size": -_CACHE_KIB,
        "wal_autocheckpoint": _LOG_PAGES,
    }
    database = StoreDatabase(
        target,
        peewee.SqliteDatabase(where, pragmas=pragmas, thread_safe=False, **options),
        readonly=mode != "rw",
    )
    database.peewee.register_function(body_text, "agenttrace_body", 1)
    with translated(target.name):
        database.peewee.connect()
    return database


def too_new(target: Target, found: int) -> SchemaTooNew:
    """Build the error for a schema that a newer agenttrace has made."""
    return SchemaTooNew(
        f"{target.name}: schema {found}, this agenttrace reads up to {SCHEMA_VERSION};"
        " upgrade agenttrace to open it."
    )


class SchemaTooOld(StoreUnavailable):
    """Say that the database was migrated down under an open connection; opening it again migrates it up."""


def too_old(target: Target, found: int) -> SchemaTooOld:
    """Build the error for a schema that somebody has migrated down meanwhile."""
    return SchemaTooOld(f"{target.name}: was migrated down to schema {found}; open it again.")


_BUSY = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))
_CORRUPT = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


@contextlib.contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn what SQLite raises about the database as a whole into one line of ours."""
    try:
        yield
    except (sqlite3.Error, peewee.PeeweeException) as exc:
        raise _translate(name, exc) from exc


def _translate(name: str, exc: Exception) -> StoreError:
    origin = getattr(exc, "orig", None) or exc
    code = getattr(origin, "sqlite_errorcode", 0) or 0
    primary = code & 0xFF
    if primary in _BUSY:
        return StoreBusy(f"{name}: another process holds the lock; nothing was written, try again.")
    if primary in _CORRUPT:
        what = "is no SQLite database" if primary == sqlite3.SQLITE_NOTADB else f"is damaged ({origin})"
        return StoreCorrupt(f"{name}: {what}; name another with AGENTTRACE_DB or --db, or restore a copy.")
    if primary == sqlite3.SQLITE_FULL:
        return StoreUnavailable(f"{name}: the disk is full; free some room.")
    if primary in (
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
    ):
        return StoreUnavailable(f"{name}: cannot be opened or written ({origin}); look at its rights.")
    return StoreError(f"{name}: {origin}")


def _abandon_in_child() -> None:
    """Forget every connection of the parent without closing or finalising it."""
    for database in list(_open_databases):
        database.lock = threading.RLock()
        if database.target.is_memory or database.is_closed():
            continue  # memory has no file that two processes could share
        connection = database.connection
        _inherited.append(connection)
        _leak(connection)
        database.peewee.dispose()


def _leak(thing: object) -> None:
    """Keep one reference for ever, so that the interpreter's end does not finalise *thing* either."""
    try:
        import ctypes  # only in a forked child that inherited a connection

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    except Exception:
        return  # _inherited holds it until the interpreter's last moment


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_in_child)
