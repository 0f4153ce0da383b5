"""
Options that many commands share, each spelled once.

Owns ``--db``, ``--json``, ``-n`` and the parsing of spans of time such as ``1h``.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import click

__all__ = ["SINCE", "Since", "database_option", "json_option", "limit_option"]

_Command = TypeVar("_Command", bound=Any)

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SINCE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")


class Since(click.ParamType):
    """A span of time back from now: ``90s``, ``15m``, ``1h``, ``2d``, ``1w``; gives milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse *value*; refuses anything without a unit."""
        if isinstance(value, int):
            return value
        match = _SINCE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no span of time; write 90s, 15m, 1h, 2d or 1w", param, ctx)
        return round(float(match[1]) * _UNITS_MS[match[2]])


SINCE = Since()


def database_option(command: _Command) -> _Command:
    """Add ``--db``."""
    decorated: _Command = click.option(
        "--db",
        "database",
        metavar="PATH",
        help="The database: a path or sqlite:/// URL.  [default: AGENTTRACE_DB, else the user's traces.db]",
    )(command)
    return decorated


def json_option(command: _Command) -> _Command:
    """Add ``--json``."""
    decorated: _Command = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object with schema_version."
    )(command)
    return decorated


def limit_option(default: int, what: str) -> Any:
    """Add ``-n/--limit`` with *default*."""
    return click.option(
        "-n",
        "--limit",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help=f"At most this many {what}.",
    )
