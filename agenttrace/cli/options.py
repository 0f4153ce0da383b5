"""
Options that many commands share, each spelled once.

Owns ``--db``, ``--json``, ``-n`` and the parsing of spans of time such as ``1h``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["database_option", "json_option", "limit_option", "since_option"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h|d|w)")


def _parse_span(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    match = _SPAN.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no span of time; write 90s, 15m, 1h, 2d or 1w.")
    return round(float(match[1]) * _UNITS_MS[match[2]])


def database_option(command: _Command) -> _Command:
    """Add ``--db``."""
    add = click.option(
        "--db",
        "database",
        metavar="PATH",
        help="The database: a path or sqlite:/// URL.  [default: what `agenttrace path` prints]",
    )
    return add(command)


def json_option(command: _Command) -> _Command:
    """Add ``--json``."""
    add = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object, with schema_version, on stdout."
    )
    return add(command)


def limit_option(default: int, what: str) -> Callable[[_Command], _Command]:
    """Add ``-n/--limit`` with *default*."""
    return click.option(
        "-n",
        "--limit",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        metavar="N",
        help=f"At most this many {what}.",
    )


def since_option(what: str) -> Callable[[_Command], _Command]:
    """Add ``--since``, a span of time back from now; the command gets milliseconds or None."""
    return click.option(
        "--since",
        "since_ms",
        metavar="SPAN",
        callback=_parse_span,
        help=f"Only {what} of the last 90s, 15m, 1h, 2d or 1w.",
    )
