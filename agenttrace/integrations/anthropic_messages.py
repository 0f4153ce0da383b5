"""
Read Anthropic's messages: what is asked, what is answered, and an answer put together from its events.

Invariant: an answer put together from its events has the form of one that came in one piece; what had
arrived when it broke off is in it, of a tool's arguments the text so far. Pure: nothing here knows the
SDK's classes, only the fields that the wire has. Bounded: 1,048,576 characters and 4,096 blocks an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agenttrace.capture.turns import ModelTurn
from agenttrace.integrations.sdk_reading import Asked, field_of

__all__ = ["Message", "ask_message"]

_KEPT_CHARS = 1_048_576
_KEPT_BLOCKS = 4_096
_PIECES = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("input", "partial_json"),
}
"""Kind of a delta to the field of the block that it adds to, and its own field."""


def ask_message(body: Mapping[str, Any]) -> Asked:
    """Read the body of a request: its messages, and with the rest the system prompt and the tools."""
    params = {name: value for name, value in body.items() if name not in ("model", "messages", "stream")}
    return Asked(str(body.get("model", "")), body.get("messages"), params)


def _as_data(value: Any) -> Any:
    """Give a model of the SDK as the dict that the wire had; anything else as it is."""
    dump = getattr(value, "model_dump", None)
    # What the provider did not send is not told either.
    return dump(mode="json", by_alias=True, exclude_unset=True, warnings=False) if callable(dump) else value


class Message:
    """One answer, whole or in events."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._head: dict[str, Any] = {}
        """The message but for its content; of a streamed one, as it began."""
        self._content: Any = None
        """Of a whole one."""
        self._stop_reason: Any = None
        self._usage: dict[str, Any] | None = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        """What is added to a field of a block, by its index."""
        self._chars = 0
        self._failure: Any = None
        """What an event of an error says, to a program that reads the events itself."""
        self.is_complete = False

    def read(self, body: Mapping[str, Any]) -> None:
        """Take the whole message."""
        self._begin(body)
        self._content = body.get("content")
        self.is_complete = True

    def _begin(self, message: Any) -> None:
        if isinstance(message, Mapping):
            self._head = dict(message)
            self._stop_reason = message.get("stop_reason")
            self._add_usage(message.get("usage"))

    def add(self, event: Any) -> str | None:
        """Take one event; one that is none of the wire's says nothing. Give the text in it."""
        kind = field_of(event, "type")
        if kind == "content_block_delta":
            return self._add_delta(field_of(event, "index"), field_of(event, "delta"))
        if kind == "content_block_start":
            self._begin_block(field_of(event, "index"), _as_data(field_of(event, "content_block")))
        elif kind == "message_start":
            self._begin(_as_data(field_of(event, "message")))
        elif kind == "message_delta":
            self._stop_reason = field_of(field_of(event, "delta"), "stop_reason") or self._stop_reason
            self._add_usage(_as_data(field_of(event, "usage")))
            self.is_complete = self._stop_reason is not None  # only ``message_stop`` is still to come
        elif kind == "message_stop":
            self.is_complete = True
        elif kind == "error":
            self._failure = field_of(event, "error") or "error"
        return None

    def _begin_block(self, index: Any, block: Any) -> None:
        if isinstance(index, int) and isinstance(block, Mapping) and len(self._blocks) < _KEPT_BLOCKS:
            self._blocks[index] = dict(block)

    def _add_delta(self, index: Any, delta: Any) -> str | None:
        kind = field_of(delta, "type")
        if not isinstance(index, int) or not isinstance(kind, str) or index not in self._blocks:
            return None
        if kind in _PIECES:
            name, told = _PIECES[kind]
            piece = field_of(delta, told)
            if isinstance(piece, str):
                self._add_piece(index, name, piece)
                return piece if name == "text" else None
        elif kind == "citations_delta":
            self._add_citation(self._blocks[index], _as_data(field_of(delta, "citation")))
        return None

    def _add_citation(self, block: dict[str, Any], citation: Any) -> None:
        citations = block.get("citations")
        citations = citations if isinstance(citations, list) else []
        if len(citations) < _KEPT_BLOCKS:
            block["citations"] = [*citations, citation]

    def _add_piece(self, index: int, name: str, piece: str) -> None:
        room_chars = _KEPT_CHARS - self._chars
        if room_chars > 0 and piece:
            self._pieces.setdefault((index, name), []).append(piece[:room_chars])
            self._chars += len(piece)

    def _add_usage(self, usage: Any) -> None:
        # The counts of a later event are sums so far, not additions.
        if isinstance(usage, Mapping):
            counts = {name: value for name, value in usage.items() if value is not None}
            self._usage = {**(self._usage or {}), **counts}

    def tell(self, turn: ModelTurn) -> None:
        """Say all that has come so far to *turn*."""
        if self._failure is not None:
            turn.fail(self._failure)
        if not self._head:
            return
        content = self._content if self._content is not None else self._build_content()
        reason, response_id = self._stop_reason, self._head.get("id")
        turn.set_answered(self._head.get("model"))
        turn.set_output(
            content,
            finish_reason=reason if isinstance(reason, str) else None,
            response_id=response_id if isinstance(response_id, str) else None,
        )
        if self._usage is not None:
            turn.set_usage(self._usage)

    def _build_content(self) -> list[dict[str, Any]]:
        """Put the blocks together, as far as they came."""
        blocks = {index: dict(self._blocks[index]) for index in sorted(self._blocks)}
        for (index, name), pieces in self._pieces.items():
            told = "".join(pieces)
            blocks[index][name] = _parse_arguments(told) if name == "input" else told
        return list(blocks.values())


def _parse_arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # it was cut off
