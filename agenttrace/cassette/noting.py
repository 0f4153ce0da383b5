"""
The player as capture sees it: beside giving back, it tells the replayed run's own record what begins.

Invariant: a conversation is noted before the first event of it that a replay can name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agenttrace.capture.context import Operation
from agenttrace.cassette.own_record import OwnRecord
from agenttrace.cassette.player import Player

__all__ = ["Noting"]


class Noting:
    """
    What ``PIPE.substitute`` is during a replay.

    Args:
        player: Gives back.
        record: Learns which conversations go on.
    """

    def __init__(self, player: Player, record: OwnRecord) -> None:
        self._player = player
        self._record = record
        self.outer = player.outer
        self.turn = player.turn
        self.scope = player.scope
        self.tool_names = player.tool_names

    def tool(self, call: Operation | None, wrapped: Callable[..., Any]) -> Callable[..., Any]:
        """Give what stands in for a tool."""
        if call is not None and call.kind != "agent" and call.agent is not None:
            self._record.note(call.conversation_id, self._player.cassette.conversation_id)
        return self._player.tool(call, wrapped)

    def agent(self, operation: Operation, input_json: bytes) -> None:
        """Learn that an agent's run begins."""
        self._player.agent(operation, input_json)
        self._record.note(operation.conversation_id, self._player.conversation_of(operation))
