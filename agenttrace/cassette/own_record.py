"""
Where the rows of a replayed run go: nowhere while tracing is off, else to a conversation of their own.

Invariant: not one row of a replay is added to the conversation that it replays, also where the program
gives its conversations fixed ids; the program sees the ids that it gave.
"""

from __future__ import annotations

from typing import Any

from agenttrace.capture import context
from agenttrace.capture.context import PIPE
from agenttrace.capture.emit import emit_conversation
from agenttrace.encode import codec
from agenttrace.errors import contained
from agenttrace.events import CONTROL_CONVERSATION

__all__ = ["OwnRecord"]

_CONTROL = b'["' + CONTROL_CONVERSATION.encode() + b'"'
_CONVERSATIONS_LIMIT = 100_000


class OwnRecord:
    """
    Takes what is published during a replay.

    Args:
        replay_of: The conversation that is replayed; None where nobody knows it.
    """

    def __init__(self, replay_of: str | None) -> None:
        self._replay_of = replay_of
        self._seen: set[str] = set()
        self._new_id = context.new_conversation_id()
        self._publish: Any = None
        self._prepare: Any = None
        self._mine: Any = None
        self._is_recorded = False
        self.conversation_id: str | None = None
        """Of the first conversation of the replayed run."""

    def open(self, is_on: bool) -> None:
        """Stand in the pipe."""
        self._is_recorded = is_on
        if is_on:
            PIPE.prepare()  # else the first event would put the recorder where we stand
        self._publish, self._prepare = PIPE.publish, PIPE.prepare
        self._mine = self._forward if is_on else _forget
        PIPE.publish = self._mine
        if not is_on:
            PIPE.prepare = _nothing

    def close(self) -> None:
        """Leave the pipe; what somebody else has put there meanwhile stays."""
        if PIPE.publish == self._mine:
            PIPE.publish = self._publish
        if not self._is_recorded and PIPE.prepare is _nothing:
            PIPE.prepare = self._prepare

    def note(self, conversation_id: str) -> None:
        """Learn of a conversation that goes on; the first time, say what it replays."""
        if conversation_id in self._seen or len(self._seen) >= _CONVERSATIONS_LIMIT:
            return
        self._seen.add(conversation_id)
        if self.conversation_id is None:
            is_the_same = conversation_id == self._replay_of
            self.conversation_id = self._new_id if is_the_same else conversation_id
        if self._is_recorded and self._replay_of is not None:
            with contained("cassette.conversation"):
                emit_conversation(conversation_id, None, None)

    def _forward(self, body: bytes) -> Any:
        """Hand a frame on; one of the replayed conversation goes into a new one."""
        if self._replay_of is not None:
            with contained("cassette.publish"):
                header, separator, payload = body.partition(b"\n")
                is_control = header.startswith(_CONTROL)
                if is_control:
                    payload = self._add_origin(header, payload)
                name = codec.dumps(self._replay_of)
                if name in header:
                    header = header.replace(name, codec.dumps(self._new_id))
                body = header + separator + payload
        return self._publish(body)

    def _add_origin(self, header: bytes, payload: bytes) -> bytes:
        """Put ``replay_of`` into what is kept with a conversation."""
        self._seen.add(str(codec.loads(header)[2]))
        data = codec.loads(payload)
        metadata = data.get("metadata")
        kept = metadata if isinstance(metadata, dict) else {} if metadata is None else {"metadata": metadata}
        return codec.dumps({**data, "metadata": {**kept, "replay_of": self._replay_of}})


def _forget(body: bytes) -> bool:
    """Take a frame that nobody records."""
    return True


def _nothing() -> None:
    """Prepare nothing: there is no recorder."""
