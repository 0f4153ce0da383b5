"""
Bring a database up to this schema, or down again, one migration a transaction.

Invariant: however many processes open a new file at once, each migration runs
once. ``flock`` on ``<database>.lock`` orders them, because switching to WAL
ignores busy_timeout; each migration is one ``BEGIN IMMEDIATE`` transaction that
reads what is done, does the next, writes its record and ``user_version``.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agenttrace.errors import StoreBusy, StoreError
from agenttrace.store.connection import APPLICATION_ID, SCHEMA_VERSION, StoreDatabase, too_new, translated
from agenttrace.store.lockfile import POLL_S, WAIT_S, hold_lock
from agenttrace.store.target import file_system_of, is_shared_file_system

if TYPE_CHECKING:
    from playhouse.migrations import Runner

__all__ = ["MIGRATIONS", "MigrationState", "down", "status", "up"]

MIGRATIONS = str(Path(__file__).with_name("migrations"))


class MigrationState(NamedTuple):
    """One migration, and whether this database has it."""

    version: int
    name: str
    is_applied: bool


def status(database: StoreDatabase) -> list[MigrationState]:
    """List the migrations that this agenttrace knows, oldest first."""
    with translated(database.target.name):
        return [
            MigrationState(one.idx, one.name, one.applied is not None)
            for one in _runner(database).status()
            if one.path is not None
        ]


def up(database: StoreDatabase) -> list[str]:
    """
    Apply what is missing.

    Returns:
        The names of the migrations that this call has applied; [] when another process was faster.

    Raises:
        SchemaTooNew: A newer agenttrace has migrated the database meanwhile.
        StoreBusy: Another process writes, or held the lock for 30 s.
    """
    applied: list[str] = []
    with hold_lock(database.target), translated(database.target.name), _unlogged():
        found = int(database.connection.execute("PRAGMA user_version").fetchone()[0])
        if found > SCHEMA_VERSION:
            raise too_new(database.target, found)
        if found == SCHEMA_VERSION:
            return []
        if found == 0 and not database.target.is_memory:
            _set_up_file(database)
        while True:
            name = _apply_next(database)
            if name is None:
                return applied
            applied.append(name)


def down(database: StoreDatabase, target: str | None = None) -> list[str]:
    """
    Take back the newest migration, or all of them down to *target* included.

    Returns:
        The names of the migrations taken back, newest first.

    Raises:
        StoreError: *target* is not an applied migration.
    """
    undone: list[str] = []
    with hold_lock(database.target), translated(database.target.name), _unlogged():
        applied = [one.name for one in _runner(database).status() if one.applied]
        if target is not None and target not in applied:
            raise StoreError(
                f"{database.target.name}: {target!r} is not applied; applied are {', '.join(applied)}."
            )
        while applied:
            name = applied.pop()
            with _foreign_keys_off(database), database.peewee.atomic("IMMEDIATE"):
                undone.extend(_run(database, "down", name))
                database.execute(f"PRAGMA user_version = {_version(applied[-1]) if applied else 0}")
                if not applied:
                    database.execute("DROP TABLE schema_migration")
                    database.execute("PRAGMA application_id = 0")
            if target is None or name == target:
                break
    return undone


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Keep what peewee logs of this thread's statements out of the program's own log."""
    ident = threading.get_ident()

    def is_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != ident

    loggers = [logging.getLogger(name) for name in ("peewee", "peewee.migrations")]
    for logger in loggers:
        logger.addFilter(is_elsewhere)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_elsewhere)


def _apply_next(database: StoreDatabase) -> str | None:
    """Apply the oldest missing migration in a transaction of its own; None when there is none."""
    with _foreign_keys_off(database), database.peewee.atomic("IMMEDIATE"):
        pending = [one for one in _runner(database).status() if one.path is not None and not one.applied]
        if not pending:
            return None
        (name,) = _run(database, "up", pending[0].name)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {_version(name)}")
        return name


def _run(database: StoreDatabase, direction: str, name: str) -> list[str]:
    from playhouse.migrations import MigrationError  # late: hardly ever is there anything to migrate

    try:
        names: list[str] = getattr(_runner(database), direction)(name)
    except MigrationError as exc:
        raise StoreError(f"{database.target.name}: {exc}") from exc
    return names


def _runner(database: StoreDatabase) -> Runner:
    from playhouse.migrations import Runner  # late: as above

    return Runner(database.peewee, MIGRATIONS)


def _version(name: str) -> int:
    return int(name.partition("_")[0])


@contextlib.contextmanager
def _foreign_keys_off(database: StoreDatabase) -> Iterator[None]:
    """Keep DROP TABLE, which deletes rows first, from cascading; works outside transactions only."""
    database.execute("PRAGMA foreign_keys = 0")
    try:
        yield
    finally:
        database.execute("PRAGMA foreign_keys = 1")


def _set_up_file(database: StoreDatabase) -> None:
    """
    Choose how a new file keeps its journal, before its first table.

    WAL needs shared memory, which a network or host-shared file system does not
    give; there the rollback journal stays. Freed pages can be given back later
    (``auto_vacuum``), which must be chosen while the file is empty.
    """
    shared = is_shared_file_system(file_system_of(database.target.path))
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    mode = "DELETE" if shared else "WAL"
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            database.execute(f"PRAGMA journal_mode = {mode}").fetchone()
            return
        except StoreBusy:  # ignores busy_timeout; some reader looks at the empty file
            if time.monotonic() > deadline_s:
                raise
            time.sleep(POLL_S)
