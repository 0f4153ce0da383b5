"""
A replay in the processes that a replayed program starts: they give back what was recorded as well.

Invariants: a process that was started amid a replay runs nothing that was recorded, also where its
cassette cannot be read any more: then it refuses everything. Each has a player of its own, so that
equal calls of several processes are each given the first of them. Cost: a file, written when the first
process is started, and removed as the replay ends.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from agenttrace.capture.context import PIPE, SWITCH
from agenttrace.capture.propagation import HERITAGE
from agenttrace.cassette.cassette import Cassette
from agenttrace.cassette.noting import Noting
from agenttrace.cassette.own_record import OwnRecord
from agenttrace.cassette.player import Player
from agenttrace.errors import ReplayError, contained
from agenttrace.origin import build_rules, load_settings

__all__ = ["REPLAY_VARIABLE", "Heirs", "begin"]

REPLAY_VARIABLE = "AGENTTRACE_REPLAY"
"""In the environment of a process that was started amid a replay: where its cassette is."""


class Heirs:
    """
    Hands a replay on to the processes that are started.

    Args:
        player: Of this process.
        names: The conversations that are replayed, with the ids that their rows get.
    """

    def __init__(self, player: Player, names: Mapping[str, str]) -> None:
        self._player = player
        self._names = dict(names)
        self._file: str | None = None
        self._settings: Callable[[], dict[str, str]] | None = None

    def open(self) -> None:
        """Let processes that are started from now on replay."""
        self._settings = HERITAGE.settings
        HERITAGE.settings = self._describe

    def close(self) -> None:
        """Let them record as before."""
        if self._settings is not None:
            HERITAGE.settings = self._settings
            self._settings = None
        if self._file is not None:
            with contained("cassette.heirs"):
                os.unlink(self._file)
            self._file = None

    def _describe(self) -> dict[str, str]:
        assert self._settings is not None, "it is open"
        given = self._settings()
        with contained("cassette.heirs"):
            if self._file is None:
                handle, self._file = tempfile.mkstemp(prefix="agenttrace-replay-", suffix=".json")
                os.close(handle)
                self._player.cassette.save(self._file)
            told = {
                "cassette": self._file,
                "mode": self._player.mode,
                "run": sorted(self._player.to_run),
                "names": self._names,
            }
            return {**given, REPLAY_VARIABLE: json.dumps(told)}
        return {**given, REPLAY_VARIABLE: "{}"}  # it refuses everything


def begin(told: str) -> None:
    """Replay in this process for as long as it lives, as the one that started it does."""
    if PIPE.substitute is not None:
        return  # forked amid the replay
    data, cassette = _read(told)
    names = {str(old): str(new) for old, new in dict(data.get("names") or {}).items()}
    player = Player(
        cassette,
        str(data.get("mode") or "strict"),
        rules=build_rules(load_settings({})),
        run=[str(one) for one in data.get("run") or ()],
        is_heir=True,
    )
    record = OwnRecord(names)
    is_on = bool(SWITCH)
    record.open(is_on)
    PIPE.substitute = Noting(player, record)
    if not is_on:
        SWITCH[:] = [True]


def _read(told: str) -> tuple[dict[str, Any], Cassette]:
    """Read what a process was told; an empty cassette, of which everything is refused, where it cannot be."""
    try:
        data = json.loads(told)
        return data, Cassette.load(data["cassette"])
    except (ValueError, KeyError, TypeError, ReplayError):
        return {}, Cassette()
