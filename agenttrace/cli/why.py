"""
``agenttrace why``: what went wrong in a run, in at most twelve lines.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, threshold_option
from agenttrace.cli.reading import open_viewer, select
from agenttrace.errors import NotFound
from agenttrace.query.render_why import prove, render_why

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agenttrace.query.diagnose import Diagnosis
    from agenttrace.query.thresholds import Thresholds
    from agenttrace.query.viewer import TraceViewer

__all__ = ["command", "diagnosis_to_data", "name_option", "read_thresholds"]


@click.command("why")
@click.argument("selector", metavar="[SEL]", required=False)
@click.option(
    "--against",
    metavar="SEL",
    help="Say where it left a good run, too: last-ok is the last one of the same root agent.",
)
@threshold_option
@json_option
@database_option
def command(
    selector: str | None,
    against: str | None,
    thresholds: Mapping[str, str],
    as_json: bool,
    database: str | None,
) -> None:
    """
    Say what went wrong in a run: the first cause, how far it went, and the line.

    SEL is an id or its start, last, last~2, last-ok or last-failed; without it the newest that failed
    is taken, or if none did the newest. Beside each claim stands the command that shows its row. The
    exit code is 0 whatever is found; `agenttrace check` is for programs.
    """
    with open_viewer(database) as viewer:
        conversation_id = select(viewer, selector) if selector else _select_failed(viewer)
        diagnosis = viewer.diagnose(conversation_id, read_thresholds(thresholds), against=against)
    if as_json:
        print_json(diagnosis_to_data(diagnosis, name_option(database)))
        return
    console = build_console()
    here = os.path.join(os.getcwd(), "")
    lines = render_why(
        diagnosis,
        console.width,
        choose_glyphs(),
        database=name_option(database),
        shorten=[(here, "")] if len(here) > 1 else [],
    )
    print_lines(console, lines)


def _select_failed(viewer: TraceViewer) -> str:
    try:
        selection = viewer.resolve("last-failed")
    except NotFound:
        return select(viewer, "last")
    if selection.note is not None:
        note(selection.note)
    return selection.conversation_id


def read_thresholds(given: Mapping[str, str]) -> Thresholds:
    """Give the thresholds of the project, and those of the command line in place of them."""
    from agenttrace.query.thresholds import change_thresholds, project_thresholds  # late: settings are read

    return change_thresholds(project_thresholds(), given, "--threshold")


def name_option(database: str | None) -> str:
    """Give what a printed command has to end with to read the same database."""
    return "" if database is None else f" --db {shlex.quote(database)}"


def diagnosis_to_data(diagnosis: Diagnosis, database: str) -> dict[str, Any]:
    """Give a diagnosis as JSON, each finding with the command that proves it."""
    data = asdict(diagnosis)
    for finding, given in zip(diagnosis.findings, data["findings"], strict=True):
        given["command"] = prove(finding, database)
    return data
