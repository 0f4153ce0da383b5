"""
``agenttrace doctor``: is everything well, what was lost, and what cannot be seen here.

Each finding says what, where, and what to do. The exit code is 0; with
``--verify`` it is 1 when the database contradicts itself.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from agenttrace import config, native
from agenttrace._version import VERSION
from agenttrace.cli.console import build_console, choose_glyphs, print_json, print_lines
from agenttrace.cli.options import database_option, json_option
from agenttrace.cli.reading import open_viewer
from agenttrace.cli.refusal import EXIT_FINDINGS
from agenttrace.query.lines import Line, Span
from agenttrace.query.text import pluralize, render_bytes, render_count, sanitize

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer

__all__ = ["Check", "command"]

_NAME_WIDTH = 15
_STYLES = {"ok": "ok", "info": "dim", "warn": "warn", "bad": "bad"}
_MEANINGS = {
    "lost_parent": "calls in threads that lost their scope; wrap the thread's target with agenttrace.bind",
    "full": "the ring was full for longer than the caller may wait; raise AGENTTRACE_RING_BYTES",
    "writer_thread": "events of the writer's own thread are never recorded",
}


class Check(NamedTuple):
    """One line of the report."""

    name: str
    state: str
    """``ok``, ``info``, ``warn`` or ``bad``."""
    text: str
    data: Any = None
    """The same for programs."""


@click.command("doctor")
@click.option("--verify", is_flag=True, help="Read everything: integrity, and counts against events.")
@json_option
@database_option
@click.pass_context
def command(ctx: click.Context, verify: bool, as_json: bool, database: str | None) -> None:
    """
    Check the database, the rings and what was lost.

    With --verify the whole database is read; the exit code is 1 when it contradicts itself.
    """
    with open_viewer(database) as viewer:
        checks = [*_check_database(viewer), *_check_losses(viewer), *_check_rings(viewer), *_check_python()]
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
        print_lines(build_console(), (_render(check, marks) for check in checks))
    if any(check.state == "bad" for check in checks):
        ctx.exit(EXIT_FINDINGS)


def _render(check: Check, marks: dict[str, str]) -> Line:
    return (
        Span(f"{marks[check.state]} ", _STYLES[check.state]),
        Span(f"{check.name:<{_NAME_WIDTH}} ", "agent"),
        Span(sanitize(check.text)),
    )


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


def _check_losses(viewer: TraceViewer) -> Iterator[Check]:
    processes = viewer.store.processes()
    died = sum(process.exit == "died" for process in processes)
    text = f"{render_count(len(processes))} recorded, {render_count(died)} of them died without saying so"
    yield Check("processes", "ok", text, {"count": len(processes), "died": died})
    for name, what in (("dropped", "events dropped"), ("failed", "failures of recording")):
        counts: Counter[str] = Counter()
        for process in processes:
            counts.update(getattr(process, name))
        if not counts:
            yield Check(name, "ok", f"no {what}", {})
        for reason, count in counts.most_common():
            meaning = f" ({_MEANINGS[reason]})" if reason in _MEANINGS else ""
            text = f"{render_count(count)} {what}: {sanitize(reason)}{meaning}"
            yield Check(name, "warn", text, {reason: count})


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


def _check_python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", "ok", version, version)
    yield Check("recorder", "ok" if native.FUNCTIONS else "info", native.describe(), native.describe())
    switch = {True: "on", False: "off (AGENTTRACE=0 beats everything)", None: "off unless a program asks"}
    yield Check("tracing", "info", switch[config.env_switch()], config.env_switch())
    try:
        config.load({})
    except Exception as exc:
        yield Check("settings", "warn", str(exc))


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
