"""
``agenttrace diff``: two runs side by side, from where they part.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, limit_option
from agenttrace.cli.pager import page_output, pager_option
from agenttrace.cli.reading import open_viewer, select
from agenttrace.query.against import LAST_OK
from agenttrace.query.render_diff import render_diff

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer

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

    A and B are ids or their starts, last, last~2, last-ok or last-failed; without B it is last, and last-ok
    as A is the last ok run of B's root agent before B. Steps are matched by the path of their agent, by
    name and by arguments, never by time. Durations, tokens and cost are shown and are no difference. The
    exit code is 1 when the runs differ, 0 when they do not.
    """
    with open_viewer(database) as viewer:
        second = select(viewer, b)
        diff = viewer.diff(_select_good(viewer, a, second), second)
    if as_json:
        print_json({**asdict(diff), "is_same": diff.is_same})
    else:
        console = build_console(page_output())
        print_lines(console, render_diff(diff, console.width, choose_glyphs(), limit))
    if not diff.is_same:
        ctx.exit(EXIT_DIFFERENT)


def _select_good(viewer: TraceViewer, selector: str, other: str) -> str:
    """Take for ``last-ok`` a run that *other* can be compared with, else what the selector means."""
    if selector.removeprefix("@") != LAST_OK:
        return select(viewer, selector)
    found = viewer.last_ok(other)
    note(f"last-ok: took {found.conversation_id}, {found.note}.")
    return found.conversation_id
