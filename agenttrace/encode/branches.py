"""
Turn values that hold other values (containers, records, exceptions, arrays) into JSON values.

Invariant: a branch looks at no more entries than the walk's limits allow, takes them
in one step where another thread could change the container meanwhile, and runs the
user's code in two named places only: ``branch_mapping`` and ``str()`` of an exception.
"""

from __future__ import annotations

import sys
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from gc import get_referents
from itertools import islice
from types import MappingProxyType
from typing import Any

import orjson

from agenttrace.encode.inspection import class_attribute, is_a, is_record, iter_state, mro_of, type_name
from agenttrace.encode.leaves import LEAVES, render_text, unencodable, utf8_length
from agenttrace.encode.limits import Walk
from agenttrace.encode.marks import Mark, build_mark

__all__ = [
    "FIRST_BRANCHES",
    "Branch",
    "branch_object",
    "find_branch",
    "find_foreign_branch",
]

_HEAD_ATTRIBUTES = 24
_HEAD_CHARACTERS = 1024
_HEAD_TEXT_CHARACTERS = 120
_ARRAY_ITEMS = 1000
_END: Any = object()


Branch = Callable[[Walk, Any], Any]


def _snapshot(items: Iterable[Any], limit_items: int) -> list[Any]:
    """Copy the first items in one step of C, so that another thread cannot change them under the walk."""
    return list(islice(items, limit_items))


def _branch_dict(walk: Walk, value: Any) -> Any:
    return walk.mapping(_snapshot(dict.items(value), walk.limits.items), dict.__len__(value))


def _branch_list(walk: Walk, value: Any) -> Any:
    return walk.sequence(list.__getitem__(value, slice(None, walk.limits.items)), list.__len__(value))


def _branch_tuple(walk: Walk, value: Any) -> Any:
    names = class_attribute(type(value), "_fields") if type(value) is not tuple else None
    if type(names) is tuple and len(names) == tuple.__len__(value):
        return walk.mapping(zip(names, tuple.__iter__(value), strict=True), len(names))
    return walk.sequence(tuple.__getitem__(value, slice(None, walk.limits.items)), tuple.__len__(value))


def _branch_set(walk: Walk, value: Any) -> Any:
    base: Any = frozenset if is_a(type(value), frozenset) else set
    items = _snapshot(base.__iter__(value), walk.limits.items)
    if all(type(item) is str for item in items) or all(type(item) is int for item in items):
        items.sort()  # a set's own order changes with the hash seed
    return walk.sequence(items, base.__len__(value))


def _branch_deque(walk: Walk, value: Any) -> Any:
    return walk.sequence(_snapshot(deque.__iter__(value), walk.limits.items), deque.__len__(value))


def _branch_view(walk: Walk, value: Any) -> Any:
    return walk.sequence(_snapshot(value, walk.limits.items), len(value))


def _branch_range(walk: Walk, value: Any) -> Any:
    bounds = (value.start, value.stop, value.step)
    if any(type(bound) is not int or bound.bit_length() > 62 for bound in bounds):
        return unencodable(range)
    return walk.sequence(islice(value, walk.limits.items), len(value))


def _branch_proxy(walk: Walk, value: Any) -> Any:
    return walk.walk(get_referents(value)[0])  # no method of the mapping behind it runs


def _branch_user_data(walk: Walk, value: Any) -> Any:
    return walk.walk(dict(iter_state(value, walk.limits.items))["data"])


def _branch_chain_map(walk: Walk, value: Any) -> Any:
    merged: dict[Any, Any] = {}
    for mapping in reversed(dict(iter_state(value, walk.limits.items))["maps"]):
        if is_a(type(mapping), dict):
            merged.update(_snapshot(dict.items(mapping), walk.limits.items))
    return walk.walk(merged)


def _branch_mapping(walk: Walk, value: Any) -> Any:
    """Ask a foreign mapping for its entries, which runs its code."""
    walk.check_time()
    keys = iter(value)
    kept = walk.mapping(_iter_pairs(walk, value, islice(keys, walk.limits.items)), 0)
    if walk.left_bytes <= 0 or next(keys, _END) is not _END:
        kept.update(build_mark("cut"))
    return kept


def _iter_pairs(walk: Walk, mapping: Any, keys: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    for key in keys:
        walk.check_time()
        try:
            item = mapping[key]
        except Exception as error:
            item = Mark("unencodable", type=type_name(type(error)))
        yield key, item


def _branch_mark(walk: Walk, value: Any) -> Any:
    fields: dict[str, Any] = value.fields
    return fields


def _branch_enum(walk: Walk, value: Any) -> Any:
    state = dict(iter_state(value, _HEAD_ATTRIBUTES))
    return walk.walk(state["_value_"])  # not .value: that may be the user's property


def _branch_exception(walk: Walk, value: Any) -> Any:
    cls = type(value)
    module, _, name = type_name(cls).rpartition(".")
    fields = {"type": name, "module": module or "builtins", "message": _message_of(walk, value)}
    cause = BaseException.__dict__["__cause__"].__get__(value)
    if cause is not None:
        fields["cause"] = cause
    if is_a(cls, BaseExceptionGroup):
        fields["exceptions"] = BaseExceptionGroup.__dict__["exceptions"].__get__(value)
    return walk.mapping(fields.items(), len(fields))


def _message_of(walk: Walk, value: Any) -> Any:
    arguments = BaseException.__dict__["args"].__get__(value)
    renderer = class_attribute(type(value), "__str__")
    if type(renderer) is type(BaseException.__dict__["__str__"]):
        if len(arguments) == 1 and is_a(type(arguments[0]), str):
            return arguments[0]
        if is_a(type(value), BaseExceptionGroup):
            return BaseExceptionGroup.__dict__["message"].__get__(value)
        if not all(type(item) in _PLAIN_TYPES for item in arguments):
            return list(arguments)  # CPython's own __str__ would ask each for its repr
    walk.check_time()
    try:
        rendered = render_text(str(value), walk.text_limit())
    except Exception as error:
        return Mark("unencodable", type=type_name(type(error)))
    return rendered if type(rendered) is str else _as_mark(rendered)


def _as_mark(fields: dict[str, Any]) -> Mark:
    mark = Mark("")
    mark.fields = fields
    return mark


_PLAIN_TYPES = (str, int, float, bool, type(None))


def _branch_record(walk: Walk, value: Any) -> Any:
    state = iter_state(value, walk.limits.items)
    pairs: list[tuple[Any, Any]] = []
    for name, stored in state:
        if name != "__pydantic_extra__":
            pairs.append((name, stored))
        elif type(stored) is dict:
            pairs.extend(_snapshot(stored.items(), walk.limits.items))
    return walk.mapping(pairs, len(pairs))


def branch_object(walk: Walk, value: Any) -> Any:
    """Mark an unknown object with its type and, as head, the JSON of its scalar attributes."""
    kept: dict[str, Any] = {}
    room = _HEAD_CHARACTERS
    for name, stored in iter_state(value, _HEAD_ATTRIBUTES):
        if type(name) is not str or len(name) > _HEAD_TEXT_CHARACTERS or not name.isascii():
            continue
        for plain in _PLAIN_TYPES:
            if type(stored) is plain:
                kept[name] = LEAVES[plain](stored, _HEAD_CHARACTERS)
        text = kept.get(name)
        if type(text) is str and len(text) > _HEAD_TEXT_CHARACTERS:
            kept[name] = build_mark(
                "cut", bytes=utf8_length(text)
            )  # no head: half a secret in JSON in a text
        room -= len(name) + _HEAD_TEXT_CHARACTERS
        if room <= 0:
            break
    return unencodable(type(value), orjson.dumps(kept).decode() if kept else None)


def _branch_secret(walk: Walk, value: Any) -> Any:
    return build_mark("redacted", rule="secret_type")


def _branch_array_scalar(walk: Walk, value: Any) -> Any:
    item = sys.modules["numpy"].generic.item(value)
    for plain in _PLAIN_TYPES:
        if type(item) is plain:
            return LEAVES[plain](item, walk.text_limit())
    if type(item).__module__.startswith("numpy"):
        return unencodable(type(value))
    return walk.walk(item)


def _branch_array(walk: Walk, value: Any) -> Any:
    base = sys.modules["numpy"].ndarray
    shape, size = base.shape.__get__(value), base.size.__get__(value)
    if size <= _ARRAY_ITEMS:
        return walk.walk(base.tolist(value))
    row_items = size // shape[0]
    rows = _ARRAY_ITEMS // row_items
    kept = walk.walk(base.tolist(base.__getitem__(value, slice(0, rows)))) if rows else []
    kept.append(build_mark("cut", items=shape[0] - rows, type=f"{type_name(type(value))} {shape}"))
    return kept


_BRANCHES: tuple[tuple[type, Branch], ...] = (
    (dict, _branch_dict),
    (list, _branch_list),
    (tuple, _branch_tuple),
    (set, _branch_set),
    (frozenset, _branch_set),
    (deque, _branch_deque),
    (range, _branch_range),
    (type({}.keys()), _branch_view),
    (type({}.values()), _branch_view),
    (type({}.items()), _branch_view),
    (MappingProxyType, _branch_proxy),
    (UserDict, _branch_user_data),
    (UserList, _branch_user_data),
    (ChainMap, _branch_chain_map),
    (BaseException, _branch_exception),
    (Mark, _branch_mark),
)

FIRST_BRANCHES: tuple[tuple[type, Branch], ...] = ((Enum, _branch_enum),)
"""Bases that decide even when another comes first, as int does in an IntEnum."""


def find_branch(base: type) -> Branch | None:
    """Give the branch for exactly *base*; numpy is looked at only when it is imported."""
    for known, branch in _BRANCHES:
        if known is base:
            return branch
    numpy = sys.modules.get("numpy")
    if base is getattr(numpy, "ndarray", _END):
        return _branch_array
    if base is getattr(numpy, "generic", _END):
        return _branch_array_scalar
    return None


def find_foreign_branch(cls: type) -> Branch:
    """Give the branch for a class none of whose bases is known."""
    if any(type_name(base).rpartition(".")[2].lstrip("_").startswith("Secret") for base in mro_of(cls)):
        return _branch_secret
    if is_record(cls):
        return _branch_record
    try:
        is_mapping = issubclass(cls, Mapping)
    except Exception:  # a metaclass of the user's answers
        is_mapping = False
    return _branch_mapping if is_mapping else branch_object
