"""
The command group: a table of commands, each loaded when it is called.

Invariants: ``agenttrace --help`` imports no command and no database library; an
error that people can cause is one line on stderr with the exit code that
``docs/cli.md`` promises; a reader that closes the pipe ends the command quietly.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from agenttrace._version import VERSION
from agenttrace.cli.console import note
from agenttrace.cli.program import Program, ProgramMissing, Rerun
from agenttrace.cli.refusal import EXIT_NO_DATABASE, EXIT_TOO_NEW, EXIT_USAGE, Refusal
from agenttrace.errors import (
    AgentTraceError,
    NotFound,
    SchemaTooNew,
    StoreUnavailable,
)

__all__ = ["COMMANDS", "LazyCommand", "LazyGroup", "cli", "main"]


class LazyCommand(NamedTuple):
    """Where a command lives, and what the overview says of it without loading it."""

    module: str
    attribute: str
    help: str


def _command(module: str, help_text: str, attribute: str = "command") -> LazyCommand:
    return LazyCommand(f"agenttrace.cli.{module}", attribute, help_text)


COMMANDS: dict[str, LazyCommand] = {
    "run": _command("run", "Run a Python program with tracing switched on."),
    "demo": _command("demo", "Let a small agent audit a folder, and show what it did."),
    "list": _command("listing", "List the recorded conversations, newest first."),
    "show": _command("show", "Show one conversation as a tree or a timeline."),
    "why": _command("why", "Say what went wrong in a run: the first cause, how far it went, and the line."),
    "check": _command("check", "Exit with 1 when something went wrong in a run, with 0 when nothing did."),
    "make-test": _command("make_test", "Write a pytest that fails until what went wrong in a run is mended."),
    "errors": _command("failures", "List failures, newest first, with what became of each."),
    "search": _command("search", "Find events by the words in their payloads and names."),
    "diff": _command("diff", "Compare two runs: where they part, and in what they differ."),
    "compare": _command(
        "compare", "Compare many runs in groups: how often they end well, and what they take."
    ),
    "patterns": _command(
        "patterns", "Group runs by the shape of what they did, and say how failed ones begin."
    ),
    "replay": _command("replay", "Run a recorded program again: its tools and models give what they gave."),
    "mcp": _command("mcp", "Serve runs to coding agents, read only, over the Model Context Protocol."),
    "ps": _command("ps", "Show what is open now, for how long, and how long that usually takes."),
    "sql": _command("sql", "Query the database with SQL, read only."),
    "path": _command("path", "Print the path of the database, whether or not it is there yet."),
    "doctor": _command("doctor", "Check the database, the rings, what was lost, and what can be seen here."),
    "stats": _command("stats", "Show what takes the space."),
    "prune": _command("prune", "Delete old conversations, and give the room back."),
    "completion": _command(
        "completion", "Print what teaches bash, zsh or fish to complete commands and runs."
    ),
    "migrate": _command("migrate", "Move the database's schema up or down."),
}
"""In the order of the overview: first record, then read, then look after it."""


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and give the command; None when there is none of that name."""
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        command = getattr(importlib.import_module(lazy.module), lazy.attribute)
        assert isinstance(command, click.Command)
        if ctx.resilient_parsing:  # a shell asks how a word could go on
            from agenttrace.cli.completing import add_completions

            return add_completions(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Give the commands, and the group's own options, that begin so, loading nothing."""
        found = [
            CompletionItem(name, help=lazy.help)
            for name, lazy in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table, loading nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn the errors that people can cause into one line and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            _stop_writing()
            return None
        except SchemaTooNew as exc:
            raise Refusal(str(exc), EXIT_TOO_NEW) from exc
        except StoreUnavailable as exc:
            raise Refusal(str(exc), EXIT_NO_DATABASE) from exc
        except NotFound as exc:
            raise Refusal(_with_nearest(exc), EXIT_USAGE) from exc
        except AgentTraceError as exc:
            raise Refusal(str(exc), EXIT_USAGE) from exc


def _with_nearest(exc: NotFound) -> str:
    message = str(exc)
    if exc.nearest and not any(name in message for name in exc.nearest):
        message += "\nNearest: " + ", ".join(exc.nearest)
    return message


def _stop_writing() -> None:
    """Point stdout at nothing, so that the flush at exit meets no closed pipe."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "-V", "--version", prog_name="agenttrace", message="%(prog)s %(version)s")
def cli() -> None:
    """
    See what an LLM agent really did: every call, error, retry and swallowed exception.

    Record with `agenttrace run your_agent.py` or `AGENTTRACE=1`, then read with
    `agenttrace show last`; `agenttrace why` says what went wrong. Data goes to
    stdout, notes to stderr. Exit codes: 0 fine, 1 findings (only of commands that
    check something), 2 usage, 3 no or corrupt database, 4 the database was written
    by a newer agenttrace.
    """


def _replay(rerun: Rerun) -> int:
    """Run a recorded program again, outside of click as well."""
    from agenttrace.cli.replay import run

    try:
        return run(rerun)
    except Refusal as exc:
        exc.show()
        return int(exc.exit_code)


def main() -> int:
    """
    Run the command line; the console script and ``python -m agenttrace`` call this.

    Returns:
        The exit code. A program under ``agenttrace run`` ends as it would without us.
    """
    try:
        result = cli.main(prog_name="agenttrace", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.Abort:
        return 130
    if isinstance(result, Rerun):
        return _replay(result)
    if not isinstance(result, Program):
        return result if isinstance(result, int) else 0
    # Outside of click: the program must not find a context of ours.
    from agenttrace.cli.run import run

    try:
        run(result)
    except ProgramMissing as exc:
        note(str(exc))
        return exc.exit_code
    return 0
