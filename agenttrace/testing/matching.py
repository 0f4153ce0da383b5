"""
Whether a recorded value is what a test asked for.

What is asked for is one of: ``...`` (anything), a type (an instance of it), a function (true of the
value), a compiled pattern (found in a text), a dict (its keys are there and match; others may be there
too), a list or tuple (as long, and item by item), or a value (equal to what was recorded, or to what
JSON makes of it). Invariant: a function that raises does not match, and the reason says what it raised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import EllipsisType
from typing import Any

from agenttrace.encode import codec
from agenttrace.query.text import preview, sanitize

__all__ = ["explain_mismatch", "render_wanted"]

_WIDTH = 48
_DEPTH_LIMIT = 40
_LIMIT_BYTES = 1 << 28


def explain_mismatch(wanted: Any, value: Any, *, name: str = "", depth: int = 0) -> str | None:
    """
    Say where *value* is not what is *wanted*.

    Args:
        wanted: See above.
        value: As it was recorded: JSON values only.
        name: What the value is called.
        depth: How far in it stands.

    Returns:
        One line, ``query: "a" instead of "b"``; None when it matches.
    """
    if isinstance(wanted, EllipsisType):
        return None
    if isinstance(wanted, type):
        return None if isinstance(value, wanted) else _instead(name, value, f"a {wanted.__name__}")
    if isinstance(wanted, re.Pattern):
        found = isinstance(value, str) and wanted.search(value)
        return None if found else _instead(name, value, f"a text with {wanted.pattern!r} in it")
    if isinstance(wanted, Mapping) and isinstance(value, Mapping) and depth < _DEPTH_LIMIT:
        return _explain_members(wanted, value, name, depth)
    if isinstance(wanted, list | tuple) and isinstance(value, list) and depth < _DEPTH_LIMIT:
        return _explain_items(wanted, value, name, depth)
    if callable(wanted):
        return _explain_predicate(wanted, value, name)
    if _is_equal(wanted, value):
        return None
    return _instead(name, value, render_wanted(wanted))


def render_wanted(wanted: Any) -> str:
    """Render what a test asked for in few words."""
    if isinstance(wanted, EllipsisType):
        return "..."
    if isinstance(wanted, type):
        return wanted.__name__
    if isinstance(wanted, re.Pattern):
        return f"re {wanted.pattern!r}"
    if callable(wanted):
        return getattr(wanted, "__name__", type(wanted).__name__)
    return preview(_as_json(wanted), _WIDTH)


def _explain_members(
    wanted: Mapping[Any, Any], value: Mapping[Any, Any], name: str, depth: int
) -> str | None:
    for key, each in wanted.items():
        below = f"{name}.{key}" if name else str(key)
        if key not in value:
            there = ", ".join(sanitize(str(other)) for other in list(value)[:8]) or "nothing"
            return f"{below} is not there (there is {there})"
        reason = explain_mismatch(each, value[key], name=below, depth=depth + 1)
        if reason is not None:
            return reason
    return None


def _explain_items(
    wanted: list[Any] | tuple[Any, ...], value: list[Any], name: str, depth: int
) -> str | None:
    if len(wanted) != len(value):
        return f"{name or 'the value'} has {len(value)} items instead of {len(wanted)}"
    for at, (each, given) in enumerate(zip(wanted, value, strict=True)):
        reason = explain_mismatch(each, given, name=f"{name}[{at}]", depth=depth + 1)
        if reason is not None:
            return reason
    return None


def _explain_predicate(wanted: Any, value: Any, name: str) -> str | None:
    try:
        if wanted(value):
            return None
    except (
        Exception
    ) as exc:  # a test's own function: what it raises says that the value is not what it expects
        raised = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        return f"{_instead(name, value, render_wanted(wanted))} (it raised {sanitize(raised)[:80]})"
    return f"{name or 'the value'}: {render_wanted(wanted)} is not true of {preview(value, _WIDTH)}"


def _is_equal(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, bool) is not isinstance(value, bool):
        return False  # True == 1, but JSON tells them apart
    return bool(wanted == value) or _as_json(wanted) == value


def _as_json(value: Any) -> Any:
    """Give *value* as a recording would have it: a date as its text, a set as a list."""
    if value is None or isinstance(value, str | int | float):
        return value
    return json.loads(codec.encode(value, _LIMIT_BYTES))


def _instead(name: str, value: Any, wanted: str) -> str:
    return f"{name or 'the value'}: {preview(value, _WIDTH)} instead of {wanted}"
