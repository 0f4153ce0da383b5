"""
Whether the result that a model is handed stands for a failure, and which one.

A failure is what the message marks so, a name that no tool has, arguments that are no JSON, and a
text that says so of itself. Invariant: an exception that was caught, or has its row, and whose words
are handed back is that same failure, not a second one. Cost: a regular expression over the beginning
of the text; for a failure 100 µs.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any, NamedTuple

from agenttrace.capture.asked import AskedCall, Ledger, Noted, message_of
from agenttrace.capture.context import Operation
from agenttrace.capture.describe import is_plumbing
from agenttrace.capture.detectors import describe_returned, detect_failure
from agenttrace.capture.emit import encode_value, object_of
from agenttrace.capture.message_parts import text_of
from agenttrace.capture.messages import ReturnedResult
from agenttrace.capture.settling import is_held, take
from agenttrace.capture.user_code import OWN, UserCode
from agenttrace.capture.waiting import Inside, Waiting
from agenttrace.encode import codec

__all__ = ["HandedBack", "build_returned", "find_told", "is_told_in", "judge", "judge_text"]

_MESSAGE_LIMIT_CHARS = 8_192
_COMPARED_CHARS = 120
_SHORT_CHARS = 5
_FRAMES_LIMIT_COUNT = 200
_FAILED_TEXT = r"""\s*(?:
        <(?:tool_use_)?error>
      | (?:an?\ )?(?:unexpected\ |unknown\ |internal\ |fatal\ )?error
        (?:\ (?:occurred|executing|calling|running|invoking|while|in\ tool|from\ tool)\b|\s*:|\s*$)
      | (?:[a-z_][\w.]*\.)?[a-z]\w*(?:error|exception)(?:\([^)\n]{0,500}\))?\s*(?::|$)
      | traceback\ \(most\ recent\ call\ last\)
      | (?:unknown|no\ such)\ (?:tool|function)\b
      | (?:tool|function)\ ["'`]?[\w.-]{1,100}["'`]?
        \ (?:(?:is\ )?not\ found|does\ not\ exist|is\ not\ a\ valid\ tool)\b
    )"""
_NO_LETTERS = re.compile(r"[\W_]+")
_USER_CODE = UserCode()


class HandedBack(NamedTuple):
    """A failure that a model is told of as the result of a call."""

    detector: str
    error_type: str
    text: str
    """What the model reads."""


@cache
def _failed_text() -> re.Pattern[str]:
    return re.compile(_FAILED_TEXT, re.IGNORECASE | re.VERBOSE)  # late: 1 ms of every program's import


def judge(asked: AskedCall, result: ReturnedResult) -> HandedBack | None:
    """Tell whether *result* stands for a failure; None where nothing says so."""
    if not asked.is_known:
        return HandedBack("unknown_tool", "UnknownTool", text_of(result.content))
    if not asked.is_json_valid:
        return HandedBack("invalid_json", "InvalidArguments", text_of(result.content))
    return judge_text(result)


def judge_text(result: ReturnedResult) -> HandedBack | None:
    """Tell whether *result* by itself, whoever asked for it, stands for a failure."""
    text = text_of(result.content)
    if result.is_error is True:
        return HandedBack("is_error", "ReturnedFailure", text)
    if result.is_error is False:
        return None
    value = result.content if type(result.content) is dict else text
    detector = detect_failure(value)
    if detector is None and _failed_text().match(text):
        detector = "error_text"
    return None if detector is None else HandedBack(detector, "ReturnedFailure", text)


def find_told(
    ledger: Ledger, parent: Operation, asked: AskedCall, failure: HandedBack, span_id: str | None = None
) -> Noted | Waiting | None:
    """
    Find the exception that *failure* tells of.

    Args:
        ledger: Knows those that have their row.
        parent: Where the calls were made; what was caught there may still wait.
        span_id: Of the traced call; None for a call that nobody traced.

    Returns:
        One that has its row, or will get it from others; or for a call that nobody traced one that was
        caught and is now ours to write.
    """
    heard = _letters(failure.text[: 8 * _MESSAGE_LIMIT_CHARS])
    for noted in list(ledger.noted):
        if noted.ts_ns < asked.answer.opened_ns:
            continue
        if (span_id is not None and span_id in noted.spans) or _is_in(
            noted.error_type, noted.message, heard, asked
        ):
            if span_id is None:
                ledger.noted.remove(noted)
            return noted
    caught: Any = parent.caught
    inside: list[Waiting] = list(caught.waiting.values()) if isinstance(caught, Inside) else []
    for waiting in inside:
        if waiting.payload is None or waiting.ts_ns < asked.answer.opened_ns:
            continue
        message = message_of(waiting.payload)
        if _is_in(waiting.type_name or "", message, heard, asked):
            if span_id is None and not is_held(waiting) and take(waiting):
                return waiting
            spans = parent.span_chain()
            return Noted(waiting.mark[0], waiting.type_name or "", message, spans, waiting.ts_ns)
    return None


def is_told_in(noted: Noted, text: str, asked: AskedCall) -> bool:
    """Tell whether *text* has the words of an exception."""
    return _is_in(noted.error_type, noted.message, _letters(text), asked)


def _is_in(error_type: str, message: str, heard: str, asked: AskedCall) -> bool:
    """Tell whether an exception's words are among those that the model reads, as letters and digits."""
    lines = [line for line in message.splitlines() if line.strip()]
    words = _letters(lines[0])[:_COMPARED_CHARS] if lines else ""
    kind = _letters(error_type)
    if not words or len(words) < _SHORT_CHARS:
        return kind in heard and words in heard
    return words in heard or (not asked.is_known and words == _letters(asked.name))


def _letters(text: str) -> str:
    return _NO_LETTERS.sub("", text).casefold()


def build_returned(asked: AskedCall, failure: HandedBack, waiting: Waiting | None) -> tuple[bytes, str]:
    """
    Build the payload of the ``error`` row, and name its type.

    Args:
        waiting: The exception that was caught, where one was.
    """
    place = _own_place() if waiting is None else waiting.places[-1]._asdict()
    handled_at = {name: place[name] for name in ("file", "line", "function")} if place is not None else None
    caught = None if waiting is None or waiting.payload is None else codec.loads(waiting.payload)
    if caught is not None and asked.is_known:
        error, error_type, detector = caught, str(caught.get("type")), None
    else:
        error_type, detector = failure.error_type, failure.detector
        error = {"type": error_type, "module": None, "message": _describe(asked, failure), "frames": []}
        if caught is not None:
            error["frames"], error["cause"] = caught.get("frames", []), caught
    payload = object_of(
        error=encode_value(error),
        handled=None if caught is None else b"true",
        handled_at=None if handled_at is None else encode_value(handled_at),
        returned=None if detector is None else encode_value(detector),
        rebuilt=b"true",
    )
    return payload, error_type


def _describe(asked: AskedCall, failure: HandedBack) -> str:
    text = failure.text
    if failure.detector == "unknown_tool":
        return f"{asked.name} is no tool of the request: {text}"[:_MESSAGE_LIMIT_CHARS]
    if failure.detector == "invalid_json":
        return f"the arguments are no JSON: {text}"[:_MESSAGE_LIMIT_CHARS]
    return describe_returned(text) if text else "the result is marked as an error, and says nothing"


def _own_place() -> dict[str, Any] | None:
    """Give the line of the user's own code that hands the result to the model."""
    whose, frame = _USER_CODE.whose, sys._getframe(1)
    nearest: dict[str, Any] | None = None
    for _ in range(_FRAMES_LIMIT_COUNT):
        code = frame.f_code
        if not is_plumbing(code):
            place = {"file": code.co_filename, "line": frame.f_lineno, "function": code.co_qualname}
            if whose(code.co_filename) == OWN:
                return place
            nearest = nearest or place
        if frame.f_back is None:
            break
        frame = frame.f_back
    return nearest
