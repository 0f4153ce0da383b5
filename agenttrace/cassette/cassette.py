"""
A cassette: the runs, calls and turns of one conversation, from a store or a file.

Invariant: ``load(save(x))`` gives back equal data; a file says its version, and one of a newer form is
refused. What is in it was redacted as it was recorded. Cost: the conversation in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from agenttrace.cassette.likeness import canonical, find_marks
from agenttrace.cassette.reading import read_runs
from agenttrace.cassette.recorded import (
    Missing,
    RecordedCall,
    RecordedModelTurn,
    RecordedRun,
    from_data,
    to_data,
)
from agenttrace.errors import ReplayError
from agenttrace.events import MARK
from agenttrace.store.event_store import TraceStore

__all__ = [
    "VERSION",
    "Cassette",
    "find_call_gap",
    "find_stream_gap",
    "find_turn_gap",
    "is_rest",
    "render_arguments",
    "render_call",
]

VERSION = 1
_SHOWN_CHARACTERS = 60
_LOST = ("cut", "redacted", "cycle")


class Cassette:
    """
    What one conversation, or one agent and what is below it, did.

    Args:
        runs: The runs of agents, in the order in which they began.
        conversation_id: Where they were recorded; None where nobody knows.
        status: How the conversation stood.
    """

    def __init__(
        self, runs: list[RecordedRun] | None = None, conversation_id: str | None = None, status: str = ""
    ) -> None:
        self.runs = runs or []
        for run in self.runs:
            run.conversation_id = run.conversation_id or conversation_id
        self.conversation_id = conversation_id
        self.status = status

    def __len__(self) -> int:
        return sum(len(run.calls) + len(run.turns) for run in self.runs)

    def __repr__(self) -> str:
        return f"<Cassette of {self.conversation_id}: {len(self.runs)} runs, {len(self)} calls and turns>"

    @classmethod
    def of(cls, store: TraceStore, conversation_id: str, agent_id: str | None = None) -> Cassette:
        """
        Read a recorded conversation.

        Args:
            store: Where it is.
            conversation_id: Its id.
            agent_id: Id or name of one agent, which becomes the root; None takes all.

        Raises:
            NotFound: There is no such conversation, or no such agent in it.
        """
        from agenttrace.query.viewer import TraceViewer  # late: a cassette from a file needs no viewer

        conversation = TraceViewer(store).conversation(conversation_id)
        return cls(read_runs(store, conversation_id, agent_id), conversation_id, conversation.status)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Cassette:
        """
        Read a file that ``save`` wrote.

        Raises:
            ReplayError: It cannot be read, is none of ours, or is of a newer form.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as exc:
            raise ReplayError(f"{os.fspath(path)}: {exc.strerror or exc}") from exc
        except ValueError as exc:
            raise ReplayError(f"{os.fspath(path)} is no cassette: {exc}") from exc
        return cls.from_data(data, os.fspath(path))

    @classmethod
    def from_data(cls, data: Any, name: str = "the data") -> Cassette:
        """
        Read what ``to_data`` gave.

        Raises:
            ReplayError: It is something else, or of a newer form.
        """
        if not isinstance(data, dict) or type(data.get("version")) is not int or "runs" not in data:
            raise ReplayError(f"{name} is no cassette: it has no version and no runs.")
        if data["version"] > VERSION:
            raise ReplayError(
                f"{name} is a cassette of version {data['version']};"
                f" this agenttrace reads up to version {VERSION}."
            )
        try:
            runs = [from_data(RecordedRun, _with_places(run, _absolute)) for run in data["runs"]]
        except (TypeError, AttributeError, ValueError) as exc:
            raise ReplayError(f"{name} is no cassette: {exc}") from exc
        return cls(runs, data.get("conversation_id"), str(data.get("status") or ""))

    def to_data(self) -> dict[str, Any]:
        """Give all as JSON data; files below the working directory are named from there."""
        runs = [_with_places(to_data(run), _relative) for run in self.runs]
        return {
            "version": VERSION,
            "conversation_id": self.conversation_id,
            "status": self.status,
            "runs": runs,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all to a file of indented JSON, the same for the same data."""
        text = json.dumps(self.to_data(), indent=2, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def add(self, other: Cassette) -> None:
        """Add the runs of *other* behind those that are here."""
        shift = len(self.runs)
        for run in other.runs:
            self.runs.append(replace(run, parent=None if run.parent is None else run.parent + shift))
        self.conversation_id = self.conversation_id or other.conversation_id
        self.status = other.status or self.status

    def missing(self) -> list[Missing]:
        """Name what a replay would have to give back and cannot: cut, redacted, not captured."""
        return list(self._iter_missing())

    def shortened(self) -> list[Missing]:
        """Name the streams of which only the first items were kept; a replay gives those."""
        return [
            Missing(run.title, render_call(call), reason, call.end_row or call.row)
            for run in self._iter_asked()
            for call in run.calls
            if not call.is_covered and (reason := find_stream_gap(call)) is not None
        ]

    def _iter_asked(self) -> Iterator[RecordedRun]:
        """Give the runs that go on again: those that ran inside a tool are given back with it."""
        covered: set[int] = set()
        for at, run in enumerate(self.runs):
            if run.inside or run.parent in covered:
                covered.add(at)
            else:
                yield run

    def _iter_missing(self) -> Iterator[Missing]:
        for run in self._iter_asked():
            for call in run.calls:
                reason = None if call.is_covered else find_call_gap(call)
                if reason is not None:
                    yield Missing(run.title, render_call(call), reason, call.end_row or call.row)
            for turn in run.turns:
                reason = None if turn.inside else find_turn_gap(turn)
                if reason is not None:
                    yield Missing(run.title, f"a turn of {turn.model}", reason, turn.end_row or turn.row)


def render_call(call: RecordedCall) -> str:
    """Name a call with its arguments, ``search(query="x")``, on one line."""
    return f"{call.tool}({render_arguments(call.arguments)})"


def render_arguments(arguments: Any) -> str:
    """Give arguments on one short line."""
    if not isinstance(arguments, dict) or MARK in arguments:
        text = "" if arguments is None else canonical(arguments)
    else:
        text = ", ".join(f"{name}={canonical(value)}" for name, value in arguments.items())
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def find_call_gap(call: RecordedCall) -> str | None:
    """Say what is not kept of how a call ended; None where all is."""
    if any(one.get("rejected") for one in call.attempts):
        return "an attempt's result was refused by who retried, and is not kept"
    if call.status in ("ok", "error") and (call.error is None or call.is_returned):
        return _describe_gap(call.output, "its output")
    return None


def find_stream_gap(call: RecordedCall) -> str | None:
    """Say how much is kept of what a generator gave; None where all is."""
    if call.stream is None:
        return None
    kept = sum(1 for one in call.stream.get("items") or () if not is_rest(one))
    count = call.stream.get("items_count") or 0
    return f"{kept} of {count} items were kept" if count > kept else None


def is_rest(item: Any) -> bool:
    """Tell the mark that stands for the items of a stream that were not kept."""
    return type(item) is dict and (
        (item.get(MARK) == "cut" and set(item) == {MARK, "items"})
        or (item.get(MARK) == "redacted" and item.get("rule") == "capture_result")
    )


def find_turn_gap(turn: RecordedModelTurn) -> str | None:
    """Say what is not kept of a model's answer; None where all is."""
    if turn.status != "ok":
        return None
    if turn.payload.get(MARK) == "cut":
        return "its answer is cut beyond what was kept whole"
    return _describe_gap(turn.payload.get("output"), "its answer")


def _describe_gap(value: Any, what: str) -> str | None:
    for mark in find_marks(value):
        kind = mark.get(MARK)
        if kind not in _LOST:
            continue
        rule = mark.get("rule")
        if kind == "redacted" and rule == "capture_result":
            return f"{what} was not captured (capture_result=False)"
        if kind == "redacted":
            return f"{what} was redacted ({rule or 'redacted'})"
        if kind == "cycle":
            return f"{what} refers to itself"
        size = mark.get("bytes")
        return f"{what} is cut beyond what was kept whole" + (f" ({size} bytes)" if size else "")
    return None


# ------------------------------------------------------------------ files of frames


def _with_places(run: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Give the data of a run with the file of each recorded frame changed."""
    changed = dict(run)
    for group in ("calls", "turns"):
        if group in run:
            changed[group] = [
                {
                    key: _place(value, change) if key in ("error", "attempts") else value
                    for key, value in one.items()
                }
                for one in run[group]
            ]
    return changed


def _place(value: Any, change: Callable[[str], str]) -> Any:
    if type(value) is list:
        return [_place(one, change) for one in value]
    if type(value) is not dict:
        return value
    if value.keys() == {"file", "line", "function"} and type(value["file"]) is str:
        return {**value, "file": change(value["file"])}
    return {key: _place(one, change) for key, one in value.items()}


def _relative(file: str) -> str:
    folder = os.getcwd() + os.sep
    return Path(file[len(folder) :]).as_posix() if file.startswith(folder) else file


def _absolute(file: str) -> str:
    if os.path.isabs(file) or file.startswith("<"):
        return file
    found = os.path.join(os.getcwd(), file)
    return found if os.path.exists(found) else file
