"""
Recorded results, made again as the values that the tool's own annotation promises.

Invariants: a value is rebuilt only where its annotation names a class that the data fits, and else the
data itself is given and the difference is told; rebuilding a rebuilt value's encoding gives an equal
value. Nothing here raises. Cost: one look at the annotation for each tool.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import re
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any

from agenttrace.events import MARK

__all__ = ["Promise", "promise_of", "rebuild"]

_DEPTH_LIMIT = 100
_ESCAPED = re.compile(r"\$\$+" + re.escape(MARK[1:]))
_PARSERS: dict[Any, Callable[[Any], Any]] = {
    datetime.datetime: datetime.datetime.fromisoformat,
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    datetime.timedelta: lambda value: datetime.timedelta(seconds=value),
    decimal.Decimal: decimal.Decimal,
    uuid.UUID: uuid.UUID,
    complex: complex,
}
_SEQUENCES = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
    collections.deque: collections.deque,
    list: list,
    set: set,
    frozenset: frozenset,
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping, collections.OrderedDict)
_STREAMS = (
    *(collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator),
    *(collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator),
)


class Promise(typing.NamedTuple):
    """What a tool says it gives."""

    result: Any
    """Annotation of what it returns; Any where it says nothing."""
    item: Any
    """Of the items that a generator yields."""
    problem: str | None = None
    """Why its annotation cannot be read."""


class _Unfit(Exception):
    """The data is not what the annotation says."""


def promise_of(function: Any) -> Promise:
    """Read what *function* is annotated to give."""
    target = inspect.unwrap(getattr(function, "func", function))
    target = getattr(target, "__func__", target)
    if not inspect.isroutine(target) and not isinstance(target, type):
        target = type(target).__call__
    try:
        result = _read_return(target)
    except Exception as exc:  # names that are not there at run time, or annotations of somebody's own kind
        return Promise(Any, Any, f"its annotation cannot be read ({exc}), so its results are JSON data")
    origin, arguments = typing.get_origin(result), typing.get_args(result)
    if origin in _STREAMS and (inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target)):
        returned = arguments[2] if origin is collections.abc.Generator and len(arguments) > 2 else Any
        return Promise(returned, arguments[0] if arguments else Any)
    return Promise(result, Any)


def _read_return(function: Any) -> Any:
    """Read what stands behind the arrow; the names around the function's own definition count too."""
    found = getattr(function, "__annotations__", {}).get("return", Any)
    names, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    around = {}
    for name, cell in zip(getattr(names, "co_freevars", ()), cells, strict=False):
        with contextlib.suppress(ValueError):  # not bound yet
            around[name] = cell.cell_contents
    alone = types.SimpleNamespace(__annotations__={"return": found})
    return typing.get_type_hints(alone, getattr(function, "__globals__", {}), around)["return"]


def rebuild(value: Any, annotation: Any, note: Callable[[str], object]) -> Any:
    """
    Make of recorded data what *annotation* promises.

    Args:
        value: JSON data, as recorded.
        annotation: A class or a form of ``typing``.
        note: Is told what is given as data, or as a mark, since it cannot be made again.
    """
    if annotation is Any:
        return _plain(value, note)
    try:
        return _rebuild(value, annotation, 0)
    except _Unfit as exc:
        note(f"given as JSON data, and not as {_name(annotation)}: {exc}")
    except Exception as exc:  # a constructor of somebody's own
        note(f"given as JSON data, and not as {_name(annotation)}: {type(exc).__name__}: {exc}")
    return _plain(value, note)


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _plain(value: Any, note: Callable[[str], object]) -> Any:
    """Give data without an annotation: what marks say exactly is made again, a user's own key unescaped."""
    try:
        return _data(value, note, 0)
    except RecursionError:
        return value


def _data(value: Any, note: Callable[[str], object], depth: int) -> Any:
    if type(value) is list and depth < _DEPTH_LIMIT:
        return [_data(one, note, depth + 1) for one in value]
    if type(value) is not dict or depth >= _DEPTH_LIMIT:
        return value
    if MARK not in value:
        return {_key(key): _data(one, note, depth + 1) for key, one in value.items()}
    try:
        return _from_mark(value, Any)
    except _Unfit as exc:
        note(f"given as its mark: {exc}")
        return value


def _key(key: str) -> str:
    """Take off the ``$`` that a user's own ``$agenttrace`` was given."""
    return key[1:] if _ESCAPED.fullmatch(key) else key


def _from_mark(mark: dict[str, Any], annotation: Any) -> Any:
    """Make what a mark says exactly: bytes, numbers that JSON has not."""
    kind, name, head = mark.get(MARK), str(mark.get("type", "")), mark.get("head")
    if kind == "unencodable" and type(head) is str:
        if name == "float":
            return float(head)
        if name == "int" and "bytes" not in mark:
            return int(head)
        if name == "complex":
            return complex(head)
        if name == "Ellipsis" or name == "ellipsis":
            return ...
        if name in ("bytes", "bytearray"):
            return _bytes(head, mark.get("bytes"), bytearray if name == "bytearray" else bytes)
    if kind == "unencodable" and name in ("bytes", "bytearray") and mark.get("bytes") == 0:
        return bytearray() if name == "bytearray" else b""
    raise _Unfit(f"a {name or 'value'} that was recorded as {kind}")


def _bytes(head: str, count: Any, kind: Any) -> Any:
    text = head.encode()
    if len(text) == count:
        return kind(text)
    try:
        found = bytes.fromhex(head)
    except ValueError:
        found = b""
    if len(found) != count:
        raise _Unfit(f"{count} bytes, of which the beginning is kept")
    return kind(found)


def _refuse(text: str) -> None:
    raise _Unfit(text)


def _rebuild(value: Any, annotation: Any, depth: int) -> Any:
    if depth > _DEPTH_LIMIT:
        raise _Unfit("it is nested too deep")
    while isinstance(annotation, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        annotation = annotation.__value__
    if annotation is Any or annotation is object or isinstance(annotation, (typing.TypeVar, str)):
        return _data(value, _refuse, depth)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _rebuild(value, arguments[0], depth)
    if hasattr(annotation, "__supertype__"):
        return _rebuild(value, annotation.__supertype__, depth)
    if origin in (typing.Union, types.UnionType):
        return _rebuild_union(value, arguments, depth)
    if origin is typing.Literal:
        return value if value in arguments else _find_member(value, arguments)
    if annotation is None or annotation is type(None):
        if value is not None:
            raise _Unfit("it is not None")
        return None
    kind = origin or annotation
    if kind in (collections.abc.Awaitable, collections.abc.Coroutine):
        return _rebuild(value, arguments[-1] if arguments else Any, depth)
    if not isinstance(kind, type):
        return _data(value, _refuse, depth)
    if type(value) is dict and MARK in value:
        made = _from_mark(value, kind)
        return made if isinstance(made, kind) else _as(kind, made)
    return _rebuild_class(value, kind, arguments, depth)


def _find_member(value: Any, members: tuple[Any, ...]) -> Any:
    for one in members:
        if isinstance(one, enum.Enum) and one.value == value:
            return one
    raise _Unfit(f"{value!r:.60} is none of them")


def _rebuild_union(value: Any, kinds: tuple[Any, ...], depth: int) -> Any:
    """Take the first member that the data fits; None and plain data only where they are exactly that."""
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        if isinstance(kind, type) and type(value) is kind and kind in (str, int, float, bool):
            return value
    reason = "it fits none of them"
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _rebuild(value, kind, depth)
        except Exception as exc:
            reason = str(exc) or reason
    raise _Unfit(reason)


def _as(kind: type, value: Any) -> Any:
    made = kind(value)
    if not isinstance(made, kind):
        raise _Unfit(f"{kind.__name__} makes something else")
    return made


def _rebuild_class(value: Any, kind: type, arguments: tuple[Any, ...], depth: int) -> Any:
    if issubclass(kind, enum.Enum):
        return _member_of(kind, value, depth)
    if kind in (str, int, bool):
        if type(value) is not kind:
            raise _Unfit(f"it is a {type(value).__name__}")
        return value
    if kind is float:
        if type(value) not in (int, float):
            raise _Unfit(f"it is a {type(value).__name__}")
        return value
    if kind in _PARSERS:
        return _PARSERS[kind](value)
    if issubclass(kind, pathlib.PurePath) or issubclass(kind, decimal.Decimal):
        return kind(value)
    if kind in (bytes, bytearray, memoryview):
        raise _Unfit(f"it is a {type(value).__name__}")
    if issubclass(kind, tuple):
        return _rebuild_tuple(value, kind, arguments, depth)
    if kind in _SEQUENCES:
        _expect(value, list)
        inner = arguments[0] if arguments else Any
        return _SEQUENCES[kind](_rebuild(one, inner, depth + 1) for one in value)
    if kind in _MAPPINGS:
        return _rebuild_mapping(value, kind, arguments, depth)
    if typing.is_typeddict(kind):
        _expect(value, dict)
        hints = _hints(kind)
        return {key: _rebuild(one, hints.get(key, Any), depth + 1) for key, one in value.items()}
    if dataclasses.is_dataclass(kind):
        return _rebuild_dataclass(value, kind, depth)
    if hasattr(kind, "model_validate"):
        _expect(value, dict)
        return kind.model_validate(_data(value, _refuse, depth))
    if hasattr(kind, "__attrs_attrs__"):
        return _rebuild_attrs(value, kind, depth)
    if issubclass(kind, (str, int, float)) and isinstance(value, (str, int, float)):
        return kind(value)
    raise _Unfit(f"nothing says how a {kind.__name__} is made")


def _expect(value: Any, kind: type) -> None:
    if type(value) is not kind:
        raise _Unfit(f"it is a {type(value).__name__}")


def _member_of(kind: type[enum.Enum], value: Any, depth: int) -> enum.Enum:
    for one in kind:
        if one.value == value and type(one.value) is type(value):
            return one
    for one in kind:  # a value that JSON has in another form: a tuple, a date
        try:
            if _rebuild(value, type(one.value), depth + 1) == one.value:
                return one
        except Exception:
            continue
    return kind(value)


def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except Exception:  # names that are not there at run time
        return {}


def _rebuild_tuple(value: Any, kind: type, arguments: tuple[Any, ...], depth: int) -> Any:
    names = getattr(kind, "_fields", None)
    if names is not None:
        hints = _hints(kind)
        _expect(value, dict)
        return kind(**{key: _rebuild(one, hints.get(key, Any), depth + 1) for key, one in value.items()})
    _expect(value, list)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_rebuild(one, arguments[0], depth + 1) for one in value)
    if arguments and len(arguments) != len(value):
        raise _Unfit(f"it has {len(value)} items")
    inner = arguments or (Any,) * len(value)
    return kind(_rebuild(one, each, depth + 1) for one, each in zip(value, inner, strict=True))


def _rebuild_mapping(value: Any, kind: type, arguments: tuple[Any, ...], depth: int) -> Any:
    _expect(value, dict)
    of_key, of_value = arguments if len(arguments) == 2 else (Any, Any)
    made = {}
    for key, one in value.items():
        made[_rebuild_key(_key(key), of_key, depth)] = _rebuild(one, of_value, depth + 1)
    return collections.OrderedDict(made) if kind is collections.OrderedDict else made


def _rebuild_key(key: str, annotation: Any, depth: int) -> Any:
    if annotation in (Any, str, object):
        return key
    if annotation is int:
        return int(key)
    if annotation is float:
        return float(key)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return next((one for one in annotation if str(one.value) == key), key)
    return _rebuild(key, annotation, depth + 1)


def _rebuild_dataclass(value: Any, kind: Any, depth: int) -> Any:
    """Give the constructor what it takes, and set the rest as it was recorded."""
    _expect(value, dict)
    hints, names = _hints(kind), {one.name: one for one in dataclasses.fields(kind)}
    given = {key: _rebuild(one, hints.get(key, Any), depth + 1) for key, one in value.items()}
    made = kind(**{key: one for key, one in given.items() if key in names and names[key].init})
    for key, one in given.items():
        if key not in names or not names[key].init:
            object.__setattr__(made, key, one)
    return made


def _rebuild_attrs(value: Any, kind: Any, depth: int) -> Any:
    _expect(value, dict)
    hints = _hints(kind)
    given = {key.lstrip("_"): _rebuild(one, hints.get(key, Any), depth + 1) for key, one in value.items()}
    return kind(**given)
