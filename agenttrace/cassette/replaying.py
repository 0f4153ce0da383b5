"""
``replay``: a block in which what was recorded is given back, and everything put back after it.

Invariants: nothing runs before all that a strict replay would have to give back is known to be there;
when the block ends, tracing, its pipe, the patches and the scope that stood there are as before; a
refusal that the program caught is raised as the block ends, so that no run passes by it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any, Self

from agenttrace import integrations, runtime
from agenttrace.capture import context
from agenttrace.capture.agents import close_agent
from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Operation
from agenttrace.capture.settling import settle_all
from agenttrace.cassette.cassette import Cassette
from agenttrace.cassette.heirs import Heirs
from agenttrace.cassette.noting import Noting
from agenttrace.cassette.own_record import OwnRecord
from agenttrace.cassette.player import MODES, Player
from agenttrace.cassette.refusing import refuse_missing
from agenttrace.errors import ReplayError, contained
from agenttrace.origin import build_rules

__all__ = ["Playing", "find_cassette", "replay"]


class Playing:
    """What ``with replay(…) as playing`` gives; as a block it switches the replay on and off."""

    def __init__(self, player: Player) -> None:
        self._player = player
        recorded = [player.cassette.conversation_id, *(run.conversation_id for run in player.cassette.runs)]
        names = {each: context.new_conversation_id() for each in recorded if each is not None}
        self._record = OwnRecord(names)
        self._heirs = Heirs(player, names)
        self._was_on = False
        self._scope: Operation | None = None
        self._roots: dict[int, Operation] = {}
        self._scopes_opened = False
        self._patched: tuple[str, ...] = ()
        self._is_open = False

    # ------------------------------------------------------------------ what is known

    @property
    def cassette(self) -> Cassette:
        """What was recorded."""
        return self._player.cassette

    @property
    def mode(self) -> str:
        """``strict`` or ``fill``."""
        return self._player.mode

    @property
    def replayed(self) -> int:
        """How many calls and turns were given back."""
        return self._player.replayed

    @property
    def ran(self) -> int:
        """How many calls and turns ran themselves."""
        return self._player.ran

    @property
    def notes(self) -> list[str]:
        """What was not given back just as it was recorded, each once."""
        return list(self._player.notes)

    @property
    def refusals(self) -> list[ReplayError]:
        """What was asked for in vain."""
        return list(self._player.refusals)

    @property
    def conversation_id(self) -> str | None:
        """Of the replayed run itself; None until an agent or a call begins."""
        own = self._record.conversations
        wanted = self.cassette.conversation_id
        return next((each for each, recorded in own.items() if recorded == wanted), next(iter(own), None))

    @property
    def conversations(self) -> dict[str, str | None]:
        """Each conversation of the replayed run, with the recorded one that it is."""
        return dict(self._record.conversations)

    def unused(self) -> list[str]:
        """Name what was recorded and never asked for."""
        return self._player.unused()

    def before_raise(self, call: Callable[[Mapping[str, Any], BaseException], object] | None) -> None:
        """Have a function called right before a recorded exception is raised, for debuggers."""
        self._player.before_raise = call

    # ------------------------------------------------------------------ the block

    def __enter__(self) -> Self:
        if PIPE.substitute is not None:
            raise ReplayError("a replay is open in this process; end it before the next one.")
        self._was_on, self._scope = bool(SWITCH), CURRENT.get()
        self._roots, self._scopes_opened = dict(context.implicit_roots), context.scopes_opened
        self._is_open = True
        try:
            self._switch_on()
        except BaseException:
            self._put_back()
            raise
        return self

    async def __aenter__(self) -> Self:
        return self.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_open:
            return
        self._put_back(exc)
        refusals = self._player.refusals
        if not refusals or exc in refusals:
            return
        if exc is None:
            raise refusals[0]
        exc.add_note(f"amid a replay, which had refused before: {refusals[0]}")

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)

    def _switch_on(self) -> None:
        CURRENT.set(None)
        context.implicit_roots.clear()
        self._record.open(self._was_on)
        PIPE.substitute = Noting(self._player, self._record)
        self._heirs.open()
        self._player.keys.lend()
        if not self._was_on:
            self._patched = integrations.installed()
            SWITCH[:] = [True]
            integrations.install("auto")  # threads hand their scope on, retries are told

    def _put_back(self, exc: BaseException | None = None) -> None:
        self._is_open = False
        with contained("cassette.end"):
            settle_all()
            for root in list(context.implicit_roots.values()):
                close_agent(root, b"null", exc)
        PIPE.substitute = None
        self._heirs.close()
        self._player.keys.take_back()
        self._record.close()
        if not self._was_on:
            SWITCH.clear()
            new = [name for name in integrations.installed() if name not in self._patched]
            if new:  # no name at all would take back every patch
                integrations.uninstall(*new)
        context.implicit_roots.clear()
        context.implicit_roots.update(self._roots)
        context.scopes_opened = self._scopes_opened
        CURRENT.set(self._scope)


def replay(
    source: str | os.PathLike[str] | Cassette,
    mode: str = "strict",
    *,
    database: str | os.PathLike[str] | None = None,
    run: Collection[str] = (),
) -> Playing:
    """
    Give back in a block what was recorded, instead of running traced tools and asking models.

    Args:
        source: Which conversation (``last``, ``last-failed``, an id or its start), the path of a file
            that ``Cassette.save`` wrote, or a `Cassette`.
        mode: ``strict`` raises for a call that was never recorded; ``fill`` runs it.
        database: Where the conversation is recorded; where this process would record, unless given.
        run: Names of tools that run themselves, such as those that only begin other agents.

    Returns:
        What to enter; inside it tells ``replayed``, ``ran``, ``unused()``, ``notes`` and
        ``conversation_id``.

    Raises:
        ReplayError: Not all was kept that would have to be given back (``strict``), or there is no such
            mode, or the file is no cassette.
        NotFound: There is no such conversation.
    """
    if mode not in MODES:
        raise ReplayError(f"mode={mode!r}: it is {' or '.join(repr(one) for one in MODES)}.")
    cassette = find_cassette(source, database)
    missing = cassette.missing()
    if missing and mode == "strict":
        raise refuse_missing(missing)
    player = Player(cassette, mode, rules=build_rules(runtime.current_settings()), run=run)
    shortened = cassette.shortened()
    player.notes.extend(f"runs itself: {one}" for one in (*missing, *(shortened if mode == "fill" else ())))
    if mode == "strict":
        player.notes.extend(f"given as far as it was kept: {one}" for one in shortened)
    return Playing(player)


def find_cassette(
    source: str | os.PathLike[str] | Cassette, database: str | os.PathLike[str] | None = None
) -> Cassette:
    """
    Find what is to be replayed; of a conversation that is a replay itself, what it replayed.

    Raises:
        ReplayError: The file is no cassette.
        NotFound: There is no such conversation.
    """
    if isinstance(source, Cassette):
        return source
    name = os.fspath(source)
    if not isinstance(source, str) or name.endswith(".json") or os.sep in name:
        return Cassette.load(name)
    # Late: a cassette from a file needs neither.
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.write.recovery import recover

    if SWITCH:
        runtime.flush()  # it may have been recorded just now, by this process
    if database is None:
        database = runtime.current_settings().database  # also what `configure` was given
    with runtime.wire_store()(database) as store:
        if not store.target.is_memory:
            with contained("cassette.recover"):  # it may be of a process that was killed
                recover(store.target.path, timeout_s=2.0)
        viewer = TraceViewer(store)
        conversation_id = viewer.resolve(name).conversation_id
        original = _replayed_by(viewer.conversation(conversation_id).metadata)
        if original is not None and store.conversation(original) is not None:
            conversation_id = original
        return Cassette.of(store, conversation_id)


def _replayed_by(metadata: Any) -> str | None:
    found = metadata.get("replay_of") if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else None
