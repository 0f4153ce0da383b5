"""
Threads and thread pools take the scope of the code that starts them.

Covers ``threading.Thread``, ``ThreadPoolExecutor.submit``, through which
``run_in_executor`` and ``asyncio.to_thread`` go, and what is to be called when a future
is done. Invariant: a pool's thread serves many callers, so each piece of work carries
its own caller's scope, also none.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from agenttrace.capture.context import CURRENT, SWITCH
from agenttrace.capture.propagation import run_in_scope
from agenttrace.integrations.patching import Patch

__all__ = ["install", "uninstall"]

_SCOPE = "_agenttrace_scope"


def _build_start(start: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(start)
    def start_with_scope(self: threading.Thread, *args: Any, **kwargs: Any) -> Any:
        if SWITCH:
            scope = CURRENT.get()
            if scope is not None:
                self.__dict__.setdefault(_SCOPE, scope)
        return start(self, *args, **kwargs)

    return start_with_scope


def _build_bootstrap(bootstrap: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(bootstrap)
    def bootstrap_with_scope(self: threading.Thread, *args: Any, **kwargs: Any) -> Any:
        scope = self.__dict__.pop(_SCOPE, None)
        if scope is not None:
            CURRENT.set(scope)  # the thread's own context: it ends with the thread
        return bootstrap(self, *args, **kwargs)

    return bootstrap_with_scope


def _build_submit(submit: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(submit)
    def submit_with_scope(*args: Any, **kwargs: Any) -> Any:
        if not SWITCH or len(args) < 2:
            return submit(*args, **kwargs)
        return submit(args[0], run_in_scope, CURRENT.get(), *args[1:], **kwargs)

    return submit_with_scope


def _build_callback(add: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(add)
    def add_with_scope(*args: Any, **kwargs: Any) -> Any:
        if not SWITCH or len(args) != 2:
            return add(*args, **kwargs)
        return add(args[0], functools.partial(run_in_scope, CURRENT.get(), args[1]), **kwargs)

    return add_with_scope


_patches = [
    Patch(threading.Thread, "start", _build_start),
    Patch(ThreadPoolExecutor, "submit", _build_submit),
    Patch(Future, "add_done_callback", _build_callback),
]
if hasattr(threading.Thread, "_bootstrap_inner"):
    _patches.append(Patch(threading.Thread, "_bootstrap_inner", _build_bootstrap))


def install() -> None:
    """Let threads and thread pools carry the scope."""
    for patch in _patches:
        patch.apply()


def uninstall() -> None:
    """Put ``threading`` and ``concurrent.futures`` back as they were."""
    for patch in _patches:
        patch.undo()
