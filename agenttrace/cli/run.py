"""
``agenttrace run``: an unchanged program, with tracing switched on.

The command only works out what is to be run; ``cli.main`` runs it after click has
let go, so that no frame, context or handler of ours stands around the program.
"""

from __future__ import annotations

import atexit
import os
import shlex
import sys
from collections.abc import Callable
from typing import Any

import click

from agenttrace import clock, config
from agenttrace.cli.console import note
from agenttrace.cli.program import Program, run_program
from agenttrace.errors import AgentTraceError
from agenttrace.query.text import pluralize, render_count

__all__ = ["command", "run"]


class _ProgramCommand(click.Command):
    """Parses our options up to the program; all that follows belongs to the program."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut the arguments where the program begins, and parse what stands before."""
        end = _find_program(args)
        return super().parse_args(ctx, [*args[:end], "--", *args[end:]])


def _find_program(args: list[str]) -> int:
    """Give how many of *args* are ours: up to the script, or up to and with ``-m MODULE``."""
    at = 0
    while at < len(args):
        word = args[at]
        if word == "--":
            del args[at]
            return at
        if word in ("-m", "--module"):
            return at + 2
        if word.startswith(("-m", "--module=")):
            return at + 1
        if word in ("--db", "--trace"):
            at += 2
        elif word.startswith("-") and word != "-":
            at += 1
        else:
            return at
    return at


@click.command("run", cls=_ProgramCommand, options_metavar="[--db PATH] [--trace PATTERN]...")
@click.option("-m", "--module", metavar="MODULE", help="Run a module as `python -m` does.")
@click.option("--db", "database", metavar="PATH", help="Record to this database.")
@click.option(
    "--trace",
    "patterns",
    multiple=True,
    metavar="MODULE:NAME",
    help="Trace the functions of these names as tools: 'mypkg.tools:*', '__main__:Shop.*'. Repeatable.",
)
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="SCRIPT|-m MODULE [ARGS]...")
def command(
    module: str | None, database: str | None, patterns: tuple[str, ...], program: tuple[str, ...]
) -> Program:
    """
    Run a Python program with tracing switched on.

    The program sees what it would see under `python`: its own __main__, arguments, exit code and
    tracebacks. AGENTTRACE=1 stands in its environment, so that its child processes record too. At
    the end one line on stderr says where to look. AGENTTRACE=0 in the environment wins: then the
    program runs untraced.
    """
    if patterns:
        from agenttrace.integrations.patterns import parse_patterns  # late: most runs have none

        parse_patterns(patterns)  # raises here, before the program runs
    if module is not None:
        return Program(module, True, program, database, patterns)
    if not program:
        raise click.UsageError("name a script, or a module with -m.")
    return Program(program[0], False, program[1:], database, patterns)


def run(program: Program) -> None:
    """
    Run *program* in this process, traced; returns or raises as the program does.

    Raises:
        ProgramMissing: There is nothing to run.
    """
    if program.database is not None:
        database = program.database
        os.environ["AGENTTRACE_DB"] = database if "://" in database else os.path.abspath(database)
    is_traced = config.env_switch() is not False
    last: list[Callable[[], None]] = []
    # Before tracing is on: what is asked for first runs last, when everything is stored.
    atexit.register(lambda: [call() for call in last])
    if is_traced:
        os.environ["AGENTTRACE"] = "1"
        if program.patterns:
            os.environ["AGENTTRACE_TRACE"] = ",".join(program.patterns)
        import agenttrace  # late: the name is the package's public face, which the program will use too

        agenttrace.configure(enabled=True)
    else:
        note("AGENTTRACE=0 stands in the environment; running without tracing.")
    started_ms = clock.now_ms()
    run_program(
        program,
        report=lambda: _report(started_ms, program.database) if is_traced else None,
        at_exit=last.append,
    )


def _report(started_ms: int, database: str | None) -> None:
    """Say in one line what was recorded and where to look, and which pattern fitted nothing; never fails."""
    if "agenttrace.integrations.by_name" in sys.modules:
        for reason in sys.modules["agenttrace.integrations.by_name"].unfitted():
            note(f"--trace {reason}")
    try:
        note(_describe(started_ms, database))
    except Exception as exc:
        note(f"what was recorded could not be counted: {exc}")


def _describe(started_ms: int, database: str | None) -> str:
    from agenttrace.errors import StoreMissing
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.runtime import current_settings
    from agenttrace.store.event_store import TraceStore

    used = current_settings().database
    suffix = f" --db {shlex.quote(used)}" if _is_elsewhere(used, database) else ""
    with TraceStore(used) as store:
        try:
            counts = _count(TraceViewer(store), started_ms)
        except StoreMissing:
            counts = None
    if counts is None:
        return "nothing was recorded: no traced tool, agent or supported library was used."
    parts = [
        pluralize(counts["agents"], "agent"),
        pluralize(counts["calls"], "call"),
        f"{render_count(counts['failed'])} failed" if counts["failed"] else "none failed",
    ]
    if counts["swallowed"]:
        parts.append(f"{render_count(counts['swallowed'])} swallowed")
    return f"{', '.join(parts)} -> agenttrace {counts['command']}{suffix}"


def _is_elsewhere(used: str, database: str | None) -> bool:
    """Tell whether the reading commands need ``--db`` to find what was recorded."""
    if database is not None:
        return True
    try:
        return used != config.default_database()
    except AgentTraceError:
        return True


_FATES_LIMIT_COUNT = 1000
"""With more failures than this their fates (0.1 ms each) are left to ``agenttrace errors``."""

_COUNT = """
SELECT count(DISTINCT c.id), count(*), sum(a.tool_calls), sum(a.failed_calls), max(c.id)
FROM agent_rollups a JOIN conversations c ON c.id = a.conversation_id
WHERE a.last_ts_ms >= ? AND c.id IN (SELECT id FROM conversations WHERE created_ms >= ?)
"""


def _count(viewer: Any, started_ms: int) -> dict[str, Any] | None:
    """Count what was recorded since the program began; None when nothing was."""
    reader = viewer.reader
    conversations, agents, calls, failed, only = reader.rows(_COUNT, [started_ms, started_ms])[0]
    if not conversations:
        # A conversation that was begun earlier may have been continued.
        conversations, agents, calls, failed, only = reader.rows(_COUNT, [started_ms, 0])[0]
    if not conversations:
        return None
    swallowed = 0
    errors = reader.value(
        "SELECT count(*) FROM trajectory_events WHERE kind = 'error' AND ts_ms >= ?", [started_ms]
    )
    if errors <= _FATES_LIMIT_COUNT:
        told = "SELECT count(*) FROM failures WHERE ts_ms >= ? AND fate = 'swallowed'"
        swallowed = reader.value(told, [started_ms])
    command = "list"
    if conversations == 1:
        command = "show last" if viewer.resolve("last").conversation_id == only else f"show {only}"
    return {
        "agents": agents,
        "calls": calls or 0,
        "failed": failed or 0,
        "swallowed": swallowed,
        "command": command,
    }
