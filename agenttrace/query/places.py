"""
Where an exception was raised and caught, as the rows of a failure tell.

Invariant: of the recorded frames the innermost one that is no library's is the place to look at; where
all are libraries', the innermost.
"""

from __future__ import annotations

import re
from typing import Any

from agenttrace.query.tree import parse_payload
from agenttrace.store.rows import Event

__all__ = ["frames_of", "function_at", "line_of", "raised_at"]

_OTHERS_CODE = re.compile(r"[\\/](lib[\\/]python3\.\d+|site-packages|dist-packages)[\\/]|[\\/]Lib[\\/]|^<")


def line_of(place: str | None) -> str | None:
    """Give ``file:line`` of ``file:line function``."""
    if place is None:
        return None
    file, colon, rest = place.rpartition(":")
    return f"{file}{colon}{rest.partition(' ')[0]}"


def function_at(place: str | None) -> tuple[str, str] | None:
    """Give file and function of ``file:line function``."""
    file, colon, rest = (place or "").rpartition(":")
    _, space, function = rest.partition(" ")
    return (file, function) if colon and space else None


def frames_of(row: Event | None) -> list[tuple[str, int, str]]:
    """Give file, line and function of the recorded frames, the outermost first."""
    error: Any = None if row is None else parse_payload(row.payload_json).get("error")
    frames = error.get("frames") if isinstance(error, dict) else None
    return [
        (each["file"], each["line"], str(each.get("function")))
        for each in (frames if isinstance(frames, list) else ())
        if isinstance(each, dict) and isinstance(each.get("file"), str) and isinstance(each.get("line"), int)
    ]


def raised_at(row: Event | None) -> str | None:
    """Give the innermost line that is no library's; where all are, the innermost."""
    places = [(file, line) for file, line, _ in frames_of(row)]
    own = [place for place in places if not _OTHERS_CODE.search(place[0])]
    if not places:
        return None
    file, line = (own or places)[-1]
    return f"{file}:{line}"
