"""
Read OpenAI's chat completions: what is asked, what is answered, and an answer put together from chunks.

Invariant: an answer put together from its chunks has the form of one that came in one piece; what had
arrived when it broke off is in it, of a tool's arguments the text so far. Bounded: 1,048,576 characters,
128 choices and 1,024 tool calls an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agenttrace.capture.turns import ModelTurn
from agenttrace.integrations.sdk_reading import Asked, field_of

__all__ = ["Chat", "as_data", "ask_chat", "text_of"]

_KEPT_CHARS = 1_048_576
_CHOICES_LIMIT_COUNT = 128
_CALLS_LIMIT_COUNT = 1_024
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
"""Fields of a message that come in pieces; the last two are those of other providers of this format."""


def ask_chat(body: Mapping[str, Any]) -> Asked:
    """Read the body of a request."""
    params = {name: value for name, value in body.items() if name not in ("model", "messages", "stream")}
    return Asked(text_of(body.get("model")) or "unknown", body.get("messages"), params)


def text_of(value: Any) -> str | None:
    """Give a text; None for anything else."""
    return value if isinstance(value, str) else None


def as_data(value: Any) -> Any:
    """Give a model of the SDK as the JSON that the provider sent; anything else as it is."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", by_alias=True, exclude_unset=True, warnings=False) if callable(dump) else value


def _items_of(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


class Chat:
    """One answer, whole or in chunks."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._model: str | None = None
        self._service_tier: str | None = None
        self._id: str | None = None
        self._usage: Any = None
        self._failure: Any = None
        self._choices: dict[int, _Choice] = {}
        self._whole: list[Any] | None = None
        """The messages of an answer that came in one piece."""
        self._finish_reason: str | None = None
        self._left_chars = _KEPT_CHARS

    @property
    def is_complete(self) -> bool:
        """Every choice has said why it ended."""
        return self._whole is not None or (
            bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())
        )

    def read(self, body: Mapping[str, Any]) -> None:
        """Take the whole answer."""
        self._read_head(body)
        choices = [choice for choice in _items_of(body.get("choices")) if isinstance(choice, Mapping)]
        self._whole = [choice.get("message") for choice in choices[:_CHOICES_LIMIT_COUNT]]
        if choices:
            self._finish_reason = text_of(choices[0].get("finish_reason"))

    def add(self, event: Any) -> str | None:
        """Take one chunk; give the text of the first choice in it."""
        self._read_head(event)
        text = None
        for choice in _items_of(field_of(event, "choices")):
            index = field_of(choice, "index")
            index = index if isinstance(index, int) else 0
            kept = self._choices.get(index)
            if kept is None:
                if len(self._choices) >= _CHOICES_LIMIT_COUNT:
                    continue
                kept = self._choices[index] = _Choice()
            reason = text_of(field_of(choice, "finish_reason"))
            kept.finish_reason = reason or kept.finish_reason
            piece, taken_chars = kept.add(field_of(choice, "delta"), self._left_chars)
            self._left_chars -= taken_chars
            if index == 0 and piece:
                text = piece
        return text

    def _read_head(self, source: Any) -> None:
        self._model = text_of(field_of(source, "model")) or self._model
        self._service_tier = text_of(field_of(source, "service_tier")) or self._service_tier
        self._id = text_of(field_of(source, "id")) or self._id
        usage = field_of(source, "usage")
        if usage is not None:
            self._usage = as_data(usage)
        error = field_of(source, "error")
        if error is not None and not field_of(source, "choices"):
            self._failure = as_data(error)

    def tell(self, turn: ModelTurn) -> None:
        """Say what has come."""
        turn.set_answered(self._model, service_tier=self._service_tier)
        messages, reason = self._whole, self._finish_reason
        if messages is None:
            kept = [choice for _, choice in sorted(self._choices.items())]
            messages = [choice.build() for choice in kept]
            reason = kept[0].finish_reason if kept else None
        if messages or self._id is not None:
            output = messages[0] if len(messages) == 1 else (messages or None)
            turn.set_output(output, finish_reason=reason, response_id=self._id)
        if self._usage is not None:
            turn.set_usage(self._usage)
        if self._failure is not None:
            turn.fail(self._failure)


class _Choice:
    """One choice, of which chunks have come."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._role = "assistant"
        self._texts: dict[str, list[str]] = {}
        self._function: _Call | None = None
        """The one call of the old form, ``function_call``."""
        self._calls: dict[int, _Call] = {}

    def add(self, delta: Any, left_chars: int) -> tuple[str | None, int]:
        """
        Take one piece.

        Returns:
            The text of the answer in it, and how many characters were kept.
        """
        if delta is None:
            return None, 0
        self._role = text_of(field_of(delta, "role")) or self._role
        piece, taken_chars = None, 0
        for name in _TEXTS:
            text = text_of(field_of(delta, name))
            if text is None:
                continue
            if name in ("content", "refusal") and text:
                piece = text
            kept = text[: max(left_chars - taken_chars, 0)]
            self._texts.setdefault(name, []).append(kept)
            taken_chars += len(kept)
        for call in _items_of(field_of(delta, "tool_calls")):
            taken_chars += self._add_call(call, left_chars - taken_chars)
        old = field_of(delta, "function_call")
        if old is not None:
            self._function = self._function or _Call()
            taken_chars += self._function.add(None, old, left_chars - taken_chars)
        return piece, taken_chars

    def _add_call(self, call: Any, left_chars: int) -> int:
        index = field_of(call, "index")
        if not isinstance(index, int):
            # Some providers send whole calls, without an index.
            index = len(self._calls)
        kept = self._calls.get(index)
        if kept is None:
            if len(self._calls) >= _CALLS_LIMIT_COUNT:
                return 0
            kept = self._calls[index] = _Call()
        return kept.add(call, field_of(call, "function") or field_of(call, "custom"), left_chars)

    def build(self) -> dict[str, Any]:
        """Give the message, as far as it came."""
        message: dict[str, Any] = {"role": self._role, "content": None}
        message.update({name: "".join(pieces) for name, pieces in self._texts.items() if any(pieces)})
        if self._calls:
            message["tool_calls"] = [call.build() for _, call in sorted(self._calls.items())]
        if self._function is not None:
            message["function_call"] = self._function.build()["function"]
        return message


class _Call:
    """A tool call, of which pieces have come."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._kind = "function"
        self._name = ""
        self._arguments: list[str] = []

    def add(self, call: Any, function: Any, left_chars: int) -> int:
        """Take one piece; give how many characters were kept."""
        if call is not None:
            self._id = text_of(field_of(call, "id")) or self._id
            self._kind = text_of(field_of(call, "type")) or self._kind
        name = text_of(field_of(function, "name"))
        if name and name != self._name:
            self._name += name[: max(1_000 - len(self._name), 0)]
        arguments = text_of(field_of(function, "arguments")) or text_of(field_of(function, "input")) or ""
        kept = arguments[: max(left_chars, 0)]
        self._arguments.append(kept)
        return len(kept)

    def build(self) -> dict[str, Any]:
        """Give the call, as far as it came."""
        text = "".join(self._arguments)
        if self._kind == "custom":
            return {"id": self._id, "type": "custom", "custom": {"name": self._name, "input": text}}
        return {
            "id": self._id,
            "type": self._kind,
            "function": {"name": self._name, "arguments": text},
        }
