"""
Long texts that a model said or was sent, and is sent again: recorded once.

What a model answers comes back in the next request, in whatever form the program gives it; a
message that was marked (``cache_control``), summarised around or moved has its text still. So a
long text of a ``model_call`` that stands in an earlier ``model_call`` or ``model_turn`` of the same
conversation is recorded as a reference to where it stands there.

Invariants: texts are compared after redaction, and named only where the payload that holds them was
kept whole; what is remembered has a bound. Cost: one walk over what is new in a request, about
1 µs a text, on the writer's thread.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from agenttrace.encode import codec
from agenttrace.events import MARK

__all__ = ["Shortened", "Texts"]

_WORTH_CHARS = 256
_TEXTS_LIMIT = 16_384
"""Of all conversations together, the ones used last: 5 MB."""
_HOLDS = {"model_call": "input", "model_turn": "output"}

_SALT = os.urandom(16).hex()
"""Before each text that is hashed: nobody can make two that are taken for one."""

_Place = tuple[str, str, str]
"""Kind and span of an event, and where in its payload a text stands (RFC 6901)."""


class Shortened(NamedTuple):
    """A payload with references in it, and what may be named once it is stored."""

    payload: bytes
    learned: list[tuple[tuple[str, int], _Place]]


class Texts:
    """Where the long texts of the latest conversations stand; used by one thread at a time."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, int], _Place] = {}

    def shorten(self, kind: str, conversation_id: str, span_id: str, payload: bytes) -> Shortened:
        """
        Put references in the place of texts that are known, in what a model is sent.

        Args:
            kind: ``model_call`` is shortened; of ``model_turn`` the texts are learned.
            conversation_id: In which they are known.
            span_id: Of this event.
            payload: A JSON object, redacted.
        """
        learned: list[tuple[tuple[str, int], _Place]] = []
        name = _HOLDS.get(kind)
        if name is None or len(payload) < _WORTH_CHARS:
            return Shortened(payload, learned)
        value = codec.loads(payload)
        if type(value) is not dict or type(value.get(name)) not in (list, dict, str):
            return Shortened(payload, learned)
        walk = _Walk(self._places if kind == "model_call" else {}, conversation_id, kind, span_id)
        value[name] = walk.walk(value[name], f"/{name}")
        return Shortened(codec.dumps(value) if walk.has_changed else payload, walk.learned)

    def learn(self, learned: list[tuple[tuple[str, int], _Place]]) -> None:
        """Let later payloads name these texts; those that are named again are used last."""
        places = self._places
        for key, place in learned:
            places.pop(key, None)
            places[key] = place
        while len(places) > _TEXTS_LIMIT:
            del places[next(iter(places))]

    def forget(self) -> None:
        """Name nothing that was stored before: it has gone."""
        self._places.clear()


class _Walk:
    """One walk over a payload."""

    def __init__(
        self, places: dict[tuple[str, int], _Place], conversation: str, kind: str, span: str
    ) -> None:
        self._places = places
        self._conversation = conversation
        self._kind = kind
        self._span = span
        self.has_changed = False
        self.learned: list[tuple[tuple[str, int], _Place]] = []

    def walk(self, value: Any, pointer: str) -> Any:
        """Give *value*, which stands at *pointer*, with references in it."""
        cls = type(value)
        if cls is str:
            return self._name(value, pointer) if len(value) >= _WORTH_CHARS else value
        if cls is list:
            for at, item in enumerate(value):
                if type(item) in (str, list, dict):
                    value[at] = self.walk(item, f"{pointer}/{at}")
        elif cls is dict and MARK not in value:
            for key, item in value.items():
                if type(item) in (str, list, dict):
                    value[key] = self.walk(item, f"{pointer}/{_escape(key)}")
        return value

    def _name(self, text: str, pointer: str) -> Any:
        key = (self._conversation, hash(_SALT + text))
        place = self._places.get(key)
        if place is None:
            self.learned.append((key, (self._kind, self._span, pointer)))
            return text
        self.learned.append((key, place))
        self.has_changed = True
        kind, span_id, where = place
        return {MARK: "ref", "span_id": span_id, "kind": kind, "pointer": where}


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
