"""
What a program logs while an agent runs: warnings and errors become notes beside its calls.

Invariants: no handler, level, ``propagate`` or root of the program's is touched, for ours stands
around ``Logger.callHandlers`` and sees only what the program's own settings let through; handlers
run first and as ever, and the text that they made is taken, so that nothing is formatted twice;
where none did, no ``__str__`` of an argument runs. Cost: one comparison for a record below
WARNING; 50 notes of 2,000 characters for one operation, the rest is counted in ``agent_end``.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from agenttrace.capture.context import CURRENT, SWITCH, Operation
from agenttrace.capture.describe import build_error
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.capture.lost import note_end_of, standing_in
from agenttrace.encode import codec
from agenttrace.errors import contained, count_loss
from agenttrace.integrations.hooks import Hook

__all__ = ["install", "uninstall"]

_NOTES_LIMIT_COUNT = 50
_TEXT_LIMIT = 2_000
_ARGUMENTS_LIMIT_COUNT = 50
_EXCLUDED = ("agenttrace", "peewee")
"""What recording itself logs."""


class _Thread(threading.local):
    is_noting = False
    """A note is being made in this thread: what that logs is no note."""


_thread = _Thread()


def _build(former: Callable[..., Any], alive: list[bool]) -> Callable[..., Any]:
    level, switch, get = logging.WARNING, SWITCH, CURRENT.get
    is_finalizing = sys.is_finalizing

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> Any:
        if record.levelno < level or not switch or not alive or get() is None or is_finalizing():
            return former(self, record)
        try:
            return former(self, record)
        finally:
            _note(record)

    # "--- Logging error ---" shows the stack outside of logging's own file: ours counts as inside.
    theirs = logging.Logger.handle.__code__
    callHandlers.__code__ = callHandlers.__code__.replace(
        co_filename=theirs.co_filename, co_firstlineno=theirs.co_firstlineno
    )
    return functools.update_wrapper(callHandlers, former)


def _note(record: logging.LogRecord) -> None:
    with contained("integrations.logging"):
        scope, name = CURRENT.get(), record.name
        if scope is None or type(name) is not str or name.startswith(_EXCLUDED) or _thread.is_noting:
            return
        _thread.is_noting = True
        try:
            _note_in(standing_in(scope), record)
        finally:
            _thread.is_noting = False


def _note_in(operation: Operation, record: logging.LogRecord) -> None:
    if operation.notes_count >= _NOTES_LIMIT_COUNT:
        _count_only(operation)
        return
    operation.notes_count += 1
    error_id = None
    exc = record.exc_info[1] if type(record.exc_info) is tuple else None
    if isinstance(exc, BaseException):
        handled_at = {"file": record.pathname, "line": record.lineno, "function": record.funcName}
        error_id = note_end_of(exc, operation, handled_at)
    assert operation.agent is not None, "standing_in gives an operation with an agent"
    level = record.levelname
    emit(
        "note",
        operation.agent,
        object_of(
            level=encode_value(level.lower() if type(level) is str else str(record.levelno)),
            text=encode_value(_text_of(record)),
            logger=encode_value(record.name),
        ),
        parent_span_id=operation.span_id,
        error_id=error_id,
    )


def _count_only(operation: Operation) -> None:
    """Count one more record at the agent's run, whose end will tell."""
    run: Operation | None = operation
    while run is not None and run.kind != "agent":
        run = run.parent
    if run is None or not run.recorded or (run.agent is not None and run.agent.closed):
        count_loss("integrations.logging_more")
    else:
        run.more_notes_count += 1


def _text_of(record: logging.LogRecord) -> str:
    """Give the message as a handler has formatted it; else format it without the arguments' own code."""
    message = record.__dict__.get("message")
    if type(message) is str:
        return message[:_TEXT_LIMIT]
    text, args = _plain(record.msg), record.args
    if not args:
        return str(text)[:_TEXT_LIMIT]
    given: Any = args
    if type(args) is dict:
        given = {key: _plain(value) for key, value in args.items() if type(key) is str}
    elif type(args) is tuple:
        given = tuple(_plain(value) for value in args[:_ARGUMENTS_LIMIT_COUNT])
    try:
        return str(text % given)[:_TEXT_LIMIT]
    except Exception:  # a format that does not fit; logging itself tells of it
        return f"{text} {given!r}"[:_TEXT_LIMIT]


def _plain(value: Any) -> Any:
    """Give what stands for *value* in a text: itself where it is plain, else its encoded form."""
    kind = type(value)
    if kind is str:
        return value[:_TEXT_LIMIT]
    if kind in (int, float, bool) or value is None:
        return value
    if issubclass(kind, BaseException):
        return build_error(value, is_brief=True)["message"]
    return codec.encode(value, _TEXT_LIMIT).decode("utf-8", "replace")


_hook = Hook(logging.Logger, "callHandlers", _build)


def install() -> None:
    """Let what is logged inside a scope become notes."""
    _hook.apply()


def uninstall() -> None:
    """Put ``logging`` back as it was."""
    _hook.undo()
