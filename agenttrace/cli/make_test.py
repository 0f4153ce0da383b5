"""
``agenttrace make-test``: from a recorded fault to a test that fails until it is mended.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agenttrace.cli.console import note
from agenttrace.cli.options import database_option
from agenttrace.cli.reading import open_viewer, select
from agenttrace.cli.refusal import EXIT_USAGE, Refusal

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.testing.made_tests import MadeTest

__all__ = ["command"]

_FUNCTION = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII)


@click.command("make-test")
@click.argument("selector", metavar="SEL")
@click.option("--output", metavar="FILE", help="Write the test to this file.  [default: stdout]")
@click.option(
    "--cassette",
    metavar="PATH",
    help="Write the cassette to this file.  [default: cassettes/NAME.json beside the test]",
)
@click.option(
    "--call",
    metavar="MODULE:FUNCTION",
    help="Call this with the root agent's input, instead of running the recorded program.",
)
@click.option(
    "--run", "tools", multiple=True, metavar="TOOL", help="Let this tool run in the test. Repeatable."
)
@click.option("--force", is_flag=True, help="Write over files that are there.")
@database_option
def command(
    selector: str,
    output: str | None,
    cassette: str | None,
    call: str | None,
    tools: tuple[str, ...],
    force: bool,
    database: str | None,
) -> None:
    """
    Write a pytest that fails until what went wrong in a run is mended.

    SEL is as for `agenttrace show`. The test runs the recorded program again, with a cassette that
    stands in for its tools and models, and claims that the first cause does not come back. The cassette
    is redacted and readable, and belongs into version control. On stdout the test is to be
    kept in the current folder: `agenttrace make-test last-failed > test_it.py`. A tool that failed by
    a fault of its own has to run to show that it is mended: name it with --run.
    """
    if call is not None and _FUNCTION.fullmatch(call) is None:
        raise click.BadParameter(f"{call!r} is no MODULE:FUNCTION.", param_hint="--call")
    # Late: what makes tests is loaded by this command alone.
    from agenttrace.testing.made_tests import render_test, slug
    from agenttrace.testing.stable import write_stable

    with open_viewer(database) as viewer:
        conversation_id = select(viewer, selector)
        path = Path(output) if output is not None else None
        known = path.absolute() if path is not None else _stdout_file()
        folder = Path.cwd() if known is None else known.parent
        made, data = _make(viewer, conversation_id, folder, call, tools)
    if cassette is not None:
        target = Path(cassette).absolute()
    elif known is not None:
        target = folder / "cassettes" / f"{known.stem}.json"
    else:
        target = _free(folder / "cassettes" / f"test_{slug(made.subject)}_{made.kind}.json")
    for each in (path, target if path is not None or cassette is not None else None):
        if each is not None and each.exists() and not force:
            raise Refusal(f"{each} is there already; --force writes over it.", EXIT_USAGE)
    again = ["agenttrace", "make-test", conversation_id, "--force"]
    for option, value in (("--output", path and path.name), ("--call", call), ("--db", _shown(database))):
        again += [option, value] if value else []
    for tool in tools:
        again += ["--run", tool]
    from dataclasses import replace

    text = render_test(
        replace(
            made,
            cassette=Path(os.path.relpath(target, folder)).as_posix(),
            again=" ".join(shlex.quote(word) for word in again)
            + ("" if path is not None or known is None else f" > {shlex.quote(known.name)}"),
        )
    )
    write_stable(target, data)
    if path is None:
        click.echo(text, nl=False)
        place = "this folder" if folder == Path.cwd() else os.path.relpath(folder)
        note(f"the cassette is {os.path.relpath(target)}; keep the test in {place}.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    note(
        f"wrote {output} and {os.path.relpath(target)}; it fails until the program is mended: pytest {output}"
    )


def _stdout_file() -> Path | None:
    """Give the file that stdout was redirected to, where the system tells; None for a terminal or a pipe."""
    try:
        found = Path(os.readlink(f"/proc/self/fd/{sys.stdout.fileno()}"))
        return found if found.suffix == ".py" and found.is_file() else None
    except (OSError, ValueError):
        return None


def _free(path: Path) -> Path:
    """Give *path*, or the next one with a number that is not there yet."""
    number = 2
    free = path
    while free.exists():
        free = path.with_stem(f"{path.stem}_{number}")
        number += 1
    return free


def _shown(database: str | None) -> str | None:
    """Name the database in the test: as it was given, but for a folder of this machine or a password."""
    if database is None or ("://" not in database and not os.path.isabs(database)):
        return database
    return "DATABASE"


def _make(
    viewer: TraceViewer, conversation_id: str, folder: Path, call: str | None, tools: tuple[str, ...]
) -> tuple[MadeTest, dict[str, object]]:
    """Give what the test says, and the data of its cassette."""
    from agenttrace.cassette import Cassette
    from agenttrace.testing.found_runs import (
        choose_finding,
        find_entry,
        find_place,
        read_cassette,
    )
    from agenttrace.testing.made_tests import MadeTest
    from agenttrace.testing.stable import build_stable

    conversation = viewer.conversation(conversation_id)
    finding, said = choose_finding(viewer.diagnose(conversation_id))
    if said is not None:
        note(f"{said}; the test is about {finding.kind}.")
    tree = viewer.tree(conversation_id)
    place = find_place(viewer, tree, finding)
    if call is None:
        entry = find_entry(viewer, conversation)
        whole, count = read_cassette(viewer, conversation)
        if count > 1:
            note(f"the program made {count} runs; the cassette holds all of them.")
        base = entry.folder
        program = (
            ("-m", entry.module, *entry.arguments)
            if entry.module is not None
            else (_from(entry.program, folder), *entry.arguments)
        )
        source = {"command": entry.command, "program": program, "folder": _from(entry.folder, folder)}
    else:
        whole, base = Cassette.of(viewer.store, conversation_id), Path.cwd()
        module, _, function = call.partition(":")
        source = {"command": (), "program": (), "folder": ".", "call": (module, function)}
    data = build_stable(whole, base)
    run = tuple(dict.fromkeys([*place.run, *tools]))
    for missing in Cassette.from_data(data).missing():
        if missing.what.partition("(")[0] not in run:
            note(f"cannot be given back: {missing}")
    roots = [each for each in whole.runs if each.parent is None]
    made = MadeTest(
        sentence=finding.sentence,
        kind=finding.kind,
        subject=place.tool or finding.agent.rpartition("/")[2].partition("#")[0],
        tool=place.tool,
        agent=finding.agent,
        step=place.step,
        run=run,
        cassette="",
        recorded=conversation.started_at[:10],
        conversation_id=conversation_id,
        again="",
        answer=roots[0].output if roots else None,
        root=roots[0].path[0] if roots else "",
        needs_python=place.needs_python,
        **{"call": None, **source},  # type: ignore[arg-type]
    )
    return made, data


def _from(path: Path | None, folder: Path) -> str:
    assert path is not None
    return Path(os.path.relpath(path, folder)).as_posix()
