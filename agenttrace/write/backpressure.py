"""
Where the calling code runs, and so whether it may be made to wait for room in the ring.

Invariant: nothing waits in a running event loop, in a signal handler or in a
finaliser: there, what would make room may be what is being held up. Asked only when
the ring is full, or in the writer's thread; a walk up the stack costs 40 ns a frame.
"""

from __future__ import annotations

import sys
import threading
import weakref
from _thread import get_ident
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

__all__ = ["WAIT_S", "is_finalising", "may_wait"]

WAIT_S = 0.25
"""How long callers wait in all, each time the ring becomes full."""


def may_wait() -> bool:
    """Tell whether the calling code is one that may be made to wait."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return False
    handlers = _signal_handlers()
    return not any(frame.f_code in handlers or _is_finaliser(frame) for frame in _callers())


def is_finalising() -> bool:
    """Tell whether the calling code runs because some object died, whoever's thread this is."""
    return any(_is_finaliser(frame) for frame in _callers())


def _callers() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_finaliser(frame: FrameType) -> bool:
    """Tell a ``__del__``, or a callback of ``weakref.finalize``."""
    code = frame.f_code
    return code.co_name == "__del__" or code is _FINALIZE


def _signal_handlers() -> frozenset[CodeType]:
    """Give the code of every Python signal handler; they run in the main thread only."""
    signal = sys.modules.get("signal")
    if signal is None or get_ident() != threading.main_thread().ident:
        return frozenset()
    found = (_code_of(signal.getsignal(number)) for number in signal.valid_signals())
    return frozenset(code for code in found if code is not None)


def _code_of(function: Any) -> CodeType | None:
    """Find the code that a call of *function* runs, through methods, partials and callable objects."""
    for _ in range(8):
        if function is None or isinstance(function, int):
            return None
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            return code
        function = (
            getattr(function, "__func__", None)
            or getattr(function, "func", None)
            or type(function).__dict__.get("__call__")
        )
    return None


_FINALIZE = _code_of(weakref.finalize.__call__)
