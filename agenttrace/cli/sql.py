"""
``agenttrace sql``: the database by hand, read only.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option
from agenttrace.cli.reading import open_viewer
from agenttrace.cli.refusal import EXIT_USAGE, Refusal
from agenttrace.errors import StoreUnavailable
from agenttrace.query.lines import Line, Span
from agenttrace.query.table import Column, render_table
from agenttrace.store.event_store import TraceStore

__all__ = ["EXAMPLES", "command"]

EXAMPLES = (
    (
        "failed calls of one agent in the last hour",
        "SELECT started_at, tool_name, error FROM tool_traces WHERE agent_name = 'lead'"
        " AND status = 'error' AND started_at >= datetime('now', '-1 hour')",
    ),
    (
        "the slowest tools",
        "SELECT tool_name, count(*) AS calls, max(latency_ms) AS slowest_ms FROM tool_traces"
        " GROUP BY tool_name ORDER BY slowest_ms DESC LIMIT 10",
    ),
    (
        "tokens by model",
        "SELECT model, sum(input_tokens) AS input, sum(output_tokens) AS output FROM trajectory_events"
        " WHERE kind = 'model_turn' GROUP BY model",
    ),
    ("what is open", "SELECT started_at, kind, name, agent_name, pid FROM open_operations ORDER BY ts_ms"),
    (
        "every swallowed error",
        "SELECT at, agent_name, tool_name, error_type, message, handled_at FROM failures"
        " WHERE fate = 'swallowed'",
    ),
)
"""What a query answers, and the query."""

_VIEWS_FIRST = "CASE type WHEN 'view' THEN 0 ELSE 1 END, name"


@click.command("sql")
@click.argument("query", required=False)
@json_option
@database_option
def command(query: str | None, as_json: bool, database: str | None) -> None:
    """
    Query the database with SQL, read only.

    QUERY is one SELECT; - reads it from stdin. Without one, the tables and views are listed, with
    queries to copy.
    """
    if query == "-":
        query = sys.stdin.read()
    with open_viewer(database) as viewer:
        if not query:
            _show_schema(viewer.store, as_json)
            return
        try:
            names, rows = viewer.store.query(query)
        except StoreUnavailable as exc:
            if "readonly" not in str(exc):
                raise
            raise Refusal(
                "sql only reads; change the database with the sqlite3 program.", EXIT_USAGE
            ) from exc
    if as_json:
        print_json(
            {"columns": names, "rows": [dict(zip(names, map(_to_data, row), strict=True)) for row in rows]}
        )
        return
    if not rows:
        note("no rows.")
        return
    console = build_console()
    columns = [
        Column(name, right=_is_numeric(rows, at), shrinks=not _is_numeric(rows, at), narrowest=8)
        for at, name in enumerate(names)
    ]
    # Cut to fit a terminal; a pipe gets every cell whole.
    width = console.width if console.is_terminal else 0
    cells = [[_to_text(value) for value in row] for row in rows]
    print_lines(console, render_table(columns, cells, width=width, glyphs=choose_glyphs()))


def _is_numeric(rows: list[tuple[Any, ...]], at: int) -> bool:
    return all(row[at] is None or isinstance(row[at], int | float) for row in rows[:100])


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _to_data(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _show_schema(store: TraceStore, as_json: bool) -> None:
    _, found = store.query(
        "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
        f" ORDER BY {_VIEWS_FIRST}"
    )
    tables = [
        {
            "name": name,
            "type": kind,
            "columns": [row[0] for row in store.query("SELECT name FROM pragma_table_info(?)", [name])[1]],
        }
        for name, kind in found
    ]
    if as_json:
        print_json({"tables": tables, "examples": [{"title": t, "sql": sql} for t, sql in EXAMPLES]})
        return
    lines: list[Line] = []
    for table in tables:
        lines.append((Span(f"{table['type']} ", "dim"), Span(table["name"], "agent")))
        lines.append((Span(f"  {', '.join(table['columns'])}"),))
    lines += [(), (Span("Queries to copy:"),)]
    for title, sql in EXAMPLES:
        lines.append((Span(f"  {title}", "dim"),))
        lines.append((Span(f'  agenttrace sql "{sql}"', "value"),))
    print_lines(build_console(), lines)
