"""
What the three wire formats share: an answer with its ids, events, and how content is cut into deltas.

Invariant: the pieces of a text, put together, are the text.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from tests.clients.provider_replies import Call, Reply

__all__ = ["Answer", "Frame", "arguments_text", "server_sent", "split_json", "split_words"]

_PIECE_CHARS = 8


class Answer(NamedTuple):
    """A reply with what only the server knows."""

    reply: Reply
    """Every call of it has an id."""
    model: str
    response_id: str
    request_id: str
    request: dict[str, Any]
    """The body that was sent."""


class Frame(NamedTuple):
    """One event of a stream."""

    data: bytes
    is_delta: bool
    """It brings a piece of the content."""


def server_sent(value: Any, *, event: str | None = None) -> bytes:
    """Write one server-sent event."""
    head = "" if event is None else f"event: {event}\n"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{head}data: {text}\n\n".encode()


def arguments_text(call: Call) -> str:
    """Give the arguments as the JSON text that goes over the wire."""
    return call.arguments if isinstance(call.arguments, str) else json.dumps(dict(call.arguments))


def split_words(text: str) -> list[str]:
    """Cut *text* after each run of blanks; "" gives none."""
    return re.findall(r"\s*\S+\s*|\s+", text)


def split_json(text: str) -> list[str]:
    """Cut *text* into short pieces, which end anywhere."""
    return [text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS)]
