"""
Cut JSON values to a number of bytes so that their structure stays readable.

Invariant: what comes out is valid JSON of at most the limit, the same for the same
input, and what fits already comes back as it was. Keys stay as long as a bare mark
fits behind each; the largest values give way first. Cost: what is kept is visited,
what is dropped is only measured by orjson.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate, islice, repeat
from operator import add
from typing import Any, NamedTuple

import orjson

from agenttrace.encode.leaves import utf8_length
from agenttrace.encode.marks import build_mark, is_cut_mark, strip_edge
from agenttrace.events import MARK

__all__ = ["Truncated", "cut_payload", "fit", "truncate_utf8"]

_BARE_MARK_BYTES = len('{"$agenttrace":"cut"}')
_COUNT_MARK_BYTES = len('{"$agenttrace":"cut","bytes":123456789012}')
"""Smallest room in which a value is cut rather than dropped with its key."""
_ITEMS_FIELDS_BYTES = len('"$agenttrace":"cut","items":123456789012,')
_LIST_ITEM_BYTES = 160
"""Room an entry of a list should keep, before the entries behind it are dropped instead."""
_MIN_ENTRY_BYTES = 2
_MAX_DEPTH = 100


class Truncated(NamedTuple):
    """A text that was cut."""

    text: str
    removed_bytes: int
    """UTF-8 bytes taken off the end; 0 when the text is whole."""


def truncate_utf8(text: str, limit_bytes: int) -> Truncated:
    """
    Keep the longest prefix of *text* that fits *limit_bytes* of UTF-8.

    Args:
        text: Any str. A lone surrogate counts as 3 bytes.
        limit_bytes: Budget, >= 0. 0 gives "".

    Returns:
        The prefix, cut between characters, and the number of bytes removed.

    Raises:
        ValueError: *limit_bytes* is negative.

    Source: RFC 3629, section 3.
    """
    if limit_bytes < 0:
        raise ValueError(f"limit_bytes is {limit_bytes}; it must be 0 or more")
    total_bytes = utf8_length(text)
    if total_bytes <= limit_bytes:
        return Truncated(text, 0)
    data = text[:limit_bytes].encode("utf-8", "surrogatepass")
    end = min(limit_bytes, len(data))
    while 0 < end < len(data) and data[end] & 0xC0 == 0x80:  # a continuation byte: step to its first
        end -= 1
    return Truncated(data[:end].decode("utf-8", "surrogatepass"), total_bytes - end)


def cut_payload(payload: bytes, limit_bytes: int, sha256: str | None) -> bytes:
    """
    Cut a payload to *limit_bytes*, and say on its root how long it was.

    Args:
        payload: A JSON object. Anything else becomes the bare mark.
        limit_bytes: Budget, >= 256 (below that, down to ``{}``, the result only stays valid).
        sha256: Where the whole is kept, if it is.

    Returns:
        *payload* itself when it fits. Otherwise its keys with cut values, and the root's
        ``{"$agenttrace": "cut", "bytes": ..., "sha256": ...}`` among them; a key of the
        payload's own named ``bytes`` or ``sha256`` gives way to the mark's.
    """
    if len(payload) <= limit_bytes:
        return payload
    fields = build_mark("cut", bytes=len(payload), sha256=sha256)
    try:
        root = orjson.loads(payload)
        if type(root) is dict:
            own = {key: value for key, value in root.items() if key not in fields}
            room = limit_bytes - len(orjson.dumps(fields)) - 1
            if room > 2:
                cut = _fit_dict(own, room, False, 0) if len(orjson.dumps(own)) > room else own
                encoded = orjson.dumps({**cut, **fields})
                if len(encoded) <= limit_bytes:
                    return encoded
    except Exception:  # not JSON, or nested deeper than orjson reads
        pass
    for bare in (fields, build_mark("cut", bytes=len(payload)), build_mark("cut"), {}):
        encoded = orjson.dumps(bare)
        if len(encoded) <= limit_bytes:
            break
    return encoded


def fit(value: Any, room_bytes: int, *, guard_edges: bool) -> Any:
    """
    Cut a JSON value so that orjson writes it in at most *room_bytes*.

    Args:
        value: What ``normalize`` or ``orjson.loads`` gave.
        room_bytes: Budget, >= 64.
        guard_edges: Take from each cut text what may be half a secret (``marks.strip_edge``).
    """
    return value if _size(value) <= room_bytes else _fit(value, room_bytes, guard_edges, 0)


def _size(value: Any) -> int:
    return len(orjson.dumps(value))


def _sizes(values: Iterable[Any]) -> list[int]:
    dumps = orjson.dumps
    return [len(dumps(value)) for value in values]


def _fit(value: Any, room: int, guard: bool, depth: int) -> Any:
    cls = type(value)
    if cls is str:
        return _fit_text(value, room, guard, {})
    if cls is dict and depth < _MAX_DEPTH:
        head = value.get("head")
        if MARK in value and type(head) is str:
            return _fit_text(head, room, guard, {key: value[key] for key in value if key != "head"})
        if room > _ITEMS_FIELDS_BYTES + 2:
            return _fit_dict(value, room, guard, depth)
    if cls is list and depth < _MAX_DEPTH and room > _COUNT_MARK_BYTES + 2:
        return _fit_list(value, room, guard, depth)
    counted = build_mark("cut", bytes=_size(value))
    return counted if _size(counted) <= room else build_mark("cut")


def _fit_text(text: str, room: int, guard: bool, fields: dict[str, Any]) -> dict[str, Any]:
    """Give a mark with as much of *text* as fits; *fields* are those of an earlier mark."""
    mark = fields or build_mark("cut")
    if "bytes" not in mark and "items" not in mark:
        mark = {**mark, "bytes": utf8_length(text)}
    head_room = room - _size({**mark, "head": ""})
    if head_room <= 0:
        return mark if _size(mark) <= room else build_mark("cut")
    head = text[:head_room]
    while head and (used := _size(head) - 2) > head_room:
        head = head[: min(len(head) - 1, len(head) * head_room // used)]
    if guard and len(head) < len(text):
        head = strip_edge(head)
    return {**mark, "head": head} if head else mark


def _fit_dict(value: dict[str, Any], room: int, guard: bool, depth: int) -> dict[str, Any]:
    dropped = 0
    if value.get(MARK) == "cut" and type(value.get("items")) is int:
        dropped = value["items"]
        value = {key: item for key, item in value.items() if key not in (MARK, "items")}
    names = list(islice(value, room // _MIN_ENTRY_BYTES))
    key_sizes = [size + 2 for size in _sizes(names)]
    sizes = _sizes(value[name] for name in names)
    inner = room - 2
    kept = _count_kept(key_sizes, sizes, inner, _COUNT_MARK_BYTES)
    if kept < len(value) or dropped:
        kept = _count_kept(key_sizes, sizes, inner - _ITEMS_FIELDS_BYTES, _COUNT_MARK_BYTES)
        inner -= _ITEMS_FIELDS_BYTES
    dropped += len(value) - kept
    inner -= sum(key_sizes[:kept])
    children = _share([value[name] for name in names[:kept]], sizes, inner, guard, depth)
    result = dict(zip(names, children, strict=False))
    if dropped:
        result[MARK] = "cut"
        result.setdefault("items", dropped)  # a key of the user's own named "items" stays
    return result


def _fit_list(value: list[Any], room: int, guard: bool, depth: int) -> list[Any]:
    dropped = 0
    if value and is_cut_mark(value[-1]):
        dropped = value[-1]["items"]
        value = value[:-1]
    sizes = _sizes(islice(value, room // _MIN_ENTRY_BYTES))
    separators = [1] * len(sizes)
    inner = room - 2
    kept = _count_kept(separators, sizes, inner, _LIST_ITEM_BYTES)
    if kept < len(value) or dropped:
        inner -= _COUNT_MARK_BYTES + 1
        kept = _count_kept(separators, sizes, inner, _LIST_ITEM_BYTES)
        kept = kept or _count_kept(separators[:1], sizes[:1], inner, _COUNT_MARK_BYTES)
    dropped += len(value) - kept
    children = _share(value[:kept], sizes, inner - kept, guard, depth)
    return [*children, build_mark("cut", items=dropped)] if dropped else children


def _count_kept(key_sizes: list[int], sizes: list[int], room: int, entry_bytes: int) -> int:
    """Count the leading entries that fit when none may take more than *entry_bytes*."""
    return bisect_right(list(accumulate(map(add, key_sizes, map(min, sizes, repeat(entry_bytes))))), room)


def _share(values: list[Any], sizes: list[int], room: int, guard: bool, depth: int) -> list[Any]:
    """Keep the values below one common size whole, and cut the others to it."""
    sizes = sizes[: len(values)]
    spare = room - sum(sizes)
    if spare >= 0:
        return values
    cap = _common_size(sizes, room)
    spare = room - sum(map(min, sizes, repeat(cap)))
    children: list[Any] = []
    for item, size in zip(values, sizes, strict=True):
        if size > cap + spare:
            item = _fit(item, cap + spare, guard, depth + 1)
            spare += cap - _size(item)
        elif size > cap:
            spare -= size - cap
        children.append(item)
    return children


def _common_size(sizes: list[int], room: int) -> int:
    """Give the largest size to which all may be cut so that together they fit *room*."""
    left = len(sizes)
    for size in sorted(sizes):
        if size * left > room:
            return room // left
        room -= size
        left -= 1
    return room
