"""
Recovery: what dead processes left in their rings goes into the database.

Anybody who opens the database may do it, and several at once: the lock on the ring's
file keeps them apart, and where it does not, the position in the database does.
Invariants: a ring is touched only when its owner's lock is free and its file still
has its name; its events are redacted by the rules in its own head; it is removed
only after its last events, the ends of what the process left open, and its closing
were committed in one transaction.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from agenttrace.errors import ConfigError, SchemaTooNew, StoreBusy, contain
from agenttrace.write import ring_files
from agenttrace.write.dead_ring import DeadRing, read_file_header
from agenttrace.write.header import RingHeader

if TYPE_CHECKING:
    from agenttrace.store.batch import EventSink, Finish

__all__ = ["RecoveryResult", "held_processes", "recover"]

_BUSY_PAUSE_S = 0.02


class RecoveryResult(NamedTuple):
    """What a recovery did."""

    rings: int = 0
    """Rings that were emptied and removed."""
    events: int = 0
    """Events that were stored."""
    closed: int = 0
    """Operations that were closed as interrupted."""
    left: tuple[str, ...] = ()
    """Rings that were left as they are, each with the reason."""

    def plus(self, other: RecoveryResult) -> RecoveryResult:
        """Give the sum of two."""
        return RecoveryResult(
            self.rings + other.rings,
            self.events + other.events,
            self.closed + other.closed,
            self.left + other.left,
        )


def recover(
    database: str,
    *,
    sink: EventSink | None = None,
    must_stop: Callable[[], bool] = lambda: False,
    timeout_s: float = 5.0,
) -> RecoveryResult:
    """
    Store what dead processes of this user left for *database*, and end their records.

    Where there is no dead ring, neither a database is opened nor a file made.

    Args:
        database: As in ``configure``.
        sink: The sink to write to, which is left open; by default one is opened and closed.
        must_stop: Asked between transactions.
        timeout_s: How long another process's lock on the database is waited for; with a *sink* not at all.

    Raises:
        StoreBusy: With a *sink* only: the database was locked; what is left will be found again.
    """
    folder = ring_files.ring_directory()
    if folder is None:
        return RecoveryResult()
    deadline_s = time.monotonic() + timeout_s
    guard = ring_files.GUARD
    if guard._is_owned():  # type: ignore[attr-defined]
        return RecoveryResult()  # a signal handler, in the middle of a recovery
    total = RecoveryResult()
    try:
        if not guard.acquire(timeout=timeout_s if sink is None else 0.0):
            return total
        ring_files.sweep(folder)
        for path in ring_files.find_rings(folder, database):
            if must_stop():
                break
            total = total.plus(_recover_when_dead(path, database, sink, must_stop, deadline_s))
    finally:
        if guard._is_owned():  # type: ignore[attr-defined]
            guard.release()
    return total


def held_processes(database: str) -> frozenset[str]:
    """Give the ids of the processes that have a ring for *database* and live."""
    folder = ring_files.ring_directory()
    if folder is None:
        return frozenset()
    found = set()
    with ring_files.GUARD:
        for path in ring_files.find_rings(folder, database):
            process_id = ring_files.is_own(path) or _read_holder(path)
            if process_id:
                found.add(process_id)
    return frozenset(found)


def _read_holder(path: str) -> str | None:
    descriptor = ring_files.open_foreign(path)
    if descriptor is None:
        return None
    try:
        if ring_files.is_held(descriptor):
            return read_file_header(descriptor).info.process.process_id
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    return None


def _recover_when_dead(
    path: str, database: str, sink: EventSink | None, must_stop: Callable[[], bool], deadline_s: float
) -> RecoveryResult:
    descriptor = ring_files.open_foreign(path)
    if descriptor is None:
        return RecoveryResult()
    try:
        if not ring_files.try_lock(descriptor) or not ring_files.still_named(descriptor, path):
            return RecoveryResult()
        header = read_file_header(descriptor)
        if header.head == header.first and not header.dropped:
            ring_files.remove_ring(path)  # nothing was ever recorded in it
            return RecoveryResult(rings=1)
        ring = DeadRing(descriptor, path, header)
        return _drain(ring, database, sink, must_stop, deadline_s)
    except StoreBusy as exc:
        if sink is not None:
            raise
        return RecoveryResult(left=(f"{path}: {exc}",))
    except Exception as exc:
        if not isinstance(exc, (ValueError, SchemaTooNew, ConfigError)):  # those say all that there is to say
            contain("write.recovery", exc)
        return RecoveryResult(left=(f"{path}: {exc}",))
    finally:
        os.close(descriptor)


def _drain(
    ring: DeadRing, database: str, sink: EventSink | None, must_stop: Callable[[], bool], deadline_s: float
) -> RecoveryResult:
    # Late: every command that reads looks for dead rings, and there hardly ever is one.
    from agenttrace.encode.redact import Rules
    from agenttrace.store.batch import EventSink
    from agenttrace.write.drain import Drain
    from agenttrace.write.pipeline import Pipeline

    info = ring.header.info
    limits = info.settings
    rules = Rules.from_data(info.redaction)
    pipeline = Pipeline(rules, int(limits["max_payload_bytes"]), int(limits["max_blob_bytes"]))
    target = sink or EventSink(ring_files.resolve_database(database))
    drain = Drain(ring, target, pipeline, info.process)
    is_done = False
    try:
        while not is_done and not must_stop():
            try:
                is_done = not drain.step(lambda last_ts_ns: _build_finish(ring.header, last_ts_ns))
            except StoreBusy:
                if sink is not None or time.monotonic() + _BUSY_PAUSE_S > deadline_s:
                    raise
                time.sleep(_BUSY_PAUSE_S)
    finally:
        if sink is None:
            target.close()
    if is_done:
        ring_files.remove_ring(ring.path)
    return RecoveryResult(int(is_done), drain.written_count, drain.closed_count)


def _build_finish(header: RingHeader, last_ts_ns: int) -> Finish:
    from agenttrace.store.batch import Finish  # late: as above

    at_ns = max(header.seen_ns, last_ts_ns)
    return Finish(header.info.process.process_id, at_ns, exit="ok" if header.clean else "died")
