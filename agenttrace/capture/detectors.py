"""
Does this result stand for a failure? What tools return instead of raising.

Invariant: no code of the value's own class runs; only dicts and instance dictionaries
are looked into. Cost: one set look-up for text and numbers, a few key look-ups
for a dict.
"""

from __future__ import annotations

from typing import Any

__all__ = ["INNOCENT", "detect_failure"]

INNOCENT = frozenset({str, int, float, bool, type(None), list, tuple, bytes, set, frozenset})
"""Types whose values are never a failure by themselves."""

_HTTP_ERROR = 400
_HTTP_LAST = 599


def detect_failure(value: Any) -> str | None:
    """
    Name the detector that takes *value* for a failure; None when none does.

    Returns:
        ``exception`` (an exception object), ``error`` (a dict whose ``error`` says something),
        ``isError`` (of MCP), ``returncode`` (not zero) or ``status_code`` (400 to 599).
    """
    kind = type(value)
    if kind in INNOCENT:
        return None
    if kind is dict:
        return _detect_in(value)
    if issubclass(kind, BaseException):
        return "exception"
    try:
        members = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return _detect_in(members, mapping=False) if type(members) is dict else None


def _tells_error(said: Any) -> bool:
    kind = type(said)
    if kind is str or kind is dict or kind is list:
        return len(said) > 0
    return said is True or issubclass(kind, BaseException)


def _detect_in(members: dict[Any, Any], mapping: bool = True) -> str | None:
    if mapping and _tells_error(members.get("error")):
        return "error"
    if members.get("isError") is True:
        return "isError"
    for name in ("returncode", "exit_code"):
        code = members.get(name)
        if type(code) is int and code != 0:
            return "returncode"
    status = members.get("status_code")
    if type(status) is int and _HTTP_ERROR <= status <= _HTTP_LAST:
        return "status_code"
    return None
