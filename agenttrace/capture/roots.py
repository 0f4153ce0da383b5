"""
The agent ``main`` that calls outside any scope belong to: how it ends with its process.

Invariant: it is ended once, by the process that began it, and with the exception that
ended the program where one did.
"""

from __future__ import annotations

import sys

from agenttrace.capture.agents import close_agent
from agenttrace.capture.context import CURRENT, PIPE, Operation, implicit_roots
from agenttrace.errors import contained

__all__ = ["close_implicit_root", "close_root_with_multiprocessing", "fatal_exception", "forget_caught"]


def close_implicit_root(origin: Operation | None) -> None:
    """
    End the agent ``main`` of this process; with the exception that ends the process, if one does.

    Args:
        origin: The operation of another process that this one stands in; it is not ours to end.
    """
    root = implicit_roots.pop(PIPE.epoch, None)
    if root is None or root is origin:
        return
    with contained("runtime.close_root"):
        close_agent(root, b"null", fatal_exception())


def close_root_with_multiprocessing(origin: Operation | None) -> None:
    """Have a child of multiprocessing end its agent ``main``: it runs no atexit handlers."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        # Before the recorder's own, which has -100.
        util.Finalize(None, close_implicit_root, args=(origin,), exitpriority=-99)


def fatal_exception() -> BaseException | None:
    """Give the exception that ended the program, where the interpreter has just printed one."""
    exc = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return exc if isinstance(exc, BaseException) else None


def forget_caught() -> None:
    """Leave to the parent process, after a fork, what it caught and has not written yet."""
    operation = CURRENT.get()
    while operation is not None:
        operation.caught = None
        operation = operation.parent
