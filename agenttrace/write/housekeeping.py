"""
What a living writer does beside its own ring.

It looks for rings of dead processes of its database, so that a pool worker's events
do not wait for the next start; it says that its process lives; where a setting asks for it,
it prunes the database; and, where asked to, it has the system write the log of the database to
the disk. Invariant: none of this delays a fork by more than one transaction.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from agenttrace.errors import StoreBusy, contain
from agenttrace.write.recovery import recover
from agenttrace.write.ring import Ring

if TYPE_CHECKING:
    from agenttrace.store.automatic import AutomaticPrune
    from agenttrace.store.batch import EventSink
    from agenttrace.write.drain import Drain

__all__ = ["Housekeeping"]

RECOVER_EVERY_S = 5.0
TOUCH_EVERY_S = 10.0


class Housekeeping:
    """The clockwork of one writer; used in its thread."""

    def __init__(self, ring: Ring, sync_interval_s: float | None = None) -> None:
        self._ring = ring
        self._sync_interval_s = sync_interval_s
        self._pruning: AutomaticPrune | None = None
        now_s = time.monotonic()
        self._recovered_s = now_s - RECOVER_EVERY_S
        self._touched_s = now_s
        self._synced_s = now_s
        self._written_count = 0
        """Of the drain, when the log was last synced."""

    def run(self, sink: EventSink, drain: Drain, must_end: Callable[[], bool], *, now: bool = False) -> None:
        """
        Do what is due.

        Args:
            sink: Of the writer.
            drain: Of the writer, for what it has counted.
            must_end: Asked between transactions.
            now: Look for dead rings whether it is time or not.

        Raises:
            StoreBusy: The database is locked; what was due stays so.
            StoreError: As the sink says.
        """
        now_s = time.monotonic()
        if now or now_s - self._recovered_s >= RECOVER_EVERY_S:
            try:
                recover(self._ring.info.database, sink=sink, must_stop=must_end)
            except StoreBusy:
                raise
            except Exception as exc:
                contain("write.recovery", exc)
            self._recovered_s = now_s
        if now_s - self._touched_s >= TOUCH_EVERY_S and not must_end():
            self._touched_s = now_s
            sink.touch(self._ring.info.process, drain.counters())
        self._prune(sink, must_end)
        if self._sync_interval_s is not None and now_s - self._synced_s >= self._sync_interval_s:
            self._synced_s = now_s
            if drain.written_count != self._written_count:
                self._written_count = drain.written_count
                sync_log(self._ring.info.database)

    def _prune(self, sink: EventSink, must_end: Callable[[], bool]) -> None:
        if must_end() or self._ring.is_half_full() or sink.target.is_memory:
            return
        if self._pruning is None:
            from agenttrace.store.automatic import AutomaticPrune  # late: brings peewee with it

            self._pruning = AutomaticPrune()
        try:
            self._pruning.run(lambda: sink.database, must_end)
        except StoreBusy:
            raise
        except Exception as exc:
            contain("write.prune", exc)


def sync_log(database: str) -> None:
    """
    Write the database's log to the disk; nothing where there is none.

    SQLite holds no lock on this file, so closing a descriptor of it frees none.
    """
    try:
        descriptor = os.open(f"{database}-wal", os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as exc:
        contain("write.sync", exc)
    finally:
        os.close(descriptor)
