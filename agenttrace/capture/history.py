"""
What a model is sent, without what it was sent before: each message of a chat is recorded once.

A program resends the whole chat with each request. What stands at the beginning of a list of
messages as it stood in an earlier request of the same conversation is recorded as a reference to
that ``model_call``, and only the rest as it is; so are long members of ``params`` (tools, a system
prompt). ``store.references`` puts back what references name.

Invariants: a reference names a ``model_call`` of this process and conversation that was published
to the same recorder; messages are compared by the bytes that would be recorded, so that a message
that was changed in place is a new one; where all cannot be kept, the newest messages are. Nothing of
the program's is held, only hashes. Cost: an encoding and a hash a message, about 0.5 µs for 1 KB.
"""

from __future__ import annotations

import os
import time
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from agenttrace.capture.context import PIPE
from agenttrace.capture.emit import encode_value, object_of
from agenttrace.encode import codec
from agenttrace.events import MESSAGE_KEYS

__all__ = ["Sent", "encode_sent", "forget_sent"]

_WORTH_BYTES = 512
"""A shorter beginning is recorded again: it is easier to read."""
_MEMBER_WORTH_BYTES = 256
_MESSAGES_LIMIT = 20_000
"""Of a longer list only the newest are recorded."""
_TIME_LIMIT_S = 0.25
_LOOK_EVERY = 32
_NEWEST_COUNT = 16
"""How many of those are looked at where there is no time for more."""
_LEAST_ROOM_BYTES = 512
_CONVERSATIONS_LIMIT = 256
_CHATS_LIMIT = 16
"""A conversation may have several chats that take turns: a planner's, each worker's."""
_MEMBERS_LIMIT = 64
_HASHES_LIMIT = 500_000
"""Of all conversations together: 4 MB."""

_CUT = b'{"$agenttrace":"cut","items":%d}'
_SALT = os.urandom(16)
"""Before each message that is hashed: nobody can make two that are taken for one."""


class _Chat(NamedTuple):
    """The messages of one request."""

    span_id: str
    pointer: str
    """Where in the payload its messages stand."""
    hashes: array[int]


_Members = tuple[tuple[tuple[str, int], str], ...]
"""Long members of ``params``, by name and hash, each with the span whose payload holds it."""


class _Known:
    """What was sent in one conversation."""

    __slots__ = ("chats", "members")

    def __init__(self) -> None:
        self.chats: tuple[_Chat, ...] = ()
        """The latest requests that none has gone on from, the newest last; replaced as a whole."""
        self.members: dict[tuple[str, int], str] = {}
        """As ``_Members``, the latest last."""


class _State:
    """What was sent, while one recorder takes it; another one begins with nothing."""

    __slots__ = ("conversations", "epoch", "hashes_count", "publish")

    def __init__(self) -> None:
        self.publish: Any = PIPE.publish
        self.epoch = PIPE.epoch
        self.conversations: dict[str, _Known] = {}
        self.hashes_count = 0


_state = _State()


def forget_sent() -> None:
    """Record everything once more: what was recorded before cannot be named any more."""
    global _state
    _state = _State()


class Sent:
    """What one request sends, ready to be recorded."""

    __slots__ = ("_before", "_chat", "_known", "_members", "input", "params")

    def __init__(
        self,
        input: bytes,
        params: bytes | None,
        known: _Known,
        chat: _Chat | None,
        before: _Chat | None,
        members: _Members,
    ) -> None:
        self.input = input
        self.params = params
        self._known = known
        self._chat = chat
        self._before = before
        self._members = members

    def remember(self) -> None:
        """Let later requests name this one; call it once the ``model_call`` is published."""
        known, chat = self._known, self._chat
        if chat is not None and chat.hashes:
            kept = [one for one in known.chats if one is not self._before]
            known.chats = (*kept[1 - _CHATS_LIMIT :], chat)
            _state.hashes_count += len(chat.hashes)
        for key, span_id in self._members:
            known.members[key] = span_id
        while len(known.members) > _MEMBERS_LIMIT:
            known.members.pop(next(iter(known.members)), None)
        _make_room()


def encode_sent(conversation_id: str, span_id: str, value: Any, params: Any) -> Sent:
    """
    Encode a request's input and parameters, each message and each long parameter once.

    Args:
        conversation_id: In which earlier requests are looked for.
        span_id: Of this one.
        value: A list of messages, an object with one (``messages``, ``input``, ``contents``), or
            anything else, which is encoded as it is.
        params: An object, or anything else; None where there are none.
    """
    known = _known_in(conversation_id)
    around: dict[Any, Any] | None = None
    name, items = "", None
    if type(value) in (list, tuple):
        items = value
    elif type(value) is dict:
        name = next((one for one in MESSAGE_KEYS if type(value.get(one)) in (list, tuple)), "")
        if name:
            items, around = value[name], {key: each for key, each in value.items() if key != name}
    encoded_params: bytes | None = None
    members: _Members = ()
    if params is not None:
        encoded_params, members = _encode_params(known, span_id, params)
    if items is None:
        return Sent(encode_value(value), encoded_params, known, None, None, members)
    chat = _Chat(span_id, f"/input/{name}" if name else "/input", array("q"))
    encoded, before = _encode_messages(items, () if PIPE.keeps_whole else known.chats, chat)
    if around is not None:
        rest = encode_value(around)[1:]
        encoded = b'{"%s":%s%s%s' % (name.encode(), encoded, b"" if rest == b"}" else b",", rest)
    return Sent(encoded, encoded_params, known, chat, before, members)


def _known_in(conversation_id: str) -> _Known:
    """Give what is known of a conversation, which is now the last that goes."""
    if _state.publish != PIPE.publish or _state.epoch != PIPE.epoch:
        forget_sent()
    conversations = _state.conversations
    known = conversations.pop(conversation_id, None) or _Known()
    conversations[conversation_id] = known
    return known


def _make_room() -> None:
    """Forget the conversations that were left alone for longest."""
    conversations = _state.conversations
    if len(conversations) <= _CONVERSATIONS_LIMIT and _state.hashes_count <= _HASHES_LIMIT:
        return
    left = sum(_count(known) for known in list(conversations.values()))
    for conversation_id in list(conversations):
        if len(conversations) <= _CONVERSATIONS_LIMIT and left <= _HASHES_LIMIT:
            break
        gone = conversations.pop(conversation_id, None)
        left -= 0 if gone is None else _count(gone)
    _state.hashes_count = left


def _count(known: _Known) -> int:
    return sum(len(chat.hashes) for chat in known.chats)


# ------------------------------------------------------------------ messages


class _Tail:
    """The newest of the encoded messages, as many as there is room for."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._encoded: deque[bytes] = deque()
        self._bytes = 0
        self.dropped_count = 0
        """Messages before those that are kept."""

    def add(self, encoded: bytes) -> None:
        """Append a message; the oldest go where all are more than twice the room."""
        self._encoded.append(encoded)
        self._bytes += len(encoded) + 1
        while self._bytes > 2 * self._limit_bytes and len(self._encoded) > 1:
            self._bytes -= len(self._encoded.popleft()) + 1
            self.dropped_count += 1

    def add_before(self, some: list[bytes]) -> None:
        """Put messages before all others, if none is missing between."""
        if self.dropped_count:
            self.dropped_count += len(some)
        else:
            self._encoded.extendleft(reversed(some))
            self._bytes += sum(map(len, some)) + len(some)

    def fit(self, items: Sequence[Any]) -> list[bytes]:
        """
        Give what fits, oldest first.

        Args:
            items: The messages themselves, up to the one that was added last: one that is too long
                is encoded anew, shorter.
        """
        if self._bytes <= self._limit_bytes:
            return list(self._encoded)
        left, kept = self._limit_bytes, []
        first = len(items) - len(self._encoded)
        while self._encoded:
            encoded = self._encoded.pop()
            # None may take more than half of what is left: a page of output leaves the question readable.
            is_last = not self._encoded and not self.dropped_count
            room = left if is_last else left // 2
            if len(encoded) > room:
                if room < _LEAST_ROOM_BYTES:
                    self.dropped_count += 1
                    break
                encoded = codec.encode(items[first + len(self._encoded)], room)
            kept.append(encoded)
            left -= len(encoded) + 1
        self.dropped_count += len(self._encoded)
        return kept[::-1]


class _Beginning:
    """What a list of messages has in common with those of an earlier request."""

    def __init__(self, chats: tuple[_Chat, ...]) -> None:
        self._alive = chats
        self.before: _Chat | None = None
        """The request that has most in common with it, of these the latest."""
        self.count = 0
        self.bytes = 0
        self.short: list[bytes] = []
        """The messages, while they are too short for a reference."""

    def take(self, hashed: int, encoded: bytes) -> bool:
        """Take the next message, if it was sent at this place before."""
        at = self.count
        alive = tuple(one for one in self._alive if at < len(one.hashes) and one.hashes[at] == hashed)
        self._alive = alive
        if not alive:
            return False
        self.before = alive[-1]
        self.count += 1
        self.bytes += len(encoded)
        if self.is_worth_it():
            self.short.clear()
        else:
            self.short.append(encoded)
        return True

    def is_worth_it(self) -> bool:
        """Tell whether a reference is shorter by much."""
        return self.bytes >= _WORTH_BYTES

    def is_all_of_it(self) -> bool:
        """Tell whether nothing that was sent then is left out now."""
        return self.before is not None and len(self.before.hashes) == self.count


def _encode_messages(
    items: Sequence[Any], chats: tuple[_Chat, ...], chat: _Chat
) -> tuple[bytes, _Chat | None]:
    """
    Encode a list of messages; fills the hashes of *chat*, unless the list is not looked at in full.

    Returns:
        JSON, and the earlier request that this one goes on from.
    """
    if len(items) > _MESSAGES_LIMIT:
        return _encode_newest(items), None
    items = items[:]  # another thread may go on with the chat meanwhile
    until_s = time.monotonic() + _TIME_LIMIT_S
    beginning, tail = _Beginning(chats), _Tail(PIPE.limit_bytes)
    is_beginning = True
    for at, item in enumerate(items, 1):
        encoded = encode_value(item)
        hashed = hash(_SALT + encoded)
        chat.hashes.append(hashed)
        is_beginning = is_beginning and beginning.take(hashed, encoded)
        if not is_beginning:
            tail.add(encoded)
        if at % _LOOK_EVERY == 0 and time.monotonic() > until_s:
            del chat.hashes[:]
            return _encode_newest(items), None
    parts: list[bytes] = []
    before = beginning.before
    if before is not None and beginning.is_worth_it():
        parts.append(_reference(before.span_id, before.pointer, b',"items":%d' % beginning.count))
    else:
        tail.add_before(beginning.short)
    kept = tail.fit(items)
    if tail.dropped_count:
        parts.append(_CUT % tail.dropped_count)
    return b"[%s]" % b",".join([*parts, *kept]), before if beginning.is_all_of_it() else None


def _encode_newest(items: Sequence[Any]) -> bytes:
    """Encode the last messages of a list that is too long to be looked at, or takes too long."""
    some = items[-_NEWEST_COUNT:]
    tail = _Tail(PIPE.limit_bytes)
    tail.dropped_count = len(items) - len(some)
    for item in some:
        tail.add(encode_value(item))
    kept = tail.fit(some)
    parts = [_CUT % tail.dropped_count] if tail.dropped_count else []
    return b"[%s]" % b",".join([*parts, *kept])


# ------------------------------------------------------------------ parameters


def _encode_params(known: _Known, span_id: str, params: Any) -> tuple[bytes, _Members]:
    """Encode parameters; gives with them which long members this request's payload holds."""
    if PIPE.keeps_whole or type(params) is not dict or not all(_is_plain_name(name) for name in params):
        return encode_value(params), ()
    encoded: dict[str, bytes | None] = {}
    held: list[tuple[tuple[str, int], str]] = []
    left = PIPE.limit_bytes
    for name, value in params.copy().items():
        member = encode_value(value)
        if len(member) >= _MEMBER_WORTH_BYTES:
            key = (name, hash(_SALT + member))
            holder = known.members.get(key)
            if holder is not None:
                member = _reference(holder, f"/params/{name}")
                held.append((key, holder))
            else:
                held.append((key, span_id))
        encoded[name] = member
        left -= len(name) + len(member) + 4
    if left < 0:
        return encode_value(params), ()
    for key, _ in held:
        known.members.pop(key, None)  # put back by `remember`, as the newest
    return object_of(**encoded), tuple(held)


def _is_plain_name(name: Any) -> bool:
    return type(name) is str and name.isidentifier() and name.isascii()


def _reference(span_id: str, pointer: str, more: bytes = b"") -> bytes:
    return b'{"$agenttrace":"ref","span_id":"%s","pointer":"%s"%s}' % (
        span_id.encode(),
        pointer.encode(),
        more,
    )
