"""
``agenttrace doctor``: is everything well, what was lost, and what cannot be seen here.

Each finding says what, where, and what to do. The exit code is 0; with
``--verify`` it is 1 when the database contradicts itself.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from agenttrace._version import VERSION
from agenttrace.cli.checks import Check
from agenttrace.cli.console import build_console, choose_glyphs, print_json, print_lines
from agenttrace.cli.losses import check_losses
from agenttrace.cli.options import database_option, json_option
from agenttrace.cli.reading import open_viewer
from agenttrace.cli.refusal import EXIT_FINDINGS
from agenttrace.cli.sight import check_sight
from agenttrace.query.lines import Line, Span, line_width
from agenttrace.query.text import pluralize, render_bytes, sanitize

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer

__all__ = ["Check", "command"]

_NAME_WIDTH = 15
_NARROWEST = 20
_STYLES = {"ok": "ok", "info": "dim", "warn": "warn", "bad": "bad"}


@click.command("doctor")
@click.option("--verify", is_flag=True, help="Read everything: integrity, and counts against events.")
@click.option("--libraries", is_flag=True, help="Import each library that can be followed, to try it.")
@json_option
@database_option
@click.pass_context
def command(ctx: click.Context, verify: bool, libraries: bool, as_json: bool, database: str | None) -> None:
    """
    Check the database, the rings, what was lost, and what can be seen here.

    With --verify the whole database is read; the exit code is 1 when it contradicts itself.
    """
    with open_viewer(database) as viewer:
        checks = [
            *_check_database(viewer),
            *check_losses(viewer),
            *_check_rings(viewer),
            *check_sight(viewer, libraries),
        ]
        if verify:
            checks += _verify(viewer)
    if as_json:
        print_json({"checks": [check._asdict() for check in checks], "agenttrace": VERSION})
    else:
        glyphs = choose_glyphs()
        marks = {
            "ok": glyphs.marks["ok"],
            "info": glyphs.dot.strip(),
            "warn": "!",
            "bad": glyphs.marks["error"],
        }
        console = build_console()
        width = console.width if console.is_terminal else 0
        print_lines(console, (line for check in checks for line in _render(check, marks, width)))
    if any(check.state == "bad" for check in checks):
        ctx.exit(EXIT_FINDINGS)


def _render(check: Check, marks: dict[str, str], width: int) -> Iterator[Line]:
    """Render a finding; over several lines where *width*, of a terminal, is given."""
    first = Span(f"{marks[check.state]} ", _STYLES[check.state])
    name = Span(f"{check.name:<{_NAME_WIDTH}} ", "agent")
    indent = line_width((first, name))
    text = sanitize(check.text)
    parts = [text]
    if width > indent + _NARROWEST:
        parts = textwrap.wrap(text, width - indent, break_long_words=False, break_on_hyphens=False)
    yield (first, name, Span(parts[0] if parts else ""))
    for part in parts[1:]:
        yield (Span(" " * indent), Span(part))


def _check_database(viewer: TraceViewer) -> Iterator[Check]:
    reader, path = viewer.reader, viewer.store.target.path
    yield Check("database", "ok", path, path)
    size_bytes = sum(_size_of(path + ending) for ending in ("", "-wal"))
    events = reader.value("SELECT coalesce(sum(events), 0) FROM agent_rollups")
    conversations = reader.value("SELECT count(*) FROM conversations")
    text = ", ".join(
        (render_bytes(size_bytes), pluralize(events, "event"), pluralize(conversations, "conversation"))
    )
    yield Check("size", "ok", text, {"bytes": size_bytes, "events": events, "conversations": conversations})
    yield _check_mode(path)
    schema = reader.value("PRAGMA user_version")
    yield Check("schema", "ok", f"version {schema}, as this agenttrace {VERSION} writes it", schema)
    mode = str(reader.value("PRAGMA journal_mode"))
    if mode == "wal":
        yield Check("journal", "ok", "write-ahead log", mode)
    else:
        text = f"{mode}: readers and writers wait for each other (a shared file system has no WAL)"
        yield Check("journal", "warn", text, mode)
    days = viewer.store.settings.get("retention_days", "30")
    yield Check("retention", "info", f"{days} days when a cleanup is asked for", days)


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _check_mode(path: str) -> Check:
    try:
        mode = os.stat(path).st_mode & 0o777
    except OSError as exc:
        return Check("permissions", "warn", str(exc))
    if mode & 0o077:
        return Check(
            "permissions", "warn", f"{mode:04o}: others may read it; chmod 600 {path}", f"{mode:04o}"
        )
    return Check("permissions", "ok", f"{mode:04o}, yours alone", f"{mode:04o}")


def _check_rings(viewer: TraceViewer) -> Iterator[Check]:
    from agenttrace.write import ring_files
    from agenttrace.write.recovery import held_processes

    folder = ring_files.ring_directory()
    if folder is None:
        text = "private memory: what a killed process had not written yet is lost"
        yield Check("ring", "warn", text, "memory")
        return
    yield Check("ring", "ok", f"shared memory in {folder}: survives a kill", folder)
    path = viewer.store.target.path
    live = len(held_processes(path))
    pending = max(0, sum(1 for _ in ring_files.find_rings(folder, path)) - live)
    if pending:
        text = f"{pending} of dead processes could not be recovered yet"
        yield Check("rings pending", "warn", text, pending)
    yield Check("recording now", "info", f"{live} processes on this machine", live)


def _verify(viewer: TraceViewer) -> Iterator[Check]:
    problems = [row[0] for row in viewer.reader.rows("PRAGMA integrity_check(20)") if row[0] != "ok"]
    if problems:
        yield Check("integrity", "bad", "; ".join(map(str, problems)), problems)
    else:
        yield Check("integrity", "ok", "every page and index agrees", [])
    differences = viewer.store.verify()
    if not differences:
        yield Check("counts", "ok", "every count agrees with the events", [])
    for difference in differences[:20]:
        text = (
            f"{difference.conversation_id} {difference.agent_id}: {difference.column} is stored as"
            f" {difference.stored}, the events say {difference.computed}"
        )
        yield Check("counts", "bad", text, difference._asdict())
    if len(differences) > 20:
        yield Check("counts", "bad", f"{len(differences) - 20} more differ", len(differences) - 20)
