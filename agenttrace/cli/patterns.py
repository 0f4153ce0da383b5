"""
``agenttrace patterns``: runs grouped by the shape of what they did.
"""

from __future__ import annotations

from dataclasses import asdict

import click

from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import (
    database_option,
    json_option,
    limit_option,
    parse_moments,
    run_filter_options,
)
from agenttrace.cli.reading import open_viewer
from agenttrace.cli.why import name_option
from agenttrace.query.render_patterns import render_patterns

__all__ = ["command"]


@click.command("patterns")
@run_filter_options
@limit_option(10, "shapes")
@json_option
@database_option
def command(
    since_ms: int | None,
    until_ms: int | None,
    agent: str | None,
    task: str | None,
    limit: int,
    as_json: bool,
    database: str | None,
) -> None:
    """
    Group runs by the shape of what they did, and say how failed ones begin.

    A shape is which agents called which tools in which order; what repeats is one step (fetch*n), and how
    long it took, with what, and whether it failed is left out. Beneath stands the longest beginning that
    most failed runs share and no ok run has, with the step at which ok runs go another way.
    """
    since, until = parse_moments(since_ms, until_ms)
    with open_viewer(database) as viewer:
        patterns = viewer.patterns(since=since, until=until, agent=agent, task=task)
    if as_json:
        print_json(asdict(patterns))
    elif not patterns.patterns:
        note("no run fits." if since or until or agent or task else "no conversation is recorded yet.")
    else:
        console = build_console()
        lines = render_patterns(
            patterns, console.width, choose_glyphs(), limit, database=name_option(database)
        )
        print_lines(console, lines)
