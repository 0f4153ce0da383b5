"""
``agenttrace list``: the conversations, newest first, one line each.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, limit_option
from agenttrace.cli.pager import page_output, pager_option
from agenttrace.cli.reading import open_viewer
from agenttrace.query.lines import Glyphs, Span, mark_span
from agenttrace.query.render_summary import shorten_id
from agenttrace.query.table import Column, render_table
from agenttrace.query.text import render_count, render_duration

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.rows import ConversationRow

__all__ = ["command"]

_COLUMNS = (
    Column("ID", "id", shrinks=True, narrowest=9),
    Column("STARTED UTC"),
    Column("TOOK", right=True),
    Column("AGENTS", right=True),
    Column("CALLS", right=True),
    Column("ERRORS", right=True),
    Column("STATUS"),
    Column("TASK", "agent", shrinks=True, narrowest=12),
)
_AGENTS = 3
_WIDE = 100
_STATUSES = ("running", "completed", "failed", "cancelled", "interrupted")


@click.command("list")
@click.option("--here", is_flag=True, help="Only those recorded by a program started in this folder.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only those that stand so.")
@click.option("--cursor", help="Go on where the page before ended (its next_cursor).")
@limit_option(20, "conversations")
@pager_option
@json_option
@database_option
def command(
    here: bool, status: str | None, cursor: str | None, limit: int, as_json: bool, database: str | None
) -> None:
    """List the recorded conversations, newest first."""
    with open_viewer(database) as viewer:
        page = viewer.conversations(limit, cursor, status=status, cwd=os.getcwd() if here else None)
        if as_json:
            items = [_to_data(viewer, row) for row in page.items]
            print_json({"conversations": items, "next_cursor": page.next_cursor})
            return
        if not page.items:
            note("no conversation is recorded yet." if not (here or status) else "none fits.")
            return
        console = build_console(page_output())
        glyphs = choose_glyphs()
        rows = [_to_cells(viewer, row, glyphs) for row in page.items]
        # The column that a narrow terminal can do without best.
        kept = [at for at in range(len(_COLUMNS)) if console.width >= _WIDE or at != _AGENTS]
        table = render_table(
            [_COLUMNS[at] for at in kept],
            [[row[at] for at in kept] for row in rows],
            width=console.width,
            glyphs=glyphs,
        )
        print_lines(console, table)
        if page.next_cursor:
            note(f"there are more: -n {limit * 5}, or --cursor {page.next_cursor}")


def _to_cells(viewer: TraceViewer, row: ConversationRow, glyphs: Glyphs) -> list[str | Span]:
    errors = row.errors or 0
    return [
        shorten_id(row.id, 16, glyphs.ellipsis),
        row.started_at[5:16],
        render_duration(row.duration_ms),
        render_count(row.agents),
        render_count(row.tool_calls or 0),
        Span(render_count(errors), "bad" if errors else "dim"),
        mark_span(viewer.status(row), glyphs),
        row.task or "",
    ]


def _to_data(viewer: TraceViewer, row: ConversationRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "task": row.task,
        "metadata": row.metadata,
        "status": viewer.status(row),
        "event_count": row.total_events,
        "total_tokens": row.total_tokens,
        "total_cost_usd": row.total_cost_usd,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "started_ms": row.ts_ms,
        "duration_ms": row.duration_ms,
        "agents": row.agents,
        "tool_calls": row.tool_calls,
        "failed_calls": row.failed_calls,
        "errors": row.errors,
        "retries": row.retries,
        "model_turns": row.model_turns,
    }
