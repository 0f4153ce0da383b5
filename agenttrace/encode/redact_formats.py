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

__all__ = ["Span", "has_format", "iter_formats", "iter_runs"]

Span = tuple[int, int, str]
"""Start, end and rule of what is to be taken out of a text."""

_RUN_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_RUN_TABLE = bytes(97 if code in _RUN_CHARACTERS else 32 for code in range(256))
_RUN = b"a" * 16

_BEGINS = "|".join(dict.fromkeys(begin for _, begin, _ in FORMATS))
_ESCAPE = r"(?:[nrtbf]|u[0-9a-fA-F]{4}|[0-9A-Fa-f]{2}|[0-9]{0,3}m)"
_begins_at = re.compile(f"{_ESCAPE}?(?:{_BEGINS})".encode()).match
_begins_after = re.compile(f"{_ESCAPE}(?={_BEGINS})".encode()).match
_inside = re.compile(f"[_-](?={_BEGINS})".encode())
_escape_before = re.compile(rb"(?:\\[nrtbf]|\\u[0-9a-fA-F]{4}|%[0-9A-Fa-f]{2}|\[[0-9;]{0,8}m)\Z").search
_ESCAPE_BYTES = 12

_RULES = [rule for rule, _, _ in FORMATS]
_whole = re.compile("|".join(f"(?P<f{number}>{begin}{rest})" for number, (_, begin, rest) in enumerate(FORMATS)))


def iter_runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Give start and end of each run of 16 and more key characters."""
    runs = data.translate(_RUN_TABLE)
    at = runs.find(_RUN)
    while at >= 0:
        end = runs.find(b" ", at)
        if end < 0:
            end = len(runs)
        yield at, end
        at = runs.find(_RUN, end)


def has_format(data: bytes) -> bool:
    """Tell whether a run of *data*, raw JSON, begins like one of the formats."""
    return any(_begins_at(data, start) or _inside.search(data, start, end) for start, end in iter_runs(data))


def iter_formats(text: str, flat: bytes) -> Iterator[Span]:
    """
    Give the keys in *text*.

    Args:
        text: A decoded text.
        flat: The same with one byte for each character, so that positions agree.
    """
    done = 0
    for start, end in iter_runs(flat):
        for begin in _iter_beginnings(flat, start, end):
            match = _whole.match(text, begin) if begin >= done else None
            if match is not None and match.lastgroup is not None:
                done = match.end()
                yield begin, done, _RULES[int(match.lastgroup[1:])]


def _iter_beginnings(flat: bytes, start: int, end: int) -> Iterator[int]:
    yield start
    escape = _begins_after(flat, start)
    if escape is not None and _escape_before(flat[max(0, start - _ESCAPE_BYTES) : escape.end()]):
        yield escape.end()
    for separator in _inside.finditer(flat, start, end):
        yield separator.end()
