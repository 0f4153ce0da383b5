"""
What an exception says of itself: type, message, frames, causes, the leaves of a group.

Invariant: what is given is plain data of bounded size, and no argument of unknown size
is printed. Cost: about 10 µs, and 1 µs a frame.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any

from agenttrace.capture.emit import encode_value
from agenttrace.capture.marks import error_id_of

__all__ = ["build_error", "chain_of", "find_handler", "is_plumbing", "leaves_of"]

_FRAMES_LIMIT_COUNT = 50
_MESSAGE_LIMIT = 8_192
_CHAIN_LIMIT_COUNT = 16
_LEAVES_LIMIT_COUNT = 50
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PLUMBING = tuple(os.path.join(_PACKAGE, name) + os.sep for name in ("capture", "integrations", "cassette"))
_MODEL_SDKS = ("openai", "anthropic")
_BODY_LIMIT_BYTES = 2_048
_PLAIN = (str, int, float, bool, type(None), bytes)


def build_error(exc: BaseException, *, is_brief: bool = False) -> dict[str, Any]:
    """
    Describe *exc*: type, module, message, frames, cause and the leaves of a group.

    Args:
        exc: What was raised.
        is_brief: Of the frames, give the one that raised alone, and no causes.

    Returns:
        ``{type, module, message, frames, cause, leaves, notes, response}``; the last four only where
        there are any. Frames stand outermost first, without our own, at most 50.
    """
    error: dict[str, Any] = _build_one(exc)
    if is_brief:
        error["frames"] = error["frames"][-1:]
        return error
    inner: dict[str, Any] = error
    for cause in chain_of(exc):
        if cause is not exc:
            described = _build_one(cause)
            inner["cause"] = described
            inner = described
    if isinstance(exc, BaseExceptionGroup):
        error["leaves"] = [{**_build_one(leaf), "error_id": error_id_of(leaf)} for leaf in leaves_of(exc)]
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
    response = _response_of(exc)
    if response is not None:
        described["response"] = response
    return described


def _response_of(exc: BaseException) -> dict[str, Any] | None:
    """Give the status and body that a model's SDK raised *exc* for; its text may lack most of them."""
    if type(exc).__module__.partition(".")[0] not in _MODEL_SDKS:
        return None
    kept = getattr(exc, "__dict__", {})
    status, body = kept.get("status_code"), kept.get("body")
    if type(status) is not int and body is None:
        return None
    told: dict[str, Any] = {"status": status if type(status) is int else None}
    if type(body) in (dict, str) and len(encode_value(body)) <= _BODY_LIMIT_BYTES:
        told["body"] = body
    return told


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
        if not is_plumbing(code):
            frames.append(
                {"file": code.co_filename, "line": traceback.tb_lineno, "function": code.co_qualname}
            )
            if len(frames) > 2 * _FRAMES_LIMIT_COUNT:
                del frames[5:_FRAMES_LIMIT_COUNT]
        traceback = traceback.tb_next
    if len(frames) > _FRAMES_LIMIT_COUNT:
        frames = frames[:5] + frames[5 - _FRAMES_LIMIT_COUNT :]
    return frames


def is_plumbing(code: CodeType) -> bool:
    """Tell whether *code* is our capture or wrapt, which stand between the user's frames."""
    file = code.co_filename
    return file.startswith(_PLUMBING) or f"{os.sep}wrapt{os.sep}" in file


def chain_of(exc: BaseException) -> Iterator[BaseException]:
    """Give *exc*, then what it was raised from or amid, and so on; 16 at most, each once."""
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen and len(seen) < _CHAIN_LIMIT_COUNT:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def leaves_of(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Give the exceptions in *group* that are no groups themselves, 50 at most."""
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
    frame = sys._getframe(depth)
    while frame.f_back is not None and is_plumbing(frame.f_code):
        frame = frame.f_back
    return {
        "file": frame.f_code.co_filename,
        "line": frame.f_lineno,
        "function": frame.f_code.co_qualname,
    }
