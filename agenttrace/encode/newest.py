"""
Cut what a model was sent so that the newest messages stay.

Invariant: what comes out is valid JSON of at most the limit; a mark stands where messages are
missing, with their number, and a reference to earlier ones stays. Cost: what is kept is visited.
"""

from __future__ import annotations

from typing import Any

import orjson

from agenttrace.encode.marks import build_mark, is_cut_mark
from agenttrace.encode.truncate import cut_payload, fit
from agenttrace.events import MARK, MESSAGE_KEYS

__all__ = ["cut_newest"]

_LEAST_BYTES = 160
"""Room a message should keep, before those before it are dropped instead."""
_NEWEST_BYTES = 256
"""Where half of the room is less, the newest message has all of it."""
_MARK_BYTES = len('{"$agenttrace":"cut","items":123456789012},')
_BESIDE_SHARE = 4


def cut_newest(payload: bytes, limit_bytes: int, sha256: str | None) -> bytes:
    """
    Cut the payload of a ``model_call`` to *limit_bytes*, and say on its root how long it was.

    Args:
        payload: A JSON object whose ``input`` is a list of messages, or an object with one. Any
            other is cut as ``cut_payload`` cuts it.
        limit_bytes: Budget, >= 256.
        sha256: Where the whole is kept, if it is.

    Returns:
        *payload* itself when it fits.
    """
    if len(payload) <= limit_bytes:
        return payload
    try:
        cut = _cut(orjson.loads(payload), len(payload), limit_bytes, sha256)
    except Exception:  # not JSON, or nested deeper than orjson reads
        cut = b""
    return cut if cut and len(cut) <= limit_bytes else cut_payload(payload, limit_bytes, sha256)


def _cut(root: Any, length: int, limit_bytes: int, sha256: str | None) -> bytes:
    sent = root["input"]
    name = ""
    if type(sent) is dict:
        name = next(one for one in MESSAGE_KEYS if type(sent.get(one)) is list)
    messages = sent[name] if name else sent
    if type(messages) is not list:
        return b""
    fields = build_mark("cut", bytes=length, sha256=sha256)
    around: dict[str, Any] = {
        key: value for key, value in root.items() if key != "input" and key not in fields
    }
    within = {key: value for key, value in sent.items() if key != name} if name else {}
    shape = {"input": {name: [], **within} if name else [], **around, **fields}
    if len(orjson.dumps(shape)) > limit_bytes // _BESIDE_SHARE:
        around = fit(around, limit_bytes // (2 * _BESIDE_SHARE), guard_edges=False)
        within = fit(within, limit_bytes // (2 * _BESIDE_SHARE), guard_edges=False)
        shape = {"input": {name: [], **within} if name else [], **around, **fields}
    kept = _keep_newest(messages, limit_bytes - len(orjson.dumps(shape)))
    return orjson.dumps({**shape, "input": {name: kept, **within} if name else kept})


def _keep_newest(messages: list[Any], room: int) -> list[Any]:
    """Keep the last messages that fit *room*, none of them in more than half of what is left."""
    first, dropped = [], 0
    if messages and type(messages[0]) is dict and messages[0].get(MARK) == "ref":
        first, messages = messages[:1], messages[1:]
    if messages and is_cut_mark(messages[0]):
        dropped, messages = messages[0]["items"], messages[1:]
    left = room - len(orjson.dumps(first)) - _MARK_BYTES
    kept: list[Any] = []
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        size = len(orjson.dumps(message))
        share = left // 2
        if (at == 0 and not dropped) or (not kept and share < _NEWEST_BYTES):
            share = left
        if size > share:
            if share < _LEAST_BYTES:
                dropped += at + 1
                break
            message = fit(message, share, guard_edges=False)
            size = len(orjson.dumps(message))
        kept.append(message)
        left -= size + 1
    marks = [build_mark("cut", items=dropped)] if dropped else []
    return [*first, *marks, *kept[::-1]]
