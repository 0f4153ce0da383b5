"""
Exceptions that nobody awaits: what Python only prints, recorded where it happened.

Covers ``sys.excepthook``, ``threading.excepthook``, ``sys.unraisablehook``, what event loops hand
to ``call_exception_handler``, such as "Task exception was never retrieved", and what ends a child
of multiprocessing, which calls no hook. Invariant: each
hook does what the one before it did, with the same arguments, whatever becomes of our record;
once uninstalled, or while the interpreter is being torn down, it does that alone. Cost: nothing
until an exception gets there.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
import threading
import traceback
import types
from collections.abc import Callable
from contextvars import Context
from typing import Any

from agenttrace.capture.context import CURRENT, SWITCH, Operation
from agenttrace.capture.lost import note_end_of, note_fatal
from agenttrace.capture.propagation import run_in_scope
from agenttrace.errors import contained
from agenttrace.integrations.hooks import Hook
from agenttrace.integrations.patching import Library

__all__ = ["install", "uninstall"]

_TEXT_LIMIT = 200

Former = Callable[..., Any]


def _build_plain(record: Callable[..., None]) -> Callable[[Former, list[bool]], Former]:
    def build(former: Former, alive: list[bool]) -> Former:
        # Kept in cells: as the interpreter goes down, the names of a module become None.
        is_finalizing, switch = sys.is_finalizing, SWITCH

        @functools.wraps(former)
        def hook(*args: Any) -> None:
            try:
                if alive and switch and not is_finalizing():
                    record(*args)
            finally:
                former(*args)

        return hook

    return build


def _on_fatal(kind: Any, exc: Any, where: Any = None) -> None:
    with contained("integrations.excepthook"):
        if isinstance(exc, BaseException):
            note_fatal(exc, CURRENT.get())


def _on_thread(args: Any) -> None:
    with contained("integrations.threading_excepthook"):
        exc, scope = args.exc_value, CURRENT.get()
        if isinstance(exc, BaseException) and scope is not None:
            name = "" if args.thread is None else str(args.thread.name)
            note_end_of(exc, scope, _at("threading.excepthook", name))


def _on_unraisable(args: Any) -> None:
    with contained("integrations.unraisablehook"):
        exc, scope = args.exc_value, CURRENT.get()
        if isinstance(exc, BaseException) and scope is not None:
            text = f"{args.err_msg or 'Exception ignored in'}: {_name_of(args.object)}"
            note_end_of(exc, scope, _at("sys.unraisablehook", text))


def _child_hooks(util: types.ModuleType) -> list[Hook]:
    """
    Find where a child of multiprocessing passes amid the exception that ends it.

    Up to Python 3.12 it runs its exit functions then, after which nothing can be recorded any
    more; later ones only print it.
    """
    bootstrap = _bootstrap_code()
    if bootstrap is None or "_exit_function" in bootstrap.co_names:
        return [Hook(util, "_exit_function", _build_end_of_child)]
    return [Hook(traceback, "print_exc", _build_end_of_child)]


def _bootstrap_code() -> types.CodeType | None:
    process = sys.modules["multiprocessing.process"]
    code = getattr(process.BaseProcess._bootstrap, "__code__", None)
    return code if type(code) is types.CodeType else None


def _build_end_of_child(former: Former, alive: list[bool]) -> Former:
    bootstrap, switch = _bootstrap_code(), SWITCH

    @functools.wraps(former)
    def end_of_child(*args: Any, **kwargs: Any) -> Any:
        if alive and switch and sys._getframe(1).f_code is bootstrap:
            _on_end_of_child()
        return former(*args, **kwargs)

    return end_of_child


def _on_end_of_child() -> None:
    with contained("integrations.multiprocessing"):
        exc, scope = sys.exception(), CURRENT.get()
        if exc is not None and scope is not None:
            name = sys.modules["multiprocessing.process"].current_process().name
            note_end_of(exc, scope, _at("multiprocessing", str(name)))


def _at(hook: str, what: str) -> dict[str, Any]:
    """Name the hook in a file's place: there is no line that caught it."""
    return {"file": f"<{hook}>", "line": 0, "function": what[:_TEXT_LIMIT]}


def _name_of(thing: Any) -> str:
    """Name what raised, without running any of its code: it may be half gone."""
    if type(thing) is types.MethodType:
        thing = thing.__func__
    if type(thing) is types.FunctionType:
        return str(thing.__qualname__)
    return type(thing).__name__


def _build_loop(former: Former, alive: list[bool]) -> Former:
    is_finalizing, switch = sys.is_finalizing, SWITCH

    @functools.wraps(former)
    def call_exception_handler(self: Any, context: Any) -> Any:
        scope = _on_loop(context) if alive and switch and not is_finalizing() else None
        if scope is None:
            return former(self, context)
        return run_in_scope(scope, former, self, context)  # what a handler logs belongs there too

    return call_exception_handler


def _on_loop(context: Any) -> Operation | None:
    """Record what an event loop was told of; give the scope that it happened in, where one is known."""
    with contained("integrations.asyncio_handler"):
        exc = context.get("exception")
        scope = _scope_of(context)
        if isinstance(exc, BaseException) and scope is not None:
            message = context.get("message")
            note_end_of(exc, scope, _at("asyncio", message if type(message) is str else ""))
            return scope
    return None


def _scope_of(context: dict[str, Any]) -> Operation | None:
    """
    Find the scope of the task or callback that *context* names.

    A bare future has none; what counts then is where it was dropped.
    """
    for key in ("task", "future", "handle"):
        found = _context_of(context.get(key))
        if found is not None:
            return found.get(CURRENT)
    return CURRENT.get()


def _context_of(thing: Any) -> Context | None:
    if isinstance(thing, asyncio.Handle):
        found = getattr(thing, "_context", None)
    elif isinstance(thing, asyncio.Task):
        get = getattr(asyncio.Task, "get_context", None)  # since Python 3.12
        found = get(thing) if get is not None else _visible_context_of(thing)
    else:
        return None
    return found if type(found) is Context else None


def _visible_context_of(task: asyncio.Task[Any]) -> Context | None:
    """Find the context of a task that does not tell it (Python 3.11) among what it holds."""
    found = getattr(task, "_context", None)  # of the task written in Python
    if found is not None:
        return found if type(found) is Context else None
    return next((held for held in gc.get_referents(task) if type(held) is Context), None)


_hooks = [
    Hook(sys, "excepthook", _build_plain(_on_fatal)),
    Hook(threading, "excepthook", _build_plain(_on_thread)),
    Hook(sys, "unraisablehook", _build_plain(_on_unraisable)),
    Hook(asyncio.BaseEventLoop, "call_exception_handler", _build_loop),
]
_libraries = Library(
    "exceptions",
    {
        "multiprocessing.util": _child_hooks,
        "uvloop": lambda module: [Hook(module.Loop, "call_exception_handler", _build_loop)],
    },
)


def install() -> None:
    """Put our hooks in front of those that stand there."""
    for hook in _hooks:
        hook.apply()
    _libraries.install()


def uninstall() -> None:
    """Put the former hooks back."""
    _libraries.uninstall()
    for hook in _hooks:
        hook.undo()
