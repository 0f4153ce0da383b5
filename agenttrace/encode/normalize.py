"""
Turn any Python value into a JSON value, under limits of depth, breadth, bytes and time.

Invariant: ``normalize`` never raises an Exception and never runs a ``repr`` of the
user's. What cannot be held exactly becomes a mark. Cost: one pass over what is kept;
what lies beyond a limit is counted, not visited.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

import orjson

from agenttrace.encode.branches import (
    FIRST_BRANCHES,
    Branch,
    branch_object,
    find_branch,
    find_foreign_branch,
)
from agenttrace.encode.inspection import mro_of, type_name
from agenttrace.encode.leaves import Leaf, find_leaf, unencodable
from agenttrace.encode.limits import Limits
from agenttrace.encode.marks import Mark, build_mark, escape_key, safe_head
from agenttrace.encode.plain import encode_plain

__all__ = ["Limits", "Mark", "Walker", "normalize"]

_KEY_CHARACTERS = 512
_SHORT_KEY_CHARACTERS = 64
_CHUNK_ITEMS = 512
_CLOCK_EVERY_NODES = 256
_NODE_BYTES = 4
_TEXT_BYTES = 64
_COPY_BYTES = 16_384
"""Largest container that is tried as plain: one that fails is counted again at the next level."""
_COPY_NODES = 16
"""What a try counts for the clock."""
_MAX_HANDLERS = 2048
_DEFAULT_LIMITS = Limits()


def normalize(value: Any, limits: Limits = _DEFAULT_LIMITS) -> Any:
    """
    Give the JSON value that stands for *value*.

    Args:
        value: Anything.
        limits: Where to cut.

    Returns:
        dict, list, str, int, float, bool or None, nested no deeper than the limit.
    """
    try:
        return Walker(limits).walk(value)
    except Exception:
        return unencodable(type(value))


class Walker:
    """Carry the budget of one walk."""

    __slots__ = ("active", "deadline_s", "depth", "left_bytes", "left_text_bytes", "limits", "nodes")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.left_bytes = limits.total_bytes
        self.left_text_bytes = limits.text_bytes
        self.deadline_s = time.monotonic() + limits.time_ms / 1000
        self.depth = 0
        self.nodes = 0
        self.active: set[int] = set()
        """ids of the containers that are being walked, for cycles."""

    def walk(self, value: Any) -> Any:
        """Give the JSON value for *value*; an Exception on the way becomes a mark."""
        cls = type(value)
        if self.spent():
            return build_mark("cut", type=type_name(cls))
        self.left_bytes -= _NODE_BYTES
        try:
            leaf, branch = handlers_of(cls)
            if leaf is not None:
                rendered = leaf(value, self.text_limit())
                text = rendered if type(rendered) is str else ""
                if type(rendered) is dict:
                    text = rendered.get("head", "")
                self.left_bytes -= min(len(text), _TEXT_BYTES)
                self.left_text_bytes -= len(text)
                return rendered
            if id(value) in self.active:
                return build_mark("cycle", type=type_name(cls))
            if self.depth >= self.limits.depth:
                return build_mark("cut", type=type_name(cls))
            if cls is dict or cls is list or cls is tuple:
                copy = self.copy_plain(value)
                if copy is not None:
                    return copy
        except Exception:
            return unencodable(cls)
        self.active.add(id(value))
        self.depth += 1
        try:
            return branch(self, value)
        except Exception:
            return unencodable(cls)
        finally:
            self.depth -= 1
            self.active.discard(id(value))

    def copy_plain(self, value: Any) -> Any:
        """Copy a container of exact JSON types through orjson, which is ten times faster; None: cannot."""
        room = min(self.left_bytes, self.limits.string_bytes, self.limits.items, _COPY_BYTES)
        self.nodes += _COPY_NODES
        encoded = encode_plain(value, room, self.limits.depth - self.depth)
        if encoded is None:
            return None
        self.left_bytes -= len(encoded)
        return orjson.loads(encoded)

    def text_limit(self) -> int:
        """Give how many characters of one text still fit."""
        return min(self.limits.string_bytes, max(self.left_text_bytes, _TEXT_BYTES))

    def spent(self) -> bool:
        """Tell whether bytes or time are used up; the clock is read every 256 nodes."""
        self.nodes += 1
        if self.nodes >= _CLOCK_EVERY_NODES:
            self.check_time()
        return self.left_bytes <= 0

    def check_time(self) -> None:
        """End the walk when its time is over."""
        self.nodes = 0
        if time.monotonic() > self.deadline_s:
            self.left_bytes = 0

    def sequence(self, items: Iterable[Any], total: int) -> list[Any]:
        """Walk *items*, of which there are *total* in all (-1: unknown); add a mark for the rest."""
        kept: list[Any] = []
        rest = iter(items)
        floor_bytes = self.left_bytes - self.limits.string_bytes
        while chunk := list(islice(rest, _CHUNK_ITEMS)):
            copy = self.copy_plain(chunk) if len(chunk) > 1 else None
            if copy is not None:
                kept += copy
                chunk = []
            for item in chunk:
                if self.spent():
                    break
                kept.append(self.walk(item))
            if self.left_bytes <= 0:
                break
            if self.left_bytes < floor_bytes and len(kept) >= _CHUNK_ITEMS:
                break  # no list can keep more than the whole may have
        if len(kept) < total:
            kept.append(build_mark("cut", items=total - len(kept)))
        return kept

    def mapping(self, pairs: Iterable[tuple[Any, Any]], total: int) -> dict[str, Any]:
        """Walk key and value of each pair, of which there are *total*; add a mark for the rest."""
        kept: dict[str, Any] = {}
        floor_bytes = self.left_bytes - self.limits.string_bytes
        for key, item in pairs:
            if self.spent() or (self.left_bytes < floor_bytes and len(kept) >= _CHUNK_ITEMS):
                break
            name = key
            if type(key) is not str or len(key) > _SHORT_KEY_CHARACTERS or not key.isascii():
                name = self.key_text(key)
            if "$" in name:
                name = escape_key(name)
            if name in kept:
                name = _free_name(name, kept)
            self.left_bytes -= len(name)
            kept[name] = self.walk(item)
        if len(kept) < total:
            kept.update(build_mark("cut", items=total - len(kept)))
        return kept

    def key_text(self, key: Any) -> str:
        """Give the JSON key for any key: scalars by their JSON text, others by that of their mark."""
        if type(key) is str:
            text = key
        else:
            rendered = Walker(Limits(4, 16, _KEY_CHARACTERS, _KEY_CHARACTERS, _KEY_CHARACTERS)).walk(key)
            text = rendered if type(rendered) is str else orjson.dumps(rendered).decode()
        if len(text) > _KEY_CHARACTERS:
            text = safe_head(text, _KEY_CHARACTERS) + f"…[{len(text)} characters]"
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def handlers_of(cls: type) -> tuple[Leaf | None, Branch]:
    """Find the renderer of a class by its real bases; kept for the last classes seen."""
    known = _handlers.get(id(cls))
    if known is None:
        known = (cls, *_find_handlers(cls))
        if len(_handlers) >= _MAX_HANDLERS:
            _handlers.clear()
        _handlers[id(cls)] = known
    return known[1], known[2]


def _find_handlers(cls: type) -> tuple[Leaf | None, Branch]:
    bases = mro_of(cls)
    for base, branch in FIRST_BRANCHES:
        if any(candidate is base for candidate in bases):
            return None, branch
    for base in bases:
        container = find_branch(base)
        if container is not None:
            return None, container
        leaf = find_leaf(base)
        if leaf is not None:
            return leaf, branch_object
    return None, find_foreign_branch(cls)


# Keyed by id because the metaclass may have its own __hash__; the class is held, so its id stays its own.
_handlers: dict[int, tuple[type, Leaf | None, Branch]] = {}


def _free_name(name: str, taken: dict[str, Any]) -> str:
    number = 2
    while f"{name}~{number}" in taken:
        number += 1
    return f"{name}~{number}"
