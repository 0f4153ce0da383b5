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
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agenttrace import clock
from agenttrace.encode.redact import Rules
from agenttrace.errors import contain
from agenttrace.events import ProcessInfo
from agenttrace.write import ring_files
from agenttrace.write.header import RingInfo
from agenttrace.write.past import count_frames
from agenttrace.write.publisher import Publisher, RecorderSettings
from agenttrace.write.ring import Ring
from agenttrace.write.ring_native import choose_ring
from agenttrace.write.turn import Turn
from agenttrace.write.writer import FlushResult, Writer

if TYPE_CHECKING:
    from agenttrace.store.batch import EventSink, Finish
    from agenttrace.write.drain import Drain

__all__ = ["Recorder", "RecorderSettings"]

_LATE_RING_BYTES = 256 * 1024
_inherited: list[Any] = []
"""Rings and writers of parent processes, kept so that nothing ever finalises them here."""


class Recorder(Publisher):
    """
    Record what this process publishes.

    Args:
        settings: Read when a ring is made.
        rules: What is redacted.
        describe: Gives this process; called with the first event, in a forked child again.
        build_sink: Makes the sink; by default ``EventSink`` on the settings' database.
        forget: Called in the writer's thread where the database has lost what it had.
    """

    def __init__(
        self,
        settings: RecorderSettings,
        rules: Rules,
        describe: Callable[[], ProcessInfo],
        build_sink: Callable[[], EventSink] | None = None,
        forget: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(settings)
        self._forget = forget
        self._rules = rules
        self._describe = describe
        self._build_sink = build_sink
        self._database = ring_files.resolve_database(settings.database)
        self._is_late = False

    # ------------------------------------------------------------------ the ring

    @property
    def ring(self) -> Ring | None:
        """The ring, for ``kind``, ``kind_reason`` and ``file``; None before the first event."""
        return None if self._writer is None else self._ring

    def _make_ring(self) -> bool:
        settings, past, making = self._settings, self._past, self._making
        process = past.process = past.process or self._describe()
        limits = {"max_payload_bytes": settings.max_payload_bytes, "max_blob_bytes": settings.max_blob_bytes}
        info = RingInfo(self._database, process, self._rules.to_data(), limits)
        ring = choose_ring().create(
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
        turn = Turn(lambda: self._build_drain(ring))
        writer = Writer(
            ring,
            turn,
            flush_interval_s=settings.flush_interval_s,
            sync_interval_s=settings.sync_interval_s,
            is_threaded=not self._is_late,
        )
        if self._making is not making:
            ring.abandon()
            return False
        # No call stands between the question and the answer, so no fork either.
        self._writer, self._turn, self._ring = writer, turn, ring
        self._finish_with_multiprocessing()
        return True

    def _build_drain(self, ring: Ring) -> tuple[EventSink, Drain]:
        from agenttrace.store.batch import EventSink  # late: brings peewee and sqlite3 with it
        from agenttrace.write.drain import Drain
        from agenttrace.write.pipeline import Pipeline

        sink = self._build_sink() if self._build_sink else EventSink(self._database)
        limits = self._settings
        pipeline = Pipeline(self._rules, limits.max_payload_bytes, limits.max_blob_bytes)
        return sink, Drain(ring, sink, pipeline, ring.info.process, self._forget)

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
        if self._writer is not None:
            self._writer.flush(None if timeout_s is None else time.monotonic() + timeout_s)
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
        if writer is None or ring.is_closed:
            return self._result()
        self._is_ending = True
        try:
            self._end(ring, writer, deadline_s, exit)
        finally:
            self._is_ending = False
        late_ring, late_writer = self._ring, self._writer
        if late_writer is not None and not late_ring.is_closed:
            self._store_late(late_ring, late_writer)
        return self._result()

    def _end(self, ring: Ring, writer: Writer, deadline_s: float, exit: str) -> None:
        ring.mark_clean()
        has_stopped = writer.stop(deadline_s)
        with self._making:  # another thread may go on recording, in a ring that begins where this one ends
            ring.close()
            self._past.follow(ring)

        def finish(last_ts_ns: int) -> Finish:
            from agenttrace.store.batch import Finish  # late: as in _build_drain

            return Finish(ring.process_id, max(last_ts_ns, clock.now_ns()), exit=exit)

        is_stored = has_stopped and writer.drain_here(deadline_s, finish, recover=True)
        self._past.add(ring, writer.turn)
        if is_stored:
            ring.dispose()

    def at_exit(self) -> None:
        """As ``shutdown``; nothing may be raised here."""
        try:
            self.shutdown()
        except Exception as exc:
            contain("write.at_exit", exc)

    # ------------------------------------------------------------------ fork

    def before_fork(self) -> None:
        """Have the writer end, so that nothing of ours is inside SQLite while the process forks."""
        if self._writer is not None:
            self._writer.before_fork()

    def after_in_parent(self) -> None:
        """Let the writer start again."""
        if self._writer is not None:
            self._writer.after_fork()

    def after_in_child(self) -> None:
        """Begin anew: what was inherited is the parent's."""
        ring, writer = self._ring, self._writer
        _inherited.append((ring, writer, self._making))
        self._reset()
        ring_files.forget_own()
        if writer is not None:
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
            "failed": self._turn.failed,
            "ring": ring and ring.kind,
            "ring_reason": ring.kind_reason if ring else "",
            "ring_path": ring.file.path if ring and ring.file else None,
            "stopped": self._turn.stopped,
        }

    def _result(self) -> FlushResult:
        ring, past, turn = self._ring, self._past, self._turn
        written, pending, failed = past.written, past.pending, past.failed
        if not ring.is_closed:
            written += turn.written_count
            pending += count_frames(ring)
            failed += sum(turn.failed.values())
        return FlushResult(written, pending, sum(self._dropped().values()) + failed)

    def _dropped(self) -> dict[str, int]:
        dropped = dict(self._past.dropped if self._ring.is_closed else self._ring.dropped())
        for reason, count in self._past.lost.items():
            dropped[reason] = dropped.get(reason, 0) + count
        return dropped
