"""
``agenttrace ps``: what has started and not ended, for how long, in which process.
"""

from __future__ import annotations

from dataclasses import asdict

import click

from agenttrace import clock
from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, limit_option
from agenttrace.cli.reading import open_viewer
from agenttrace.query.lines import Glyphs, Span, mark_span
from agenttrace.query.render_summary import shorten_id
from agenttrace.query.table import Column, render_table
from agenttrace.query.text import render_duration
from agenttrace.store.rows import OpenOperation

__all__ = ["command"]

_COLUMNS = (
    Column("FOR", right=True),
    Column("WHAT", "tool", shrinks=True, narrowest=10),
    Column("AGENT", "agent", shrinks=True, narrowest=8),
    Column("PID", right=True),
    Column("HOST", shrinks=True, narrowest=5),
    Column("STATE"),
    Column("CONVERSATION", "id", shrinks=True, narrowest=9),
)
_WHAT = {"agent_start": "agent", "tool_call": "call", "model_call": "model"}


@click.command("ps")
@limit_option(100, "open operations")
@json_option
@database_option
def command(limit: int, as_json: bool, database: str | None) -> None:
    """
    Show what is open now, for how long, in which process.

    An operation is running while its process is seen to live: it holds its ring on this machine, or
    was seen within 30 s. Any other is out of contact: it runs elsewhere, or died where nobody saw it.
    """
    with open_viewer(database) as viewer:
        operations = viewer.open_operations(limit)
    now_ms = clock.now_ms()
    if as_json:
        items = [
            {**asdict(row), "state": state, "open_for_ms": now_ms - row.ts_ms} for row, state in operations
        ]
        print_json({"operations": items})
        return
    if not operations:
        note("nothing is open.")
        return
    console, glyphs = build_console(), choose_glyphs()
    rows = [_to_cells(row, state, now_ms, glyphs) for row, state in operations]
    print_lines(console, render_table(_COLUMNS, rows, width=console.width, glyphs=glyphs))


def _to_cells(row: OpenOperation, state: str, now_ms: int, glyphs: Glyphs) -> list[str | Span]:
    return [
        render_duration(max(0, now_ms - row.ts_ms)),
        f"{_WHAT.get(row.kind, row.kind)} {row.name or '?'}",
        row.agent_name or row.agent_id,
        "?" if row.pid is None else str(row.pid),
        row.host or "?",
        mark_span(state, glyphs),
        shorten_id(row.conversation_id, 16, glyphs.ellipsis),
    ]
