"""
``agenttrace stats``: what takes the space, by table, kind, tool, conversation and month.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

import click

from agenttrace.cli.console import build_console, choose_glyphs, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, limit_option
from agenttrace.cli.reading import open_viewer
from agenttrace.query.lines import UNICODE, Span
from agenttrace.query.table import Column, render_table
from agenttrace.query.text import pluralize, render_bytes, render_count
from agenttrace.store.automatic import LAST_PRUNE, PRUNE, parse_limits
from agenttrace.store.prune import Limits
from agenttrace.store.space import Share, Space

__all__ = ["command"]

_BAR_WIDTH = 20
_MS_PER_DAY = 86_400_000


@click.command("stats")
@limit_option(5, "kinds, tools and conversations")
@json_option
@database_option
def command(limit: int, as_json: bool, database: str | None) -> None:
    """
    Show what takes the space.

    Sizes of kinds, tools, conversations and months are those of their payloads; tables and indexes
    are counted by the pages they hold. The whole database is read.
    """
    with open_viewer(database) as viewer:
        space = viewer.store.space(limit)
        limits = parse_limits(viewer.store.settings.get(PRUNE))
        last = viewer.store.settings.get(LAST_PRUNE)
    if as_json:
        pruning = {"limits": limits and limits._asdict(), "last": last and json.loads(last)}
        print_json({**_to_json(space), "pruning": pruning})
        return
    console, glyphs = build_console(), choose_glyphs()
    free = max(0, space.file_bytes - space.used_bytes)
    click.echo(
        f"{render_bytes(space.file_bytes)} in the file ({render_bytes(free)} of it free),"
        f" {render_bytes(space.journal_bytes)} in its journal,"
        f" {render_count(space.blobs.row_count)} blobs of {render_bytes(space.blobs.size_bytes)}"
    )
    if limits is not None:
        click.echo(_describe_pruning(limits, last))
    groups = (
        ("TABLE OR INDEX", "PAGES", space.tables[:limit]),
        ("KIND", "EVENTS", space.kinds),
        ("TOOL", "EVENTS", space.tools),
        ("CONVERSATION", "EVENTS", space.conversations),
        ("MONTH", "EVENTS", space.months),
    )
    for title, counted, shares in groups:
        if shares:
            click.echo()
            columns = (
                Column(title, shrinks=True, narrowest=10),
                Column(counted, right=True),
                Column("SIZE", right=True),
                Column(""),
            )
            rows = _to_rows(shares, "█" if glyphs is UNICODE else "#")
            print_lines(console, render_table(columns, rows, width=console.width, glyphs=glyphs))


def _describe_pruning(limits: Limits, last: str | None) -> str:
    parts = []
    if limits.older_than_ms is not None:
        parts.append(f"what is older than {limits.older_than_ms / _MS_PER_DAY:g} days")
    if limits.max_size_bytes is not None:
        parts.append(f"the oldest beyond {render_bytes(limits.max_size_bytes)}")
    kept = ", failed ones kept" if limits.keep_failed else ""
    text = f"pruned by itself, once an hour: {' and '.join(parts)}{kept}"
    if last is None:
        return f"{text}; not yet"
    did = json.loads(last)
    at = datetime.fromtimestamp(did["at_ms"] / 1000, UTC)
    counts = f"{pluralize(did['conversations'], 'conversation')}, {pluralize(did['events'], 'event')}"
    return f"{text}\nlast {at:%Y-%m-%d %H:%M} UTC: {counts}"


def _to_rows(shares: Iterable[Share], bar: str) -> list[list[str | Span]]:
    kept = list(shares)
    largest = max((share.size_bytes for share in kept), default=0) or 1
    return [
        [
            share.name,
            render_count(share.row_count),
            render_bytes(share.size_bytes),
            Span(bar * max(1, round(_BAR_WIDTH * share.size_bytes / largest)), "dim"),
        ]
        for share in kept
    ]


def _to_json(space: Space) -> dict[str, object]:
    shown: dict[str, object] = {}
    for name, value in space._asdict().items():
        if isinstance(value, Share):
            shown[name] = value._asdict()
        elif isinstance(value, tuple):
            shown[name] = [share._asdict() for share in value]
        else:
            shown[name] = value
    return shown
