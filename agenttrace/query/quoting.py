r"""
Recorded text written for a language model, so that it cannot be taken for our own words.

What was recorded comes from models, web pages and files, and may have been written to be obeyed by
whoever reads it. Invariants: what these functions give is one line, whatever was recorded; it holds no
control, format or invisible character but spaces, no ``</``, no ``<|`` and no fence of backticks, so that no
quoted text can end a quotation, a tag or a message; a value is JSON and reads back as what was
recorded, if it was not cut.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

from agenttrace.query.tokens import estimate_tokens

__all__ = ["DATA_MARK", "Quoted", "quote_name", "quote_text", "quote_value", "quote_within"]

DATA_MARK = "| "
"""What stands in front of recorded text; our own words never hold it."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/#\-]{0,63}")
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp", "Zs"})
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef\u115f\u1160\u3164\uffa0\u180b-\u180f]")
_ENDS = re.compile(r"</|<\||```|~~~")
_ENDS_ESCAPED = {"</": "<\\/", "<|": "<\\u007c", "```": "\\u0060" * 3, "~~~": "\\u007e" * 3}
_NAME_CHARACTERS = 80
_NAME_TOKENS = 32
_CHARACTERS_PER_TOKEN = 4
_LEFT_OUT = "..."


class Quoted(NamedTuple):
    """A value in one line."""

    text: str
    size: int
    """Characters of the whole, before it was cut."""
    is_cut: bool


def _escape(text: str) -> str:
    """Write what is hidden, or could end a quotation, as JSON escapes."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(_escape_character(char) for char in text)
    return _ENDS.sub(lambda match: _ENDS_ESCAPED[match.group()], text)


def _escape_character(char: str) -> str:
    if char.isascii() and char.isprintable():
        return char
    if unicodedata.category(char) in _HIDDEN or _SELECTORS.match(char):
        return json.dumps(char)[1:-1]
    return char


def quote_value(value: Any, limit: int) -> Quoted:
    """
    Write a JSON value in one line of at most *limit* characters.

    Args:
        value: What was recorded.
        limit: Characters at most, >= 1. What is cut keeps its beginning, and of a long one its end too.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = json.dumps(str(type(value).__name__))
    return _cut(text, limit)


def quote_text(text: str, limit: int) -> Quoted:
    """Write a text in one line of at most *limit* characters, as it is but for what must be escaped."""
    return _cut(" ".join(text.split("\n")) if "\n" in text else text, limit)


def _cut(text: str, limit: int) -> Quoted:
    size = len(text)
    if size <= limit:
        whole = _escape(text)
        if len(whole) <= limit:
            return Quoted(whole, size, False)
    tail = limit // 4 if limit >= 40 else 0
    # Escaping makes a text longer: cut before it, so that no escape is cut, then give way until it fits.
    room = min(size, limit) - len(_LEFT_OUT)
    while room > 0:
        head = _escape(text[: room - room * tail // limit])
        end = _escape(text[size - room * tail // limit :]) if tail else ""
        if len(head) + len(end) + len(_LEFT_OUT) <= limit:
            return Quoted(f"{head}{_LEFT_OUT}{end}", size, True)
        room = room * 3 // 4
    return Quoted(_LEFT_OUT[:limit], size, True)


def quote_name(name: str) -> str:
    """
    Write a name, of a tool, an agent, a model or an error's type, for use amid our own words.

    Returns:
        A plain name as it is; any other as a JSON string, cut to 80 characters and 32 tokens.
    """
    if _NAME.fullmatch(name):
        return name
    room = min(len(name), _NAME_CHARACTERS)
    while True:
        cut = name if room == len(name) else name[:room] + _LEFT_OUT
        quoted = _escape(json.dumps(cut, ensure_ascii=False)).replace(DATA_MARK, "\\u007c ")
        if room == 0 or estimate_tokens(quoted) <= _NAME_TOKENS:
            return quoted
        room = room * 2 // 3


def quote_within(quote: Callable[[Any, int], Quoted], value: Any, max_tokens: int) -> Quoted:
    """
    Write a value or a text in one line of at most *max_tokens*.

    Args:
        quote: ``quote_value`` or ``quote_text``.
        value: What it is given.
        max_tokens: Tokens at most, as they are estimated, >= 3.
    """
    limit = max(3, max_tokens * _CHARACTERS_PER_TOKEN)
    while True:
        quoted = quote(value, limit)
        if limit <= 3 or estimate_tokens(quoted.text) <= max_tokens:
            return quoted
        limit = max(3, min(limit, len(quoted.text)) * 3 // 4)
