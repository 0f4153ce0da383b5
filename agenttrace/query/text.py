"""
Words for people: hostile text made safe for a terminal, numbers with their unit, values in short.

Invariant: what ``sanitize`` gives holds no control character, escape sequence,
bidirectional override or lone surrogate, whatever a payload brought. All
functions are pure; widths are terminal cells, not characters.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from agenttrace.events import MARK

__all__ = [
    "cell_width",
    "escape_in_json",
    "fit",
    "pluralize",
    "preview",
    "preview_arguments",
    "render_age",
    "render_bytes",
    "render_clock",
    "render_cost",
    "render_count",
    "render_duration",
    "render_short_count",
    "sanitize",
    "sanitize_block",
]

_HOSTILE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_HOSTILE_BLOCK = re.compile(_HOSTILE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PATH_LIKE = re.compile(r"[^\s]*/[^\s/]+$")
_VALUE_LIMITS = (48, 40, 32, 26, 22, 18, 14, 11, 8)


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    named = _NAMED.get(char)
    if named:
        return named
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def sanitize(text: str) -> str:
    """Write every character that could move, colour or reorder a terminal line as a visible escape."""
    return _HOSTILE.sub(_escape, text)


def sanitize_block(text: str) -> str:
    """Do as ``sanitize`` does, but leave newlines and tabs, for text shown over several lines."""
    return _HOSTILE_BLOCK.sub(_escape, text)


def escape_in_json(text: str) -> str:
    """Write the characters that ``sanitize_block`` replaces as JSON escapes; *text* stays the same JSON."""
    return _HOSTILE_BLOCK.sub(lambda match: json.dumps(match.group())[1:-1], text)


def cell_width(text: str) -> int:
    """Count the terminal cells of *text*: 2 for wide characters, 0 for combining ones."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """
    Cut *text* to at most *width* cells, with *ellipsis* where something is missing.

    Returns:
        *text* itself when it fits; "" when not even the ellipsis does.
    """
    if width <= 0:
        return ""
    if cell_width(text) <= width:
        return text
    room = width - cell_width(ellipsis)
    if room < 0:
        return ""
    used = 0
    for at, char in enumerate(text):
        used += _char_width(char)
        if used > room:
            return text[:at] + ellipsis
    return text


def pluralize(count: int, noun: str) -> str:
    """Render ``1 call``, ``2 calls``, ``1,204 failures``."""
    return f"{render_count(count)} {noun}{'' if count == 1 else 's'}"


def render_count(count: int) -> str:
    """Render a whole number with thousands separators."""
    return f"{count:,}"


def render_short_count(count: int) -> str:
    """Render a number in at most five characters: ``950``, ``1.3k``, ``41k``, ``4.1M``."""
    if count < 1000:
        return str(count)
    for factor, unit in ((1_000, "k"), (1_000_000, "M"), (1_000_000_000, "G")):
        if count < 9_950 * factor // 1000:
            return f"{count / factor:.1f}{unit}"
        if count < 999_500 * factor // 1000:
            return f"{count / factor:.0f}{unit}"
    return f"{count / 1e12:.0f}T"


def render_age(age_ms: int) -> str:
    """Render how long ago something was: ``now``, ``42 s``, ``5 min``, ``3 h``, ``12 d``, ``2 y``."""
    seconds = max(0, age_ms) // 1000
    for unit, size in (("y", 31_557_600), ("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size and (unit != "d" or seconds >= 2 * size):
            return f"{seconds // size} {unit}"
    return "now"


def render_bytes(size_bytes: int) -> str:
    """Render a size as ``512 B``, ``1.2 KiB``, ``3.4 MiB``."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def render_cost(cost_usd: float) -> str:
    """Render US dollars with four digits after the point."""
    return f"${cost_usd:.4f}"


def render_duration(duration_ms: float | None) -> str:
    """Render a duration as ``0.4 ms``, ``12 ms``, ``1.2 s``, ``3 min 05 s``; None as ``?``."""
    if duration_ms is None:
        return "?"
    if duration_ms < 0:
        return "-" + render_duration(-duration_ms)
    if duration_ms < 0.05:
        return "<0.1 ms" if duration_ms else "0 ms"
    if duration_ms < 0.95:
        return f"{duration_ms:.1f} ms"
    if duration_ms < 950:
        return f"{duration_ms:.0f} ms"
    if duration_ms < 59_950:
        return f"{duration_ms / 1000:.1f} s"
    seconds = round(duration_ms / 1000)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    minutes = seconds // 60
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // (24 * 60)} days"


def render_clock(ts_ms: int) -> str:
    """Render the time of day, UTC, as ``HH:MM:SS.mmm``; any integer is accepted."""
    day_ms = ts_ms % 86_400_000
    seconds, millis = divmod(day_ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{millis:03d}"


def preview(value: Any, width: int, ellipsis: str = "…") -> str:
    """
    Render any JSON value in one safe line of at most *width* cells.

    Strings are quoted; a long path keeps its end, because that names the file;
    a list or object that does not fit shows its size; a mark says what it stands for.
    """
    if isinstance(value, str):
        return _preview_string(value, width, ellipsis)
    if isinstance(value, Mapping) and MARK in value and isinstance(value[MARK], str):
        return fit(_preview_mark(value, width, ellipsis), width, ellipsis)
    if isinstance(value, Mapping):
        text = _dump_shallow(value, width)
        if text is None or cell_width(text) > width:
            text = "{" + ellipsis + str(len(value)) + "}"
        return fit(text, width, ellipsis)
    if isinstance(value, list):
        text = _dump_shallow(value, width)
        if text is None or cell_width(text) > width:
            text = "[" + ellipsis + str(len(value)) + "]"
        return fit(text, width, ellipsis)
    if value is None or isinstance(value, bool | int | float):
        return fit(json.dumps(value), width, ellipsis)
    return fit(sanitize(str(value)), width, ellipsis)


def _dump_shallow(value: Any, width: int) -> str | None:
    """Dump a small container; None when it is too big to be worth dumping, or too deep."""
    if len(value) > width:
        return None
    try:
        return sanitize(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))
    except (RecursionError, ValueError, TypeError):
        return None


def _preview_string(value: str, width: int, ellipsis: str) -> str:
    head = value if len(value) <= 4 * width + 16 else value[: 4 * width + 16] + value[-width - 16 :]
    text = sanitize(head).replace('"', '\\"')
    if len(head) == len(value) and cell_width(text) + 2 <= width:
        return f'"{text}"'
    room = width - 2 - cell_width(ellipsis)
    if room <= 0:
        return fit(ellipsis, width, "")
    if _PATH_LIKE.fullmatch(value[-4096:]) and room >= 6:
        return f'"{ellipsis}{_last_cells(text, room)}"'
    return f'"{fit(text, room, "")}{ellipsis}"'


def _last_cells(text: str, width: int) -> str:
    used = 0
    for at in range(len(text) - 1, -1, -1):
        used += _char_width(text[at])
        if used > width:
            return text[at + 1 :]
    return text


def _preview_mark(mark: Mapping[str, Any], width: int, ellipsis: str) -> str:
    name = mark[MARK]
    if name == "cut" and isinstance(mark.get("head"), str):
        return _preview_string(mark["head"], width - 1, ellipsis)
    if name == "cut" and set(mark) - {MARK, "bytes", "sha256", "items"}:
        return _dump_shallow(mark, width) or "{" + ellipsis + "}"
    detail = mark.get("rule") or mark.get("type") or mark.get("bytes") or mark.get("items")
    suffix = f" {detail}" if isinstance(detail, str | int) else ""
    return sanitize(f"<{name}{suffix}>")


def preview_arguments(arguments: Any, width: int, ellipsis: str = "…") -> str:
    """
    Render call arguments as ``path="a.py", limit=3`` in at most *width* cells.

    Args:
        arguments: The recorded ``arguments``: an object by parameter name, or a list as given.
        width: Room in cells, >= 0; with too little for anything only the ellipsis is left.
    """
    if arguments is None or arguments == {} or arguments == []:
        return ""
    if isinstance(arguments, Mapping) and not isinstance(arguments.get(MARK), str):
        pairs = [(f"{sanitize(str(name))}=", value) for name, value in arguments.items()]
    elif isinstance(arguments, Mapping):
        named = {k: v for k, v in arguments.items() if k not in (MARK, "bytes", "sha256", "items")}
        if not named or arguments[MARK] != "cut":
            return preview(arguments, width, ellipsis)
        pairs = [(f"{sanitize(str(name))}=", value) for name, value in named.items()]
    elif isinstance(arguments, list):
        pairs = [("", value) for value in arguments]
    else:
        return preview(arguments, width, ellipsis)
    pairs = pairs[: width // 2 + 1]
    if len(pairs) == 1:
        name, value = pairs[0]
        room = width - cell_width(name)
        return name + preview(value, room, ellipsis) if room >= 4 else fit(ellipsis, width, "")
    text = ""
    for limit in _VALUE_LIMITS:
        text = ", ".join(name + preview(value, limit, ellipsis) for name, value in pairs)
        if cell_width(text) <= width:
            return text
    return fit(text, width, ellipsis)
