"""
Start a thread that the rest of the process cannot stumble over.

Invariant: the thread is born with every signal blocked, so it never takes one that
the program waits for (``sigwait``); it stands in no registry of ``threading``, so
nothing waits for it at exit; and it is not started where the interpreter would hang
or raise.
"""

from __future__ import annotations

import signal
import sys
from _thread import start_new_thread
from collections.abc import Callable

__all__ = ["start_masked"]


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
