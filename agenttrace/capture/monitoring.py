"""
Watch every exception that is caught, through ``sys.monitoring`` (Python 3.12 and later).

Owns the tool id, the callbacks and their life. Invariants: a callback raises nothing and
returns nothing, so that the program and other tools (coverage, debuggers, profilers) see no
difference; nothing is watched while tracing is off. Cost: none for code that raises nothing;
0.3 µs for an exception that is not kept (``benchmarks/bench_swallowed.py``).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import queue
import sys
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple

from agenttrace.capture import context
from agenttrace.capture.caught import CaughtInside, caught_inside, keep, note_raise
from agenttrace.capture.context import CURRENT, PIPE, Operation
from agenttrace.capture.describe import leaves_of
from agenttrace.capture.failures import status_of
from agenttrace.capture.handlers import Handlers, line_that_catches
from agenttrace.capture.late import LateWriter
from agenttrace.capture.marks import mark_of
from agenttrace.capture.settling import settle_all
from agenttrace.capture.user_code import OURS, OWN, STDLIB, TRANSPORT, UserCode
from agenttrace.capture.waiting import BY_OBJECT, Place
from agenttrace.errors import contain, count_loss

__all__ = ["State", "install", "state", "uninstall"]

_TOOL_NAME = "agenttrace"
_TOOL_IDS = (4, 3, 5)
"""3 and 4 are nobody's; 5 is meant for optimizers, of which there are none. 0 to 2 have owners."""
_LOOKUPS = frozenset(
    {
        KeyError,
        AttributeError,
        ImportError,
        ModuleNotFoundError,
        queue.Empty,
        queue.Full,
        asyncio.QueueEmpty,
        asyncio.QueueFull,
    }
)
"""What is asked for by trying: expected where it is caught at once."""
_ANSWERING = frozenset({"__getattr__", "__getattribute__", "__getitem__", "__missing__"})
"""Methods that are called to look something up."""
_NO_ERRORS = frozenset(
    {
        StopIteration,
        StopAsyncIteration,
        GeneratorExit,
        KeyboardInterrupt,
        SystemExit,
        asyncio.CancelledError,
        concurrent.futures.CancelledError,
    }
)
_monitoring: Any = getattr(sys, "monitoring", None)


class State(NamedTuple):
    """Whether caught exceptions are watched, and if not, why."""

    is_on: bool
    text: str
    """In a sentence, with what to do."""


class _Watch:
    """One time of being installed."""

    def __init__(self, tool_id: int, user_code: UserCode, late: LateWriter, is_thorough: bool) -> None:
        self.tool_id = tool_id
        self.user_code = user_code
        self.late = late
        self.handlers = Handlers()
        self.is_thorough = is_thorough
        """Write expected look-ups too."""


_watch: _Watch | None = None
_refusal = ""


def state() -> State:
    """Tell how things stand in this process."""
    if _monitoring is None:
        version = ".".join(map(str, sys.version_info[:2]))
        return State(
            False,
            f"Python {version} does not tell of caught exceptions (3.12 does): what left a traced call is "
            "found from the rows; use suppressed() or record_exception() for the rest",
        )
    if _watch is not None:
        return State(True, f"caught exceptions are watched (tool id {_watch.tool_id} of sys.monitoring)")
    return State(False, _refusal or "caught exceptions are watched while tracing is on")


def install(
    *,
    start_thread: Callable[[Callable[[], object]], bool],
    has_ended: Callable[[int], bool] = lambda native_id: True,
    finish: Callable[[], object] = settle_all,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    is_thorough: bool = False,
) -> bool:
    """
    Begin to watch; what is set anew counts from now on.

    Args:
        start_thread: Starts a thread that the process cannot stumble over; False where it cannot.
        has_ended: Tells whether the system has no thread of that number any more.
        finish: Writes what waits, as the process ends.
        include: More that counts as the user's own files; see ``UserCode``.
        exclude: What does not.
        is_thorough: Expected look-ups are written too, and not only counted.

    Returns:
        False where that cannot be: before Python 3.12, or when no tool id is free.
    """
    global _watch
    if _monitoring is None:
        return False
    tool_id = _watch.tool_id if _watch is not None else _take_tool_id()
    if tool_id is None:
        return False
    is_new = _watch is None
    _watch = _Watch(
        tool_id, UserCode(include, exclude), LateWriter(start_thread, has_ended, finish), is_thorough
    )
    if is_new:
        events = _monitoring.events
        for event, callback in _callbacks().items():
            _monitoring.register_callback(tool_id, event, callback)
        _monitoring.set_events(tool_id, events.RAISE | events.RERAISE | events.EXCEPTION_HANDLED)
    return True


def uninstall() -> None:
    """Watch no more, and free the tool id."""
    global _watch
    watch, _watch = _watch, None
    if watch is None or _monitoring.get_tool(watch.tool_id) != _TOOL_NAME:
        return
    _monitoring.set_events(watch.tool_id, 0)
    for event in _callbacks():
        _monitoring.register_callback(watch.tool_id, event, None)
    _monitoring.free_tool_id(watch.tool_id)


def _callbacks() -> dict[int, Callable[..., None]]:
    events = _monitoring.events
    return {
        events.RAISE: _on_raise,
        events.RERAISE: _on_reraise,
        events.EXCEPTION_HANDLED: _on_handled,
    }


def _take_tool_id() -> int | None:
    global _refusal
    for tool_id in _TOOL_IDS:
        if _monitoring.get_tool(tool_id) is None:
            try:
                _monitoring.use_tool_id(tool_id, _TOOL_NAME)
            except ValueError:
                continue  # somebody was quicker
            _refusal = ""
            return tool_id
    owners = ", ".join(f"{tool_id}: {_monitoring.get_tool(tool_id)}" for tool_id in _TOOL_IDS)
    if not _refusal:
        logging.getLogger("agenttrace").warning(
            "caught exceptions are not watched: sys.monitoring has no free tool id (%s); end one of these "
            "tools and call agenttrace.enable(), or use suppressed() and record_exception()",
            owners,
        )
    _refusal = f"no tool id of sys.monitoring is free ({owners}); end one of these tools"
    return None


# ------------------------------------------------------------------ the callbacks

_get = CURRENT.get


def _on_raise(code: CodeType, offset: int, exc: BaseException) -> None:
    if not BY_OBJECT:
        return
    try:
        note_raise(exc, sys._getframe(1))
    except Exception as failure:
        _contain("capture.monitoring.raise", failure)


def _on_reraise(code: CodeType, offset: int, exc: BaseException) -> None:
    if not BY_OBJECT:
        return
    try:
        note_raise(exc, sys._getframe(1), True)
    except Exception as failure:
        _contain("capture.monitoring.reraise", failure)


def _on_handled(code: CodeType, offset: int, exc: BaseException) -> None:
    try:
        operation = _get()
        if operation is None and context.implicit_roots:
            operation = _implicit_root(exc)
        if operation is None:
            return
        kind = type(exc)
        if kind in _NO_ERRORS:
            return
        watch = _watch
        if watch is None:
            return
        if kind in _LOOKUPS and not watch.is_thorough:
            traceback = exc.__traceback__
            if traceback is None or traceback.tb_next is None or _is_only_asking(watch, traceback.tb_next):
                if watch.user_code.whose(code.co_filename) != OWN:
                    return
                inside = operation.caught
                if type(inside) is not CaughtInside:
                    inside = caught_inside(operation)
                    if inside is None:
                        return
                inside.lookup_count += 1
                return
        _consider(watch, operation, code, offset, exc, sys._getframe(1))
    except Exception as failure:
        _contain("capture.monitoring.handled", failure)


def _contain(place: str, failure: Exception) -> None:
    if isinstance(failure, (RecursionError, MemoryError)):
        count_loss(place)  # there is no room to say more
    else:
        contain(place, failure)


def _implicit_root(exc: BaseException) -> Operation | None:
    """Give the agent ``main`` for a failure of its tools, which is caught outside any scope."""
    root = context.implicit_roots.get(PIPE.epoch)
    mark = mark_of(exc)
    return root if root is not None and mark is not None and root.span_id in mark[1] else None


def _is_only_asking(watch: _Watch, traceback: TracebackType) -> bool:
    """
    Tell whether all frames below the handler's only answer a look-up.

    Those are the standard library's, as for ``os.environ[name]``, and methods like ``__getattr__``.
    """
    whose = watch.user_code.whose
    link: TracebackType | None = traceback
    while link is not None:
        code = link.tb_frame.f_code
        if whose(code.co_filename) not in (STDLIB, TRANSPORT) and code.co_name not in _ANSWERING:
            return False
        link = link.tb_next
    return True


def _consider(
    watch: _Watch, operation: Operation, code: CodeType, offset: int, exc: BaseException, frame: FrameType
) -> None:
    """Keep *exc*, if its handler is one that counts and takes it."""
    whose = watch.user_code.whose(code.co_filename)
    if whose in (OURS, TRANSPORT) or status_of(exc) != "error":
        return
    handler = watch.handlers.at(code, offset)
    if handler is None:
        return
    leaves = list(leaves_of(exc)) if isinstance(exc, BaseExceptionGroup) and mark_of(exc) is None else [exc]
    for leaf in leaves:
        line = line_that_catches(handler, leaf if handler.is_group else exc, frame)
        if line is None or status_of(leaf) != "error":
            continue
        inside = caught_inside(operation)
        if inside is None:
            return
        if whose != OWN and not _has_left(leaf):
            inside.elsewhere_count += 1
            continue
        place = Place(id(frame), code.co_filename, line, code.co_qualname, handler.is_sure)
        if keep(inside, leaf, place):
            watch.late.expect()


def _has_left(exc: BaseException) -> bool:
    """Tell whether *exc* has left a traced operation."""
    mark = mark_of(exc)
    return mark is not None and bool(mark[1])
