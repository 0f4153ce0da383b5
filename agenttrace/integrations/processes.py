"""
Child processes take the scope of the code that starts them, at that call.

Covers ``multiprocessing`` with fork, spawn and forkserver, pools of processes, and
``subprocess``. A forked child inherits everything by itself; one that starts anew is told
settings and scope with its ``Process`` object, or by its environment. Invariants: the
environment of this process never changes, and a child without agenttrace works as ever.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from agenttrace.capture.context import CURRENT, SWITCH
from agenttrace.capture.propagation import HERITAGE, pack_scope
from agenttrace.integrations import process_pools, subprocesses
from agenttrace.integrations.patching import Library, Patch

__all__ = ["install", "uninstall"]

_KEY = "agenttrace"
_ADOPT = """
try:
    from agenttrace.runtime import adopt
except Exception:
    pass
else:
    adopt(environment, scope)
"""


class _Handoff:
    """
    What a child that starts anew is told; made as its ``Process`` is pickled, so at the call.

    It is pickled as a few lines of Python, because a name of ours would keep a child that
    cannot import agenttrace from starting.
    """

    is_wanted = False

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        environment = HERITAGE.settings() if self.is_wanted else {}
        if not environment:
            return dict, ()
        return exec, (_ADOPT, {"environment": environment, "scope": pack_scope(CURRENT.get())})


_handoff = _Handoff()


def _build_start(start: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(start)
    def start_with_scope(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH:
            return start(self, *args, **kwargs)
        # In front of everything of the user's in the pickle.
        self._config[_KEY] = _handoff
        try:
            return start(self, *args, **kwargs)
        finally:
            self._config.pop(_KEY, None)

    return start_with_scope


def _build_process_patches(process: ModuleType) -> list[Patch]:
    return [Patch(process.BaseProcess, "start", _build_start)]


_library = Library(
    "processes",
    {
        "subprocess": subprocesses.build_patches,
        "multiprocessing.process": _build_process_patches,
        "multiprocessing.pool": process_pools.build_pool_patches,
        "concurrent.futures.process": process_pools.build_executor_patches,
    },
)


def install() -> None:
    """Let child processes carry the scope."""
    _handoff.is_wanted = True
    _library.install()


def uninstall() -> None:
    """Put ``subprocess``, ``multiprocessing`` and ``concurrent.futures`` back as they were."""
    _handoff.is_wanted = False
    _library.uninstall()
