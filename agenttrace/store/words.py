"""
Texts as words, for comparing what was told with what had failed.

Pure. Invariant: quotes, brackets, indents, the letters' case and any depth of JSON or ``repr``
escapes make no difference to the words. Cost: one pass over the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["HOLE", "Words", "find_gates", "has_words", "is_failure_word", "split_words"]

HOLE = "\x00"
"""Stands for a redacted part; no word contains it."""
_ESCAPE = re.compile(r"\\+(?:u([0-9a-f]{4})|x([0-9a-f]{2})|[nrtfbv])?")
_REDACTED = re.compile(r"\[redacted(?::[^\]\s]{0,80})?\]")
_TOKEN = re.compile(r"\x00|\w+|\.\.\.+|…|[\"“”\n]")
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'", "&#39;": "'", "&amp;": "&"}
_GATE = re.compile(r"[A-Za-z0-9]{2,}")

_FAILURE_WORDS = frozenset(
    "error errors err failed failure fail failing exception exceptions raised traceback errno crashed".split()
)


@dataclass(frozen=True, slots=True)
class Words:
    """A text as its words, in lower case."""

    words: tuple[str, ...]
    breaks: frozenset[int]
    """After which words a quote, an ellipsis or the end of a line or string stands."""
    lines: frozenset[int] = frozenset()
    """After which words a line ends."""


def split_words(text: str) -> Words:
    """Take a text apart into words, escapes undone however deep they are."""
    text = text.casefold()
    if "\\" in text:
        text = _ESCAPE.sub(_unescape, text)
        if any("\ud800" <= char <= "\udfff" for char in text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "&" in text:
        for entity, plain in _ENTITIES.items():
            text = text.replace(entity, plain)
    if "[redacted" in text:
        text = _REDACTED.sub(HOLE, text)
    words: list[str] = []
    breaks: set[int] = set()
    lines: set[int] = set()
    for token in _TOKEN.findall(text):
        if token == HOLE or token[0].isalnum() or token[0] == "_":
            words.append(token)
        elif words:
            breaks.add(len(words) - 1)
            if token == "\n":
                lines.add(len(words) - 1)
    return Words(tuple(words), frozenset(breaks), frozenset(lines))


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if code:
        return chr(int(code, 16)).casefold()
    return "\n" if match[0][-1] in "nr" else " "


def has_words(words: Words) -> bool:
    return any(word != HOLE for word in words.words)


def find_gates(text: str) -> set[str]:
    """Give pieces of a text as it is that no escaping takes apart; the empty one when there are none."""
    return set(sorted({piece.lower() for piece in _GATE.findall(text)}, key=len)[-3:] or [""])


def is_failure_word(word: str) -> bool:
    return word in _FAILURE_WORDS or word.endswith(("error", "exception"))
