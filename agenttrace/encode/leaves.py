"""
Turn single values (numbers, texts, dates, bytes, code objects) into JSON values or marks.

Invariant: every function here is total for the types it is registered for, its
result is bounded by ``limit_bytes``, and it runs no code of the user's classes.
"""

from __future__ import annotations

import datetime
import math
import re
import sys
import types
from collections.abc import Callable
from typing import Any

from agenttrace.encode.inspection import type_name
from agenttrace.encode.marks import build_mark, safe_head, strip_edge

__all__ = [
    "LEAVES",
    "Leaf",
    "find_leaf",
    "render_bytes",
    "render_float",
    "render_int",
    "render_text",
    "unencodable",
    "utf8_length",
]

_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1  # what orjson writes exactly
_SAFE_BITS = 2048
"""Up to 617 digits: below every limit that ``sys.set_int_max_str_digits`` accepts (640)."""
_BINARY_HEAD_BYTES = 48
_NAME_CHARACTERS = 200
_DECIMAL_BYTES = 1024
_LONG_TEXT = 1_000_000

Leaf = Callable[[Any, int], Any]


def unencodable(cls: type, head: str | None = None, **fields: Any) -> dict[str, Any]:
    """Build the mark of a value that JSON cannot hold."""
    return build_mark("unencodable", type=type_name(cls), head=head, **fields)


def render_text(value: Any, limit_bytes: int) -> Any:
    """
    Give an exact, bounded str.

    Returns:
        The text; a cut mark when it has more than *limit_bytes* characters; an
        unencodable mark with escapes in its head when it holds lone surrogates.
    """
    length = str.__len__(value)
    text = value if type(value) is str else str.__getitem__(value, slice(None, limit_bytes + 1))
    if length <= limit_bytes:
        return text if _is_utf8(text) else unencodable(str, _escaped(text))
    head = _escaped(safe_head(text, limit_bytes)) or None
    if type(value) is str and (value.isascii() or length <= _LONG_TEXT):
        return build_mark("cut", bytes=utf8_length(value), head=head)
    return build_mark("cut", items=length, head=head)


def utf8_length(text: str) -> int:
    """Count the UTF-8 bytes of *text*; a lone surrogate counts as 3."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def render_int(value: Any, limit_bytes: int = 0) -> Any:
    """Give an exact int of 64 bits, or a mark with its decimal digits (estimated when huge)."""
    number = int.__add__(value, 0)
    if _MIN_INT <= number <= _MAX_INT:
        return number
    bits = number.bit_length()
    if bits <= _SAFE_BITS:
        return unencodable(int, str(number))
    exponent, mantissa = divmod(math.log10(abs(number)), 1)
    sign = "-" if number < 0 else ""
    return unencodable(int, f"{sign}{10**mantissa:.9f}e+{exponent:.0f}", bytes=(bits + 7) // 8)


def render_float(value: Any, limit_bytes: int = 0) -> Any:
    """Give an exact finite float, or a mark that says NaN or Infinity."""
    number = float.__float__(value)
    if math.isfinite(number):
        return number
    return unencodable(float, "NaN" if number != number else "Infinity" if number > 0 else "-Infinity")


def render_bytes(value: Any, limit_bytes: int) -> Any:
    """Mark bytes: text-like ones with their text as head, others with 48 bytes of hex."""
    view = memoryview(value).cast("B") if not isinstance(value, bytes) else memoryview(value)
    length = view.nbytes
    chunk = bytes(view[: max(limit_bytes, _BINARY_HEAD_BYTES)])
    text = _as_text(chunk, whole=len(chunk) == length)
    if text is None:
        text = chunk[:_BINARY_HEAD_BYTES].hex()
    head = text if len(chunk) == length else strip_edge(text)
    return unencodable(type(value), head or None, bytes=length)


def _as_text(chunk: bytes, *, whole: bool) -> str | None:
    if b"\x00" in chunk:
        return None
    try:
        return chunk.decode()
    except UnicodeDecodeError as error:
        if whole or error.start < len(chunk) - 3:
            return None
        return chunk[: error.start].decode()


def _render_bool(value: Any, limit_bytes: int) -> Any:
    return value


def _render_timedelta(value: Any, limit_bytes: int) -> Any:
    return datetime.timedelta.total_seconds(value)


def _render_datetime(value: Any, limit_bytes: int) -> Any:
    try:
        return datetime.datetime.isoformat(value)
    except Exception:  # the tzinfo is the user's own class
        naive = [getattr(datetime.datetime, part).__get__(value) for part in _DATE_PARTS]
        return datetime.datetime(*naive).isoformat()


_DATE_PARTS = ("year", "month", "day", "hour", "minute", "second", "microsecond")


def _render_time(value: Any, limit_bytes: int) -> Any:
    try:
        return datetime.time.isoformat(value)
    except Exception:  # the tzinfo is the user's own class
        naive = [getattr(datetime.time, part).__get__(value) for part in _DATE_PARTS[3:]]
        return datetime.time(*naive).isoformat()


def _render_uuid(value: Any, limit_bytes: int) -> Any:
    digits = f"{_late('uuid', 'UUID').__dict__['int'].__get__(value):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _render_decimal(value: Any, limit_bytes: int) -> Any:
    base = _late("decimal", "Decimal")
    size_bytes = base.__sizeof__(value)
    if size_bytes > _DECIMAL_BYTES:
        return unencodable(type(value), bytes=size_bytes)
    return base.__str__(value)


def _render_fraction(value: Any, limit_bytes: int) -> Any:
    slots = _late("fractions", "Fraction").__dict__
    parts = [slots[name].__get__(value) for name in ("_numerator", "_denominator")]
    if any(type(part) is not int or part.bit_length() > _SAFE_BITS for part in parts):
        return unencodable(type(value))
    return f"{parts[0]}/{parts[1]}"


def _render_complex(value: Any, limit_bytes: int) -> Any:
    return unencodable(type(value), complex.__repr__(value))


def _render_path(value: Any, limit_bytes: int) -> Any:
    return render_text(_late("pathlib", "PurePath").__str__(value), limit_bytes)


def _render_address(value: Any, limit_bytes: int) -> Any:
    return render_text(str(value), limit_bytes)


def _render_pattern(value: Any, limit_bytes: int) -> Any:
    pattern = value.pattern
    head = pattern if type(pattern) is str else None
    return unencodable(type(value), None if head is None else _escaped(safe_head(head, _NAME_CHARACTERS)))


def _render_class(value: Any, limit_bytes: int) -> Any:
    return build_mark("unencodable", type="type", head=type_name(value))


def _render_named(value: Any, limit_bytes: int) -> Any:
    """Mark code objects (functions, generators, coroutines) with their qualified name."""
    name = type(value).__dict__["__qualname__"].__get__(value)
    return unencodable(type(value), _escaped(name[:_NAME_CHARACTERS]) if type(name) is str else None)


def _render_method(value: Any, limit_bytes: int) -> Any:
    function = types.MethodType.__dict__["__func__"].__get__(value)
    if type(function) is types.FunctionType:
        return {**_render_named(function, limit_bytes), "type": "method"}
    return unencodable(types.MethodType)


def _render_module(value: Any, limit_bytes: int) -> Any:
    name = types.ModuleType.__getattribute__(value, "__dict__").get("__name__")
    return unencodable(types.ModuleType, _escaped(name[:_NAME_CHARACTERS]) if type(name) is str else None)


def _render_constant(value: Any, limit_bytes: int) -> Any:
    return unencodable(type(value), repr(value))


LEAVES: dict[type, Leaf] = {
    bool: _render_bool,
    type(None): _render_bool,
    str: render_text,
    int: render_int,
    float: render_float,
    complex: _render_complex,
    bytes: render_bytes,
    bytearray: render_bytes,
    memoryview: render_bytes,
    datetime.datetime: _render_datetime,
    datetime.date: lambda value, limit_bytes: datetime.date.isoformat(value),
    datetime.time: _render_time,
    datetime.timedelta: _render_timedelta,
    re.Pattern: _render_pattern,
    type: _render_class,
    types.FunctionType: _render_named,
    types.BuiltinFunctionType: _render_named,
    types.GeneratorType: _render_named,
    types.CoroutineType: _render_named,
    types.AsyncGeneratorType: _render_named,
    types.MethodType: _render_method,
    types.ModuleType: _render_module,
    type(Ellipsis): _render_constant,
    type(NotImplemented): _render_constant,
}
"""Renderers by class; a subclass is found through its bases, nearest first."""

LATE_LEAVES: tuple[tuple[str, str, Leaf], ...] = (
    ("uuid", "UUID", _render_uuid),
    ("decimal", "Decimal", _render_decimal),
    ("fractions", "Fraction", _render_fraction),
    ("pathlib", "PurePath", _render_path),
    ("ipaddress", "IPv4Address", _render_address),
    ("ipaddress", "IPv6Address", _render_address),
    ("ipaddress", "IPv4Network", _render_address),
    ("ipaddress", "IPv6Network", _render_address),
)
"""Renderers whose module is imported only by those who use it; it is never imported here."""


def _late(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def find_leaf(base: type) -> Leaf | None:
    """Give the renderer registered for exactly *base*, looking into imported modules too."""
    for known, leaf in LEAVES.items():
        if known is base:
            return leaf
    for module, name, leaf in LATE_LEAVES:
        if _late(module, name) is base:
            return leaf
    return None
