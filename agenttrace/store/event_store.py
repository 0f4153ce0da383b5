"""
``TraceStore``: the public face of one database.

Invariant: reading never makes, migrates or writes a database; the first write
does. A store that was opened before a fork opens its own connection after it.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from agenttrace import clock
from agenttrace.errors import StoreError
from agenttrace.events import (
    COLUMNS,
    CONTROL_CONVERSATION,
    EXTRA_COLUMNS,
    H_AGENT_ID,
    H_CONVERSATION_ID,
    new_id,
)
from agenttrace.store import views
from agenttrace.store.aliases import StoreAliases
from agenttrace.store.batch import EventSink
from agenttrace.store.connection import StoreDatabase
from agenttrace.store.database import open_database
from agenttrace.store.fulltext import TextIndex
from agenttrace.store.patience import patiently
from agenttrace.store.plan import Record
from agenttrace.store.reader import StoreReader
from agenttrace.store.rows import Event
from agenttrace.store.settings import StoreSettings
from agenttrace.store.target import Target
from agenttrace.store.upkeep import StoreUpkeep

__all__ = ["TraceStore", "prepare_payload"]

Result = TypeVar("Result")

_BATCH_ROWS = 1000
_READER_WAIT_MS = 5_000
"""Readers wait for no writer in WAL; beside a rollback journal they do."""


def _dump(payload: Any) -> bytes:
    return json.dumps(payload, ensure_ascii=False, default=str, separators=(",", ":")).encode()


prepare_payload: Callable[[Any], bytes] = _dump
"""Turns what is recorded by hand into JSON bytes; ``runtime`` puts the redacting encoder here."""

_HEADER = (
    "kind",
    "ts_ns",
    "conversation_id",
    "agent_id",
    "agent_name",
    "parent_agent_id",
    "span_id",
    "parent_span_id",
    "tool_name",
    "status",
    "duration_ms",
    "call_id",
    "error_id",
    "error_type",
)
_EXTRA = frozenset((*EXTRA_COLUMNS, "seq", "turn_in_run"))
_KNOWN = frozenset((*COLUMNS, "payload_json", "turn_in_run", "id"))


def _without_nul(value: Any) -> Any:
    """Write NUL as a visible escape, as recording does: for SQLite's JSON functions a text ends there."""
    return value.replace("\0", "\\x00") if type(value) is str else value


class TraceStore(StoreReader, StoreUpkeep, StoreAliases):
    """
    Read and write the conversations of one database.

    Args:
        database: A path, ``sqlite:///path``, ``:memory:``, or an `EventSink` to
            share its database; None takes the database that this process
            would record to.
    """

    def __init__(self, database: str | os.PathLike[str] | EventSink | None = None) -> None:
        if database is None:
            from agenttrace.config import default_database  # late: it reads environment and pyproject.toml

            database = default_database()
        self._sink: EventSink = database if isinstance(database, EventSink) else EventSink(database)
        self._shares = isinstance(database, EventSink)
        self._reader: StoreDatabase | None = None
        self._ids = itertools.count(1)
        self._pid = os.getpid()
        self._process_id = new_id()
        self.settings = StoreSettings(self.open_reader, self._change)
        """Settings that belong to the database: a mapping of text to text."""

    def __repr__(self) -> str:
        return f"TraceStore({self.target.name!r})"

    def __enter__(self) -> TraceStore:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def target(self) -> Target:
        """Which database this is."""
        return self._sink.target

    def close(self) -> None:
        """Close its connections; the next use opens them again. A shared sink stays open."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if not self._shares:
            self._sink.close()

    def open_reader(self) -> StoreDatabase:
        """
        Give the connection that reads: read-only for a file, the sink's own for memory.

        Raises:
            StoreMissing: There is no database yet.
            StoreError: It cannot be read; see ``open_database``.
        """
        if self.target.is_memory:
            return self._sink.database
        reader = self._reader
        if reader is None or reader.is_closed() or not reader.is_current():
            # One that another thread still reads from closes when that thread lets it go.
            reader = open_database(self.target.path, readonly=True, busy_timeout_ms=_READER_WAIT_MS)
            self._reader = reader
        return reader

    @contextmanager
    def open_texts(self) -> Iterator[TextIndex]:
        """
        Open the index of words, for as long as the block lasts.

        Raises:
            StoreMissing: There is no database yet.
            StoreError: It cannot be read.
        """
        database = self.open_reader()
        with database.lock:
            index = TextIndex(self.target, database.connection if self.target.is_memory else None)
            try:
                yield index
            finally:
                index.close()

    def record(
        self, kind: str, payload: Any = None, *, conversation_id: str, agent_id: str, **columns: Any
    ) -> Event:
        """
        Store one event.

        Args:
            kind: One of ``events.KINDS`` or any other word.
            payload: What JSON can hold, ideally an object; None is an empty object.
            conversation_id: Made when it is new.
            agent_id: Made when it is new.
            columns: Any other column of ``trajectory_events``. ``ts_ns`` (or ``ts_ms``) is now
                and ``seq`` the agent's next, unless given.

        Returns:
            The row as it is stored.

        Raises:
            StoreError: It cannot be stored; the message says why.
        """
        fields = {
            **columns,
            "kind": kind,
            "payload": payload,
            "conversation_id": conversation_id,
            "agent_id": agent_id,
        }
        record = self._build_record(fields)
        self._write([record])
        table = "SELECT id FROM trajectory_events WHERE conversation_id = ? AND agent_id = ? AND event_id = ?"
        database = self._sink.database
        with database.lock:
            keys = (record.header[H_CONVERSATION_ID], record.header[H_AGENT_ID], record.event_id)
            found = database.execute(table + " ORDER BY seq DESC LIMIT 1", keys).fetchone()
        event = views.read_event(database, found[0]) if found else None
        if event is None:
            raise StoreError(f"{self.target.name}: the event was deleted while it was stored.")
        return event

    def record_many(self, events: Iterable[Mapping[str, Any] | Event]) -> int:
        """
        Store many events, a thousand a transaction.

        Args:
            events: `Event` rows (of another store, say), or mappings with ``kind``,
                ``conversation_id``, ``agent_id`` and, as for `record`, ``payload`` and columns.

        Returns:
            How many were stored.

        Raises:
            StoreError: Some cannot be stored; those before and beside them are.
        """
        stored = 0
        iterator = iter(events)
        while batch := [
            self._build_record(_fields_of(one)) for one in itertools.islice(iterator, _BATCH_ROWS)
        ]:
            stored += self._write(batch)
        return stored

    def describe(self, conversation_id: str, *, task: str | None = None, metadata: Any = None) -> None:
        """Make a conversation, or say more of one: its task and metadata. What is None stays as it was."""
        header: list[Any] = [CONTROL_CONVERSATION, clock.now_ns(), conversation_id, *([None] * 12)]
        self._write(
            [Record([*map(_without_nul, header)], prepare_payload({"task": task, "metadata": metadata}), "")]
        )

    def _build_record(self, fields: dict[str, Any]) -> Record:
        unknown = fields.keys() - _KNOWN
        if unknown:
            raise StoreError(f"no column {sorted(unknown)[0]!r}; columns are {', '.join(COLUMNS)}.")
        ts_ns = fields.get("ts_ns")
        if ts_ns is None:
            ts_ms = fields.get("ts_ms")
            ts_ns = clock.now_ns() if ts_ms is None else ts_ms * 1_000_000
        extra = {name: fields[name] for name in _EXTRA if fields.get(name) is not None}
        header = [fields.get(name) for name in _HEADER]
        header[1] = ts_ns
        text = fields.get("payload_json")
        if text is not None:
            payload = text.encode()
        else:
            value = fields.get("payload")
            payload = b"{}" if value is None else prepare_payload(value)
        event_id = fields.get("event_id") or self._next_event_id()
        return Record([*map(_without_nul, header), extra or None], payload, event_id)

    def _next_event_id(self) -> str:
        if self._pid != os.getpid():  # a forked child counts for itself
            self._pid, self._process_id = os.getpid(), new_id()
        return f"{self._process_id}-{next(self._ids):x}"

    def _write(self, records: list[Record]) -> int:
        written = patiently(lambda: self._sink.write(records))
        if written.failed:
            reasons = ", ".join(f"{number} × {reason}" for reason, number in written.failed.items())
            raise StoreError(
                f"{self.target.name}: {sum(written.failed.values())} events were not stored ({reasons})."
            )
        return written.events

    def _change(self, work: Callable[[StoreDatabase], Result]) -> Result:
        """Do *work* in a write transaction, as soon as there can be one."""

        def attempt() -> Result:
            with self._sink.database.writing() as database:
                return work(database)

        return patiently(attempt)

    def _writer(self) -> StoreDatabase:
        return self._sink.database


def _fields_of(event: Mapping[str, Any] | Event) -> dict[str, Any]:
    if isinstance(event, Event):
        names = [name for name in COLUMNS if name not in ("payload", "seq")]
        return {**{name: getattr(event, name) for name in names}, "payload_json": event.payload_json}
    return dict(event)
