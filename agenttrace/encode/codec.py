"""
The door to orjson: any value to bounded JSON bytes, frame bodies to bytes and back.

Invariant: ``encode`` never raises an Exception and never gives more than its limit;
``decode(encode(x)) == normalize(x)`` when nothing is cut. Cost: 0.1-1 µs above
``orjson.dumps`` for a plain value of 500 bytes; a value that must be cut costs a walk
over what is kept, never a copy of the whole.
"""

from __future__ import annotations

from typing import Any

import orjson

from agenttrace.encode.inspection import type_name
from agenttrace.encode.marks import build_mark
from agenttrace.encode.normalize import Limits, normalize
from agenttrace.encode.plain import encode_plain
from agenttrace.encode.truncate import fit
from agenttrace.events import H_EXTRA

__all__ = ["MAX_DEPTH", "decode", "decode_body", "dumps", "encode", "encode_header", "loads"]

MAX_DEPTH = Limits().depth
"""How deep a payload may be nested."""
_TIME_MS = Limits().time_ms
_MIN_LIMIT_BYTES = 64
_HEADER_TEXT_CHARACTERS = 1024
_HEADER_BYTES = 16_384
_HEADER_DEPTH = 4
_NUL = b"\\u0000"

_BARE_MARK = orjson.dumps(build_mark("unencodable"))

dumps = orjson.dumps
loads = orjson.loads
decode = orjson.loads


def encode(value: Any, limit_bytes: int) -> bytes:
    """
    Give *value* as JSON of at most *limit_bytes*; what does not fit is cut and marked.

    Args:
        value: Anything.
        limit_bytes: Budget, >= 64.

    Returns:
        Valid JSON without a raw newline. No half secret stays at a cut (``marks.strip_edge``).
    """
    try:
        encoded = encode_plain(value, limit_bytes, MAX_DEPTH)
        return _encode_slowly(value, limit_bytes) if encoded is None else encoded
    except Exception:  # the caller's own recursion is at its limit, or memory is
        return _BARE_MARK


def _encode_slowly(value: Any, limit_bytes: int) -> bytes:
    try:
        limits = Limits(
            items=max(16, limit_bytes // 2),
            string_bytes=max(limit_bytes, _MIN_LIMIT_BYTES),
            total_bytes=2 * limit_bytes + 1024,
            text_bytes=6 * limit_bytes,
            time_ms=_TIME_MS,
        )
        tree = normalize(value, limits)
        encoded = orjson.dumps(tree)
        if len(encoded) > limit_bytes:
            encoded = orjson.dumps(fit(tree, limit_bytes, guard_edges=True))
        if len(encoded) <= limit_bytes:
            return encoded
    except Exception:
        pass
    encoded = orjson.dumps(build_mark("unencodable", type=type_name(type(value))))
    return encoded if len(encoded) <= limit_bytes else _BARE_MARK


def encode_header(header: list[Any]) -> bytes:
    """
    Give a frame header as one line of JSON; never raises.

    Columns are texts and numbers: a name that JSON cannot hold is escaped, an overlong
    one is cut and keeps a digest so that two of them stay apart, any other value
    becomes its encoded text.
    """
    encoded = encode_plain(header, _HEADER_BYTES, _HEADER_DEPTH)
    if encoded is not None:
        return encoded
    return orjson.dumps([_column(value) for value in header])


def _column(value: Any) -> Any:
    if type(value) is dict:
        return {_column_text(name): _column(item) for name, item in value.items() if type(name) is str}
    rendered = value if type(value) is str else normalize(value)
    if isinstance(rendered, dict):
        head = rendered.get("head")
        rendered = head if isinstance(head, str) else encode(rendered, _HEADER_TEXT_CHARACTERS).decode()
    elif isinstance(rendered, list):
        rendered = encode(rendered, _HEADER_TEXT_CHARACTERS).decode()
    return _column_text(rendered) if isinstance(rendered, str) else rendered


def _column_text(text: str) -> str:
    if len(text) > _HEADER_TEXT_CHARACTERS:
        import hashlib  # late: 2 ms of the import that every program pays, for a name of 1,024 characters

        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        text = f"{text[: _HEADER_TEXT_CHARACTERS // 2]}…{digest}"
    return text.encode("utf-8", "backslashreplace").decode()


def _escape_nul(value: Any) -> Any:
    """Write NUL in a column as a visible escape: for SQLite's JSON functions a text ends there."""
    if type(value) is str:
        return value.replace("\0", "\\x00")
    return {name: _escape_nul(item) for name, item in value.items()} if type(value) is dict else value


def decode_body(body: bytes) -> tuple[list[Any], bytes]:
    """
    Split a frame body into its header and its payload; no text of the header has a NUL in it.

    Raises:
        ValueError: there is no header list, or no payload object behind it.
    """
    line, separator, payload = bytes(body).partition(b"\n")
    header = orjson.loads(line)
    if type(header) is not list or len(header) <= H_EXTRA:
        raise ValueError("frame header: not a list of columns")
    if _NUL in line:
        header = [_escape_nul(value) for value in header]
    if not separator or payload[:1] != b"{" or payload[-1:] != b"}":
        raise ValueError("frame payload: not a JSON object")
    return header, payload
