"""
Write within a second what was caught, where the operation itself does not come to it.

A scope may stand for hours without an event, and its process may be killed. Invariants: the
thread is started by who is handed in, so it takes no signal and holds up no exit; it ends
when nothing waits; and before the process forks it is gone, so that it is never amid the ring
then, and Python finds no thread of ours to warn of. A process that ends earlier, also a child
of multiprocessing, writes it as it ends.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from _thread import allocate_lock, get_ident, get_native_id
from collections.abc import Callable

from agenttrace.capture.settling import settle_all, settle_older
from agenttrace.capture.waiting import forget_all, is_any_waiting
from agenttrace.errors import contained

__all__ = ["LateWriter"]

_STEP_S = 0.25
_AGE_NS = 500_000_000
_IDLE_STEPS = 20
_FORK_WAIT_S = 2.0
_EXIT_WAIT_S = 0.25


def _has_ended(native_id: int) -> bool:
    """Believe that the thread is gone, where nobody says how to know."""
    return True


class LateWriter:
    """
    A thread that lives while something waits.

    Args:
        start_thread: Runs a function in a thread; False where none can be had.
        has_ended: Tells whether the system has no thread of that number any more.
        finish: Writes what waits, as the process ends.
    """

    def __init__(
        self,
        start_thread: Callable[[Callable[[], object]], bool],
        has_ended: Callable[[int], bool] = _has_ended,
        finish: Callable[[], object] = settle_all,
    ) -> None:
        self._start_thread = start_thread
        self.has_ended = has_ended
        self.finish = finish

    def expect(self) -> None:
        """Say that something waits."""
        if not _life.is_running and not _life.forkers:
            _life.is_running = _life.is_starting = True  # a lost race starts a second one: no harm
            _life.writer = self
            _life.prepare_end()
            if not self._start_thread(_run):
                _life.is_running = _life.is_starting = False


class _Life:
    """The thread's life in this process."""

    def __init__(self) -> None:
        self.is_running = False
        self.is_starting = False
        self.writer: LateWriter | None = None
        """Who started it last."""
        self.native_ids: set[int] = set()
        """Our threads since the last fork, as the system numbers them."""
        self.writing = allocate_lock()  # protects a fork from a thread amid a write
        self.call = allocate_lock()  # held but when the thread is called out of its pause
        self.call.acquire()
        self.forkers: set[int] = set()
        """Threads that are forking now."""
        self.holder = 0
        """That of them that holds ``writing``."""
        self.is_end_prepared = False

    def prepare_end(self) -> None:
        """Have what waits written as the process ends; a child of multiprocessing has no atexit."""
        if self.is_end_prepared:
            return
        self.is_end_prepared = True
        process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
        if process is not None and util is not None and process.parent_process() is not None:
            util.Finalize(None, _at_end, exitpriority=-98)  # before what closes the record
        else:
            atexit.register(_at_end)


_life = _Life()


def _run() -> None:
    life = _life
    life.native_ids.add(get_native_id())
    life.is_starting = False
    idle = 0
    while not life.forkers and life is _life:
        life.call.acquire(timeout=_STEP_S)
        if life.forkers or life is not _life:
            break
        if is_any_waiting():
            idle = 0
            life.is_running = True
            _write(life)
        elif not life.is_running:
            return  # nothing has come since it said that it leaves
        else:
            idle += 1
            life.is_running = idle < _IDLE_STEPS
    life.is_running = False


def _write(life: _Life) -> None:
    if not life.writing.acquire(blocking=False):
        return  # the process is about to fork, and waits for this thread to end
    try:
        with contained("capture.caught_late"):
            settle_older(_AGE_NS)
    finally:
        life.writing.release()


def _at_end() -> None:
    if _life.writer is not None and is_any_waiting():
        with contained("capture.caught_at_end"):
            _life.writer.finish()


def _before_fork() -> None:
    life = _life
    life.forkers.add(get_ident())
    if life.writing.acquire(timeout=_FORK_WAIT_S):
        life.holder = get_ident()
    with contained("capture.caught_before_fork"):
        settle_all()  # so that no thread need begin after the fork, which Python would warn of
    if life.native_ids or life.is_starting:
        _see_off(life)


def _see_off(life: _Life) -> None:
    """Wait until the system knows of no thread of ours."""
    has_ended = _has_ended if life.writer is None else life.writer.has_ended
    deadline_s = time.monotonic() + _EXIT_WAIT_S
    while life.is_starting or not all(map(has_ended, tuple(life.native_ids))):
        if life.call.locked():
            life.call.release()
        if time.monotonic() > deadline_s:
            break
        time.sleep(0.0001)
    life.call.acquire(blocking=False)
    life.native_ids.clear()


def _after_fork_in_parent() -> None:
    life = _life
    life.forkers.discard(get_ident())
    if life.holder == get_ident():
        life.holder = 0
        life.writing.release()


def _after_fork_in_child() -> None:
    global _life
    _life = _Life()
    forget_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
