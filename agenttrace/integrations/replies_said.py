"""
A recorded answer, read whichever form it was recorded in: what a provider's wire is written from.

A turn's output has the form of the provider's SDK, or of the framework around it: a message of OpenAI's
chat, items of its responses, blocks of Anthropic's messages, or a text. Invariants: an answer that is
already in the form that is wanted is handed on as it is; what is in none of them is refused, and not
guessed at. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["Answered", "Part", "form_of", "read_parts", "sent_event", "split_json", "split_text"]

Form = Literal["chat", "responses", "messages", "text", "nothing"]

_PIECE_CHARS = 8
_BLOCKS = frozenset(("text", "thinking", "redacted_thinking", "tool_use", "reasoning_content", "refusal"))
"""Kinds that stand in a list of Anthropic's blocks, or in the content of a chat message."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer as it was recorded, for whoever writes it in a provider's form."""

    output: Any
    """JSON, in one of the forms; what had come of it, where it broke off."""
    model: str
    finish_reason: str | None = None
    response_id: str | None = None
    usage: Any = None
    """As it was recorded: the provider's own object, or a framework's."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The columns of counts; ``input_tokens`` has all input."""
    created_s: int = 0
    failure: str | None = None
    """What the answer itself says went wrong, where it is one that says so."""
    is_cut: bool = False
    """No more than this had come when it broke off."""


class Part(NamedTuple):
    """A piece of an answer, in no provider's form."""

    kind: Literal["text", "thinking", "refusal", "call", "custom_call"]
    text: str
    """The text; of a call the arguments, as JSON unless it is a custom one."""
    name: str = ""
    call_id: str | None = None
    signature: str | None = None
    """Of thoughts, where the provider signs them."""
    source: Mapping[str, Any] = {}
    """The block that it was read from, which may say more."""


def form_of(output: Any) -> Form:
    """
    Say which form *output* is in.

    Raises:
        ValueError: It is in none that is known.
    """
    if output is None:
        return "nothing"
    if isinstance(output, str):
        return "text"
    if isinstance(output, Mapping):
        if "role" in output or "tool_calls" in output:
            return "chat"
    elif isinstance(output, list):
        if not output:
            return "nothing"
        if all(isinstance(one, Mapping) for one in output):
            kinds = {one.get("type") for one in output}
            if kinds <= {None}:
                return "chat"
            return "responses" if any(map(_is_item, kinds)) else "messages"
    raise ValueError(f"a {type(output).__name__} that is no message, item or block of a model's answer")


def _is_item(kind: Any) -> bool:
    """Tell the kinds of the Responses API's items from those of blocks."""
    return kind in ("message", "reasoning", "compaction", "mcp_list_tools") or str(kind).endswith(
        ("_call", "_call_output", "_approval_request", "_search_output")
    )


def read_parts(output: Any) -> list[Part]:
    """
    Give the parts of an answer in any form; of several choices, those of the first.

    Raises:
        ValueError: It is in no form that is known.
    """
    form = form_of(output)
    if form == "nothing":
        return []
    if form == "text":
        return [Part("text", output)]
    if form == "chat":
        return list(_parts_of_chat(output[0] if isinstance(output, list) else output))
    return list(_parts_of_items(output) if form == "responses" else _parts_of_blocks(output))


def _parts_of_chat(message: Mapping[str, Any]) -> Iterator[Part]:
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str) and message[name]:
            yield Part("thinking", message[name])
            break
    content = message.get("content")
    if isinstance(content, str) and content:
        yield Part("text", content)
    elif isinstance(content, list):
        yield from _parts_of_blocks(one if isinstance(one, Mapping) else {"text": one} for one in content)
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        yield Part("refusal", message["refusal"])
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        custom = call.get("custom")
        if isinstance(custom, Mapping):
            yield Part("custom_call", str(custom.get("input") or ""), str(custom.get("name")), call.get("id"))
        else:
            function = call.get("function") or {}
            arguments = _arguments_text(function.get("arguments"))
            yield Part("call", arguments, str(function.get("name")), call.get("id"))


def _parts_of_blocks(blocks: Iterable[Any]) -> Iterator[Part]:
    for block in blocks:
        kind = block.get("type", "text")
        if kind in ("text", "output_text"):
            yield Part("text", str(block.get("text") or ""), source=block)
        elif kind == "thinking":
            yield Part("thinking", str(block.get("thinking") or ""), signature=block.get("signature"))
        elif kind in ("reasoning", "reasoning_content"):
            yield Part("thinking", _text_of_reasoning(block), source=block)
        elif kind == "refusal":
            yield Part("refusal", str(block.get("refusal") or ""))
        elif kind == "tool_use":
            arguments = _arguments_text(block.get("input"))
            yield Part("call", arguments, str(block.get("name")), block.get("id"))


def _parts_of_items(items: Iterable[Any]) -> Iterator[Part]:
    for item in items:
        kind = item.get("type")
        if kind == "message":
            yield from _parts_of_blocks(item.get("content") or ())
        elif kind == "reasoning":
            yield Part("thinking", _text_of_reasoning(item))
        elif kind == "function_call":
            arguments = _arguments_text(item.get("arguments"))
            yield Part("call", arguments, str(item.get("name")), item.get("call_id"))
        elif kind == "custom_tool_call":
            yield Part(
                "custom_call", str(item.get("input") or ""), str(item.get("name")), item.get("call_id")
            )


def _text_of_reasoning(item: Mapping[str, Any]) -> str:
    for name in ("reasoning", "text"):
        if isinstance(item.get(name), str):
            return str(item[name])
    told = item.get("summary") or item.get("content") or ()
    return "".join(str(one.get("text") or "") for one in told if isinstance(one, Mapping))


def _arguments_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


# ------------------------------------------------------------------ pieces, events


def split_text(text: str) -> list[str]:
    """Cut *text* after each word, as models send it; "" gives none."""
    return re.findall(r"\s*\S+\s*|\s+", text)


def split_json(text: str) -> list[str]:
    """Cut a call's arguments into short pieces, which end anywhere."""
    return [text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS)]


def sent_event(value: Any, event: str | None = None) -> bytes:
    """Write one server-sent event."""
    head = "" if event is None else f"event: {event}\n"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{head}data: {text}\n\n".encode()
