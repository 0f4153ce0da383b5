"""
``agenttrace errors``: failures, newest first, each once, with what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import click

from agenttrace import clock
from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, limit_option, since_option
from agenttrace.cli.reading import open_viewer, select
from agenttrace.events import FATES
from agenttrace.query.lines import Glyphs, Line, Span, fit_line, line_width
from agenttrace.query.render_summary import shorten_id
from agenttrace.query.text import fit, sanitize
from agenttrace.store.rows import Failure

__all__ = ["command"]

_FATE_STYLES = {"swallowed": "bad", "escaped": "bad", "open": "warn", "retried": "dim"}
_FATE_WIDTH = max(len(fate) for fate in FATES)


@click.command("errors")
@click.argument("selector", metavar="[SEL]", required=False)
@since_option("failures")
@click.option("--agent", metavar="NAME", help="Only of this agent: its name or its id.")
@click.option("--fate", type=click.Choice(FATES), help="Only those that this became of.")
@click.option("--cursor", help="Go on where the page before ended (its next_cursor).")
@limit_option(50, "failures")
@json_option
@database_option
def command(
    selector: str | None,
    since_ms: int | None,
    agent: str | None,
    fate: str | None,
    cursor: str | None,
    limit: int,
    as_json: bool,
    database: str | None,
) -> None:
    """
    List failures, newest first, with what became of each.

    A failure is listed once, however many calls and agents it left. SEL limits the list to one
    conversation. The exit code is 0, also when there are failures.
    """
    with open_viewer(database) as viewer:
        conversation_id = select(viewer, selector) if selector else None
        page = viewer.failures(
            conversation_id,
            agent_id=agent,
            fate=fate,
            since=None if since_ms is None else clock.now_ms() - since_ms,
            limit=limit,
            cursor=cursor,
        )
        if as_json:
            print_json({"failures": [asdict(row) for row in page.items], "next_cursor": page.next_cursor})
            return
        if not page.items:
            note("no failures." if not (since_ms or agent or fate) else "no failures fit.")
            return
        console, glyphs = build_console(), choose_glyphs()
        for failure in page.items:
            print_lines(console, _render(failure, console.width, glyphs))
        if page.next_cursor:
            note(f"there are more: -n {limit * 5}, or --cursor {page.next_cursor}")


def _render(failure: Failure, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Render a failure in two lines: when, fate and error; then where, and how to see it whole."""
    dot = Span(glyphs.dot, "dim")
    head = [
        Span(f"{failure.at[:19]} ", "dim"),
        Span(f"{failure.fate:<{_FATE_WIDTH}} ", _FATE_STYLES.get(failure.fate, "")),
    ]
    message = sanitize(failure.message.strip().partition("\n")[0])
    kind = sanitize(failure.error_type or "Error")
    text = f"{kind}: {message}" if message else kind
    yield (*head, Span(fit(text, width - line_width(head), glyphs.ellipsis), "bad"))
    where = sanitize(failure.agent_name or failure.agent_id)
    if failure.tool_name:
        where += f" {glyphs.arrow} {sanitize(failure.tool_name)}"
    second = [Span(f"    #{failure.id} ", "id"), Span(where, "tool")]
    for verb, place in (("raised", failure.raised_at), ("caught", failure.handled_at)):
        if place:
            second += [dot, Span(f"{verb} {_shorten_place(place)}")]
    second += [dot, Span(shorten_id(failure.conversation_id, 9, glyphs.ellipsis), "id")]
    yield fit_line(tuple(second), width, glyphs.ellipsis)


def _shorten_place(place: str) -> str:
    """Keep the file's name and the line of ``/a/b/file.py:12 function``."""
    file, colon, rest = place.rpartition(":")
    return sanitize(file.rpartition("/")[2] + colon + rest.partition(" ")[0])
