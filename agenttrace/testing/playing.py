"""
A cassette in a test: played back, completed or recorded, by one of three modes.

``none`` gives back what is recorded and refuses all else; ``once`` gives back what is recorded and runs
the rest; ``all`` runs everything. Invariants: nothing is written before the test has passed (see
``Playing.save``); a refusal that the program caught still fails the test; what stood in for tools before
the block does so again after it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import shlex
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agenttrace import clock
from agenttrace.capture.context import PIPE, Operation
from agenttrace.capture.propagation import HERITAGE
from agenttrace.capture.substitution import Outcome, RecordedTurn
from agenttrace.cassette import Cassette, Player
from agenttrace.cassette.heirs import Heirs
from agenttrace.events import MARK
from agenttrace.testing.stable import build_stable, load_stable, write_stable

if TYPE_CHECKING:
    from agenttrace.testing.recorder import MemoryRecorder

__all__ = ["RECORD_MODES", "CassetteMissing", "Playing", "play"]

RECORD_MODES = ("none", "once", "all")


class CassetteMissing(AssertionError):
    """There is no cassette to give back, and none may be recorded."""

    @classmethod
    def of(cls, path: Path, test: str = "") -> CassetteMissing:
        """Say what is missing and how it is made."""
        command = "pytest --trajectory-record=once" + (f" {shlex.quote(test)}" if test else "")
        return cls(f"there is no cassette {os.path.relpath(path)}; record it with `{command}`, and commit it")


class Playing:
    """What ``with trajectory.replay(…) as playing`` gives."""

    def __init__(self, path: Path, mode: str, player: Player | None, recorder: MemoryRecorder) -> None:
        self.path = path
        self.mode = mode
        self.left_ns: int | None = None
        """When the program first asked for something that was not recorded; None where it never did."""
        self._player = player
        self._recorder = recorder
        self._asked: set[str] = set()
        self._before = set(recorder.conversation_ids())

    @property
    def replayed(self) -> int:
        """How many calls and turns were given back."""
        return 0 if self._player is None else self._player.replayed

    @property
    def ran(self) -> int:
        """How many calls and turns ran themselves beside what is recorded; 0 where all did."""
        return 0 if self._player is None else self._player.ran

    @property
    def notes(self) -> list[str]:
        """What was not given back just as it was recorded, each once."""
        return [] if self._player is None else list(self._player.notes)

    def unused(self) -> list[str]:
        """Name what is recorded and was not asked for."""
        return [] if self._player is None else self._player.unused()

    @property
    def input(self) -> Any:
        """What the first root agent of the cassette was asked; None where there is none."""
        runs = [] if self._player is None else self._player.cassette.runs
        return next((run.input for run in runs if run.parent is None), None)

    def call(self, function: Callable[..., Any]) -> Any:
        """
        Call *function* as the recorded root agent was asked: an input of names and values by name,
        any other as the one argument, no input without one. A coroutine is run to its end.
        """
        __tracebackhide__ = True
        given = self.input
        if isinstance(given, dict) and MARK not in given:
            result = function(**given)
        else:
            result = function() if given is None else function(given)
        return asyncio.run(result) if inspect.iscoroutine(result) else result

    # What capture asks, see ``capture.substitution``

    def tool(self, call: Operation | None, wrapped: Any) -> Any:
        """Give what stands in for a tool."""
        assert self._player is not None
        if call is not None and call.kind != "agent":
            self._asked.add(call.name)
        try:
            return self._player.tool(call, wrapped)
        finally:
            self._note()

    def outer(self, call: Operation | None, name: str, arguments: Any) -> Outcome | None:
        """Give how a call of a tool that is not ours ended."""
        assert self._player is not None
        self._asked.add(name)
        try:
            return self._player.outer(call, name, arguments)
        finally:
            self._note()

    def turn(
        self, operation: Operation | None, model: str, provider: str | None, input: Any, params: Any
    ) -> RecordedTurn | None:
        """Give what a model answered."""
        assert self._player is not None
        self._asked.add(str(model))
        try:
            return self._player.turn(operation, model, provider, input, params)
        finally:
            self._note()

    def agent(self, operation: Operation, input_json: bytes) -> None:
        """Learn that a run of an agent begins."""
        assert self._player is not None
        self._player.agent(operation, input_json)

    def scope(self, call: Operation, arguments: bytes) -> None:
        """Learn that a tool scope is entered."""
        assert self._player is not None
        self._asked.add(call.name)
        self._player.scope(call, arguments)

    def tool_names(self) -> Collection[str] | None:
        """Name the tools that were recorded; None where a call that was not may run."""
        assert self._player is not None
        return self._player.tool_names()

    def _note(self) -> None:
        if self.left_ns is None and self._player is not None and self._player.refusals:
            self.left_ns = clock.now_ns()

    # Afterwards

    def judge(self, exc: BaseException | None, may_leave: bool | str) -> bool:
        """
        Tell whether what ended the block is no fault, since the program went another way as it may.

        Args:
            exc: What left the block.
            may_leave: Whether it may; or the tool or the model that it has to have asked for before.

        Raises:
            ReplayError: The program was refused something, caught that, and went on.
            AssertionError: It went another way too early.
        """
        __tracebackhide__ = True
        refusals = [] if self._player is None else self._player.refusals
        if not refusals:
            return False
        if may_leave is True or (isinstance(may_leave, str) and may_leave in self._asked):
            return exc is None or isinstance(exc, Exception | SystemExit)
        if isinstance(may_leave, str):
            raise AssertionError(
                f"the program left the recording before it asked for {may_leave}, so this run says nothing "
                f"of what happened there: {refusals[0]}"
            ) from exc
        if exc is None:
            raise refusals[0]
        if exc not in refusals:
            exc.add_note(f"the replay had refused before: {refusals[0]}")
        return False

    def save(self, folder: Path) -> bool:
        """
        Write what was recorded, if there is something new; called when the test has passed.

        Args:
            folder: Of the project: files of code are named from there.
        """
        if self.mode == "none" or (self._player is not None and not self.ran):
            return False
        ids = [each for each in self._recorder.conversation_ids() if each not in self._before]
        whole = Cassette()
        for conversation_id in ids or self._recorder.conversation_ids():
            whole.add(Cassette.of(self._recorder.store, conversation_id))
        if not whole.runs:
            return False
        write_stable(self.path, build_stable(whole, folder))
        return True


@contextmanager
def play(
    recorder: MemoryRecorder,
    path: Path,
    mode: str,
    *,
    run: Collection[str] = (),
    may_leave: bool | str = False,
) -> Iterator[Playing]:
    """
    Let a cassette stand in for tools and models until the block ends.

    Args:
        recorder: What records meanwhile.
        path: Of the cassette.
        mode: One of ``RECORD_MODES``.
        run: Names of tools that run themselves.
        may_leave: See ``Playing.judge``.

    Raises:
        CassetteMissing: There is none, and the mode is ``none``.
        ReplayError: Something was asked for that is not recorded, and the mode is ``none``.
    """
    __tracebackhide__ = True
    if mode not in RECORD_MODES:
        raise ValueError(f"mode={mode!r}: it is {', '.join(RECORD_MODES)}")
    player = None
    if mode != "all" and (mode == "none" or path.exists()):
        if not path.exists():
            raise CassetteMissing.of(path)
        player = Player(load_stable(path), "strict" if mode == "none" else "fill", run=run)
    playing = Playing(path, mode, player, recorder)
    try:
        with _standing_in(playing, player):
            yield playing
    except BaseException as exc:
        if not playing.judge(exc, may_leave):
            raise
    else:
        playing.judge(None, may_leave)


@contextmanager
def _standing_in(playing: Playing, player: Player | None) -> Iterator[None]:
    """Let a cassette answer here, and in the processes that are started meanwhile."""
    if player is None:
        yield
        return
    before, settings, heirs = PIPE.substitute, HERITAGE.settings, Heirs(player, {})
    HERITAGE.settings = _no_recording
    heirs.open()
    PIPE.substitute = playing
    player.keys.lend()
    try:
        yield
    finally:
        player.keys.take_back()
        PIPE.substitute = before
        heirs.close()
        HERITAGE.settings = settings


def _no_recording() -> dict[str, str]:
    """Tell other processes to record nothing: no database of the user's is touched."""
    return {"AGENTTRACE": "0"}
