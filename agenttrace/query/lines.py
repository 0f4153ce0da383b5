"""
Lines of styled text, before anybody decides whether they are printed with colour.

A line is a tuple of spans; a span's style is one of ``STYLES``, a word for what
the text means. Invariant: every text that came from a payload was sanitised
before it became a span. Meaning never rests on the style alone: each status has
a symbol or a word too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from agenttrace.query.text import cell_width, fit, sanitize

__all__ = [
    "ASCII",
    "STYLES",
    "UNICODE",
    "Glyphs",
    "Line",
    "Span",
    "fit_line",
    "line_width",
    "mark_span",
    "render_plain",
]

STYLES = ("", "agent", "bad", "bar", "dim", "guide", "hot", "id", "ok", "tool", "turn", "value", "warn")
"""What a span can mean; the command line maps each to a terminal style."""


class Span(NamedTuple):
    """A piece of a line, and what it means."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters a terminal is given; two sets exist, for Unicode and for ASCII."""

    branch: str
    last: str
    bar: str
    space: str
    ellipsis: str
    dot: str
    arrow: str
    deep: str
    own: str
    """In a bar: an operation worked itself."""
    inside: str
    """In a bar: what it called worked."""
    tick: str
    """In a bar: an operation shorter than half a cell."""
    critical: str
    """Stands before the bar of what the run waited for."""
    swallowed: str
    """Before the number of failures that nobody was told of."""
    retried: str
    lost: str
    marks: dict[str, str]
    """From a status to its mark; a status whose mark is no plain tick or cross says its word too."""


_WORDS = ("cancelled", "stopped early", "interrupted", "running", "out of contact")

UNICODE = Glyphs(
    branch="├─ ",
    last="└─ ",
    bar="│  ",
    space="   ",
    ellipsis="…",
    dot=" · ",
    arrow="→",
    deep="»",
    own="━",
    inside="─",
    tick="▏",
    critical="▸",
    swallowed="◐",
    retried="↻",
    lost="▽",
    marks={
        "ok": "✔",
        "error": "✘",
        "cancelled": "⊘ cancelled",
        "stopped_early": "◼ stopped early",
        "interrupted": "‼ interrupted",
        "running": "● running",
        "out of contact": "? out of contact",
        "stalled": "▲ stalled",
        "completed": "✔ completed",
        "failed": "✘ failed",
    },
)
ASCII = Glyphs(
    branch="|- ",
    last="`- ",
    bar="|  ",
    space="   ",
    ellipsis="...",
    dot=" - ",
    arrow="->",
    deep=">",
    own="=",
    inside="-",
    tick="|",
    critical="*",
    swallowed="!",
    retried="~",
    lost="!",
    marks={
        "ok": "ok",
        "error": "FAILED",
        "cancelled": "cancelled",
        "stopped_early": "stopped early",
        "interrupted": "INTERRUPTED",
        "running": "running",
        "out of contact": "out of contact",
        "stalled": "STALLED",
        "completed": "ok completed",
        "failed": "FAILED",
    },
)


_MARK_STYLES = {
    "stalled": "bad",
    "ok": "ok",
    "completed": "ok",
    "error": "bad",
    "failed": "bad",
    "interrupted": "bad",
    "running": "warn",
    "out of contact": "warn",
}


def mark_span(status: str, glyphs: Glyphs = UNICODE) -> Span:
    """Give the mark of a status: a symbol, with its word where the symbol is not a tick or a cross."""
    return Span(glyphs.marks.get(status, sanitize(status)), _MARK_STYLES.get(status, "warn"))


def line_width(line: Iterable[Span]) -> int:
    """Count the terminal cells of a line."""
    return sum(cell_width(span.text) for span in line)


def fit_line(line: Line, width: int, ellipsis: str = "…") -> Line:
    """Cut a line to *width* cells."""
    if line_width(line) <= width:
        return line
    kept: list[Span] = []
    room = width
    for span in line:
        used = cell_width(span.text)
        if used >= room:
            cut = fit(span.text + ellipsis, room, ellipsis)
            kept.append(Span(cut, span.style))
            break
        kept.append(span)
        room -= used
    return tuple(kept)


def render_plain(lines: Iterable[Line]) -> str:
    """Join lines as plain text, each ended by a newline."""
    return "".join("".join(span.text for span in line).rstrip() + "\n" for line in lines)
