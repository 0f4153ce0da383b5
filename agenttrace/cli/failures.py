"""
``agenttrace errors``: failures, newest first, one line each, with what became of it.

A line says what it was, where it was raised and caught, and whose it was; for a swallowed one,
which agent then ended as if all were well. What a narrow terminal cannot hold is cut, but never a
fate, a row or a line number; ``--full`` has the whole beneath each line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from agenttrace import clock
from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, limit_option, since_option
from agenttrace.cli.pager import page_output, pager_option
from agenttrace.cli.reading import open_viewer, select
from agenttrace.events import FATES
from agenttrace.query.lines import Glyphs, Line, Span
from agenttrace.query.table import Column, render_table
from agenttrace.query.text import cell_width, fit, sanitize
from agenttrace.store.rows import Failure

__all__ = ["command"]

_FATE_STYLES = {"swallowed": "bad", "escaped": "bad", "open": "warn", "retried": "dim"}
_NARROW, _WIDE = 100, 140
_MESSAGE_LINES = 20
_WHAT_NARROWEST = 18


@click.command("errors")
@click.argument("selector", metavar="[SEL]", required=False)
@since_option("failures")
@click.option("--agent", metavar="NAME", help="Only of this agent: its name or its id.")
@click.option("--fate", type=click.Choice(FATES), help="Only those that this became of.")
@click.option("--full", is_flag=True, help="Whole messages and paths beneath each line.")
@click.option("--cursor", help="Go on where the page before ended (its next_cursor).")
@limit_option(50, "failures")
@pager_option
@json_option
@database_option
def command(
    selector: str | None,
    since_ms: int | None,
    agent: str | None,
    fate: str | None,
    full: bool,
    cursor: str | None,
    limit: int,
    as_json: bool,
    database: str | None,
) -> None:
    """
    List failures, newest first, with what became of each.

    A failure is listed once, however many calls and agents it left. SEL limits the list to one
    conversation. A tick after an agent says that it ended ok although the failure was swallowed
    in its hands. The exit code is 0, also when there are failures.
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
        console, glyphs = build_console(page_output()), choose_glyphs()
        heading, *lines = _render(page.items, fate, console.width, glyphs)
        print_lines(console, [heading])
        for failure, line in zip(page.items, lines, strict=True):
            print_lines(console, [line, *(_render_full(failure, glyphs) if full else ())])
        if page.next_cursor:
            note(f"there are more: -n {limit * 5}, or --cursor {page.next_cursor}")


def _render(failures: Sequence[Failure], fate: str | None, width: int, glyphs: Glyphs) -> list[Line]:
    """Render a heading and a line for each failure; what is the same in all has no column."""
    is_narrow = width < _NARROW
    is_one_day = len({failure.at[:10] for failure in failures}) == 1
    shown = slice(11, 16 if is_narrow else 19) if is_one_day else slice(5, 10 if is_narrow else 16)
    place_width = 12 if is_narrow else 20 if width < _WIDE else 40
    columns = [
        Column("UTC", "dim"),
        Column("FATE"),
        Column("ROW", "id"),
        Column("WHAT", "bad", shrinks=True, narrowest=_WHAT_NARROWEST),
        Column(f"RAISED {glyphs.arrow} CAUGHT"),
        Column("CLAIMED BY" if fate == "swallowed" else "AGENT", "agent", shrinks=True, narrowest=8),
    ]
    rows: list[list[str | Span]] = [
        [
            failure.at[shown],
            Span(failure.fate, _FATE_STYLES.get(failure.fate, "")),
            f"#{failure.id}",
            _describe(failure),
            _render_places(failure, place_width, glyphs),
            _name_agent(failure, fate, glyphs),
        ]
        for failure in failures
    ]
    kept = [at for at in range(len(columns)) if at != 1 or fate is None]
    return list(
        render_table(
            [columns[at] for at in kept],
            [[row[at] for at in kept] for row in rows],
            width=width,
            glyphs=glyphs,
        )
    )


def _describe(failure: Failure) -> str:
    message = failure.message.strip().partition("\n")[0]
    kind = failure.error_type or "Error"
    if kind == "ReturnedFailure":
        kind = "returned"
    return f"{kind}: {message}" if message else kind


def _name_agent(failure: Failure, asked: str | None, glyphs: Glyphs) -> str:
    """Name the agent that then ended ok, behind the mark of that; or else the agent that it happened to."""
    if failure.fate == "swallowed" and failure.claimed_by:
        return f"{glyphs.marks['ok']} {failure.claimed_by}"
    if asked == "swallowed":
        return "nobody"
    return failure.agent_name or failure.agent_id


def _render_places(failure: Failure, width: int, glyphs: Glyphs) -> str:
    """Render ``a.py:12 → b.py:88``, or ``a.py:12 → :88`` where both are in one file."""
    raised = _shorten_place(failure.raised_at, width, glyphs)
    if not failure.handled_at or failure.fate == "escaped":
        return raised
    file, _, rest = failure.handled_at.rpartition(":")
    if file == (failure.raised_at or "").rpartition(":")[0]:
        caught = f":{rest.partition(' ')[0]}"
    else:
        caught = _shorten_place(failure.handled_at, width, glyphs)
    return f"{raised} {glyphs.arrow} {caught}" if raised else f"{glyphs.arrow} {caught}"


def _shorten_place(place: str | None, width: int, glyphs: Glyphs) -> str:
    """Keep the file's name and the line of ``/a/b/file.py:12 function``; the line is never cut."""
    file, colon, rest = (place or "").rpartition(":")
    name = sanitize(file.replace("\\", "/").rpartition("/")[2])
    line = sanitize(colon + rest.partition(" ")[0])
    return fit(name, max(3, width - cell_width(line)), glyphs.ellipsis) + line


def _render_full(failure: Failure, glyphs: Glyphs) -> Iterator[Line]:
    """Render what stands beneath the line of a failure: everything that was cut, uncut."""
    where = failure.agent_name or failure.agent_id
    if failure.tool_name:
        where += f" {glyphs.arrow} {failure.tool_name}"
    facts = {
        "at": f"{failure.at} UTC",
        "in": f"{where}, conversation {failure.conversation_id}",
        "raised": failure.raised_at,
        "caught": failure.handled_at,
        "claimed": failure.claimed_by and f"{failure.claimed_by} ended ok after it",
    }
    for line in failure.message.strip().splitlines()[:_MESSAGE_LINES]:
        yield (Span("    "), Span(sanitize(line), "bad"))
    for name, fact in facts.items():
        if fact:
            yield (Span(f"    {name:<8}", "dim"), Span(sanitize(fact)))
