"""
Options that many commands share, each spelled once.

Owns ``--db``, ``--json``, ``-n`` and the parsing of spans of time (``1h``) and of sizes (``2GB``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from agenttrace import clock

__all__ = [
    "database_option",
    "json_option",
    "limit_option",
    "parse_moments",
    "parse_size",
    "parse_span",
    "run_filter_options",
    "since_option",
    "threshold_option",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_UNITS_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*([kmg]i?b|b)", re.IGNORECASE)
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h|d|w)")


def parse_span(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read ``90s``, ``15m``, ``1h``, ``2d`` or ``1w`` as milliseconds; the callback of an option."""
    if value is None:
        return None
    match = _SPAN.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no span of time; write 90s, 15m, 1h, 2d or 1w.")
    return round(float(match[1]) * _UNITS_MS[match[2]])


def parse_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read ``500MB``, ``2GB`` or ``1.5GiB``; the callback of an option. None stays None."""
    if value is None:
        return None
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no size; write 500MB, 2GB or 1.5GiB.")
    return round(float(match[1]) * _UNITS_BYTES[match[2].lower()])


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
        callback=parse_span,
        help=f"Only {what} of the last 90s, 15m, 1h, 2d or 1w.",
    )


def run_filter_options(command: _Command) -> _Command:
    """Add ``--since``, ``--until``, ``--agent`` and ``--task``, where many runs are asked about."""
    for add in (
        click.option("--task", metavar="TEXT", help="Only runs whose task contains this text."),
        click.option("--agent", metavar="NAME", help="Only runs with this agent: its name or its id."),
        click.option(
            "--until",
            "until_ms",
            metavar="SPAN",
            callback=parse_span,
            help="Only runs that began longer ago than 15m, 1h or 2d.",
        ),
        since_option("runs"),
    ):
        command = add(command)
    return command


def parse_moments(since_ms: int | None, until_ms: int | None) -> tuple[int | None, int | None]:
    """Turn spans back from now into times, in milliseconds since 1970 UTC."""
    now_ms = clock.now_ms()
    return (
        None if since_ms is None else now_ms - since_ms,
        None if until_ms is None else now_ms - until_ms,
    )


def _parse_pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, equals, number = value.partition("=")
        if not (name.strip() and equals and number.strip()):
            raise click.BadParameter(f"{value!r} is no threshold; write retry_attempts=3.")
        pairs[name.strip()] = number.strip()
    return pairs


def threshold_option(command: _Command) -> _Command:
    """Add ``--threshold NAME=NUMBER``; the command gets a dict of text."""
    add = click.option(
        "--threshold",
        "thresholds",
        multiple=True,
        metavar="NAME=NUMBER",
        callback=_parse_pairs,
        help="From where on something is a finding, such as retry_attempts=3; may be repeated.",
    )
    return add(command)
