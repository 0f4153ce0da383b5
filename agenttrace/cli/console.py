"""
The terminal: styled lines out, notes aside, nothing hostile through.

Invariant: what is printed is ``Text`` built from sanitised spans; no string is
ever read as rich markup. Data goes to stdout, notes go to stderr. Where stdout's
encoding cannot show a character, it is written as an escape instead of failing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any

from agenttrace.cli.pager import leave_pager
from agenttrace.query.lines import ASCII, UNICODE, Glyphs, Line
from agenttrace.query.text import escape_in_json, sanitize_block

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = [
    "JSON_SCHEMA_VERSION",
    "build_console",
    "choose_glyphs",
    "note",
    "print_json",
    "print_lines",
    "print_text",
    "to_text",
]

JSON_SCHEMA_VERSION = 1
"""Raised when a key of any ``--json`` output is renamed or taken away."""

_TERMINAL_STYLES = {
    "": "",
    "agent": "bold",
    "bad": "bold red",
    "bar": "blue",
    "dim": "dim",
    "guide": "dim",
    "hot": "bold yellow",
    "id": "cyan",
    "ok": "green",
    "tool": "",
    "turn": "blue",
    "value": "cyan",
    "warn": "yellow",
}


def note(message: str) -> None:
    """Say something on stderr, after the name of the program; never fails."""
    leave_pager()
    try:
        stream = sys.stderr
        text = f"agenttrace: {sanitize_block(message)}\n"
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding, "replace"))
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return


def choose_glyphs(stream: IO[str] | None = None) -> Glyphs:
    """Give the Unicode glyphs where the stream can write them, as text in memory can, else ASCII ones."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or ("ascii" if stream is None else "utf-8")
    try:
        "├─└│✔✘⊘◼‼●…·→»━▏▸◐↻▽▲".encode(encoding)
    except (UnicodeError, LookupError):
        return ASCII
    return UNICODE


def build_console(file: IO[str] | None = None, *, record: bool = False, width: int | None = None) -> Console:
    """
    Build a console on *file* (stdout, unless given) that prints what it is given and nothing else.

    NO_COLOR, FORCE_COLOR and COLUMNS are respected; without a terminal lines are 80 wide.
    """
    # rich is loaded late: `--help`, `path` and `--json` do without it.
    from rich.console import Console

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream = file if file is not None else sys.stdout
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return PipeConsole(
        file=stream, highlight=False, markup=False, emoji=False, record=record, width=width, soft_wrap=True
    )


def to_text(line: Line) -> Text:
    """Turn a line into rich text; spans are data, never markup, and sanitised once more."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ignore", end="")
    for span in line:
        text.append(sanitize_block(span.text), _TERMINAL_STYLES.get(span.style, ""))
    return text


def print_lines(console: Console, lines: Iterable[Line]) -> None:
    """Print each line as it comes, uncropped."""
    if console.color_system is None and not console.record:
        for line in lines:  # ten times as fast as rich, for the pipe that gets 100,000 lines
            console.file.write(sanitize_block("".join(span.text for span in line)) + "\n")
        return
    for line in lines:
        console.print(to_text(line), soft_wrap=True)


def print_text(line: str) -> None:
    """Print a line that is safe as it is on stdout; what the encoding cannot show becomes an escape."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def print_json(data: dict[str, Any]) -> None:
    """Print one JSON object on stdout, led by ``schema_version``."""
    whole = {"schema_version": JSON_SCHEMA_VERSION, **data}
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    text = escape_in_json(json.dumps(whole, indent=2, ensure_ascii=False, default=str))
    try:
        text.encode(encoding)
    except (UnicodeError, LookupError):
        text = json.dumps(whole, indent=2, default=str)
    sys.stdout.write(text + "\n")
