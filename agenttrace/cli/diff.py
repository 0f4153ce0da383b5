"""
``agenttrace diff``: two runs side by side, from where they part.
"""

from __future__ import annotations

from dataclasses import asdict

import click

from agenttrace.cli.console import build_console, choose_glyphs, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, limit_option
from agenttrace.cli.pager import page_output, pager_option
from agenttrace.cli.reading import open_viewer, select
from agenttrace.query.render_diff import render_diff

__all__ = ["command"]

EXIT_DIFFERENT = 1


@click.command("diff")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B", default="last")
@limit_option(20, "differences after the first")
@pager_option
@json_option
@database_option
@click.pass_context
def command(ctx: click.Context, a: str, b: str, limit: int, as_json: bool, database: str | None) -> None:
    """
    Compare two runs: where they part, and in what they differ.

    A and B are ids or their starts, last, last~2, last-ok or last-failed; without B it is last. Steps are
    matched by the path of their agent, by name and by arguments, never by time. Durations, tokens and cost
    are shown and are no difference. The exit code is 1 when the runs differ, 0 when they do not.
    """
    with open_viewer(database) as viewer:
        diff = viewer.diff(select(viewer, a), select(viewer, b))
    if as_json:
        print_json({**asdict(diff), "is_same": diff.is_same})
    else:
        console = build_console(page_output())
        print_lines(console, render_diff(diff, console.width, choose_glyphs(), limit))
    if not diff.is_same:
        ctx.exit(EXIT_DIFFERENT)
