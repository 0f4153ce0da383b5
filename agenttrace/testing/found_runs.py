"""
From a recorded conversation to what a test of it needs: which finding, which program, which step.

Invariant: what cannot be told from the rows is refused with the reason and what to do; nothing is
imported or run. Cost: one diagnosis and one read of the conversation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agenttrace.cassette import Cassette
from agenttrace.errors import AgentTraceError
from agenttrace.query.diagnose import Diagnosis
from agenttrace.query.findings import Finding
from agenttrace.query.tree import Tree, TreeNode, parse_payload
from agenttrace.query.viewer import TraceViewer
from agenttrace.store.rows import ConversationRow, ProcessRow
from agenttrace.testing.finding_claims import is_left_to_others
from agenttrace.testing.made_tests import CURABLE

__all__ = ["CannotMake", "Entry", "Place", "choose_finding", "find_entry", "find_place", "read_cassette"]

_RUNS_LIMIT = 50


class CannotMake(AgentTraceError):
    """Say why no test can be made of a run."""


class Entry(NamedTuple):
    """How the recorded program was started."""

    command: tuple[str, ...]
    """As people would write it."""
    program: Path | None
    """The script; None where it was a module."""
    module: str | None
    arguments: tuple[str, ...]
    folder: Path


class Place(NamedTuple):
    """Where in the run a finding is."""

    tool: str | None
    step: str | None
    run: tuple[str, ...]
    needs_python: tuple[int, int] | None


def choose_finding(diagnosis: Diagnosis) -> tuple[Finding, str | None]:
    """
    Give the first finding that a change of the program can cure, and what to say if it is not the first.

    Raises:
        CannotMake: There is none.
    """
    if not diagnosis.findings:
        raise CannotMake(
            f"nothing wrong was found in {diagnosis.conversation_id}, so there is nothing to test for; "
            "`agenttrace why` says what is looked for"
        )
    for finding in diagnosis.findings:
        if finding.kind in CURABLE and not is_left_to_others(finding):
            first = diagnosis.findings[0]
            note = None if finding is first else f"the first finding, {first.kind}, shows in no replay"
            return finding, note
    first = diagnosis.findings[0]
    why = (
        "a model was told of it, so that what follows is the model's affair"
        if first.kind in CURABLE
        else "what a replay gives back takes no time, costs nothing and does not die"
    )
    raise CannotMake(f"{first.kind} ({first.sentence}) cannot be shown by a replay: {why}")


def find_entry(viewer: TraceViewer, conversation: ConversationRow) -> Entry:
    """
    Tell from the row of the process what was run.

    Raises:
        CannotMake: It was no script and no module, or it is not there any more.
    """
    ask = "; say what to call with --call MODULE:FUNCTION"
    rows = viewer.reader.select(ProcessRow, "WHERE process_id = ?", [conversation.process_id or ""])
    if not rows:
        raise CannotMake(f"no process is recorded for {conversation.id}{ask}")
    process = rows[0]
    argv = json.loads(process.argv)
    folder = Path(process.cwd)
    name = argv[0] if argv else ""
    if not name.endswith(".py"):
        raise CannotMake(f"it was recorded of {name or 'an interpreter'!r}, which is no script{ask}")
    script = folder / name
    if not script.exists():
        raise CannotMake(f"the program {script} is not there any more{ask}")
    arguments = tuple(argv[1:])
    if os.path.isabs(name) and (script.parent / "__init__.py").exists():
        top, names = script.parent, [] if script.stem == "__main__" else [script.stem]
        while (top / "__init__.py").exists():
            names.insert(0, top.name)
            top = top.parent
        module = ".".join(names)
        return Entry(("python", "-m", module, *arguments), None, module, arguments, folder)
    shown = os.path.relpath(script, folder) if os.path.isabs(name) else name
    return Entry(("python", shown, *arguments), script, None, arguments, folder)


def find_place(viewer: TraceViewer, tree: Tree, finding: Finding) -> Place:
    """Tell what the program has to come to, and which tools have to run for that."""
    nodes = tree.nodes
    at = next(
        (
            each
            for each, node in enumerate(nodes)
            if node.family != "event" and node.span_id == finding.span_id
        ),
        None,
    )
    failed = _failed_at(tree, finding)
    tool = _tool(nodes, at, failed)
    inside = _is_inside(viewer, tree.conversation_id, finding)
    around = _calls_around(nodes, failed if failed is not None else at)
    if inside and failed is not None and nodes[failed].family == "call":
        around.insert(0, failed)
    run = tuple(dict.fromkeys(nodes[each].name for each in reversed(around)))
    step = _step(nodes, failed if failed is not None else at, finding.ts_ns, run)
    return Place(tool, step, run, (3, 12) if inside else None)


def _failed_at(tree: Tree, finding: Finding) -> int | None:
    """Give the operation that the finding's failure left first."""
    if finding.error_id is None:
        return None
    for at, node in enumerate(tree.nodes):
        if any(failure.error_id == finding.error_id for failure in node.failures):
            return at
    return None


def _tool(nodes: Sequence[TreeNode], at: int | None, failed: int | None) -> str | None:
    for each in (failed, at):
        if each is not None and nodes[each].family == "call":
            return nodes[each].name
    return None


def _calls_around(nodes: Sequence[TreeNode], at: int | None) -> list[int]:
    found: list[int] = []
    above = None if at is None else nodes[at].parent
    while above is not None:
        if nodes[above].family == "call":
            found.append(above)
        above = nodes[above].parent
    return found


def _is_inside(viewer: TraceViewer, conversation_id: str, finding: Finding) -> bool:
    """Tell whether the failure was caught before it left any operation: seen from Python 3.12 on."""
    if finding.error_id is None:
        return False
    rows = viewer.reader.rows(
        "SELECT payload FROM trajectory_events WHERE conversation_id = ? AND kind = 'error' AND error_id = ?",
        [conversation_id, finding.error_id],
    )
    return any(parse_payload(payload).get("handled") is True for (payload,) in rows)


def _step(nodes: Sequence[TreeNode], at: int | None, ts_ns: int, run: tuple[str, ...]) -> str | None:
    """Name the call or turn itself, else the last one before; None where nothing was asked before."""
    if at is not None and nodes[at].family in ("call", "turn"):
        return nodes[at].name
    before = [
        each
        for each, node in enumerate(nodes)
        if node.family in ("call", "turn")
        and node.start_ns <= ts_ns
        and all(nodes[above].name in run for above in _calls_around(nodes, each))
    ]
    before.sort(key=lambda each: nodes[each].start_ns)
    return nodes[before[-1]].name if before else None


def read_cassette(viewer: TraceViewer, conversation: ConversationRow) -> tuple[Cassette, int]:
    """Give what the whole process recorded, as the program will ask for all of it; and how many runs."""
    ids: list[Any] = viewer.reader.rows(
        "SELECT id FROM conversations WHERE process_id = ? ORDER BY created_ms, id LIMIT ?",
        [conversation.process_id or "", _RUNS_LIMIT],
    )
    found = [each for (each,) in ids]
    if conversation.id not in found:
        found = [conversation.id]
    whole = Cassette()
    for each in found:
        whole.add(Cassette.of(viewer.store, each))
    return whole, len(found)
