"""
The writer: one background thread that drains this process's ring.

The thread starts with the first event, does its ``rounds``, and ends when it is asked to: at a fork,
so that no thread of ours is then inside SQLite or an import, and at shutdown. Invariant: whoever
drains holds the turn; callers call the thread only out of its rest, or when half of the ring is full.
"""

from __future__ import annotations

import sys
import time
from _thread import get_ident, get_native_id
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from agenttrace.errors import StoreBusy, contain, count_loss
from agenttrace.write.ring import Ring
from agenttrace.write.rounds import Rounds
from agenttrace.write.threads import Pause, has_ended, start_masked
from agenttrace.write.turn import Turn

if TYPE_CHECKING:
    from agenttrace.store.batch import Finish

__all__ = ["FlushResult", "Writer"]

_FORK_WAIT_S = 2.0
_FORK_DRAIN_S = 0.5
_EXIT_WAIT_S = 0.5
_START_AGAIN_S = 1.0
_START_WAIT_S = 2.0
"""Then another is started: without memory a thread may end before any code of ours runs in it."""


class FlushResult(NamedTuple):
    """How things stand after a flush; totals of this process."""

    written: int
    """Events in the database."""
    pending: int
    """Events that wait in the ring."""
    dropped: int
    """Events that were given up, for whatever reason."""


class Writer:
    """
    Drain one ring, in a thread that starts by itself.

    Args:
        ring: Of this process.
        turn: Of this ring.
        flush_interval_s: How long events may wait for company; where many come 5 times that, at most 0.25 s.
        sync_interval_s: How often the database's log is put on the disk; None leaves it to the system.
        is_threaded: False where no thread may be started any more; then somebody calls ``drain_here``.
    """

    def __init__(
        self,
        ring: Ring,
        turn: Turn,
        *,
        flush_interval_s: float = 0.05,
        sync_interval_s: float | None = None,
        is_threaded: bool = True,
    ) -> None:
        self.ring = ring
        self.turn = turn
        self.is_threaded = is_threaded
        self._rounds = Rounds(
            ring,
            turn,
            self._must_end,
            flush_interval_s=flush_interval_s,
            sync_interval_s=sync_interval_s,
        )
        self._forkers: set[int] = set()
        """Threads that are forking now."""
        self._native_ids: set[int] = set()
        """Our threads since the last fork, as the system numbers them."""
        turn.takers = _TAKERS
        self._is_closing = False
        self._starting_until_s = 0.0
        """Until when a thread that was started, and has not come to run yet, is waited for."""
        self._start_after_s = 0.0

    # ------------------------------------------------------------------ from any thread

    def call(self) -> None:
        """Tell the thread that there is something to do; start it when there is none."""
        if self._is_alive():
            self._rounds.call()
        else:
            self._start()

    def ensure(self) -> None:
        """Start the thread when there is none."""
        if not self._is_alive():
            self._start()

    def flush(self, deadline_s: float | None) -> None:
        """
        Wait until all that is in the ring now is stored, and dead rings are recovered.

        Gives up in the thread that drains, when draining has stopped for good, when the database
        cannot be used (a mere lock is waited for), and at *deadline_s* of the monotonic clock.
        """
        if self._is_inside() or self.ring.is_closed:
            return
        self.ring.absorb()
        request = self._rounds.ask()
        self.call()
        poll = Pause(0.0002, 0.005)
        while not (request.is_done or self.turn.stopped or self.ring.is_closed):
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return
            if get_ident() in self._forkers:
                return
            if not self._is_alive() and not self._forkers and not self._start():
                self.drain_here(deadline_s)
                return
            time.sleep(poll.longer())

    def drain_here(
        self,
        deadline_s: float | None,
        finish: Callable[[int], Finish] | None = None,
        *,
        recover: bool = False,
        is_patient: bool = True,
    ) -> bool:
        """
        Drain the ring in the calling thread, when no thread can be had or the end has come.

        Args:
            deadline_s: Until when the thread, and a lock of the database, are waited for.
            finish: Ends the ring's life together with its last batch; see ``Drain.step``.
            recover: Look for dead rings first.
            is_patient: False does not wait for a lock.

        Returns:
            True when everything is stored.
        """
        turn = self.turn
        if sys.is_finalizing() or turn.stopped or self._is_inside():
            return False
        try:
            if not turn.take(-1.0 if deadline_s is None else max(0.0, deadline_s - time.monotonic())):
                return False
            self.ring.absorb()
            while True:
                try:
                    sink, drain = turn.open()
                    if recover:
                        self._rounds.keep_house(sink, drain)
                        recover = False
                    while drain.step(finish):
                        pass
                    return True
                except StoreBusy:
                    pause_s = self._rounds.busy_pause.longer()
                    if not is_patient:
                        return False
                    if deadline_s is not None and time.monotonic() + pause_s > deadline_s:
                        return False
                    time.sleep(pause_s)
        except Exception as exc:
            turn.take_note(exc)
            return False
        finally:
            if turn.is_mine():
                self._leave()

    def stop(self, deadline_s: float) -> bool:
        """End the thread for good; False where it did not end in time."""
        self._is_closing = True
        if self._is_inside():
            return False
        try:
            self._rounds.call()
            return self.turn.take(max(0.0, deadline_s - time.monotonic()))
        finally:
            if self.turn.is_mine():
                self.turn.give()

    def before_fork(self) -> None:
        """Have the thread end, and keep it from starting; called in the thread that forks."""
        self._forkers.add(get_ident())
        self._rounds.call()
        if sys.version_info >= (3, 13) and not self.turn.is_mine() and not self.ring.is_empty():
            # Here Python looks for threads after after_fork, and warns of one: leave it no reason to start.
            self.drain_here(time.monotonic() + _FORK_DRAIN_S, is_patient=False)
        if not self.turn.take(_FORK_WAIT_S):
            count_loss("write.fork_wait")
        elif sys.version_info >= (3, 12):
            self._see_threads_off()

    def after_fork(self) -> None:
        """Let the thread start again, in the parent; at once where events wait."""
        self._forkers.discard(get_ident())
        if self.turn.is_mine():
            self.turn.give()
        self._hand_over()

    # ------------------------------------------------------------------ the thread

    def _is_inside(self) -> bool:
        """Tell whether what called the caller is itself draining, or about to fork, in this thread."""
        turn = self.turn
        return turn.is_mine() and (get_ident() in self._forkers or turn.is_used(sys._getframe(2)))

    def _see_threads_off(self) -> None:
        """Wait until the system knows of no thread of ours: Python warns when a fork happens beside one."""
        deadline_s = time.monotonic() + _EXIT_WAIT_S
        while self._is_starting() or not all(map(has_ended, tuple(self._native_ids))):
            if time.monotonic() > deadline_s:
                break
            time.sleep(0.0001)
        self._native_ids.clear()

    def _is_alive(self) -> bool:
        return bool(self.turn.ident or self._is_starting())

    def _is_starting(self) -> bool:
        return self._starting_until_s > 0.0 and time.monotonic() < self._starting_until_s

    def _must_end(self) -> bool:
        return bool(self._forkers or self._is_closing or self.turn.stopped)

    def _start(self) -> bool:
        self._is_inside()  # gives back what an interrupt left: the thread could not have the turn
        if not self.is_threaded or self._must_end() or time.monotonic() < self._start_after_s:
            self.ring.expect_writer(resting=True)  # so that a later event asks again
            return False
        is_started = False
        try:
            self._starting_until_s = time.monotonic() + _START_WAIT_S
            is_started = start_masked(self._run)
        finally:
            if not is_started:
                self._starting_until_s = 0.0
                self._start_after_s = time.monotonic() + _START_AGAIN_S
                self.ring.expect_writer(resting=True)
        return is_started

    def _run(self) -> None:
        try:
            self._native_ids.add(get_native_id())
            if not self.turn.take(0.0):  # another drains, and looks once more when it is done
                self._starting_until_s = 0.0
                return
            if self._is_closing:  # it was started, and comes to run after the end: the ring may be gone
                self._starting_until_s = 0.0
                self.turn.give()
                return
            self._work_in_turn()
        except Exception:
            count_loss("write.writer")  # no memory to begin or to end with: the next event tries again

    def _work_in_turn(self) -> None:
        try:
            self.turn.begin()
            self._starting_until_s = 0.0
            self._rounds.work()
        except Exception as exc:
            self._start_after_s = time.monotonic() + _START_AGAIN_S
            contain("write.writer", exc)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Give the turn away, and start the next thread where something came meanwhile."""
        try:
            self.turn.end()
            self.ring.expect_writer(resting=True)
        finally:
            self.turn.ident = 0  # also where there is no memory for a call
            self.turn.give()
        self._hand_over()

    def _hand_over(self) -> None:
        is_wanted = self.is_threaded and not self._must_end() and not self._is_alive()
        if is_wanted and not self.ring.is_empty():
            self._start()


_TAKERS = frozenset(
    function.__code__ for function in (Writer.before_fork, Writer.drain_here, Writer.stop, Writer._run)
)
