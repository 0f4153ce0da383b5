"""
The caller's side of recording: from the program's thread into the ring.

Invariants: ``publish`` never raises an Exception; and before it returns, the event is
in the ring, or is counted as dropped, or waits for the call that this one interrupted.
What waits, waits briefly and only where waiting does no harm (``backpressure``).
"""

from __future__ import annotations

import sys
import time
from _thread import RLock, get_ident
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from agenttrace import clock
from agenttrace.errors import contain, is_strict
from agenttrace.write.backpressure import WAIT_S, is_finalising, may_wait
from agenttrace.write.past import Past
from agenttrace.write.ring import CLOSED, FULL, NUDGE, OVERSIZE, Ring
from agenttrace.write.ring_base import Waiting
from agenttrace.write.threads import Pause
from agenttrace.write.turn import Turn
from agenttrace.write.writer import Writer

if TYPE_CHECKING:
    from agenttrace.store.batch import Finish

__all__ = ["Publisher", "RecorderSettings"]

_WAIT_STEP_S = 0.001


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


_NO_RING: Any = _NoRing()
_NO_TURN: Any = Turn(lambda: (_NO_RING, _NO_RING))


class Publisher:
    """Put events into the ring that ``_make_ring`` makes."""

    def __init__(self, settings: RecorderSettings) -> None:
        self._settings = settings
        self._reset()

    def _reset(self) -> None:
        self._ring: Ring = _NO_RING
        self._writer: Writer | None = None
        self._turn: Turn = _NO_TURN
        self._making = RLock()  # protects the making of these three
        self._waiting: deque[Waiting] = deque()
        self._has_failed = False
        """The last try to make a ring failed."""
        self._make_after_s = 0.0
        self._make_pause = Pause(0.05, 1.0)
        self._is_ending = False
        """A ring is being emptied for good."""
        self._past = Past()

    def publish(self, body: bytes) -> bool:
        """
        Record one event.

        Args:
            body: As ``encode.codec`` builds it. The caller goes on once it is in the ring.

        Returns:
            False where the event is dropped, and counted.
        """
        ring = self._ring
        try:
            if get_ident() == self._turn.ident and not is_finalising():
                ring.count_drop("writer_thread")
                return False
            outcome = ring.put(body)
            return not outcome or self._attend(ring, outcome, body)
        except Exception as exc:
            return self._rescue(ring, body, exc)

    def _attend(self, ring: Ring, outcome: int, body: bytes) -> bool:
        """Do what an event needs beside its place in the ring; False where it is dropped."""
        making = self._making
        try:
            return self._attend_unforked(making, ring, outcome, body)
        except ValueError:
            if self._making is making:
                raise  # otherwise forked meanwhile, amid the parent's ring; the parent has the event
            return True

    def _attend_unforked(self, making: Any, ring: Ring, outcome: int, body: bytes) -> bool:
        while outcome > NUDGE:
            if self._making is not making:
                return True  # forked meanwhile; the parent has it
            if outcome == CLOSED:
                found = self._open_ring(body)
                if isinstance(found, bool):
                    return found
                ring = found
                outcome = ring.put(body)
                continue
            put, reason = ring.put, "full"
            if outcome == OVERSIZE:
                put, reason = ring.put_outside, "side_file"
                outcome = put(body)
            if outcome == FULL:
                outcome = self._wait_for_room(ring, put, body)
                if outcome == FULL:
                    ring.begin_shortage(clock.now_ns())
                    ring.count_drop(reason)
                    return False
        if self._writer is not None:
            self._have_it_stored(ring, self._writer, outcome)
        return True

    def _have_it_stored(self, ring: Ring, writer: Writer, outcome: int) -> None:
        try:
            if not writer.is_threaded:
                ring.expect_writer(resting=True)
                self._store_late(ring, writer)
            elif outcome == NUDGE:
                writer.call()
        except Exception as exc:
            contain("write.call", exc)  # the event is in the ring: it is neither lost nor to be put again

    def _wait_for_room(self, ring: Ring, put: Callable[[bytes], int], body: bytes) -> int:
        """Try again until there is room, for as long as this place in the program may wait."""
        now_s = time.monotonic()
        until_s = ring.pressed_until_s
        if until_s is None:
            until_s = ring.pressed_until_s = now_s + WAIT_S
            if self._writer is not None:
                self._writer.call()
        if self._settings.on_full == "drop" or now_s >= until_s or not may_wait():
            return FULL
        making = self._making
        outcome = FULL
        while outcome == FULL and self._making is making and time.monotonic() < until_s:
            time.sleep(_WAIT_STEP_S)
            outcome = put(body)
        return outcome

    def _store_late(self, ring: Ring, writer: Writer) -> None:
        """Store what came after the shutdown, and end its ring at once: nobody will come after us."""
        if self._is_ending or sys.is_finalizing():
            return  # what came earlier is stored first; then whoever ends the ring looks here

        def finish(last_ts_ns: int) -> Finish:
            from agenttrace.store.batch import Finish  # late: as in _build_drain

            return Finish(ring.process_id, last_ts_ns, close_open=False, exit="ok")

        deadline_s = time.monotonic() + (WAIT_S if may_wait() else 0.0)
        if writer.drain_here(deadline_s, finish) and ring.close_empty():
            self._past.add(ring, writer.turn)
            ring.dispose()

    def _rescue(self, ring: Ring, body: bytes, exc: Exception) -> bool:
        """Keep what went wrong away from the caller, and the event where that is possible."""
        try:
            if isinstance(exc, ValueError) and ring.is_closed:
                # Of an abandoned one the parent has it.
                return ring.is_abandoned or self._attend(ring, CLOSED, body)
            self._count_failed(ring)
            contain("write.publish", exc)
        except Exception:
            if is_strict():
                raise
        return False

    def _count_failed(self, ring: Ring) -> None:
        """Count an event in the ring's head, where a crash does not lose the count, or else here."""
        try:
            ring.count_drop("error")
        except Exception:
            self._past.count("error")

    def _open_ring(self, body: bytes) -> Ring | bool:
        """Give the ring, making one when needed; True where *body* is taken care of, False where dropped."""
        if sys.is_finalizing():
            self._past.count("late")
            return False
        if self._making._is_owned():  # type: ignore[attr-defined]
            self._waiting.append(Waiting(body))  # the ring that this thread is making will begin with it
            return True
        with self._making:
            if not self._ring.is_closed:
                return self._ring
            if time.monotonic() < self._make_after_s:
                self._past.count("no_ring")
                return False
            return self._ring if self._try_to_make_ring() else True

    def _try_to_make_ring(self) -> bool:
        """As ``_make_ring``; after a second failure there are pauses, since each try costs milliseconds."""
        try:
            is_made = self._make_ring()
        except Exception:
            if self._has_failed:
                self._make_after_s = time.monotonic() + self._make_pause.longer()
            self._has_failed = True
            raise
        self._has_failed = False
        self._make_pause.reset()
        return is_made

    def _make_ring(self) -> bool:
        """Make ring, writer and turn; False in a child that was forked meanwhile."""
        raise NotImplementedError
