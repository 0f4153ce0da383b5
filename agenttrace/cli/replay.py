"""
``agenttrace replay``: the recorded program again, with nothing executed that was recorded.

The command finds the run and the program; ``cli.main`` runs it after click has let go, as it does for
``agenttrace run``.
"""

from __future__ import annotations

import atexit
import os
import shlex
import sys
import threading
from typing import TYPE_CHECKING

import click

from agenttrace import config
from agenttrace.cli.console import note
from agenttrace.cli.options import database_option
from agenttrace.cli.program import Program, ProgramMissing, Rerun, run_program
from agenttrace.cli.reading import name_database, open_viewer, select
from agenttrace.cli.recorded_program import find_conversations, find_process, find_program
from agenttrace.cli.refusal import EXIT_FINDINGS, EXIT_USAGE, Refusal
from agenttrace.errors import ReplayError
from agenttrace.query.text import pluralize

if TYPE_CHECKING:
    from agenttrace.cassette import Cassette, Playing
    from agenttrace.cli.debugging import Debugger

__all__ = ["command", "run"]

_SHOWN_LIMIT_COUNT = 10


@click.command("replay", options_metavar="[OPTIONS]")
@click.argument("selector", metavar="SEL")
@click.option(
    "--mode",
    type=click.Choice(["strict", "fill"]),
    default="strict",
    show_default=True,
    help="What to do with a call that was never recorded: refuse it, or run it.",
)
@click.option(
    "--run",
    "to_run",
    multiple=True,
    metavar="TOOL",
    help="Let this tool run itself, one that only begins other agents. Repeatable.",
)
@click.option("--pdb", "debug", is_flag=True, help="Stop where the first cause is raised or swallowed.")
@database_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGS]")
def command(
    selector: str,
    mode: str,
    to_run: tuple[str, ...],
    debug: bool,
    database: str | None,
    arguments: tuple[str, ...],
) -> Rerun:
    """
    Run a recorded program again: its tools and models give what they gave.

    Nothing that was recorded is executed, and no request leaves. SEL is an id or its start, last, last~2,
    last-ok or last-failed. The program runs in the folder and with the arguments of then, or with ARGS.
    Each traced tool returns or raises what was recorded for the same agent, name and arguments. The
    replayed run is recorded too. The exit code is 0 where it ended as the recorded one did, else 1.
    """
    with open_viewer(database) as viewer:
        conversation_id = select(viewer, selector)
        metadata = viewer.conversation(conversation_id).metadata
        original = metadata.get("replay_of") if isinstance(metadata, dict) else None
        if isinstance(original, str) and viewer.store.conversation(original) is not None:
            note(f"{conversation_id} is a replay of {original}; that one is replayed.")
            conversation_id = original
        process = find_process(viewer, conversation_id)
        program = find_program(process, arguments)
        others = [each for each in find_conversations(viewer, process) if each != conversation_id]
        cause = viewer.diagnose(conversation_id).first if debug else None
    for line in program.notes:
        note(line)
    return Rerun(
        program=Program(program.target, program.is_module, program.arguments, None),
        folder=program.folder,
        conversation_id=conversation_id,
        others=tuple(others),
        database=os.path.abspath(name) if "://" not in (name := name_database(database)) else name,
        db_option="" if database is None else f" --db {shlex.quote(database)}",
        mode=mode,
        to_run=to_run,
        is_recorded=config.env_switch() is not False,
        debug=debug,
        cause=cause,
    )


def run(rerun: Rerun) -> int:
    """
    Run a recorded program again in this process.

    Returns:
        The exit code: 0 where it ended as recorded.
    """
    os.chdir(rerun.folder)
    os.environ["AGENTTRACE_DB"] = rerun.database
    import agenttrace  # late: the name is the package's public face, which the program will use too

    agenttrace.configure(rerun.database, enabled=True)
    try:
        playing = agenttrace.replay(_read_cassette(rerun), rerun.mode, run=rerun.to_run)
    except ReplayError as exc:
        raise Refusal(str(exc), EXIT_USAGE) from exc
    debugger: Debugger | None = None
    if rerun.debug:
        from agenttrace.cli.debugging import Debugger  # late: only who debugs needs pdb

        debugger = Debugger(rerun.cause)
        playing.before_raise(debugger.before_raise)
        if rerun.cause is None:
            note("nothing wrong was found in that run; pdb stops only at an exception that leaves it.")
    try:
        with playing:
            _run_to_its_end(rerun, debugger)
    except ReplayError:
        pass  # told below, with the others
    if debugger is not None and debugger.is_left:
        note(f"left the debugger after {pluralize(playing.replayed, 'call')}; {playing.ran} ran.")
        return EXIT_FINDINGS
    return _report(rerun, playing)


def _read_cassette(rerun: Rerun) -> Cassette:
    """Read the conversation that is meant, and the others that the program had in that run."""
    from agenttrace.cassette import Cassette
    from agenttrace.store.event_store import TraceStore

    with TraceStore(rerun.database) as store:
        cassette = Cassette.of(store, rerun.conversation_id)
        for other in rerun.others:
            cassette.add(Cassette.of(store, other))
    return cassette


def _run_to_its_end(rerun: Rerun, debugger: Debugger | None) -> None:
    """Run the program with its exit handlers, so that what they do is replayed too."""
    try:
        if debugger is not None:
            debugger.start()
        run_program(rerun.program, report=lambda: None, at_exit=lambda call: None)
    except ProgramMissing as exc:
        raise Refusal(str(exc), exc.exit_code) from exc
    except BaseException as exc:
        _tell(exc, debugger)
    finally:
        if debugger is not None:
            debugger.stop_watching()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()


def _tell(exc: BaseException, debugger: Debugger | None) -> None:
    """Do what the interpreter does with an exception that leaves the program."""
    if isinstance(exc, SystemExit):
        if exc.code is not None and not isinstance(exc.code, int):
            print(exc.code, file=sys.stderr)
        return
    if debugger is not None:
        import bdb

        from agenttrace.cli.debugging import Quit

        if isinstance(exc, (Quit, bdb.BdbQuit)):
            debugger.is_left = True
            return
    sys.last_type, sys.last_value, sys.last_traceback = type(exc), exc, exc.__traceback__
    if sys.version_info >= (3, 12):
        sys.last_exc = exc
    if not isinstance(exc, ReplayError):
        sys.excepthook(type(exc), exc, exc.__traceback__)
    if debugger is not None and isinstance(exc, Exception):
        from agenttrace.cli.debugging import Quit

        try:
            debugger.post_mortem(exc)
        except Quit:
            pass  # the program has ended already


def _report(rerun: Rerun, playing: Playing) -> int:
    """Say what was replayed, what ran, and whether it ended as recorded; give the exit code."""
    from agenttrace.cli.replay_verdict import compare_runs
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.event_store import TraceStore

    unused = playing.unused()  # without what other processes have asked for
    note(f"gave back {pluralize(playing.replayed, 'call')}; {playing.ran} ran.")
    for line in playing.notes:
        note(line)
    for refusal in playing.refusals[:1]:
        note(f"refused: {refusal}")
    if playing.conversation_id is None or not rerun.is_recorded:
        _list(unused)
        if playing.conversation_id is None:
            note("no agent ran and no tool was called.")
        else:
            note("AGENTTRACE=0 stands in the environment: the replay is not recorded, and not compared.")
        return EXIT_FINDINGS if unused or playing.refusals else 0
    with TraceStore(rerun.database) as store:
        viewer = TraceViewer(store)
        is_same = not playing.refusals
        for own, recorded in playing.conversations.items():
            if recorded is None:
                continue
            if store.conversation(own) is None:
                note(f"the replay of {recorded} was recorded elsewhere, and is not compared.")
                _list(unused)
                is_same = is_same and not unused
                continue
            verdict = compare_runs(viewer, playing.cassette, recorded, own)
            for line in verdict.lines:
                note(line)
            if not verdict.is_same:
                note(f"-> agenttrace diff {recorded} {own}{rerun.db_option}")
                is_same = False
    missed = {rerun.conversation_id, *rerun.others} - set(playing.conversations.values())
    if missed:
        note(f"{pluralize(len(missed), 'recorded conversation')} did not take place.")
        is_same = False
    return 0 if is_same else EXIT_FINDINGS


def _list(lines: list[str]) -> None:
    if lines:
        note(f"{pluralize(len(lines), 'recorded call')} never asked for:")
    for line in lines[:_SHOWN_LIMIT_COUNT]:
        note(f"  {line}")
    if len(lines) > _SHOWN_LIMIT_COUNT:
        note(f"  and {len(lines) - _SHOWN_LIMIT_COUNT} more")
