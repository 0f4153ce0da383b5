"""
``agenttrace list``: the conversations, newest first, one line each.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from agenttrace import clock
from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, limit_option
from agenttrace.cli.pager import page_output, pager_option
from agenttrace.cli.reading import open_viewer
from agenttrace.query.health import Health, render_health
from agenttrace.query.lines import Glyphs, Line, Span
from agenttrace.query.render_summary import shorten_id
from agenttrace.query.table import Column, render_table
from agenttrace.query.text import render_age, render_cost, render_count, render_duration, render_short_count

if TYPE_CHECKING:
    from agenttrace.store.rows import ConversationRow

__all__ = ["command"]

_NARROW = (
    Column("ID", "id", shrinks=True, narrowest=8),
    Column("AGO", right=True),
    Column("TOOK", right=True),
    Column("CALLS", right=True),
    Column("TOKENS", right=True),
    Column("COST", right=True),
    Column("HEALTH", shrinks=True, narrowest=16),
    Column("TASK", "agent", shrinks=True, narrowest=8),
)
_WIDE = (
    _NARROW[0],
    Column("STARTED UTC"),
    *_NARROW[2:3],
    Column("AGENTS", right=True),
    Column("CALLS", right=True),
    Column("ERRORS", right=True),
    *_NARROW[4:6],
    Column("HEALTH", shrinks=True, narrowest=22),
    _NARROW[7],
)
_Cell = str | Span | Line
_WIDE_FROM, _NARROW_BELOW = 120, 80
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
            pairs = zip(page.items, viewer.health(page.items), strict=True)
            items = [_to_data(row, health) for row, health in pairs]
            print_json({"conversations": items, "next_cursor": page.next_cursor})
            return
        if not page.items:
            note("no conversation is recorded yet." if not (here or status) else "none fits.")
            return
        console, glyphs = build_console(page_output()), choose_glyphs()
        is_wide = console.width >= _WIDE_FROM
        now_ms = clock.now_ms()
        rows = [
            _to_cells(row, health, glyphs, now_ms, is_wide)
            for row, health in zip(page.items, viewer.health(page.items), strict=True)
        ]
        columns, rows = _drop(_WIDE if is_wide else _NARROW, rows, console.width < _NARROW_BELOW)
        print_lines(console, render_table(columns, rows, width=console.width, glyphs=glyphs))
        if page.next_cursor:
            note(f"there are more: -n {limit * 5}, or --cursor {page.next_cursor}")


def _to_cells(
    row: ConversationRow, health: Health, glyphs: Glyphs, now_ms: int, is_wide: bool
) -> list[_Cell]:
    errors = row.errors or 0
    calls, tokens = row.tool_calls or 0, row.total_tokens
    first: list[_Cell] = [shorten_id(row.id, 16, glyphs.ellipsis)]
    last: list[_Cell] = [
        render_short_count(tokens) if tokens else "",
        render_cost(row.total_cost_usd) if row.total_cost_usd else "",
        render_health(health, glyphs, is_whole=is_wide),
        row.task or "",
    ]
    took = render_duration(row.duration_ms)
    if not is_wide:
        return [*first, render_age(now_ms - row.ts_ms), took, render_short_count(calls), *last]
    failed = Span(render_count(errors), "bad" if errors else "dim")
    return [*first, row.started_at[5:16], took, render_count(row.agents), render_count(calls), failed, *last]


def _drop(
    columns: Sequence[Column], rows: Sequence[Sequence[_Cell]], is_narrow: bool
) -> tuple[list[Column], list[list[_Cell]]]:
    """Leave out tokens and cost where no row has any, or there is no room; others need theirs."""
    kept = [
        at
        for at, column in enumerate(columns)
        if column.title not in ("TOKENS", "COST") or (not is_narrow and any(row[at] for row in rows))
    ]
    return [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]


def _to_data(row: ConversationRow, health: Health) -> dict[str, Any]:
    return {
        "id": row.id,
        "task": row.task,
        "metadata": row.metadata,
        "status": health.status,
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
        "swallowed": health.swallowed,
        "lost": health.lost,
    }
