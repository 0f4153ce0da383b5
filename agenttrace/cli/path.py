"""
``agenttrace path``: where the database is, or would be.
"""

from __future__ import annotations

import os

import click

from agenttrace.cli.console import note, print_json
from agenttrace.cli.options import database_option, json_option
from agenttrace.cli.reading import name_database

__all__ = ["command"]


@click.command("path")
@json_option
@database_option
def command(as_json: bool, database: str | None) -> None:
    """Print the path of the database, whether or not it is there yet."""
    from agenttrace.store.target import resolve_target  # late, with the rest of the store

    path = resolve_target(name_database(database)).path
    exists = os.path.exists(path)
    if as_json:
        print_json({"path": path, "exists": exists})
        return
    click.echo(path)
    if not exists:
        note("it is not there yet; `agenttrace demo` or `agenttrace run your_agent.py` make it.")
