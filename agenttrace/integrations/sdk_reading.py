"""
What is a provider's own: how its requests are read, and its answers, whole or in events.

Invariant: nothing here knows an SDK's classes, only the fields that the wire has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from agenttrace.capture.turns import ModelTurn

__all__ = ["Answer", "Api", "Asked", "field_of"]


class Asked(NamedTuple):
    """What a request's body asks for."""

    model: str
    input: Any
    """The provider's own list of messages."""
    params: dict[str, Any]
    """The rest, ``tools`` among it, in the provider's form."""


class Answer(Protocol):
    """One answer, read at once or put together from a stream's events; one is made per request."""

    @property
    def is_complete(self) -> bool:
        """Everything but a closing line has come."""

    def read(self, body: Mapping[str, Any]) -> None:
        """Take the whole answer, as JSON."""

    def add(self, event: Any) -> str | None:
        """Take one event of a stream, an object of the SDK's or JSON; give the text in it."""

    def tell(self, turn: ModelTurn) -> None:
        """Say all that has come so far to *turn*; that may be nothing."""


class Api(NamedTuple):
    """One path of a provider, where models are asked."""

    ask: Callable[[Mapping[str, Any]], Asked]
    """Reads a request's body."""
    answer: Callable[[], Answer]
    """Makes an empty answer."""
    wire: str
    """The module that writes a recorded answer in the provider's form, for a replay."""


def field_of(source: Any, name: str) -> Any:
    """
    Give a field of an SDK's object, or of JSON; None where there is none.

    Of a model's object the dicts are read that hold its fields: asking it for a field that it lacks
    takes 2 µs, and there are a dozen of them in each event.
    """
    if isinstance(source, dict):
        return source.get(name)
    own = getattr(source, "__dict__", None)
    if own is None:
        return getattr(source, name, None)
    if name in own:
        return own[name]
    try:
        extra = source.__pydantic_extra__
    except AttributeError:
        return getattr(source, name, None)
    return extra.get(name) if extra else None
