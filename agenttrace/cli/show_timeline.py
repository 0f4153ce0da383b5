"""
``agenttrace show --timeline`` and ``--follow``: events in the order of time, line by line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.pager import page_output
from agenttrace.cli.show_markdown import print_timeline_as_markdown
from agenttrace.query.data import event_to_data
from agenttrace.query.lines import Line
from agenttrace.query.render_event import render_event
from agenttrace.query.render_timeline import render_event_line

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.rows import Event

__all__ = ["AskedEvents", "show_following", "show_timeline"]

_PAGE = 1000


class AskedEvents(NamedTuple):
    """Which events of which conversation."""

    conversation_id: str
    agent: str | None
    turn: int | None
    limit: int | None
    cursor: str | None


def show_timeline(viewer: TraceViewer, asked: AskedEvents, full: bool, form: str) -> None:
    """Print a page of events, or all of them."""
    conversation_id = asked.conversation_id
    next_cursor = None
    if asked.limit is None and asked.cursor is None:
        events = viewer.iter_timeline(conversation_id, agent_id=asked.agent, turn=asked.turn)
    else:
        page = viewer.timeline(
            conversation_id,
            agent_id=asked.agent,
            turn=asked.turn,
            limit=asked.limit or _PAGE,
            cursor=asked.cursor,
        )
        events, next_cursor = iter(page.items), page.next_cursor
    if form == "json":
        read_whole = viewer.payload_reader(conversation_id) if full else None
        shown = [event_to_data(event, read_whole) for event in events]
        print_json({"conversation_id": conversation_id, "events": shown, "next_cursor": next_cursor})
        return
    if form == "markdown":
        print_timeline_as_markdown(viewer, conversation_id, events)
    else:
        _print_events(viewer, conversation_id, events, full)
    if next_cursor is not None:
        note(f"there are more: --cursor {next_cursor}")


def _print_events(
    viewer: TraceViewer, conversation_id: str, events: Iterator[Event], full: bool = False, live: bool = False
) -> None:
    console, glyphs = build_console(None if live else page_output()), choose_glyphs()
    fates = viewer.fates(conversation_id)
    read_whole = viewer.payload_reader(conversation_id)
    for event in events:
        lines: list[Line] = [render_event_line(event, width=console.width, glyphs=glyphs, fates=fates)]
        if full:
            lines += render_event(event, read_whole(event), payload_only=True)
        print_lines(console, lines)
        if live:
            console.file.flush()


def show_following(
    ctx: click.Context, viewer: TraceViewer, conversation_id: str, agent: str | None, database: str | None
) -> None:
    """Print events as they come, until the conversation ends."""
    from agenttrace.cli.follow import follow
    from agenttrace.cli.reading import recover_quietly

    wanted = (
        event
        for event in follow(viewer, conversation_id, recover=lambda: recover_quietly(database))
        if agent is None or agent in (event.agent_id, event.agent_name)
    )
    try:
        _print_events(viewer, conversation_id, wanted, live=True)
    except KeyboardInterrupt:
        ctx.exit(130)
    conversation = viewer.conversation(conversation_id)
    note(f"{conversation_id} is {viewer.status(conversation)}.")
