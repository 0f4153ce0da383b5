"""
Payloads whole again: what was cut, and what was recorded as a reference to an earlier event.

Two references stand in the payloads of model calls. At the beginning of a list of messages
``{"$agenttrace": "ref", "span_id", "pointer", "items"}`` is as many messages as it says, those at
the beginning of the list at *pointer* in the ``model_call`` of that span, which may itself begin with
a reference. Anywhere else ``{"$agenttrace": "ref", "span_id", "kind", "pointer"}`` is the value that
stands there in that event's own payload. *pointer* is that of RFC 6901; *kind* is ``model_call``
where it is not said.

Invariants: references are followed within one conversation; one that leads nowhere stays as it is;
what a damaged or hostile database makes of them is bounded. Cost: one look-up for each earlier
request that a list goes back to, about 20 µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from agenttrace.events import MARK
from agenttrace.store.blobs import Reads, read_body

__all__ = ["References", "is_reference", "iter_named_spans"]

_STEPS_LIMIT = 100_000
"""How many references one payload may lead through."""
_ITEMS_LIMIT = 1_000_000
_REMEMBERED = 512
_DEPTH_LIMIT = 150
_PAYLOAD = """
SELECT payload FROM trajectory_events
WHERE span_id = ? AND kind = ? AND +conversation_id = ? ORDER BY id LIMIT 1
"""

_MISSING: Any = object()


def is_reference(value: Any) -> bool:
    """Tell whether *value* stands for something in an earlier event."""
    return type(value) is dict and value.get(MARK) == "ref" and type(value.get("span_id")) is str


def iter_named_spans(value: Any) -> Iterator[str]:
    """Give the span of each event that a payload names itself."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if type(one) is list:
            waiting.extend(one)
        elif is_reference(one):
            yield one["span_id"]
        elif type(one) is dict:
            waiting.extend(one.values())


class References:
    """
    Puts the payloads of one conversation together.

    Args:
        connection: Where events and blobs are.
        conversation_id: Which one.
        bodies: Some of its blobs, by their hashes, which then need no look-up.
    """

    def __init__(
        self,
        connection: Reads,
        conversation_id: str,
        bodies: dict[str, bytes] | None = None,
    ) -> None:
        self._connection = connection
        self._conversation_id = conversation_id
        self._bodies = bodies or {}
        self._payloads: dict[tuple[str, str], Any] = {}
        self._steps = 0
        self._items = 0

    def read_whole(self, payload: Any) -> Any:
        """
        Give a parsed payload as it was before it was cut, and with what its references name.

        The values in it may be shared with what is remembered: they are for reading only.
        """
        self._steps, self._items = _STEPS_LIMIT, _ITEMS_LIMIT
        whole = self.read_uncut(payload)
        return self._resolve(whole, 0)

    def read_uncut(self, payload: Any) -> Any:
        """Give a parsed payload as it was before it was cut, with its references; itself if it was not."""
        if type(payload) is not dict or payload.get(MARK) != "cut":
            return payload
        sha256 = payload.get("sha256")
        if type(sha256) is not str:
            return payload
        body = self._bodies.get(sha256)
        if body is None:
            body = read_body(self._connection, sha256)
        try:
            return payload if body is None else json.loads(body)
        except (ValueError, RecursionError):
            return payload

    # ------------------------------------------------------------------ following

    def _resolve(self, value: Any, depth: int) -> Any:
        """Give *value* with what its references name; the same object where it has none."""
        if depth > _DEPTH_LIMIT:
            return value
        if type(value) is list:
            if value and _is_beginning(value[0]):
                before = self._read_items(value[0])
                return [self._resolve(each, depth + 1) for each in [*before, *value[1:]]]
            items = [self._resolve(each, depth + 1) for each in value]
            changed = any(new is not old for new, old in zip(items, value, strict=True))
            return items if changed else value
        if type(value) is not dict:
            return value
        if MARK in value:
            return self._read_value(value, depth) if is_reference(value) else value
        members = {key: self._resolve(each, depth + 1) for key, each in value.items()}
        return members if any(members[key] is not value[key] for key in value) else value

    def _read_value(self, reference: dict[str, Any], depth: int) -> Any:
        """Give the value that a reference names; itself where there is none."""
        if "items" in reference or self._steps <= 0:
            return reference
        self._steps -= 1
        payload = self._read_payload(str(reference.get("kind", "model_call")), reference["span_id"])
        found = _walk(payload, reference.get("pointer"))
        return reference if found is _MISSING else self._resolve(found, depth + 1)

    def _read_items(self, reference: dict[str, Any]) -> list[Any]:
        """Give the messages that a reference names; with itself before them where some are missing."""
        parts: list[list[Any]] = []
        while self._steps > 0:
            self._steps -= 1
            count = reference["items"]
            stored = _walk(self._read_payload("model_call", reference["span_id"]), reference.get("pointer"))
            if type(stored) is not list:
                break
            if not (stored and _is_beginning(stored[0])):
                parts.append(self._take(stored, count))
                reference = {}
                break
            before = stored[0]
            if count > before["items"]:
                parts.append(self._take(stored[1:], count - before["items"]))
                reference = before
            else:
                reference = {**before, "items": count}
        missing: list[Any] = [reference] if reference else []
        return [*missing, *(item for part in reversed(parts) for item in part)]

    def _take(self, items: list[Any], count: int) -> list[Any]:
        """Give the first *count* messages; a mark counts for those that it stands for."""
        taken: list[Any] = []
        for item in items:
            if count <= 0 or self._items <= 0:
                break
            taken.append(item)
            self._items -= 1
            is_mark = type(item) is dict and item.get(MARK) == "cut" and type(item.get("items")) is int
            count -= item["items"] if is_mark else 1
        return taken

    def _read_payload(self, kind: str, span_id: str) -> Any:
        """Read the payload of an event as it was before it was cut; missing where there is none."""
        key = (kind, span_id)
        if key not in self._payloads:
            if len(self._payloads) >= _REMEMBERED:
                del self._payloads[next(iter(self._payloads))]
            self._payloads[key] = self._load_payload(kind, span_id)
        return self._payloads[key]

    def _load_payload(self, kind: str, span_id: str) -> Any:
        row = self._connection.execute(_PAYLOAD, (span_id, kind, self._conversation_id)).fetchone()
        try:
            return _MISSING if row is None else self.read_uncut(json.loads(row[0]))
        except (ValueError, RecursionError):
            return _MISSING


def _is_beginning(value: Any) -> bool:
    """Tell whether *value* stands for the messages before those beside it."""
    return is_reference(value) and type(value.get("items")) is int and value["items"] > 0


def _walk(value: Any, pointer: Any) -> Any:
    """Give what stands at *pointer*; missing where nothing does."""
    if value is _MISSING or type(pointer) is not str or not pointer.startswith("/"):
        return _MISSING
    for step in pointer[1:].split("/"):
        if type(value) is list:
            if not step.isdecimal() or int(step) >= len(value):
                return _MISSING
            value = value[int(step)]
        elif type(value) is dict:
            value = value.get(step.replace("~1", "/").replace("~0", "~"), _MISSING)
        else:
            return _MISSING
    return value
