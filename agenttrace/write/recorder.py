"""
The recorder: what a process publishes goes through here, to the ring and on to the store.

Bundles ring and writer behind the few calls that the runtime makes:

    recorder = Recorder(settings, rules, describe_process)
    recorder.publish(body)                      # hot path; returns once the event is safe from a kill
    recorder.flush(timeout_s) -> FlushResult
    recorder.shutdown(timeout_s) -> FlushResult
    recorder.at_exit()
    recorder.before_fork(); recorder.after_in_parent(); recorder.after_in_child()
    recorder.counters() -> dict

Invariants: the ring is made by the first event, so a process that records nothing has
none; ``publish`` never raises an Exception; and an event is in the ring, or is counted
as dropped, or the caller was interrupted, before ``publish`` returns. After a shutdown
no thread is started any more: each event is then stored by the caller, in a ring that
the next process would recover.
"""

from __future__ import annotations

import sys
import time
from _thread import RLock, get_ident
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from agenttrace import clock
from agenttrace.encode.redact import Rules
from agenttrace.errors import contain, count_loss, is_strict
from agenttrace.events import ProcessInfo
from agenttrace.write import ring_files
from agenttrace.write.backpressure import WAIT_S, may_wait
from agenttrace.write.frames import iter_frames
from agenttrace.write.header import RingInfo
from agenttrace.write.ring import CLOSED, FULL, NUDGE, OVERSIZE, Ring
from agenttrace.write.ring_base import Waiting
from agenttrace.write.writer import FlushResult, Writer

if TYPE_CHECKING:
    from agenttrace.store.batch import EventSink, Finish
    from agenttrace.write.drain import Drain

__all__ = ["Recorder", "RecorderSettings"]

_WAIT_STEP_S = 0.001
_LATE_RING_BYTES = 256 * 1024
_inherited: list[Any] = []
"""Rings and writers of parent processes, kept so that nothing ever finalises them here."""


class RecorderSettings(Protocol):
    """What is read of the settings (``config.Settings`` has all of it)."""

    @property
    def database(self) -> str: ...
    @property
    def max_payload_bytes(self) -> int: ...
    @property
    def max_blob_bytes(self) -> int: ...
    @property
    def flush_interval_s(self) -> float: ...
    @property
    def sync_interval_s(self) -> float | None: ...
    @property
    def on_full(self) -> str: ...
    @property
    def ring(self) -> str: ...
    @property
    def ring_bytes(self) -> int: ...


class _NoRing:
    """Stand where a ring will be."""

    is_closed = True
    is_abandoned = False

    def put(self, body: bytes) -> int:
        """Take nothing."""
        return CLOSED


class _NoWriter:
    """Stand where a writer will be."""

    ident = -1


_NO_RING: Any = _NoRing()
_NO_WRITER: Any = _NoWriter()


class Recorder:
    """
    Record what this process publishes.

    Args:
        settings: Read when a ring is made.
        rules: What is redacted.
        describe: Gives this process; called with the first event, and again with the first in a forked child.
        build_sink: Makes the sink; by default ``EventSink`` on the settings' database.
    """

    def __init__(
        self,
        settings: RecorderSettings,
        rules: Rules,
        describe: Callable[[], ProcessInfo],
        build_sink: Callable[[], EventSink] | None = None,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._describe = describe
        self._build_sink = build_sink
        self._database = ring_files.resolve_database(settings.database)
        self._is_late = False
        self._reset()

    def _reset(self) -> None:
        self._ring: Ring = _NO_RING
        self._writer: Writer = _NO_WRITER
        self._making = RLock()  # protects the making of ring and writer
        self._waiting: deque[Waiting] = deque()
        self._past = _Past()

    # ------------------------------------------------------------------ recording

    def publish(self, body: bytes) -> None:
        """
        Record one event.

        Args:
            body: As ``encode.codec`` builds it. The caller goes on once it is in the ring.
        """
        ring = self._ring
        try:
            if get_ident() == self._writer.ident:
                ring.count_drop("writer_thread")
                return
            outcome = ring.put(body)
            if outcome:
                self._attend(ring, outcome, body)
        except Exception as exc:
            self._rescue(ring, body, exc)

    def _attend(self, ring: Ring, outcome: int, body: bytes) -> None:
        """Do what an event needs beside its place in the ring."""
        making = self._making
        while outcome > NUDGE:
            if self._making is not making:
                return  # forked meanwhile; the parent has it
            if outcome == CLOSED:
                found = self._open_ring(body)
                if found is None:
                    return
                ring = found
                outcome = ring.put(body)
            else:
                put = ring.put if outcome == FULL else ring.put_outside
                outcome = put(body) if outcome == OVERSIZE else FULL
                if outcome == FULL:
                    outcome = self._wait_for_room(ring, lambda put=put: put(body))  # type: ignore[misc]
                if outcome == FULL:
                    ring.count_drop("full")
                    return
        writer = self._writer
        if not writer.is_threaded:
            ring.expect_writer(resting=True)
            self._store_late(ring, writer)
        elif outcome == NUDGE:
            writer.call()

    def _wait_for_room(self, ring: Ring, put: Callable[[], int]) -> int:
        """Try again until there is room, for as long as this place in the program may wait."""
        now_s = time.monotonic()
        if ring.pressed_until_s is None:
            ring.pressed_until_s = now_s + WAIT_S
        until_s = min(ring.pressed_until_s, now_s + WAIT_S)
        self._writer.ensure()
        if self._settings.on_full == "drop" or now_s >= until_s or not may_wait():
            return FULL
        making = self._making
        outcome = FULL
        while outcome == FULL and self._making is making and time.monotonic() < until_s:
            time.sleep(_WAIT_STEP_S)
            outcome = put()
        return outcome

    def _store_late(self, ring: Ring, writer: Writer) -> None:
        """Store what came after the shutdown, and end its ring at once: nobody will come after us."""
        if sys.is_finalizing():
            return

        def finish(last_ts_ns: int) -> Finish:
            from agenttrace.store.batch import Finish  # late: as in _build_drain

            return Finish(ring.process_id, last_ts_ns, close_open=False)

        deadline_s = time.monotonic() + (WAIT_S if may_wait() else 0.0)
        if writer.drain_here(deadline_s, finish) and ring.close_empty():
            self._past.add(ring, writer)
            ring.dispose()

    def _rescue(self, ring: Ring, body: bytes, exc: Exception) -> None:
        """Keep what went wrong away from the caller, and the event where that is possible."""
        try:
            if isinstance(exc, ValueError) and ring.is_closed:
                if not ring.is_abandoned:  # otherwise the parent has it
                    self._attend(ring, CLOSED, body)
                return
            self._past.count("error")
            contain("write.publish", exc)
        except Exception:
            if is_strict():
                raise

    # ------------------------------------------------------------------ the ring

    @property
    def ring(self) -> Ring | None:
        """The ring, for ``kind``, ``kind_reason`` and ``file``; None before the first event."""
        return None if self._ring is _NO_RING else self._ring

    def _open_ring(self, body: bytes) -> Ring | None:
        """Give the ring, making one when needed; None where *body* has been taken care of."""
        if sys.is_finalizing():
            self._past.count("late")
            return None
        if self._making._is_owned():  # type: ignore[attr-defined]
            self._waiting.append(Waiting(body))  # the ring that this thread is making will begin with it
            return None
        with self._making:
            if self._ring.is_closed and not self._make_ring():
                return None
            return self._ring

    def _make_ring(self) -> bool:
        """Make ring and writer; False in a child that was forked meanwhile."""
        settings, past, making = self._settings, self._past, self._making
        process = past.process = past.process or self._describe()
        limits = {"max_payload_bytes": settings.max_payload_bytes, "max_blob_bytes": settings.max_blob_bytes}
        info = RingInfo(self._database, process, self._rules.to_data(), limits)
        ring = Ring.create(
            info,
            _LATE_RING_BYTES if self._is_late else settings.ring_bytes,
            settings.ring,
            first=past.end,
            dropped=past.dropped,
            waiting=self._waiting,
        )
        ring.see(clock.now_ns())
        if self._is_late:
            ring.mark_clean()
        writer = Writer(
            ring,
            lambda: self._build_drain(ring),
            flush_interval_s=settings.flush_interval_s,
            sync_interval_s=settings.sync_interval_s,
            is_threaded=not self._is_late,
        )
        if self._making is making:  # no call stands between here and the two stores
            self._writer, self._ring = writer, ring
        else:
            ring.abandon()
            return False
        self._finish_with_multiprocessing()
        return True

    def _build_drain(self, ring: Ring) -> tuple[EventSink, Drain]:
        from agenttrace.store.batch import EventSink  # late: brings peewee and sqlite3 with it
        from agenttrace.write.drain import Drain
        from agenttrace.write.pipeline import Pipeline

        sink = self._build_sink() if self._build_sink else EventSink(self._database)
        limits = self._settings
        pipeline = Pipeline(self._rules, limits.max_payload_bytes, limits.max_blob_bytes)
        return sink, Drain(ring, sink, pipeline, ring.info.process)

    def _finish_with_multiprocessing(self) -> None:
        """Have a child of multiprocessing shut down in order: it runs no atexit handlers."""
        process = sys.modules.get("multiprocessing.process")
        util = sys.modules.get("multiprocessing.util")
        if process is not None and util is not None and process.parent_process() is not None:
            util.Finalize(None, self.at_exit, exitpriority=-100)

    # ------------------------------------------------------------------ flush and the end

    def flush(self, timeout_s: float | None = None) -> FlushResult:
        """
        Wait until everything published before is in the database, or counted.

        Args:
            timeout_s: None waits as long as a lock on the database lasts.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        writer = self._writer
        if writer is not _NO_WRITER:
            writer.flush(deadline_s)
        return self._result()

    def shutdown(self, timeout_s: float = 5.0, exit: str = "ok") -> FlushResult:
        """
        Store what is left, close what is open, and end this process's record.

        What cannot be stored in time stays in the ring, for the next process to recover.

        Args:
            timeout_s: How long to wait for a lock on the database.
            exit: Stands in ``processes.exit``.
        """
        deadline_s = time.monotonic() + timeout_s
        self._is_late = True
        ring, writer = self._ring, self._writer
        if ring.is_closed:
            return self._result()
        ring.mark_clean()
        has_stopped = writer.stop(deadline_s)
        ring.close()

        def finish(last_ts_ns: int) -> Finish:
            from agenttrace.store.batch import Finish  # late: as in _build_drain

            return Finish(ring.process_id, max(last_ts_ns, clock.now_ns()), exit=exit)

        is_stored = has_stopped and writer.drain_here(deadline_s, finish, recover=True)
        self._past.add(ring, writer)
        if is_stored:
            ring.dispose()
        return self._result()

    def at_exit(self) -> None:
        """As ``shutdown``; nothing may be raised here."""
        try:
            self.shutdown()
        except Exception as exc:
            contain("write.at_exit", exc)

    # ------------------------------------------------------------------ fork

    def before_fork(self) -> None:
        """Have the writer end, so that nothing of ours is inside SQLite while the process forks."""
        if self._writer is not _NO_WRITER:
            self._writer.before_fork()

    def after_in_parent(self) -> None:
        """Let the writer start again."""
        if self._writer is not _NO_WRITER:
            self._writer.after_fork()

    def after_in_child(self) -> None:
        """Begin anew: what was inherited is the parent's."""
        ring = self._ring
        _inherited.append((ring, self._writer, self._making))
        self._reset()
        ring_files.forget_own()
        if ring is not _NO_RING:
            ring.abandon()

    # ------------------------------------------------------------------ counts

    def counters(self) -> dict[str, Any]:
        """
        Tell how recording goes, for ``doctor``.

        Returns:
            ``written, pending`` (counts), ``dropped, failed`` (counts by reason), ``ring`` (its kind, or
            None), ``ring_reason``, ``ring_path``, ``stopped`` (why nothing is stored any more, or "").
        """
        ring = self.ring
        written, pending, _ = self._result()
        return {
            "written": written,
            "pending": pending,
            "dropped": self._dropped(),
            "failed": self._writer.failed if ring else {},
            "ring": ring and ring.kind,
            "ring_reason": ring.kind_reason if ring else "",
            "ring_path": ring.file.path if ring and ring.file else None,
            "stopped": self._writer.stopped if ring else "",
        }

    def _result(self) -> FlushResult:
        ring, past = self._ring, self._past
        written, pending, failed = past.written, past.pending, past.failed
        if not ring.is_closed:
            written += self._writer.written_count
            pending += count_frames(ring)
            failed += sum(self._writer.failed.values())
        return FlushResult(written, pending, sum(self._dropped().values()) + failed)

    def _dropped(self) -> dict[str, int]:
        dropped = self._past.dropped if self._ring.is_closed else self._ring.dropped()
        return {**dropped, **self._past.lost}


class _Past:
    """What outlasts a ring: this process, and what its former rings came to."""

    def __init__(self) -> None:
        self.process: ProcessInfo | None = None
        self.end = 0
        """Where the stream of its last ring ended."""
        self.dropped: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        """Events that no ring could take, by reason."""
        self.written = 0
        self.pending = 0
        self.failed = 0

    def count(self, reason: str) -> None:
        """Count an event without a ring; also under ``errors.LOSSES``, for ``doctor``."""
        self.lost[reason] = self.lost.get(reason, 0) + 1
        count_loss(f"write.{reason}")

    def add(self, ring: Ring, writer: Writer) -> None:
        """Take over from a ring that is closed."""
        self.end = ring.head
        self.dropped = ring.dropped()
        self.written += writer.written_count
        self.pending += count_frames(ring)
        self.failed += sum(writer.failed.values())


def count_frames(ring: Ring) -> int:
    """Count the events in a ring that are not stored."""
    tail = ring.tail
    return sum(1 for _ in iter_frames(ring.read(tail, ring.head), tail)) + ring.waiting_count()
