"""
Read OpenAI's responses: what is asked, what is answered, and an answer put together from events.

Invariant: an answer put together from its events has the form of one that came in one piece; what had
arrived when it broke off is in it, of a tool's arguments the text so far. Bounded: 1,048,576 characters
and 1,024 items an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from agenttrace.capture.turns import ModelTurn
from agenttrace.integrations.openai_chat import as_data, text_of
from agenttrace.integrations.sdk_reading import Asked, field_of

__all__ = ["Response", "ask_response"]

_KEPT_CHARS = 1_048_576
_ITEMS_LIMIT_COUNT = 1_024
_PARTS_LIMIT_COUNT = 4_096


class _Piece(NamedTuple):
    """What one kind of event adds to its item."""

    list_name: str | None
    """The list in the item whose part it is; None: the field is the item's own."""
    kind: str
    """Of the part."""
    field: str
    is_answer: bool
    """It is text of the answer."""


_PIECES = {
    "response.output_text.delta": _Piece("content", "output_text", "text", True),
    "response.refusal.delta": _Piece("content", "refusal", "refusal", True),
    "response.reasoning_text.delta": _Piece("content", "reasoning_text", "text", False),
    "response.reasoning_summary_text.delta": _Piece("summary", "summary_text", "text", False),
    "response.function_call_arguments.delta": _Piece(None, "", "arguments", False),
    "response.mcp_call_arguments.delta": _Piece(None, "", "arguments", False),
    "response.custom_tool_call_input.delta": _Piece(None, "", "input", False),
    "response.code_interpreter_call_code.delta": _Piece(None, "", "code", False),
}
_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


def ask_response(body: Mapping[str, Any]) -> Asked:
    """Read the body of a request; the model of a stored prompt is not known before the answer."""
    params = {name: value for name, value in body.items() if name not in ("model", "input", "stream")}
    return Asked(text_of(body.get("model")) or "unknown", body.get("input"), params)


def _place_of(entry: tuple[tuple[int, int, _Piece], list[str]]) -> tuple[int, int]:
    return entry[0][:2]


class Response:
    """One answer, whole or in events."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.is_complete = False
        self._model: str | None = None
        self._service_tier: str | None = None
        self._id: str | None = None
        self._finish_reason: str | None = None
        self._usage: Any = None
        self._failure: Any = None
        self._output: list[Any] | None = None
        """Of the whole answer."""
        self._items: dict[int, dict[str, Any]] = {}
        self._done: set[int] = set()
        """Items that came whole in the end."""
        self._pieces: dict[tuple[int, int, _Piece], list[str]] = {}
        """By item, part and kind."""
        self._left_chars = _KEPT_CHARS

    def read(self, body: Any) -> None:
        """Take the whole answer, JSON or an object of the SDK's."""
        self._read_head(body)
        output = field_of(body, "output")
        if isinstance(output, list):
            self._output = [as_data(item) for item in output[:_ITEMS_LIMIT_COUNT]]
        status = text_of(field_of(body, "status"))
        reason = text_of(field_of(field_of(body, "incomplete_details"), "reason"))
        self._finish_reason = reason or status
        usage = field_of(body, "usage")
        if usage is not None:
            self._usage = as_data(usage)
        error = field_of(body, "error")
        if error is not None or status == "failed":
            self._failure = as_data(error) if error is not None else "the response failed"
        self.is_complete = True

    def _read_head(self, response: Any) -> None:
        self._model = text_of(field_of(response, "model")) or self._model
        self._service_tier = text_of(field_of(response, "service_tier")) or self._service_tier
        self._id = text_of(field_of(response, "id")) or self._id

    def add(self, event: Any) -> str | None:
        """Take one event; give the text of the answer in it."""
        kind = text_of(field_of(event, "type")) or ""
        piece = _PIECES.get(kind)
        if piece is not None:
            text = text_of(field_of(event, "delta"))
            if text:
                self._add_piece(event, piece, text)
            return text if piece.is_answer else None
        if kind in _ENDS:
            self.read(field_of(event, "response"))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._add_item(field_of(event, "output_index"), field_of(event, "item"), kind.endswith("done"))
        elif kind == "error":
            self._failure = as_data(event)
        elif kind in ("response.created", "response.queued", "response.in_progress"):
            self._read_head(field_of(event, "response"))
        return None

    def _add_item(self, index: Any, item: Any, is_done: bool) -> None:
        data = as_data(item)
        if isinstance(index, int) and isinstance(data, Mapping) and len(self._items) < _ITEMS_LIMIT_COUNT:
            self._items[index] = dict(data)
            if is_done:
                self._done.add(index)

    def _add_piece(self, event: Any, piece: _Piece, text: str) -> None:
        index = field_of(event, "output_index")
        part = 0
        if piece.list_name is not None:
            part = field_of(event, "summary_index" if piece.list_name == "summary" else "content_index")
        if not isinstance(index, int) or not isinstance(part, int):
            return
        key = (index, part, piece)
        if key not in self._pieces and len(self._pieces) >= _PARTS_LIMIT_COUNT:
            return
        kept = text[: self._left_chars]
        self._left_chars -= len(kept)
        self._pieces.setdefault(key, []).append(kept)

    def _build_items(self) -> list[Any]:
        """Give the items as far as they came."""
        built = {index: dict(item) for index, item in self._items.items()}
        for (index, part, piece), texts in sorted(self._pieces.items(), key=_place_of):
            item = built.setdefault(index, {})
            if index in self._done:
                continue
            if piece.list_name is None:
                item[piece.field] = "".join(texts)
                continue
            parts = item.get(piece.list_name)
            parts = list(parts) if isinstance(parts, list) else []
            made = {"type": piece.kind, piece.field: "".join(texts)}
            item[piece.list_name] = [*parts[:part], made, *parts[part + 1 :]]
        return [item for _, item in sorted(built.items())]

    def tell(self, turn: ModelTurn) -> None:
        """Say what has come."""
        turn.set_answered(self._model, service_tier=self._service_tier)
        output = self._output or self._build_items()
        if output or self._id is not None:
            turn.set_output(output, finish_reason=self._finish_reason, response_id=self._id)
        if self._usage is not None:
            turn.set_usage(self._usage)
        if self._failure is not None:
            turn.fail(self._failure)
