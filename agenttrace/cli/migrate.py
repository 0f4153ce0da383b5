"""
``agenttrace migrate``: the schema, moved up or down by hand.

Recording migrates by itself when it opens an older database; these commands are
for looking, for doing it at a chosen moment, and for going back.
"""

from __future__ import annotations

import click

from agenttrace.cli.console import note, print_json
from agenttrace.cli.options import database_option, json_option
from agenttrace.cli.reading import MAKE_ONE, name_database
from agenttrace.cli.refusal import EXIT_NO_DATABASE, EXIT_USAGE, Refusal
from agenttrace.errors import StoreMissing

__all__ = ["command"]


@click.group("migrate")
def command() -> None:
    """Move the database's schema up or down."""


@command.command("status")
@json_option
@database_option
def status(as_json: bool, database: str | None) -> None:
    """List the migrations, and which of them the database has."""
    from agenttrace.store import migrate
    from agenttrace.store.connection import SCHEMA_VERSION, connect
    from agenttrace.store.target import resolve_target

    target = resolve_target(name_database(database))
    _require_file(target.path)
    opened = connect(target, "ro")
    try:
        states = migrate.status(opened)
    finally:
        opened.close()
    if as_json:
        items = [{"name": one.name, "version": one.version, "applied": one.is_applied} for one in states]
        print_json({"path": target.path, "newest": SCHEMA_VERSION, "migrations": items})
        return
    for one in states:
        click.echo(f"{'applied' if one.is_applied else 'missing'}  {one.name}")


@command.command("up")
@database_option
def up(database: str | None) -> None:
    """Apply the migrations that are missing."""
    from agenttrace.store.connection import SCHEMA_VERSION
    from agenttrace.store.database import open_database

    target = name_database(database)
    try:
        opened = open_database(target, create=False)
    except StoreMissing as exc:
        raise _no_database(exc) from exc
    opened.close()
    note(f"{opened.target.name}: schema {SCHEMA_VERSION}.")


@command.command("down")
@click.option("--to", "name", metavar="NAME", help="Down to this migration, which is taken back too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
def down(name: str | None, yes: bool, database: str | None) -> None:
    """
    Take the newest migration back; what it had added is deleted.

    Taking back the first one deletes every event.
    """
    from agenttrace.store import migrate
    from agenttrace.store.database import open_database
    from agenttrace.write.recovery import held_processes

    target = name_database(database)
    try:
        opened = open_database(target, create=False)
    except StoreMissing as exc:
        raise _no_database(exc) from exc
    try:
        if held_processes(opened.target.path):
            raise Refusal(
                f"{opened.target.name}: a running process records to it; end that first (`agenttrace ps`).",
                EXIT_USAGE,
            )
        if not yes:
            click.confirm(f"Take back {name or 'the newest migration'} of {opened.target.name}?", abort=True)
        for undone in migrate.down(opened, name):
            note(f"{opened.target.name}: took back {undone}.")
    finally:
        opened.close()


def _require_file(path: str) -> None:
    import os

    if not os.path.exists(path):
        raise Refusal(f"{path}: no database there.\n{MAKE_ONE}", EXIT_NO_DATABASE)


def _no_database(exc: StoreMissing) -> Refusal:
    return Refusal(f"{str(exc).partition(';')[0].rstrip('.')}.\n{MAKE_ONE}", EXIT_NO_DATABASE)
