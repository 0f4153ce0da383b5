"""
Find keys that speak for themselves by how they begin (``ghp_...``, ``AKIA...``).

Invariant: such a key is a run of at least 16 key characters, and it begins where the
run begins, behind an escape, or after ``-`` or ``_``; the middle of a word (``task-0123...``)
is no beginning. Cost: 0.6 µs for 500 bytes without such a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from agenttrace.encode.redact_rules import FORMATS
from agenttrace.encode.scan import find_runs

__all__ = ["Span", "has_format", "iter_formats"]

Span = tuple[int, int, str]
"""Start, end and rule of what is to be taken out of a text."""

_ESCAPE_BYTES = 12
_BEFORE = frozenset(b".:\\%[;")
"""What stands before a run that begins in an odd way: after ``SG.``, ``\\n``, ``%20``, ``ESC[31m``."""
_SLASH = ord("/")

_RULES = [rule for rule, _, _ in FORMATS]
_GROUPS = (f"(?P<f{number}>{begin}{rest})" for number, (_, begin, rest) in enumerate(FORMATS))
_whole = re.compile("|".join(_GROUPS)).match


def _by_first_letter() -> tuple[dict[str, list[str]], list[str]]:
    """Sort the beginnings by their first letter; those that look behind come separately."""
    letters: dict[str, list[str]] = {}
    behind: list[str] = []
    for begin in dict.fromkeys(begin for _, begin, _ in FORMATS):
        if begin.startswith("("):
            behind.append(begin)
            continue
        first, rest = (begin[1:].split("]", 1)) if begin[0] == "[" else (begin[0], begin[1:])
        for letter in first:
            letters.setdefault(letter, []).append(rest)
    return letters, behind


_letters, _behind = _by_first_letter()
_BEGIN = "|".join(f"{letter}(?:{'|'.join(rests)})" for letter, rests in _letters.items())
_begins = {
    ord(letter): re.compile(f"{letter}(?:{'|'.join(rests)})".encode()).match
    for letter, rests in _letters.items()
}
_begins_behind = re.compile("|".join(_behind).encode()).match
_begins_escaped = re.compile(rf"(?:[nrtbf]|u?[0-9a-fA-F]{{2,4}}|[0-9]{{0,3}}m)(?={_BEGIN})".encode()).match
_escape_before = re.compile(rb"(?:\\[nrtbf]|\\u[0-9a-fA-F]{4}|%[0-9A-Fa-f]{2}|\[[0-9;]{0,8}m)\Z").search
_inside = re.compile(f"[_-](?={_BEGIN})".encode()).search


def has_format(data: bytes) -> bool:
    """Tell whether a run of key characters in raw JSON begins like a format, or may be a webhook's."""
    for at, end in find_runs(data):
        before = data[at - 1] if at else None
        if before == _SLASH and b"hook" in data.lower():
            return True
        begins = _begins.get(data[at])
        if begins is not None and begins(data, at):
            return True
        if before in _BEFORE and next(_iter_odd_beginnings(data, at), None) is not None:
            return True
        if (data.find(b"_", at, end) >= 0 or data.find(b"-", at, end) >= 0) and _inside(data, at, end):
            return True
    return False


def iter_formats(text: str, data: bytes) -> Iterator[Span]:
    """
    Give the keys in *text*.

    Args:
        text: A decoded text.
        data: The same with one byte for each character, so that positions agree.
    """
    done = 0
    for at, end in find_runs(data):
        for begin in sorted({at, *_iter_odd_beginnings(data, at), *_iter_separated(data, at, end)}):
            match = _whole(text, begin) if begin >= done else None
            if match is not None and match.lastgroup is not None:
                done = match.end()
                yield begin, done, _RULES[int(match.lastgroup[1:])]


def _iter_separated(data: bytes, start: int, end: int) -> Iterator[int]:
    while (separator := _inside(data, start, end)) is not None:
        start = separator.end()
        yield start


def _iter_odd_beginnings(data: bytes, start: int) -> Iterator[int]:
    """Give where a key may begin at the begin of a run because of what stands before it."""
    if _begins_behind(data, start):
        yield start
    escape = _begins_escaped(data, start)
    if escape is not None and _escape_before(data[max(0, start - _ESCAPE_BYTES) : escape.end()]):
        yield escape.end()
