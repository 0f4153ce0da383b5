"""
Where the rows of a replayed run go: nowhere while tracing is off, else to a conversation of their own.

Invariant: not one row of a replay is added to the conversation that it replays, also where the program
gives its conversations fixed ids; the program sees the ids that it gave.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from agenttrace.capture.context import PIPE, Pipe
from agenttrace.capture.emit import emit_conversation
from agenttrace.encode import codec
from agenttrace.errors import contained
from agenttrace.events import CONTROL_CONVERSATION

__all__ = ["OwnRecord"]

_CONTROL = b'["' + CONTROL_CONVERSATION.encode() + b'"'
_CONVERSATIONS_LIMIT = 100_000


_open: list[OwnRecord] = []


class _ReplayPipe(Pipe):
    """
    The pipe during a replay.

    What the program sets meanwhile (``configure``, ``enable``) goes into the slot beneath, and what
    is published passes the replay first.
    """

    __slots__ = ()

    @property
    def publish(self) -> Callable[[bytes], Any]:
        return _open[-1].publisher(Pipe.__dict__["publish"].__get__(self, Pipe))

    @publish.setter
    def publish(self, value: Callable[[bytes], Any]) -> None:
        Pipe.__dict__["publish"].__set__(self, value)


class OwnRecord:
    """
    Takes what is published during a replay.

    Args:
        names: The conversations that are replayed, each with the id that its rows get instead.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._new_ids = dict(names)
        self._names = {codec.dumps(old): codec.dumps(new) for old, new in self._new_ids.items()}
        self._metadata: dict[str, Any] = {}
        self._before: tuple[Callable[[bytes], Any], Callable[[], None]] | None = None
        self._beneath: Callable[[bytes], Any] | None = None
        self._mine: Callable[[bytes], Any] = _forget
        self._is_recorded = False
        self.conversations: dict[str, str | None] = {}
        """Each conversation of the replayed run, with the recorded one that it is; the first one first."""

    def open(self, is_on: bool) -> None:
        """Stand in the pipe."""
        self._is_recorded = is_on
        if type(PIPE) is not Pipe:
            return  # a recorder in memory holds it: the recorded conversation is not there
        if not is_on:
            self._before = (PIPE.publish, PIPE.prepare)
            PIPE.publish, PIPE.prepare = _forget, _nothing
        _open.append(self)
        PIPE.__class__ = _ReplayPipe

    def close(self) -> None:
        """Leave the pipe; what somebody else has put there meanwhile stays."""
        if self not in _open:
            return
        _open.remove(self)
        PIPE.__class__ = Pipe
        if self._before is not None:
            publish, prepare = self._before
            PIPE.publish = publish if PIPE.publish is _forget else PIPE.publish
            PIPE.prepare = prepare if PIPE.prepare is _nothing else PIPE.prepare

    def publisher(self, beneath: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        """Give what hands frames on to *beneath*: another object for each, as capture compares them."""
        if self._beneath is not beneath:
            self._beneath, self._mine = beneath, functools.partial(self._forward, beneath)
        return self._mine

    def note(self, conversation_id: str, recorded_id: str | None) -> None:
        """Learn of a conversation that goes on; the first time, say which one it replays."""
        own_id = self._new_ids.get(conversation_id, conversation_id)
        if own_id in self.conversations or len(self.conversations) >= _CONVERSATIONS_LIMIT:
            return
        self.conversations[own_id] = recorded_id
        if self._is_recorded and recorded_id is not None:
            with contained("cassette.conversation"):
                given = self._metadata.pop(conversation_id, None)
                emit_conversation(conversation_id, None, _with_origin(given, recorded_id))

    def _forward(self, beneath: Callable[[bytes], Any], body: bytes) -> Any:
        """Hand a frame on; one of a conversation that is replayed goes into a new one."""
        with contained("cassette.publish"):
            header, separator, payload = body.partition(b"\n")
            if header.startswith(_CONTROL):
                payload = self._look_at(header, payload)
            for name, other in self._names.items():
                if name in header:
                    header = header.replace(name, other)
            body = header + separator + payload
        return beneath(body)

    def _look_at(self, header: bytes, payload: bytes) -> bytes:
        """Keep what the program says of a conversation, so that ``replay_of`` stands beside it."""
        conversation_id = str(codec.loads(header)[2])
        data = codec.loads(payload)
        recorded_id = self.conversations.get(self._new_ids.get(conversation_id, conversation_id))
        if recorded_id is None:
            if len(self._metadata) < _CONVERSATIONS_LIMIT:
                self._metadata[conversation_id] = data.get("metadata")
            return payload
        if data.get("metadata") is None:
            return payload
        return codec.dumps({**data, "metadata": _with_origin(data["metadata"], recorded_id)})


def _with_origin(metadata: Any, recorded_id: str) -> dict[str, Any]:
    kept = metadata if isinstance(metadata, dict) else {} if metadata is None else {"metadata": metadata}
    return {**kept, "replay_of": recorded_id}


def _forget(body: bytes) -> bool:
    """Take a frame that nobody records."""
    return True


def _nothing() -> None:
    """Prepare nothing: there is no recorder."""
