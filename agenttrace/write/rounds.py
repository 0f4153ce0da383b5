"""
What the writer's thread does from its start to its end: wait, store, keep house, answer who waits.

Invariant: every wait ends at once when the thread is asked to end. While events come it stores them
every ``flush_interval_s``, and where they come by the dozen in longer strides of 0.25 s; while none
come it rests.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from agenttrace import clock
from agenttrace.errors import StoreBusy
from agenttrace.write.housekeeping import Housekeeping
from agenttrace.write.ring import Ring
from agenttrace.write.threads import Pause
from agenttrace.write.turn import Turn

if TYPE_CHECKING:
    from agenttrace.store.batch import EventSink
    from agenttrace.write.drain import Drain

__all__ = ["Request", "Rounds"]

_REST_S = 5.0
_DENSE_COUNT = 50
_DENSE_S = 0.25
"""How long events wait for company after so many had to be stored: a batch costs 1 ms whatever is in it."""


class Request:
    """Somebody waits for the next pass."""

    __slots__ = ("is_done",)

    def __init__(self) -> None:
        self.is_done = False


class Rounds:
    """
    The rounds of one ring's thread.

    Args:
        ring: Of this process.
        turn: Of this ring; the thread holds it.
        is_over: Tells whether the thread is asked to end.
        flush_interval_s: How long events may wait for company; where many come 5 times that, at most 0.25 s.
        sync_interval_s: How often the database's log is put on the disk; None leaves it to the system.
    """

    def __init__(
        self,
        ring: Ring,
        turn: Turn,
        is_over: Callable[[], bool],
        *,
        flush_interval_s: float,
        sync_interval_s: float | None,
    ) -> None:
        self._ring = ring
        self._turn = turn
        self._is_over = is_over
        self._flush_interval_s = max(flush_interval_s, 0.001)
        self._rest_s = min(_REST_S, sync_interval_s or _REST_S)
        self._is_dense = False
        self._housekeeping = Housekeeping(ring, sync_interval_s)
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._requests: deque[Request] = deque()
        self._failed_pause = Pause(0.1, 5.0)
        self.busy_pause = Pause(0.01, 0.25)
        """How long the next wait for a lock of the database is."""

    # ------------------------------------------------------------------ from any thread

    def call(self) -> None:
        """Tell the thread that there is something to do."""
        self._calls.put(None)

    def ask(self) -> Request:
        """Ask for a round that stores all there is now."""
        request = Request()
        self._requests.append(request)
        return request

    def keep_house(self, sink: EventSink, drain: Drain) -> None:
        """Look for dead rings now, in the calling thread, which holds the turn."""
        self._housekeeping.run(sink, drain, lambda: False, now=True)

    # ------------------------------------------------------------------ the thread

    def work(self) -> None:
        """Go round until it is over."""
        ring = self._ring
        ring.expect_writer(resting=False)
        self._take_calls()
        store_at_s = time.monotonic() + self._flush_interval_s
        is_resting = False
        while not self._is_over():
            if not self._is_asked():
                due_s = self._rest_s if is_resting else store_at_s - time.monotonic()
                self._wait(min(self._rest_s, due_s))
                if is_resting and not self._is_asked() and not ring.rest():
                    is_resting = False  # an event has come: let others join it
                    store_at_s = time.monotonic() + self._flush_interval_s
                    continue
            is_due = self._is_asked() or (not is_resting and time.monotonic() >= store_at_s)
            pause_s = self._pass(is_due)
            if pause_s:
                self._wait(pause_s)
            if is_due:
                is_resting = not pause_s and not self._is_dense and ring.rest()
                store_at_s = 0.0 if pause_s else time.monotonic() + self._stride_s()

    def _stride_s(self) -> float:
        """Tell how long the events after this batch wait for company."""
        if not self._is_dense:
            return self._flush_interval_s
        return max(self._flush_interval_s, min(5 * self._flush_interval_s, _DENSE_S))

    def _is_asked(self) -> bool:
        return bool(self._requests) or self._ring.is_half_full()

    def _wait(self, timeout_s: float) -> None:
        """Wait for a call; several count as one."""
        if self._is_over() or timeout_s <= 0:
            return
        try:
            self._calls.get(timeout=timeout_s)
        except queue.Empty:
            return
        self._take_calls()

    def _take_calls(self) -> None:
        try:
            while True:
                self._calls.get_nowait()
        except queue.Empty:
            return

    def _pass(self, is_due: bool) -> float:
        """Store what there is, keep house, answer who waits; gives the pause before the next try."""
        requests = tuple(self._requests)
        try:
            sink, drain = self._turn.open()
            if is_due:
                self._store_all(drain)
            self._ring.see(clock.now_ns())
            self._housekeeping.run(sink, drain, self._is_over, now=bool(requests))
        except StoreBusy:
            return self.busy_pause.longer()  # who waits goes on waiting
        except Exception as exc:
            self._answer(requests)  # first: saying it may take a lock that who waits is holding
            self._turn.take_note(exc)
            self._turn.close()
            return self._failed_pause.longer()
        self.busy_pause.reset()
        self._failed_pause.reset()
        if not self._is_over():
            self._answer(requests)
        return 0.0

    def _store_all(self, drain: Drain) -> None:
        """Store what is in the ring, in transactions as long as what waits; leaves when asked to end."""
        self._ring.absorb_if_free()
        before_count = drain.written_count
        while drain.step() and not self._is_over():
            pass
        self._is_dense = drain.written_count - before_count >= _DENSE_COUNT

    def _answer(self, requests: tuple[Request, ...]) -> None:
        for request in requests:
            request.is_done = True
            self._requests.remove(request)
