"""
Write within a second what was caught, where the operation itself does not come to it.

A scope may stand for hours without an event, and its process may be killed. Invariants: the
thread is started by who is handed in, so it takes no signal and holds up no exit; it ends
when nothing waits; and while the process forks it stands still, outside the ring.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock, get_ident
from collections.abc import Callable

from agenttrace.capture.settling import settle_older
from agenttrace.capture.waiting import forget_all, is_any_waiting
from agenttrace.errors import contained

__all__ = ["LateWriter"]

_STEP_S = 0.25
_AGE_NS = 500_000_000
_IDLE_STEPS = 20
_FORK_WAIT_S = 2.0


class LateWriter:
    """
    A thread that lives while something waits.

    Args:
        start_thread: Runs a function in a thread; False where none can be had.
    """

    def __init__(self, start_thread: Callable[[Callable[[], object]], bool]) -> None:
        self._start_thread = start_thread

    def expect(self) -> None:
        """Say that something waits."""
        if not _life.is_running:
            _life.is_running = True  # a lost race starts a second one, which does no harm
            if not self._start_thread(_run):
                _life.is_running = False


class _Life:
    """The thread's life in this process."""

    def __init__(self) -> None:
        self.is_running = False
        self.lock = allocate_lock()  # protects a fork from a thread amid a write
        self.forker = 0
        """The thread that holds the lock because it is forking."""
        self.forks = 0


_life = _Life()


def _run() -> None:
    forks = _life.forks
    idle = 0
    while _life.forks == forks:
        time.sleep(_STEP_S)
        if is_any_waiting():
            idle = 0
            _life.is_running = True
            with _life.lock, contained("capture.caught_late"):
                settle_older(_AGE_NS)
        elif not _life.is_running:
            return  # nothing has come since it said that it leaves
        else:
            idle += 1
            _life.is_running = idle < _IDLE_STEPS


def _before_fork() -> None:
    if _life.lock.acquire(timeout=_FORK_WAIT_S):
        _life.forker = get_ident()


def _after_fork_in_parent() -> None:
    if _life.forker == get_ident():
        _life.forker = 0
        _life.lock.release()


def _after_fork_in_child() -> None:
    _life.lock = allocate_lock()
    _life.is_running = False
    _life.forker = 0
    _life.forks += 1
    forget_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
