"""
``agenttrace search``: events by the words in them, the best first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from agenttrace import clock
from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, limit_option, parse_span, since_option
from agenttrace.cli.pager import page_output, pager_option
from agenttrace.cli.reading import open_viewer, select
from agenttrace.events import STATUSES
from agenttrace.query.find import Hit
from agenttrace.query.lines import Glyphs, Line, Span, fit_line
from agenttrace.query.render_timeline import render_event_line
from agenttrace.query.text import sanitize

__all__ = ["command"]

_INDENT = "       "


@click.command("search")
@click.argument("query", nargs=-1, required=True)
@click.option("--in", "selector", metavar="SEL", help="Only in this conversation.")
@click.option("--agent", metavar="NAME", help="Only of this agent: its name or its id.")
@click.option("--tool", "tool_name", metavar="NAME", help="Only of this tool.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only of this kind; may be given again.")
@click.option("--status", type=click.Choice(STATUSES), help="Only of operations that ended so.")
@since_option("events")
@click.option(
    "--until", "until_ms", metavar="SPAN", callback=parse_span, help="Only events older than 15m, 1h or 2d."
)
@limit_option(20, "events")
@pager_option
@json_option
@database_option
def command(
    query: tuple[str, ...],
    selector: str | None,
    agent: str | None,
    tool_name: str | None,
    kinds: tuple[str, ...],
    status: str | None,
    since_ms: int | None,
    until_ms: int | None,
    limit: int,
    as_json: bool,
    database: str | None,
) -> None:
    """
    Find events by the words in their payloads and names.

    The best come first (the newest, where a word stands in more than 20,000 events), under their
    conversation. All words must be there, in any case and with or
    without accents; '"two words"' stand together, time* is a beginning, and AND, OR, NOT and parentheses
    combine. The first search reads all that was recorded, and each later one what is new.
    """
    now_ms = clock.now_ms()
    with open_viewer(database) as viewer:
        hits = viewer.find(
            " ".join(query),
            select(viewer, selector) if selector else None,
            agent_id=agent,
            tool_name=tool_name,
            kinds=kinds,
            status=status,
            since=None if since_ms is None else now_ms - since_ms,
            until=None if until_ms is None else now_ms - until_ms,
            limit=limit,
        )
    if as_json:
        print_json({"hits": [asdict(hit) for hit in hits]})
        return
    if not hits:
        note("nothing fits.")
        return
    console, glyphs = build_console(page_output()), choose_glyphs()
    print_lines(console, _render(hits, console.width, glyphs))
    if len(hits) == limit:
        note(f"there may be more: -n {limit * 5}")


def _render(hits: Sequence[Hit], width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Render each hit as the timeline does, and the words around what was found beneath it."""
    by_conversation: dict[str, list[Hit]] = {}
    for hit in hits:
        by_conversation.setdefault(hit.event.conversation_id, []).append(hit)
    for conversation_id, found in by_conversation.items():
        yield (Span("conversation ", "dim"), Span(sanitize(conversation_id), "id"))
        for hit in found:
            yield render_event_line(hit.event, width=width, glyphs=glyphs)
            if hit.snippet:
                snippet = sanitize(hit.snippet).replace("…", glyphs.ellipsis)
                yield fit_line((Span(_INDENT), Span(snippet, "value")), width, glyphs.ellipsis)
