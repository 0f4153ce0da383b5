"""
``agenttrace ps``: what has started and not ended, for how long, and how long its like usually take.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, limit_option
from agenttrace.cli.reading import open_viewer
from agenttrace.query.lines import Glyphs, Span, mark_span
from agenttrace.query.liveness import RUNNING
from agenttrace.query.render_summary import shorten_id
from agenttrace.query.table import Column, render_table
from agenttrace.query.text import render_duration

if TYPE_CHECKING:
    from agenttrace.query.usual import OpenNow
    from agenttrace.store.rows import OpenOperation

__all__ = ["command"]

_COLUMNS = (
    Column("FOR", right=True),
    Column("WHAT", "tool", shrinks=True, narrowest=15),
    Column("P95", right=True),
    Column("TIMES", right=True),
    Column("STATE"),
    Column("AGENT", "agent", shrinks=True, narrowest=5),
    Column("PID", right=True),
    Column("HOST", shrinks=True, narrowest=5),
    Column("CONVERSATION", "id", shrinks=True, narrowest=8),
)
_WIDE_FROM, _NARROW_BELOW = 100, 74
_WHAT = {"agent_start": "agent", "tool_call": "call", "model_call": "model"}
_STALLED_SHOWN = 5


@click.command("ps")
@limit_option(100, "open operations")
@json_option
@database_option
def command(limit: int, as_json: bool, database: str | None) -> None:
    """
    Show what is open now, for how long, and how long that usually takes.

    An operation is running while its process is seen to live: it holds its ring on this machine, or
    was seen within 30 s. Any other is out of contact: it runs elsewhere, or died where nobody saw it.
    P95 is what 95 of 100 of the newest calls of that tool (turns of that model, runs of that agent) took
    at most; stalled is what takes more than 5 times that, and more than 2 s.
    """
    with open_viewer(database) as viewer:
        operations = viewer.compare_open(limit)
    if as_json:
        print_json({"operations": [_to_data(each) for each in operations]})
        return
    if not operations:
        note("nothing is open.")
        return
    console, glyphs = build_console(), choose_glyphs()
    left_out = [] if console.width >= _WIDE_FROM else ["HOST"]
    if console.width < _NARROW_BELOW:
        left_out += ["AGENT", "PID"]
    kept = [at for at, column in enumerate(_COLUMNS) if column.title not in left_out]
    rows = [[cells[at] for at in kept] for cells in (_to_cells(each, glyphs) for each in operations)]
    table = render_table([_COLUMNS[at] for at in kept], rows, width=console.width, glyphs=glyphs)
    print_lines(console, table)
    console.file.flush()
    stalled = [each for each in operations if each.is_stalled]
    for each in stalled[:_STALLED_SHOWN]:
        note(_describe_stall(each))
    if len(stalled) > _STALLED_SHOWN:
        note(f"{len(stalled) - _STALLED_SHOWN} more are stalled.")


def _name(row: OpenOperation) -> str:
    return (row.agent_name if row.kind == "agent_start" else row.name) or "?"


def _describe_stall(each: OpenNow) -> str:
    assert each.usual is not None
    name, times = _name(each.operation), each.times_usual
    told = f": {render_times(times)}" if times is not None else ""
    return (
        f"{name} has been open for {render_duration(each.open_for_ms)},"
        f" p95 of {name} is {render_duration(each.usual.p95_ms)}{told}"
    )


def _to_cells(each: OpenNow, glyphs: Glyphs) -> list[str | Span]:
    row = each.operation
    times = each.times_usual if each.state == RUNNING else None  # of any other nobody knows how long it runs
    state = "stalled" if each.is_stalled else each.state
    cells: list[str | Span] = [
        render_duration(each.open_for_ms),
        f"{_WHAT.get(row.kind, row.kind)} {_name(row)}",
        "" if each.usual is None else render_duration(each.usual.p95_ms),
        Span("" if times is None else render_times(times), "bad" if each.is_stalled else "dim"),
        mark_span(state, glyphs),
        row.agent_name or row.agent_id,
        "?" if row.pid is None else str(row.pid),
        row.host or "?",
        shorten_id(row.conversation_id, 16, glyphs.ellipsis),
    ]
    return cells


def render_times(times: float) -> str:
    """Render how many times the usual something is: ``0.4x``, ``15x``."""
    return f"{times:,.0f}x" if times >= 9.95 else f"{times:.1f}x"


def _to_data(each: OpenNow) -> dict[str, Any]:
    return {
        **asdict(each.operation),
        "state": each.state,
        "open_for_ms": each.open_for_ms,
        "usual": None if each.usual is None else asdict(each.usual),
        "times_usual": each.times_usual,
        "is_stalled": each.is_stalled,
    }
