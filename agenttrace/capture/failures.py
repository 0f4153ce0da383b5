"""
Which failure is this? The identity of an exception, through every operation it leaves.

Invariant: an exception is one failure. Its id and the spans of the operations
around its origin stand on the exception object itself (and so pass through
pickling); an operation that it leaves later looks there first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any

from agenttrace.capture.context import Agent, Operation
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.errors import count_loss
from agenttrace.events import new_id

__all__ = [
    "build_error",
    "emit_returned_failure",
    "error_id_of",
    "find_handler",
    "record_failure",
    "remember",
    "status_of",
]

_ATTRIBUTE = "__agenttrace_error__"
_FRAMES_LIMIT_COUNT = 50
_MESSAGE_LIMIT = 8_192
_CHAIN_LIMIT_COUNT = 16
_LEAVES_LIMIT_COUNT = 50
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PLUMBING = tuple(os.path.join(_PACKAGE, name) + os.sep for name in ("capture", "integrations"))
_PLAIN = (str, int, float, bool, type(None), bytes)


def status_of(exc: BaseException) -> str:
    """Tell how an operation ended that *exc* left: ``error``, ``cancelled`` or ``stopped_early``."""
    if isinstance(exc, Exception):
        return "error"
    if isinstance(exc, (KeyboardInterrupt, SystemExit, asyncio.CancelledError)):
        return "cancelled"
    if isinstance(exc, GeneratorExit):
        return "stopped_early"
    if isinstance(exc, BaseExceptionGroup):
        inner = {status_of(leaf) for leaf in _leaves_of(exc)}
        return "error" if "error" in inner else "cancelled"
    return "cancelled" if "Cancel" in type(exc).__name__ else "error"


def _mark_of(exc: BaseException) -> tuple[str, tuple[str, ...]] | None:
    try:
        mark = BaseException.__getattribute__(exc, "__dict__").get(_ATTRIBUTE)
    except Exception:
        return None
    return mark if isinstance(mark, tuple) and len(mark) == 2 else None


def error_id_of(exc: BaseException) -> str | None:
    """Give the id of the failure that *exc* is; None when no row tells of it yet."""
    mark = _mark_of(exc)
    return None if mark is None else mark[0]


def remember(exc: BaseException, error_id: str, spans: tuple[str, ...]) -> None:
    """Put the failure's identity on the exception object."""
    try:
        BaseException.__getattribute__(exc, "__dict__")[_ATTRIBUTE] = (error_id, spans)
    except Exception:
        count_loss("capture.unmarkable_exception")


def record_failure(operation: Operation, exc: BaseException, agent: Agent) -> str:
    """
    Write the ``error`` row of an exception that leaves *operation*, unless it has one.

    Returns:
        The id of the failure, for the operation's end.
    """
    mark = _mark_of(exc)
    if mark is not None and operation.span_id in mark[1]:
        return mark[0]
    error_id = mark[0] if mark is not None else new_id()
    spans = operation.span_chain()
    remember(exc, error_id, spans if mark is None else (*mark[1][:64], *spans))
    emit_error(agent, exc, error_id, operation)
    return error_id


def emit_error(
    agent: Agent,
    exc: BaseException,
    error_id: str,
    operation: Operation | None,
    *,
    handled: bool = False,
    handled_at: dict[str, Any] | None = None,
) -> None:
    """Publish the ``error`` row of *exc*, standing in *operation*."""
    extra: dict[str, Any] = {}
    cause_error_id = _cause_error_id(exc)
    if cause_error_id is not None and cause_error_id != error_id:
        extra["cause_error_id"] = cause_error_id
    tool_name = None
    if operation is not None:
        if operation.kind == "tool":
            tool_name = operation.name
        if operation.attempt is not None:
            extra["attempt"] = operation.attempt
            extra["retry_of"] = operation.retry_of
    emit(
        "error",
        agent,
        object_of(
            error=encode_value(build_error(exc)),
            handled=b"true" if handled else None,
            handled_at=None if handled_at is None else encode_value(handled_at),
        ),
        span_id=None if operation is None else operation.span_id,
        parent_span_id=None if operation is None else operation.parent_span_id,
        tool_name=tool_name,
        error_id=error_id,
        error_type=type(exc).__name__,
        extra=extra or None,
    )


def emit_returned_failure(operation: Operation, agent: Agent, value: Any, detector: str) -> str:
    """Write the ``error`` row of a failure that came back as data; give its id."""
    error_id = new_id()
    extra: dict[str, Any] | None = None
    if operation.attempt is not None:
        extra = {"attempt": operation.attempt, "retry_of": operation.retry_of}
    message = _returned_text(value)
    error: dict[str, Any] = {"type": "ReturnedFailure", "module": None, "message": message, "frames": []}
    emit(
        "error",
        agent,
        object_of(error=encode_value(error), returned=encode_value(detector)),
        span_id=operation.span_id,
        parent_span_id=operation.parent_span_id,
        tool_name=operation.name if operation.kind == "tool" else None,
        error_id=error_id,
        error_type="ReturnedFailure",
        extra=extra,
    )
    return error_id


def _returned_text(value: Any) -> str:
    if isinstance(value, dict):
        for key in ("error", "message", "stderr", "detail"):
            if type(value.get(key)) is str:
                return str(value[key])[:_MESSAGE_LIMIT]
    if type(value) is str:
        return value[:_MESSAGE_LIMIT]
    return encode_value(value)[:_MESSAGE_LIMIT].decode("utf-8", "replace")


def build_error(exc: BaseException) -> dict[str, Any]:
    """
    Describe *exc*: type, module, message, frames, cause and the leaves of a group.

    Returns:
        ``{type, module, message, frames, cause, leaves, notes}``; the last three only where
        there are any. Frames stand outermost first, without our own, at most 50.
    """
    error: dict[str, Any] = _build_one(exc)
    inner: dict[str, Any] = error
    seen = {id(exc)}
    cause = exc.__cause__ or exc.__context__
    while cause is not None and id(cause) not in seen and len(seen) < _CHAIN_LIMIT_COUNT:
        seen.add(id(cause))
        described = _build_one(cause)
        inner["cause"] = described
        inner = described
        cause = cause.__cause__ or cause.__context__
    if isinstance(exc, BaseExceptionGroup):
        error["leaves"] = [
            {**_build_one(leaf), "error_id": error_id_of(leaf)} for leaf in _leaves_of(exc)
        ]
    return error


def _build_one(exc: BaseException) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": type(exc).__name__,
        "module": type(exc).__module__,
        "message": _message_of(exc),
        "frames": _frames_of(exc.__traceback__),
    }
    notes = getattr(exc, "__notes__", None)
    if isinstance(notes, list) and notes:
        described["notes"] = [note for note in notes[:10] if type(note) is str]
    return described


def _message_of(exc: BaseException) -> str:
    """Give the exception's text, without printing an argument of unknown size."""
    try:
        arguments = exc.args
        if len(arguments) == 1 and type(arguments[0]) is str and type(exc).__str__ is BaseException.__str__:
            return arguments[0][:_MESSAGE_LIMIT]
        if type(exc).__str__ is BaseException.__str__ and not all(
            isinstance(argument, _PLAIN) for argument in arguments
        ):
            return encode_value(list(arguments))[:_MESSAGE_LIMIT].decode("utf-8", "replace")
        return str(exc)[:_MESSAGE_LIMIT]
    except Exception as failure:
        return f"<its text could not be read: {type(failure).__name__}>"


def _frames_of(traceback: TracebackType | None) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not _is_plumbing(code):
            frames.append(
                {"file": code.co_filename, "line": traceback.tb_lineno, "function": code.co_qualname}
            )
            if len(frames) > 2 * _FRAMES_LIMIT_COUNT:
                del frames[5:_FRAMES_LIMIT_COUNT]
        traceback = traceback.tb_next
    if len(frames) > _FRAMES_LIMIT_COUNT:
        frames = frames[:5] + frames[5 - _FRAMES_LIMIT_COUNT :]
    return frames


def _is_plumbing(code: CodeType) -> bool:
    """Tell whether *code* is our capture or wrapt, which stand between the user's frames."""
    file = code.co_filename
    return file.startswith(_PLUMBING) or f"{os.sep}wrapt{os.sep}" in file


def _cause_error_id(exc: BaseException) -> str | None:
    seen = {id(exc)}
    cause = exc.__cause__ or exc.__context__
    while cause is not None and id(cause) not in seen and len(seen) < _CHAIN_LIMIT_COUNT:
        error_id = error_id_of(cause)
        if error_id is not None:
            return error_id
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def _leaves_of(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    waiting: list[BaseException] = list(reversed(group.exceptions))
    given = 0
    while waiting and given < _LEAVES_LIMIT_COUNT:
        exc = waiting.pop()
        if isinstance(exc, BaseExceptionGroup):
            waiting.extend(reversed(exc.exceptions))
        else:
            given += 1
            yield exc


def find_handler(depth: int) -> dict[str, Any]:
    """Give ``{file, line, function}`` of the nearest caller that is not our own code."""
    import sys

    frame = sys._getframe(depth)
    while frame.f_back is not None and _is_plumbing(frame.f_code):
        frame = frame.f_back
    return {
        "file": frame.f_code.co_filename,
        "line": frame.f_lineno,
        "function": frame.f_code.co_qualname,
    }
