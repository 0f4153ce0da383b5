"""
Read Anthropic's messages: what is asked, what is answered, and an answer put together from its events.

Invariant: an answer put together from its events has the form of one that came in one piece; what had
arrived when it broke off is in it, of a tool's arguments the text so far. Pure: nothing here knows the
SDK's classes, only the fields that the wire has. Bounded: 1,048,576 characters an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agenttrace.integrations.sdk_requests import Question
from agenttrace.integrations.sdk_streams import Answer

__all__ = ["MessageParts", "as_data", "read_answer", "read_question"]

_KEPT_CHARS = 1_048_576
_KEPT_BLOCKS = 4_096


def as_data(value: Any) -> Any:
    """Give a model of the SDK as the dict that the wire had; anything else as it is."""
    dump = getattr(value, "model_dump", None)
    # What the provider did not send is not told either.
    return dump(mode="json", by_alias=True, exclude_unset=True, warnings=False) if callable(dump) else value


def read_question(body: Mapping[str, Any]) -> Question:
    """Read the body of a request."""
    params = {name: value for name, value in body.items() if name not in ("model", "messages", "stream")}
    return Question(str(body.get("model", "")), body.get("messages"), params)


def read_answer(message: Any) -> Answer:
    """Read a whole message, the SDK's object or the wire's dict."""
    data = as_data(message)
    if not isinstance(data, Mapping):
        return Answer(None)
    return Answer(
        data.get("content"),
        _text(data.get("model")),
        _text(data.get("id")),
        _text(data.get("stop_reason")),
        data.get("usage"),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


class MessageParts:
    """An answer that arrives in events."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._head: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self._usage: dict[str, Any] | None = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        """The pieces of a block's texts, and of its arguments, which are JSON in the end."""
        self._chars = 0
        self.is_whole = False
        """The last event has come."""

    def add(self, event: Any) -> str | None:
        """
        Take an event, the SDK's object or the wire's dict; one that is none of the wire's says nothing.

        Returns:
            The piece of the answer's own text that it brings, if it does.
        """
        kind = _get(event, "type")
        if kind == "content_block_delta":
            return self._add_delta(_get(event, "index"), _get(event, "delta"))
        if kind == "content_block_start":
            self._begin_block(_get(event, "index"), as_data(_get(event, "content_block")))
        elif kind == "message_start":
            head = as_data(_get(event, "message"))
            self._head = dict(head) if isinstance(head, Mapping) else {}
            self._add_usage(self._head.get("usage"))
        elif kind == "message_delta":
            self._stop_reason = _text(_get(_get(event, "delta"), "stop_reason")) or self._stop_reason
            self._add_usage(as_data(_get(event, "usage")))
        elif kind == "message_stop":
            self.is_whole = True
        return None

    def _begin_block(self, index: Any, block: Any) -> None:
        if isinstance(index, int) and isinstance(block, Mapping) and len(self._blocks) < _KEPT_BLOCKS:
            self._blocks[index] = dict(block)

    def _add_delta(self, index: Any, delta: Any) -> str | None:
        kind = _get(delta, "type")
        if kind == "text_delta":
            return self._add_piece(index, "text", _get(delta, "text"))
        if kind == "input_json_delta":
            self._add_piece(index, "input", _get(delta, "partial_json"))
        elif kind == "thinking_delta":
            self._add_piece(index, "thinking", _get(delta, "thinking"))
        elif kind == "signature_delta":
            self._add_piece(index, "signature", _get(delta, "signature"))
        elif kind == "citations_delta" and index in self._blocks:
            citations = self._blocks[index].get("citations") or []
            if len(citations) < _KEPT_BLOCKS:
                self._blocks[index]["citations"] = [*citations, as_data(_get(delta, "citation"))]
        return None

    def _add_piece(self, index: Any, name: str, piece: Any) -> str | None:
        if not isinstance(piece, str):
            return None
        room_chars = _KEPT_CHARS - self._chars
        if room_chars > 0 and index in self._blocks:
            self._pieces.setdefault((index, name), []).append(piece[:room_chars])
            self._chars += len(piece)
        return piece

    def _add_usage(self, usage: Any) -> None:
        # The counts of later events are sums, not additions.
        if isinstance(usage, Mapping):
            told = {name: value for name, value in usage.items() if value is not None}
            self._usage = {**(self._usage or {}), **told}

    def read(self) -> Answer:
        """Give the answer, as far as it came."""
        blocks = [self._build_block(index) for index in sorted(self._blocks)]
        return Answer(
            blocks if self._head or blocks else None,
            _text(self._head.get("model")),
            _text(self._head.get("id")),
            self._stop_reason or _text(self._head.get("stop_reason")),
            self._usage,
        )

    def _build_block(self, index: int) -> dict[str, Any]:
        block = dict(self._blocks[index])
        for (at, name), pieces in self._pieces.items():
            if at != index:
                continue
            told = "".join(pieces)
            if name != "input":
                block[name] = (block.get(name) or "") + told
            elif told:
                try:
                    block[name] = json.loads(told)
                except ValueError:
                    block[name] = told  # it was cut off
        return block


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
