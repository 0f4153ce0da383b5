"""
Where a replayed run stops for pdb: at the line where the first cause was raised, or was swallowed.

Invariant: with no terminal pdb reads its commands from standard input, as pdb does; leaving it ends the
program. What was raised by a tool that is given back stops amid the recorded lines, with the program's
own frames above them.
"""

from __future__ import annotations

import os
import pdb  # noqa: T100  (the debugger is what is asked for)
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from agenttrace.capture.describe import is_plumbing
from agenttrace.cli.console import note

if TYPE_CHECKING:
    from agenttrace.query.findings import Finding

__all__ = ["Debugger", "Quit"]

_CAUSES_LIMIT_COUNT = 16


class Quit(BaseException):
    """Ends the program where somebody leaves the debugger; no handler of an agent's takes it for an error."""


class Debugger:
    """
    Stops the program at one place.

    Args:
        cause: The first cause; None stops only at an exception that leaves the program.
    """

    def __init__(self, cause: Finding | None) -> None:
        self._cause = cause
        self._pdb = pdb.Pdb(nosigint=True)
        self._has_stopped = False
        self.is_left = False
        """Somebody ended the program from the debugger."""

    @property
    def is_swallowed(self) -> bool:
        """Whether the first cause was caught and nobody told, at a line that is known."""
        return (
            self._cause is not None and self._cause.fate != "escaped" and self._cause.handled_at is not None
        )

    def start(self) -> None:
        """Begin to watch for the handler's line, or for the line that raises in the program itself."""
        cause = self._cause
        place = None
        if cause is not None and cause.fate != "escaped":
            place = cause.handled_at or cause.raised_at
        if place is None:
            return
        file, _, line = place.rpartition(":")
        if not line.isdecimal():
            return
        self._pdb.reset()
        refused = self._pdb.set_break(self._pdb.canonic(file), int(line), temporary=True)
        if refused:
            note(f"pdb cannot stop at {place}: {refused}")
            return
        # As Pdb.set_trace does, but for stopping here.
        self._pdb.botframe = sys._getframe()
        self._pdb.set_continue()
        threading.settrace(self._pdb.trace_dispatch)
        sys.settrace(self._pdb.trace_dispatch)

    def stop_watching(self) -> None:
        """Let the program run without a trace function."""
        sys.settrace(None)
        threading.settrace(None)

    def before_raise(self, error: Mapping[str, Any], exc: BaseException) -> None:
        """Stop where a tool that is given back raises the first cause, unless its handler is waited for."""
        cause = self._cause
        if cause is None or cause.fate == "escaped" or self.is_swallowed or self._has_stopped:
            return
        if cause.raised_at != _last_place(error.get("frames")):
            return
        self._has_stopped = True
        self._interact(_program_frame(), exc)

    def post_mortem(self, exc: BaseException) -> None:
        """Stop at the line that raised what left the program: the first cause, where that is its cause."""
        self.stop_watching()
        chosen = exc
        place = None if self._cause is None else self._cause.raised_at
        for each in _iter_causes(exc):
            if place is not None and place == _raised_at(each):
                chosen = each
                break
        self._interact(None, chosen)

    def _interact(self, frame: FrameType | None, exc: BaseException) -> None:
        words = f"{type(exc).__name__}: {exc}"
        note(f"pdb: {words}" if len(words) <= 200 else f"pdb: {words[:199]}…")
        traceback = _without_plumbing(exc.__traceback__)
        if frame is None and traceback is None:
            return
        watching = sys.gettrace()
        sys.settrace(None)
        debugger = pdb.Pdb(nosigint=True)  # the one that watches goes on behind it
        debugger.reset()
        debugger.interaction(frame, traceback)
        if debugger.quitting and not self._went_on(debugger):
            raise Quit
        sys.settrace(watching)

    def _went_on(self, debugger: pdb.Pdb) -> bool:
        """Tell whether *debugger* was left by a command that goes on with the program."""
        return debugger.lastcmd.split(" ")[0] not in ("q", "quit", "exit", "EOF")


def _iter_causes(exc: BaseException) -> Iterator[BaseException]:
    """Give *exc* and what it was raised from, the innermost first."""
    chain: list[BaseException] = []
    link: BaseException | None = exc
    while link is not None and link not in chain and len(chain) < _CAUSES_LIMIT_COUNT:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return reversed(chain)


def _raised_at(exc: BaseException) -> str | None:
    traceback, found = exc.__traceback__, None
    while traceback is not None:
        if not is_plumbing(traceback.tb_frame.f_code):
            found = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found


def _last_place(frames: Any) -> str | None:
    if not isinstance(frames, list) or not frames or not isinstance(frames[-1], dict):
        return None
    return f"{frames[-1].get('file')}:{frames[-1].get('line')}"


def _program_frame() -> FrameType | None:
    """Give the frame of the program that called the tool."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (is_plumbing(frame.f_code) or _is_ours(frame)):
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(os.path.dirname(os.path.abspath(__file__)) + os.sep)


def _without_plumbing(traceback: TracebackType | None) -> TracebackType | None:
    """Give a traceback without the lines of ours, which stand between those of the program."""
    kept: list[TracebackType] = []
    while traceback is not None:
        frame = traceback.tb_frame
        if not is_plumbing(frame.f_code) and not _is_ours(frame):
            kept.append(traceback)
        traceback = traceback.tb_next
    made: TracebackType | None = None
    for each in reversed(kept):
        made = TracebackType(made, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return made
