"""
Threads that the rest of the process cannot stumble over, and pauses between tries.

Invariant: the thread is born with every signal blocked, so it never takes one that
the program waits for (``sigwait``); it stands in no registry of ``threading``, so
nothing waits for it at exit; and it is not started where the interpreter would hang
or raise.
"""

from __future__ import annotations

import os
import signal
import sys
from _thread import start_new_thread
from collections.abc import Callable

__all__ = ["Pause", "has_ended", "start_masked"]


def start_masked(function: Callable[[], object]) -> bool:
    """
    Run *function* in a thread of its own.

    Returns:
        False where no thread can be had: at the interpreter's end, or at a limit of the system.
    """
    if sys.is_finalizing():
        return False
    if not hasattr(signal, "pthread_sigmask"):
        return _start(function)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        return _start(function)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(function: Callable[[], object]) -> bool:
    try:
        start_new_thread(function, ())
    except RuntimeError:
        return False
    return True


def has_ended(native_id: int) -> bool:
    """Tell whether the system has no such thread in this process any more; True where it does not say."""
    return not os.path.exists(f"/proc/self/task/{native_id}")


class Pause:
    """
    A pause that doubles from one try to the next.

    Args:
        shortest_s: The first.
        longest_s: No one is longer.
    """

    def __init__(self, shortest_s: float, longest_s: float) -> None:
        self._shortest_s = shortest_s
        self._longest_s = longest_s
        self._last_s = 0.0

    def longer(self) -> float:
        """Give the next pause, in seconds."""
        self._last_s = min(max(self._last_s * 2, self._shortest_s), self._longest_s)
        return self._last_s

    def reset(self) -> None:
        """Begin with the shortest again."""
        self._last_s = 0.0
