"""
Whether something is asked for again: recorded data beside live data, and where the two differ.

What was recorded may have been redacted or cut; the live side has passed the same rules. Invariant:
a mark agrees only with what may have stood in its place: a cut text with a text of that beginning and
length, a redacted one with any text. Cost: what is equal is compared as text, and nothing else looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from agenttrace.encode import codec
from agenttrace.events import MARK

__all__ = ["alike", "canonical", "describe_differences", "find_marks"]

_TAKEN = re.compile(r"\[redacted:[^\]]*\]")
_DEPTH_LIMIT = 150
_SHOWN_CHARACTERS = 60
_ABSENT: Any = object()


def canonical(value: Any) -> str:
    """Give JSON data as text that is the same for equal data."""
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError, TypeError):
        return repr(type(value))


def find_marks(value: Any) -> Iterator[dict[str, Any]]:
    """Give each mark in *value*; a text of which a part was taken out counts as one."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if type(one) is dict:
            if MARK in one:
                yield one
            waiting.extend(one.values())
        elif type(one) is list:
            waiting.extend(one)
        elif type(one) is str and "[redacted:" in one and _TAKEN.search(one):
            yield {MARK: "redacted", "rule": _TAKEN.findall(one)[0][10:-1]}


def alike(recorded: Any, live: Any, depth: int = 0) -> bool:
    """Tell whether *live* may be what was recorded as *recorded*."""
    if recorded == live and type(recorded) is type(live):
        return True
    if depth > _DEPTH_LIMIT:
        return False
    if type(recorded) is dict and _is_whole_mark(recorded):
        return _fits_mark(recorded, live)
    if type(live) is dict and _is_whole_mark(live):
        return _fits_mark(live, recorded)
    if type(recorded) is dict and type(live) is dict:
        return _dicts_alike(recorded, live, depth)
    if type(recorded) is list and type(live) is list:
        return _lists_alike(recorded, live, depth)
    if type(recorded) is str and type(live) is str:
        return _texts_alike(recorded, live)
    if _is_number(recorded) and _is_number(live):
        return bool(recorded == live)
    return False


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_whole_mark(value: dict[str, Any]) -> bool:
    """Tell a mark that stands for a whole value from one that counts what was dropped of an object."""
    if MARK not in value:
        return False
    return not (value[MARK] == "cut" and "items" in value and len(value) != 2 and "head" not in value)


def _fits_mark(mark: dict[str, Any], other: Any) -> bool:
    kind = mark.get(MARK)
    is_mark = type(other) is dict and MARK in other
    if kind == "redacted":
        if is_mark:
            return bool(other[MARK] == "redacted")
        return mark.get("rule") == "failure" or type(other) is str or _is_number(other)
    if is_mark:
        if kind != other[MARK] or mark.get("type") != other.get("type"):
            return False
        if kind != "cut":
            return True  # the very object cannot be compared; its class is the same
        heads = (str(mark.get("head", "")), str(other.get("head", "")))
        return mark.get("bytes") == other.get("bytes") and (
            heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])
        )
    if kind != "cut":
        return False
    if type(other) is str:
        if "items" in mark:
            is_long = len(other) == mark["items"]
        else:
            is_long = mark.get("bytes") in (None, len(other.encode("utf-8", "surrogatepass")))
        return is_long and _begins(other, str(mark.get("head", "")))
    return "head" not in mark and mark.get("bytes") in (None, len(codec.dumps(other)))


def _begins(text: str, head: str) -> bool:
    return text.startswith(head) or ("[redacted:" in head and _pattern(head).match(text) is not None)


def _texts_alike(one: str, other: str) -> bool:
    if "[redacted:" in one and _pattern(one).fullmatch(other):
        return True
    return "[redacted:" in other and _pattern(other).fullmatch(one) is not None


def _pattern(text: str) -> re.Pattern[str]:
    """Make a pattern of a text with parts taken out, each of which may have been anything."""
    return re.compile(".+?".join(re.escape(part) for part in _TAKEN.split(text)), re.DOTALL)


def _dicts_alike(recorded: dict[str, Any], live: dict[str, Any], depth: int) -> bool:
    own, dropped = _without_count(recorded)
    other, lacking = _without_count(live)
    if len(own) + dropped != len(other) + lacking:
        return False
    if not (dropped or lacking) and own.keys() != other.keys():
        return False
    return all(alike(own[key], other[key], depth + 1) for key in own if key in other)


def _without_count(value: dict[str, Any]) -> tuple[dict[str, Any], int]:
    if value.get(MARK) != "cut" or type(value.get("items")) is not int:
        return value, 0
    return {key: item for key, item in value.items() if key not in (MARK, "items")}, value["items"]


def _lists_alike(recorded: list[Any], live: list[Any], depth: int) -> bool:
    own, dropped = _without_last(recorded)
    other, lacking = _without_last(live)
    if len(own) + dropped != len(other) + lacking:
        return False
    return all(alike(one, two, depth + 1) for one, two in zip(own, other, strict=False))


def _without_last(value: list[Any]) -> tuple[list[Any], int]:
    last = value[-1] if value else None
    if type(last) is dict and len(last) == 2 and last.get(MARK) == "cut" and type(last.get("items")) is int:
        return value[:-1], last["items"]
    return value, 0


def describe_differences(recorded: Any, live: Any, limit_count: int = 5) -> list[str]:
    """Say in lines where live arguments differ from recorded ones, ``query: recorded "a", asked "b"``."""
    found: list[str] = []
    _collect(recorded, live, "", found, limit_count)
    return found


def _collect(recorded: Any, live: Any, place: str, found: list[str], limit_count: int) -> None:
    if len(found) >= limit_count or (
        recorded is not _ABSENT and live is not _ABSENT and alike(recorded, live)
    ):
        return
    if type(recorded) is dict and type(live) is dict and place.count(".") < _SHOWN_CHARACTERS:
        for key in [*recorded, *(key for key in live if key not in recorded)]:
            inner = f"{place}.{key}" if place else str(key)
            _collect(recorded.get(key, _ABSENT), live.get(key, _ABSENT), inner, found, limit_count)
        return
    found.append(f"{place or 'arguments'}: recorded {_show(recorded)}, asked {_show(live)}")


def _show(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = canonical(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
