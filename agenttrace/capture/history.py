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
from collections.abc import Sequence
from typing import Any, NamedTuple

from agenttrace.capture.context import PIPE
from agenttrace.capture.emit import encode_value, object_of
from agenttrace.capture.newest import Newest
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
    limit_bytes = PIPE.limit_bytes
    hashes, tail = chat.hashes, Newest(limit_bytes)
    all_bytes, worth_count = 0, 0
    for at, item in enumerate(items, 1):
        encoded = codec.encode(item, limit_bytes)
        hashes.append(hash(_SALT + encoded))
        tail.add(encoded)
        if all_bytes < _WORTH_BYTES:
            all_bytes += len(encoded)
            worth_count = at
        if at % _LOOK_EVERY == 0 and time.monotonic() > until_s:
            del hashes[:]
            return _encode_newest(items), None
    before, same_count = _find_before(chats, hashes)
    parts: list[bytes] = []
    is_worth_it = all_bytes >= _WORTH_BYTES and same_count >= worth_count
    if before is not None and is_worth_it:
        parts.append(_reference(before.span_id, before.pointer, b',"items":%d' % same_count))
    tail.leave_out(same_count if is_worth_it else 0)
    kept = tail.fit(items)
    if tail.dropped_count:
        parts.append(_CUT % tail.dropped_count)
    goes_on = before is not None and len(before.hashes) == same_count
    return b"[%s]" % b",".join([*parts, *kept]), before if goes_on else None


def _find_before(chats: tuple[_Chat, ...], hashes: array[int]) -> tuple[_Chat | None, int]:
    """Find the request that begins like this one for longest, of these the latest; and for how long."""
    found, longest = None, 0
    for chat in chats:
        known = chat.hashes
        low, high = 0, min(len(known), len(hashes))
        if high < longest or known[:longest] != hashes[:longest]:
            continue
        while low < high:  # how long they are alike; each step compares in C
            middle = (low + high + 1) // 2
            if known[low:middle] == hashes[low:middle]:
                low = middle
            else:
                high = middle - 1
        if low and low >= longest:
            found, longest = chat, low
    return found, longest


def _encode_newest(items: Sequence[Any]) -> bytes:
    """Encode the last messages of a list that is too long to be looked at, or takes too long."""
    some = items[-_NEWEST_COUNT:]
    tail = Newest(PIPE.limit_bytes)
    tail.dropped_count = len(items) - len(some)
    for item in some:
        tail.add(encode_value(item))
    tail.leave_out(0)
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
