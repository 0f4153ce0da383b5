"""
The one door by which events enter the database: a batch, in one transaction.

Invariants: the events of a batch, their agents' rollups, the operations that
they open and close, the failures that they tell of, and the ring's position are
written together or not at all;
a ring's position moves by compare-and-set, so that two drainers never write the
same frame twice; ``seq`` is given inside the write transaction, so that several
processes may write to one agent. A row that the database refuses is counted,
and costs only itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from agenttrace.errors import count_loss
from agenttrace.events import ProcessInfo
from agenttrace.store import finish as closing
from agenttrace.store import insert
from agenttrace.store.connection import BUSY_TIMEOUT_MS, SchemaTooOld, StoreDatabase
from agenttrace.store.database import leave_replaced, open_database
from agenttrace.store.ledger import (
    Finish,
    ProcessCounters,
    RingPosition,
    count_kept,
    end_process,
    move_ring,
    put_process,
)
from agenttrace.store.plan import Plan, Record, agents_of, build_plan
from agenttrace.store.reports import put_reports
from agenttrace.store.target import Identity, Target, resolve_target

__all__ = [
    "EventSink",
    "Finish",
    "ProcessCounters",
    "Record",
    "RingPosition",
    "Written",
]

_ROW_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ValueError,
    TypeError,
    OverflowError,
)
"""What is wrong with one row; everything else is wrong with the database."""


class Written(NamedTuple):
    """What became of a batch."""

    events: int
    """Rows that are in the database now, notes of the drainer and closing rows not counted."""
    failed: dict[str, int]
    """Records that are not, by what was wrong with them."""
    lost_with_file: int
    """Events of the same ring that this sink had stored in a file that was deleted or replaced since."""
    closed: int = 0
    """Open operations that ``finish`` has closed as interrupted."""


class EventSink:
    """
    Write batches to one database.

    One thread at a time may use it, and different threads one after another.
    It opens by itself, and again when the file was deleted or replaced, or
    after a fork. ``EventSink(":memory:")`` keeps its database in this process;
    ``TraceStore(sink)`` reads it.

    Args:
        target: A path, ``sqlite:///path`` or ``:memory:``.
        busy_timeout_ms: How long SQLite waits for another writer, at most 100 in
            a writer thread: a fork waits for it.
    """

    def __init__(self, target: str | os.PathLike[str], *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> None:
        self.target: Target = resolve_target(target)
        self._busy_timeout_ms = busy_timeout_ms
        self._database: StoreDatabase | None = None
        self._identity: Identity | None = None
        """Which file it was when it was last opened."""
        self._stored: Counter[str] = Counter()
        """Events that went into the present file, by ring; "" stands for those of no ring and of
        rings that are done."""
        self._lost: Counter[str] = Counter()
        """Events that went with files that are gone; told with the ring's next batch."""
        self._was_replaced = False
        """Nothing was written yet to a file that stands where another one stood."""

    def __enter__(self) -> EventSink:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def database(self) -> StoreDatabase:
        """The open database; opens it when needed."""
        return self._ensure_open()

    def open(self) -> None:
        """Open the database; make and migrate it when needed."""
        self._ensure_open()

    def close(self) -> None:
        """Close it; the next use opens it again (a database in memory begins empty)."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def is_open(self) -> bool:
        """Tell whether a connection stands."""
        return self._database is not None and not self._database.is_closed()

    def is_new_file(self) -> bool:
        """Tell whether another file, or an emptied one, stands where this sink wrote last; opens it."""
        self._ensure_open()
        return self._was_replaced

    def position(self, ring_id: str) -> int | None:
        """Read how far *ring_id* is drained; None when the database does not know it."""
        database = self.database
        with database.lock:
            row = database.execute("SELECT position FROM rings WHERE ring_id = ?", (ring_id,)).fetchone()
        return None if row is None else int(row[0])

    def touch(self, process: ProcessInfo, counters: ProcessCounters | None = None) -> None:
        """Write that *process* lives (``last_seen_ms``)."""
        with self.database.writing() as database:
            put_process(database.connection, process, counters, {})

    def write(
        self,
        records: Sequence[Record],
        ring: RingPosition | None = None,
        *,
        process: ProcessInfo | None = None,
        counters: ProcessCounters | None = None,
        finish: Finish | None = None,
        notes: int = 0,
    ) -> Written:
        """
        Store a batch in one transaction.

        Args:
            records: In the order in which they happened; 4,000 at most keep the transaction short.
            ring: The ring they come from; its position moves with them.
            process: Who recorded them.
            counters: What that process has lost so far.
            finish: That a process has ended.
            notes: How many of the records are the drainer's own, and no events of the program's.

        Raises:
            StoreBusy: Another process writes; nothing was written, try again.
            RingTaken: Another drainer has moved the ring; nothing was written.
            SchemaTooNew: The database was migrated further; nothing was written.
            StoreUnavailable: It cannot be written; nothing was.
        """
        batch = _Batch(records, ring, process, counters, finish, notes)
        try:
            return self._write_or_refuse(batch)
        except SchemaTooOld:
            self.close()  # somebody has migrated it down: open it again, which migrates it up
            return self._write_or_refuse(batch)

    def _write_or_refuse(self, batch: _Batch) -> Written:
        try:
            return self._write(batch, _store)
        except _Refused:
            return self._write(batch, _store_carefully)

    def _write(self, batch: _Batch, store: Callable[[sqlite3.Connection, Sequence[Record]], Plan]) -> Written:
        records, ring, process, counters, finish, notes = batch
        closed = 0
        key = ring.ring_id if ring is not None else ""
        with self.database.writing() as database:
            connection = database.connection
            is_known = ring is None or move_ring(connection, ring, relaxed=self._was_replaced)
            if not is_known:  # then what was stored for this ring lies in another file, that was here
                self._lost[key] += self._stored.pop(key, 0)
            lost, kept = self._lost[key], 0
            if lost and ring is not None and is_known:  # a copy was put there
                kept = count_kept(connection, ring.process_id)
            plan = store(connection, records)
            if finish is not None and finish.close_open:
                ends = closing.build_ends(connection, finish.process_id, finish.at_ns)
                closed = len(store(connection, ends).rows)
            if process is not None:
                put_process(connection, process, counters, plan.failed)
            if finish is not None:
                end_process(connection, finish, ring)
        count = len(plan.rows) - notes
        self._stored[key] += kept + count
        if finish is not None and finish.ring_closed:
            self._stored[""] += self._stored.pop(key)
        self._was_replaced = False
        del self._lost[key]
        if self._lost[""]:
            count_loss("store.gone_with_database", self._lost.pop(""))
        return Written(count, plan.failed, max(0, lost - kept), closed)

    def _ensure_open(self) -> StoreDatabase:
        """Give the open database; open it anew when the file is another one, or this another process."""
        database = self._database
        if database is not None and not database.is_closed():
            if database.is_current():
                return database
            self._forget_file()
            self._database = None
            leave_replaced(database)
        database = open_database(self.target.path, busy_timeout_ms=self._busy_timeout_ms)
        if self._identity is not None and database.identity != self._identity:
            self._forget_file()
        self._identity = database.identity
        self._database = database
        return database

    def _forget_file(self) -> None:
        """Count what was stored in a file that was deleted or replaced."""
        self._lost.update(self._stored)
        self._stored.clear()
        self._was_replaced = True


class _Batch(NamedTuple):
    """The arguments of ``EventSink.write``."""

    records: Sequence[Record]
    ring: RingPosition | None
    process: ProcessInfo | None
    counters: ProcessCounters | None
    finish: Finish | None
    notes: int


class _Refused(Exception):
    """Say that a row of the batch was refused, so that it has to be stored carefully."""


def _store(connection: sqlite3.Connection, records: Sequence[Record]) -> Plan:
    """Insert *records*, in as few statements as can be: under a busy main thread each waits for the GIL."""
    plan = build_plan(records, insert.load_agents(connection, agents_of(records)))
    if plan.rows or plan.named:
        try:
            insert.put_plan(connection, plan, records)
        except _ROW_ERRORS as exc:
            raise _Refused from exc
        put_reports(connection, plan, records)
    return plan


def _store_carefully(connection: sqlite3.Connection, records: Sequence[Record]) -> Plan:
    """Insert what can be inserted of *records*; the rest is counted in the plan."""
    known = insert.load_agents(connection, agents_of(records))
    connection.execute("SAVEPOINT batch")
    bad = _find_bad(connection, build_plan(records, known))
    connection.execute("ROLLBACK TO batch")
    connection.execute("RELEASE batch")
    plan = build_plan(records, known, bad.keys())
    for index, exc in bad.items():
        plan.count_failure(records[index].header[0], exc)
    insert.put_plan(connection, plan, records)
    put_reports(connection, plan, records)
    return plan


def _find_bad(connection: sqlite3.Connection, plan: Plan) -> dict[int, Exception]:
    """Insert the rows of *plan* by halves; gives the records that were refused, each with its error."""
    bad: dict[int, Exception] = {}
    insert.put_conversations(connection, plan)
    pending = [(0, len(plan.rows))]
    while pending:
        start, end = pending.pop()
        connection.execute("SAVEPOINT half")
        try:
            insert.put_events(connection, plan.rows[start:end])
        except _ROW_ERRORS as exc:
            connection.execute("ROLLBACK TO half")
            if end - start == 1:
                bad[plan.indexes[start]] = exc
            else:
                middle = (start + end) // 2
                pending += [(middle, end), (start, middle)]
        connection.execute("RELEASE half")
    return bad
