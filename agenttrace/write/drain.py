"""
One ring's frames on their way into the database, each of them once.

Owns the position: how far this ring is drained. Invariants: the position moves in
the transaction that stores the events, by compare-and-set; the ring's tail moves
after that transaction; and a batch that was not stored is tried again unchanged.
So it does not matter where a process dies, nor who goes on.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from agenttrace.errors import RingTaken, StoreError
from agenttrace.events import H_TS_NS, ProcessInfo
from agenttrace.write.frames import iter_fields, needed_bytes, parse_outside, render_event_id
from agenttrace.write.header import Shortage
from agenttrace.write.notes import Notes
from agenttrace.write.pipeline import Pipeline
from agenttrace.write.source import Source

if TYPE_CHECKING:
    from agenttrace.store.batch import EventSink, Finish, ProcessCounters, Record

__all__ = ["ROWS_PER_BATCH", "Drain"]

ROWS_PER_BATCH = 4000
"""The longest transaction; under a busy main thread a short one costs as many turns of the GIL."""

_BATCH_ROOM_BYTES = 4 << 20
_LONG_BODY_BYTES = 16_384
_ROOM_FACTOR = 16
_WINDOW_BYTES = 4 * 1024 * 1024
_PATIENCE = 5
"""How often a frame is tried that this process lacks memory or descriptors for."""


def _make_sure(room_bytes: int) -> None:
    """
    Raise OSError now, where there is no such room, while a frame can still wait in the ring.

    The room is taken and given back, untouched, in 5 us. A parser that gets no memory in the middle of
    a text may not look, and end the program.
    """
    mmap.mmap(-1, room_bytes).close()


class _Batch(NamedTuple):
    """Frames made ready to be stored."""

    start: int
    end: int
    records: list[Record]
    outside: list[int]
    """Side files that are stored with it."""
    failed: dict[str, int]
    """Frames that gave no row, by reason."""
    notes: int = 0
    """How many of the records are notes, and no events of the program's."""
    shortage: Shortage | None = None
    """What one of them tells of."""


class Drain:
    """Move one ring into one sink; used by one thread at a time."""

    def __init__(
        self,
        source: Source,
        sink: EventSink,
        pipeline: Pipeline,
        process: ProcessInfo,
        forget: Callable[[], object] | None = None,
    ) -> None:
        """
        Join a source to a sink.

        Args:
            forget: Called where the database has lost what it had: nothing of that may be named any more.
        """
        from agenttrace.store.batch import ProcessCounters, RingPosition  # late: brings peewee with it

        self._forget = forget
        self._process_counters = ProcessCounters
        self._ring_position = RingPosition
        self._source = source
        self._sink = sink
        self._pipeline = pipeline
        self._process = process
        self._batch: _Batch | None = None
        self._old: int | None = None
        """The position as the database has it."""
        self._attempted: int | None = None
        """Where an earlier write that failed would have moved it; perhaps it did."""
        self.position = source.tail
        """Everything before it is stored."""
        self.failed: dict[str, int] = {}
        """Frames that could not be stored, by reason."""
        self.written_count = 0
        self.closed_count = 0
        self._notes = Notes(source.process_id)
        self._stuck_at, self._stuck_count = -1, 0
        """Which frame this process lacked something for, and how often."""
        self.last_ts_ns = 0
        """Time of the latest event that went through here."""

    def begin(self) -> None:
        """
        Ask the database how far the ring is drained.

        Raises:
            StoreError: As ``step``.
        """
        known = self._sink.position(self._source.ring_id)
        self._old = self._source.tail if known is None else known
        self.position = max(self._old, self._source.tail)
        shortage = self._source.shortage()
        if self._old > self._source.tail and shortage is not None:
            self._source.tell(shortage)  # by the batch that somebody committed, and did not live to note

    def step(self, finish: Callable[[int], Finish] | None = None) -> bool:
        """
        Store the next frames, up to ``ROWS_PER_BATCH``, in one transaction.

        Args:
            finish: Builds what goes with the last frames of a closed ring (even where there are none
                left) from the time of the latest event.

        Returns:
            True when more may be left; False when everything is stored that there was as it
            began, and *finish* too.

        Raises:
            RingTaken: Another drainer has moved the position.
            StoreError: Nothing was stored; what was read is kept for the next try.
        """
        if self._old is None:
            self.begin()
        source = self._source
        head = source.head
        if self._batch is None:
            if self._sink.is_new_file():
                self._forget_stored()
            self._batch = self._read_batch(head)
        batch = self._batch
        is_last = batch.end >= head
        if batch.start == batch.end and not batch.records and not (finish and is_last):
            self._batch = None
            return False
        self._write(batch, finish(self.last_ts_ns) if finish and is_last else None)
        self._batch = None
        return not is_last or (self._notes.can_tell() and source.shortage() is not None)

    def counters(self) -> ProcessCounters:
        """Give what the ring's process has lost so far."""
        return self._process_counters(self._source.dropped(), _add(self._source.failures(), self.failed))

    def _write(self, batch: _Batch, finish: Finish | None) -> None:
        assert self._old is not None
        source = self._source
        move = self._ring_position(source.ring_id, source.process_id, self._old, batch.end)
        counters = self.counters()
        counters = counters._replace(failed=_add(counters.failed, batch.failed))
        try:
            written = self._sink.write(
                batch.records,
                move,
                process=self._process,
                counters=counters,
                finish=finish,
                notes=batch.notes,
            )
        except RingTaken:
            if not self._find_position(batch):
                raise
            self._settle(batch, len(batch.records) - batch.notes, {})
            if finish is not None:
                self._write(_Batch(batch.end, batch.end, [], [], {}), finish)
            return
        except BaseException:
            self._attempted = batch.end
            raise
        self.closed_count += written.closed
        self._settle(batch, written.events, written.failed)
        if written.lost_with_file:
            self._notes.count_lost(written.lost_with_file)
            self.written_count -= written.lost_with_file
            self.failed = _add(self.failed, {"database replaced": written.lost_with_file})

    def _find_position(self, batch: _Batch) -> bool:
        """
        Look why the position is not where it was left.

        Returns:
            True when it was our own write, whose answer was lost, that moved it.

        Raises:
            StoreError: The file was put back from an older copy; the next step goes on from there.
        """
        known = self._sink.position(self._source.ring_id)
        if known is not None and known == self._attempted == batch.end:
            return True
        if known is None or known < self.position:
            self._forget_stored()
            self._old = self.position if known is None else known
            raise StoreError("the database was put back from an older copy; going on with it.")
        return False

    def _forget_stored(self) -> None:
        """Let what is read from now on name nothing that was stored before."""
        self._pipeline.forget()
        if self._forget is not None:
            self._forget()

    def _settle(self, batch: _Batch, written_count: int, failed: dict[str, int]) -> None:
        self.written_count += written_count
        self.failed = _add(_add(self.failed, batch.failed), failed)
        self.position = self._old = batch.end
        self._attempted = None
        if batch.shortage is not None:
            self._source.tell(batch.shortage)
        self._source.advance(batch.end)
        for number in batch.outside:
            self._source.forget_outside(number)

    def _read_batch(self, head: int) -> _Batch:
        _make_sure(_BATCH_ROOM_BYTES)
        start = self.position
        data = self._source.read(start, min(head, start + _WINDOW_BYTES))
        if needed_bytes(data) > len(data):
            data = self._source.read(start, min(head, start + needed_bytes(data)))
        records: list[Record] = []
        outside: list[int] = []
        failed: dict[str, int] = {}
        end = start
        prepare = self._pipeline.prepare
        prefix = render_event_id(self._source.process_id, 0)[:-1]
        for number, stop, body, is_outside in iter_fields(data, start):
            reference = None
            try:
                if is_outside:
                    reference = parse_outside(body)
                    body = self._source.read_outside(reference)
                if len(body) > _LONG_BODY_BYTES:
                    _make_sure(len(body) * _ROOM_FACTOR)
                record = prepare(body, f"{prefix}{number:x}")
                ts_ns = record.header[H_TS_NS]
                if ts_ns > self.last_ts_ns:
                    self.last_ts_ns = ts_ns
                records.append(record)
            except Exception as exc:
                if isinstance(exc, (MemoryError, OSError)) and self._may_pass(number):
                    if end == start:
                        raise
                    break  # what came before it goes first
                reason = f"frame: {type(exc).__name__}"
                failed[reason] = failed.get(reason, 0) + 1
            end = stop
            if reference is not None:
                outside.append(reference.number)
            if len(records) >= ROWS_PER_BATCH:
                break
        if end == start < head:
            # Nothing can be read here, and without this frame's length nothing behind it.
            failed["torn"] = 1
            end = head
        shortage = self._source.shortage()
        notes = self._notes.insert(records, shortage, start)
        return _Batch(start, end, records, outside, failed, notes, shortage if notes else None)

    def _may_pass(self, number: int) -> bool:
        """Tell whether to try the frame *number* again: what was lacking says nothing about the frame."""
        if self._stuck_at != number:
            self._stuck_at, self._stuck_count = number, 0
        self._stuck_count += 1
        return self._stuck_count <= _PATIENCE


def _add(counts: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    """Give the sums of two tallies."""
    return {name: counts.get(name, 0) + more.get(name, 0) for name in counts | more}
