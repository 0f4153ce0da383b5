"""
Does this result stand for a failure? What tools return instead of raising.

Looked at are ``{"error": …}``, MCP's ``isError``, exit codes, HTTP statuses, an exception object,
and text that is such an object as JSON. Invariants: nothing is raised, and no code of the value's
own class runs: only dicts, instance dicts, slots and fields of named tuples are read, the first
64 keys of each. In doubt a result is innocent, because ``is_error=`` has the last word. Cost:
40 ns for numbers and None, 60 ns for text, 0.5 µs for a dict of five keys, 2 µs for an object.
"""

from __future__ import annotations

import io
import types
from collections import namedtuple
from itertools import islice
from typing import Any

from agenttrace.encode import codec
from agenttrace.encode.keys import has_key_of

__all__ = ["INNOCENT", "describe_returned", "detect_failure", "type_of_returned"]

INNOCENT = frozenset({int, float, bool, type(None), list, tuple, bytes, bytearray, set, frozenset, complex})
"""Types whose values are never a failure by themselves."""

_CODES = ("returncode", "return_code", "exit_code", "exitCode")
_NAMES = frozenset(
    {"error", "isError", "is_error", "status_code", "status", "reason", "success", "ok", "stderr", *_CODES}
)
_TELLING = frozenset({"error", "isError", "is_error", "status_code", *_CODES})
"""A dict without one of these is no failure, whatever else it says."""
_TEXT_NAMES = ("error", "message", "stderr", "detail", "reason")
_KEYS_LIMIT_COUNT = 64
_JSON_LIMIT_CHARS = 16_384
_MESSAGE_LIMIT = 8_192
_HTTP_ERROR, _HTTP_LAST = 400, 599

_SAYS_NOTHING = frozenset(
    {
        "",
        "none",
        "null",
        "nil",
        "no",
        "n/a",
        "na",
        "-",
        "false",
        "0",
        "ok",
        "success",
        "no error",
        "no errors",
    }
)
_FAILED_WORDS = frozenset({"error", "failed", "failure"})

_mro_of = type.__dict__["__mro__"].__get__
_namespace_of = type.__dict__["__dict__"].__get__
_FIELD = type(vars(namedtuple("_Sample", "field"))["field"])
_NO_RESULTS = (type, types.ModuleType, types.FunctionType, types.MethodType)
_INSTANCE_DICT_DOC = _namespace_of(type("_Sample", (), {}))["__dict__"].__doc__
"""Of the descriptor that Python makes for a class; a proxy written in C has another, and runs code."""

_DICT_OF_STREAMS = next(vars(base)["__dict__"] for base in io.IOBase.__mro__ if "__dict__" in vars(base))
"""The responses of http.client and urllib3 are streams."""


def detect_failure(value: Any) -> str | None:
    """
    Name the detector that takes *value* for a failure; None when none does.

    Returns:
        ``exception`` (an exception object), ``error`` (a dict, or JSON text, whose ``error`` says
        something), ``isError`` (of MCP), ``returncode`` (an exit code but 0) or ``status_code``
        (HTTP, 400 to 599).
    """
    kind = type(value)
    if kind is str:
        return _detect_in_text(value) if value[:1] == "{" else None
    if kind in INNOCENT:
        return None
    try:
        if kind is dict and not has_key_of(value, _TELLING, _KEYS_LIMIT_COUNT):
            return None
        if issubclass(kind, dict):
            return _detect_in_dict(_named(dict.items(value)))
        if issubclass(kind, Exception):
            return "exception"
        if issubclass(kind, _NO_RESULTS):
            return None
        return _detect_in_object(_members_of(value, kind))
    except Exception:  # changed by another thread as it was read, or stranger than that
        return None


def _detect_in_text(text: str) -> str | None:
    """Judge text that may be a JSON object; of what a file or page may hold, only the unmistakable."""
    if len(text) > _JSON_LIMIT_CHARS or 'rror"' not in text:  # "error", "isError", "is_error"
        return None
    try:
        found = codec.decode(text.encode())
    except ValueError:
        return None
    if type(found) is not dict or not found:
        return None
    members = _named(found.items())
    if _is_marked(members):
        return "isError"
    if not _tells_error(members.get("error")) or _is_success(members):
        return None
    status = members.get("status")
    if (
        next(iter(found)) == "error"
        or members.get("success") is False
        or members.get("ok") is False
        or (type(status) is str and status.lower() in _FAILED_WORDS)
    ):
        return "error"
    return None


def _named(items: Any) -> dict[str, Any]:
    # Pair by pair: a look-up would compare with keys of the same hash, whose class may be anybody's.
    return {key: item for key, item in islice(items, _KEYS_LIMIT_COUNT) if type(key) is str and key in _NAMES}


def _detect_in_dict(members: dict[str, Any]) -> str | None:
    if not members:
        return None
    if _tells_error(members.get("error")) and not _is_success(members):
        return "error"
    return _detect_in_both(members)


def _detect_in_object(members: dict[str, Any]) -> str | None:
    if not members:
        return None
    if issubclass(type(members.get("error")), Exception):
        return "error"
    if "reason" in members and _is_http_error(members.get("status")):
        return "status_code"  # of aiohttp, http.client and urllib3
    return _detect_in_both(members)


def _detect_in_both(members: dict[str, Any]) -> str | None:
    if _is_marked(members):
        return "isError"
    for name in _CODES:
        code = _plain_int(members.get(name))
        if code is not None and code != 0:
            return "returncode"
    return "status_code" if _is_http_error(members.get("status_code")) else None


def _is_marked(members: dict[str, Any]) -> bool:
    return members.get("isError") is True or members.get("is_error") is True


def _is_success(members: dict[str, Any]) -> bool:
    return members.get("success") is True or members.get("ok") is True


def _is_http_error(status: Any) -> bool:
    code = _plain_int(status)
    return code is not None and _HTTP_ERROR <= code <= _HTTP_LAST


def _plain_int(value: Any) -> int | None:
    """Give an int, also of an ``IntEnum`` such as ``HTTPStatus``; None for anything else, True too."""
    kind = type(value)
    if kind is int:
        return int(value)
    return int.__add__(value, 0) if issubclass(kind, int) and kind is not bool else None


def _tells_error(said: Any) -> bool:
    """Tell whether the value of an ``error`` member says that there is one; a number is a measure."""
    kind = type(said)
    if kind is str:
        return len(said) > 40 or said.strip().lower() not in _SAYS_NOTHING
    if issubclass(kind, str):
        return str.__len__(said) > 0
    if kind is dict or kind is list or kind is tuple:
        return len(said) > 0
    return said is True or issubclass(kind, Exception)


def _members_of(value: Any, kind: type[Any]) -> dict[str, Any]:
    """Read what an object holds under the names that count, without asking the object."""
    members: dict[str, Any] = {}
    is_dict_found = False
    for base in _mro_of(kind):
        namespace = _namespace_of(base)
        if "__slots__" in namespace or "_fields" in namespace:
            for name in _NAMES:
                holder = namespace.get(name)
                if name not in members and type(holder) in (types.MemberDescriptorType, _FIELD):
                    members[name] = _read_slot(holder, value, kind)
        descriptor = namespace.get("__dict__")
        if descriptor is not None and not is_dict_found:
            is_dict_found = True
            held = _read_dict(descriptor, value, kind)
            if type(held) is dict:
                members.update(_named(held.items()))
    return members


def _read_slot(holder: Any, value: Any, kind: type[Any]) -> Any:
    try:
        return holder.__get__(value, kind)
    except AttributeError:  # never set
        return None


def _read_dict(descriptor: Any, value: Any, kind: type[Any]) -> Any:
    described = type(descriptor)
    if (
        described is types.MemberDescriptorType
        or descriptor is _DICT_OF_STREAMS
        or (described is types.GetSetDescriptorType and descriptor.__doc__ == _INSTANCE_DICT_DOC)
    ):
        return descriptor.__get__(value, kind)
    return None


def type_of_returned(value: Any) -> str:
    """Give the ``error_type`` of a returned failure: an exception's own, or ``ReturnedFailure``."""
    return f"{type(value).__name__}" if issubclass(type(value), Exception) else "ReturnedFailure"


def describe_returned(value: Any) -> str:
    """Give the text that a returned failure is known by: what it says of itself, or all of it as JSON."""
    kind = type(value)
    if kind is str:
        return str(value[:_MESSAGE_LIMIT])
    if issubclass(kind, dict):
        texts = _texts_of(value)
        found = _text_in(texts)
        if found is None and type(texts.get("error")) is dict:
            found = _text_in(_texts_of(texts["error"]))
        if found is not None:
            return found[:_MESSAGE_LIMIT]
    elif not issubclass(kind, _NO_RESULTS):
        found = _describe_object(_members_of(value, kind), kind)
        if found is not None:
            return found
    return codec.encode(value, _MESSAGE_LIMIT)[:_MESSAGE_LIMIT].decode("utf-8", "replace")


def _describe_object(members: dict[str, Any], kind: type[Any]) -> str | None:
    """Name the code that an object failed with, and what it wrote to its standard error."""
    for name in (*_CODES, "status_code", "status"):
        code = _plain_int(members.get(name))
        if code is not None and code != 0:
            said = members.get("stderr")
            if type(said) is bytes:
                said = said[-_MESSAGE_LIMIT:].decode("utf-8", "replace")
            text = said[-_MESSAGE_LIMIT:].strip() if type(said) is str else ""
            return f"{kind.__name__}: {name} {code}" + (f": {text}" if text else "")
    return None


def _texts_of(value: dict[Any, Any]) -> dict[str, Any]:
    pairs = islice(dict.items(value), _KEYS_LIMIT_COUNT)
    return {key: item for key, item in pairs if type(key) is str and key in _TEXT_NAMES}


def _text_in(members: dict[str, Any]) -> str | None:
    for name in _TEXT_NAMES:
        text = members.get(name)
        if type(text) is str and text:
            return text
    return None
