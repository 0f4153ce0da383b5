"""
Open a database, make it, or say in one line why not.

Invariant: a file that is not ours is never changed. Whether it is ours is read
from ``application_id`` and ``user_version``, through SQLite.
"""

from __future__ import annotations

import os
import time

from agenttrace.errors import StoreCorrupt, StoreMissing, StoreUnavailable
from agenttrace.store import migrate
from agenttrace.store.connection import (
    APPLICATION_ID,
    BUSY_TIMEOUT_MS,
    SCHEMA_VERSION,
    StoreDatabase,
    connect,
    too_new,
    translated,
)
from agenttrace.store.lockfile import HAS_LOCKS, POLL_S, hold_lock, lock_path
from agenttrace.store.target import (
    Target,
    create_private_file,
    exists,
    log_path,
    make_private_folder,
    read_identity,
    remove_journal,
    resolve_target,
)

__all__ = ["SCHEMA_VERSION", "StoreDatabase", "leave_replaced", "open_database"]

_MIGRATION_POLLS = 10


def open_database(
    target: str | os.PathLike[str],
    *,
    readonly: bool = False,
    create: bool = True,
    upgrade: bool = True,
    busy_timeout_ms: int = BUSY_TIMEOUT_MS,
) -> StoreDatabase:
    """
    Open a database; make or migrate it when asked to.

    Args:
        target: A path, ``sqlite:///path`` or ``:memory:``.
        readonly: Change nothing: no file is made, nothing is migrated, no row is written.
        create: Make the file when there is none.
        upgrade: Migrate an older database; False takes it as it is, for ``agenttrace migrate``.
        busy_timeout_ms: How long SQLite itself waits for a lock.

    Raises:
        StoreMissing: There is no file, and *create* is False or *readonly* True.
        StoreCorrupt: What is there is not an intact agenttrace database; it is left as it is.
        SchemaTooNew: A newer agenttrace has migrated it.
        StoreBusy: Another process holds the lock.
        StoreUnavailable: Anything else that keeps it closed.
    """
    where = resolve_target(target)
    if where.is_memory:
        readonly = False
    elif not exists(where.path):
        if readonly or not create:
            raise StoreMissing(
                f"{where.name}: no database there; record one with AGENTTRACE=1, or run `agenttrace demo`."
            )
        make_private_folder(where.path)
        with hold_lock(where):
            create_private_file(where.path)
    if readonly:
        database = _connect_readonly(where, busy_timeout_ms)
    else:
        database = connect(where, "rw", busy_timeout_ms)
    try:
        found = _check_schema(database)
        if readonly and found < SCHEMA_VERSION:
            found = _await_migration(database, found)
        if found < SCHEMA_VERSION and upgrade:
            if readonly and found == 0:
                raise StoreMissing(f"{where.name}: is empty; nothing was recorded there yet.")
            if readonly:
                raise StoreUnavailable(
                    f"{where.name}: schema {found}, this agenttrace reads {SCHEMA_VERSION}; "
                    "run `agenttrace migrate up`."
                )
            migrate.up(database)
        database.journal_mode = str(database.execute("PRAGMA journal_mode").fetchone()[0])
        if not where.is_memory:
            log = read_identity(log_path(where))
            database.log_identity = log if database.is_current() else None  # then it may be another's
    except BaseException:
        database.close()
        raise
    return database


def leave_replaced(database: StoreDatabase) -> None:
    """
    Close a database whose path names another file by now, and take away the log that it left there.

    SQLite knows a log by its name alone: it would play what the old database had logged into the
    file that was put in its place, over whatever that file holds. A log that is not the one of
    *database* is left: then somebody else was faster, or the file came with its own.

    Raises:
        StoreBusy: Another process has held the lock for 30 s.
        StoreUnavailable: The lock file cannot be made.
    """
    try:
        if database.log_identity is not None:
            with hold_lock(database.target):
                if read_identity(log_path(database.target)) == database.log_identity:
                    remove_journal(database.target.path)
    finally:
        database.close()  # last: as long as it is open, no other file can have the identity of its log


def _connect_readonly(where: Target, busy_timeout_ms: int) -> StoreDatabase:
    """Connect to a file that may lie in a folder where SQLite can put no shared memory."""
    database = None
    try:
        database = connect(where, "ro", busy_timeout_ms)
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return database
    except StoreUnavailable as exc:
        if database is not None:
            database.close()
        # Without a journal beside it, and without the right to write one, the file is as it is.
        if type(exc) is not StoreUnavailable or os.path.exists(os.path.realpath(where.path) + "-wal"):
            raise
    return connect(where, "immutable", busy_timeout_ms)


def _await_migration(database: StoreDatabase, found: int) -> int:
    """Give another process, which may be making the database just now, a moment; gives the schema then."""
    if HAS_LOCKS and not os.path.exists(lock_path(database.target)):
        return found
    for _ in range(_MIGRATION_POLLS):
        if found == SCHEMA_VERSION:
            break
        time.sleep(POLL_S)
        found = _check_schema(database)
    return found


def _check_schema(database: StoreDatabase) -> int:
    """Give the schema version of a database that is ours or empty; refuse every other."""
    name = database.target.name
    with translated(name):
        connection = database.connection
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
        if owner != APPLICATION_ID:
            tables = [
                row[0] for row in connection.execute("SELECT name FROM sqlite_master ORDER BY name LIMIT 3")
            ]
            if owner or version or tables:
                holds = ", ".join(tables) or f"application_id {owner:#x}"
                raise StoreCorrupt(
                    f"{name}: is a database of something else ({holds});"
                    " name another with AGENTTRACE_DB or --db."
                )
            return 0
    if version > SCHEMA_VERSION:
        raise too_new(database.target, version)
    return version
