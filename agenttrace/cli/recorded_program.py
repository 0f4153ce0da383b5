"""
Which program was recorded: what to run again, where, and what has changed since.

Invariant: nothing is guessed. What the record does not say (a redacted argument, ``python -c``, a file
that is gone) ends the command with what is lacking and how to give it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import TYPE_CHECKING, NamedTuple

from agenttrace.cli.refusal import EXIT_USAGE, Refusal
from agenttrace.identity import read_git_commit
from agenttrace.store.rows import ProcessRow

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer

__all__ = ["RecordedProgram", "find_conversations", "find_process", "find_program"]

_TAKEN = "[redacted"
_PROCESSES_LIMIT_COUNT = 100_000
_PARENTS_LIMIT_COUNT = 100


class RecordedProgram(NamedTuple):
    """What is to be run again."""

    target: str
    is_module: bool
    arguments: tuple[str, ...]
    folder: str
    notes: tuple[str, ...]
    """What differs from when it was recorded."""


def find_process(viewer: TraceViewer, conversation_id: str) -> ProcessRow:
    """
    Give the process that a conversation was begun in, or the first of those that started it.

    Raises:
        Refusal: The record does not say.
    """
    process_id = viewer.conversation(conversation_id).process_id
    processes = {row.process_id: row for row in viewer.processes(_PROCESSES_LIMIT_COUNT)}
    found = processes.get(process_id or "")
    if found is None:
        raise Refusal(
            f"{conversation_id}: the record does not say which program it was. Replay it from a test or a"
            f' program of yours: with agenttrace.replay("{conversation_id}"): ...',
            EXIT_USAGE,
        )
    for _ in range(_PARENTS_LIMIT_COUNT):
        parent = processes.get(found.parent_process_id or "")
        if parent is None:
            break
        found = parent
    return found


def find_conversations(viewer: TraceViewer, process: ProcessRow) -> list[str]:
    """Give the conversations that a process and those that it started have begun, in that order."""
    mine = {process.process_id}
    rows = sorted(viewer.processes(_PROCESSES_LIMIT_COUNT), key=lambda row: row.started_ms)
    for row in rows:
        if row.parent_process_id in mine:
            mine.add(row.process_id)
    found = viewer.reader.rows("SELECT id, process_id FROM conversations ORDER BY created_ms, id")
    return [str(conversation_id) for conversation_id, process_id in found if process_id in mine]


def find_program(process: ProcessRow, given: tuple[str, ...]) -> RecordedProgram:
    """
    Say what to run for a process.

    Args:
        process: As it was recorded.
        given: Arguments that take the place of the recorded ones; () takes those.

    Raises:
        Refusal: It cannot be run again as it was.
    """
    argv = _read_argv(process)
    name = argv[0] if argv else ""
    if name in ("", "-", "-c"):
        said = "python -c" if name == "-c" else "an interactive session or standard input"
        raise Refusal(f"it was {said}, of which no program is kept. {_by_hand()}", EXIT_USAGE)
    if not os.path.isdir(process.cwd):
        raise Refusal(f"it ran in {process.cwd}, which is not there any more. {_by_hand()}", EXIT_USAGE)
    arguments = given or tuple(argv[1:])
    if not given and any(_TAKEN in word for word in argv[1:]):
        shown = " ".join(argv[1:])
        raise Refusal(
            f"an argument of it was redacted as it was recorded: {shown}\n"
            "Give the arguments: agenttrace replay SEL -- ARGUMENTS",
            EXIT_USAGE,
        )
    path = os.path.join(process.cwd, name)
    if _TAKEN in name or not os.path.exists(path):
        raise Refusal(f"{path} is not there any more. {_by_hand()}", EXIT_USAGE)
    module = _module_of(os.path.abspath(path), process.cwd)
    notes = tuple(_find_changes(process, path))
    return RecordedProgram(module or name, module is not None, arguments, process.cwd, notes)


def _by_hand() -> str:
    return "Replay it from a test or a program of yours: with agenttrace.replay(...): ..."


def _read_argv(process: ProcessRow) -> list[str]:
    try:
        argv = json.loads(process.argv)
    except (ValueError, TypeError):
        argv = None
    return [str(word) for word in argv] if isinstance(argv, list) else []


def _module_of(path: str, folder: str) -> str | None:
    """Give the dotted name of a file that stands in a package that can be imported from there."""
    names, place = [os.path.splitext(os.path.basename(path))[0]], os.path.dirname(path)
    while os.path.exists(os.path.join(place, "__init__.py")):
        names.append(os.path.basename(place))
        place = os.path.dirname(place)
    if len(names) == 1 or not path.endswith(".py"):
        return None
    reachable = {os.path.realpath(one or folder) for one in (*sys.path, folder)}
    if os.path.realpath(place) not in reachable:
        return None
    if names[0] == "__main__":
        names = names[1:]
    return ".".join(reversed(names))


def _find_changes(process: ProcessRow, path: str) -> list[str]:
    notes = []
    now = read_git_commit(process.cwd)
    if process.git_commit and now and process.git_commit != now:
        notes.append(
            f"it was recorded at commit {process.git_commit[:10]}, and the tree now stands at {now[:10]}:"
            " lines may have moved."
        )
    try:
        if os.path.getmtime(path) * 1000 > process.started_ms:
            notes.append(f"{os.path.basename(path)} was changed since it was recorded.")
    except OSError:
        pass
    if process.host != socket.gethostname():
        notes.append(f"it was recorded on {process.host}.")
    version = ".".join(str(part) for part in sys.version_info[:2])
    if process.python_version.split(".")[:2] != version.split("."):
        notes.append(f"it was recorded with Python {process.python_version}, and this is {version}.")
    return notes
