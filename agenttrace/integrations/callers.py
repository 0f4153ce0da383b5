"""
Which line of the program a framework's failure goes back to.

What a framework raises of its own accord has none of the program's lines in its traceback, because
it is recorded before it comes up there. Invariant: only the place is kept, no frame. Cost: one walk
up the stack a run.
"""

from __future__ import annotations

from agenttrace.capture.context import CURRENT
from agenttrace.integrations.sdk_exchange import find_caller

__all__ = ["lend_caller", "mark_caller"]

_KEY = "called_from"
_DEPTH_LIMIT_COUNT = 32


def mark_caller() -> None:
    """Keep for the operation that begins here which line of the program called for it."""
    operation, place = CURRENT.get(), find_caller()
    if operation is not None and place is not None:
        operation.__dict__[_KEY] = place


def lend_caller() -> None:
    """Give the operation that begins here the line of the nearest one around it that has one."""
    operation = CURRENT.get()
    around = operation
    for _ in range(_DEPTH_LIMIT_COUNT):
        if operation is None or around is None:
            return
        place = around.__dict__.get(_KEY)
        if place is not None:
            operation.__dict__[_KEY] = place
            return
        around = around.parent
