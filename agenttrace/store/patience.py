"""
Try again while another process writes: what a caller that may wait does with ``StoreBusy``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from agenttrace.errors import StoreBusy

__all__ = ["patiently"]

Result = TypeVar("Result")

_WAIT_S = 10.0
_POLL_S = 0.02


def patiently(work: Callable[[], Result]) -> Result:
    """
    Do *work*, again and again while another process holds the lock.

    Raises:
        StoreBusy: It held the lock for 10 s.
    """
    deadline_s = time.monotonic() + _WAIT_S
    while True:
        try:
            return work()
        except StoreBusy:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_POLL_S)
