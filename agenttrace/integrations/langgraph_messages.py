"""
LangChain's messages, and states that are full of them, as plain values.

Messages take the form of OpenAI's chat, because every reader of this project knows that one.
Invariants: equal messages give equal values, whatever ids LangChain gave them meanwhile, so that a
history that is sent again is known; a state keeps the last message of each list and says how many
stood before it; what is no message, or cannot be read, stays what it is. Pure, and nothing is raised.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from agenttrace.encode.marks import Mark, safe_head

__all__ = [
    "describe_message",
    "describe_messages",
    "describe_output",
    "describe_state",
    "is_message",
    "tool_calls_in",
]

_ROLES = {
    "human": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "function",
    "remove": "remove",
}
_CALL_BLOCKS = frozenset(("tool_use", "tool_call", "tool_call_chunk", "function_call", "input_json_delta"))
"""Blocks of content that say again what ``tool_calls`` says."""
_ITEMS_LIMIT_COUNT = 32
"""How many items of any other list are kept: the last ones, for such lists grow as a graph goes on."""
_KNOWN_LIMIT_CHARS = 512
"""How much is kept of a message that stands whole in an earlier row of the same graph."""
_NEW_MESSAGES = 32
"""How many messages of an update are kept; they are mostly new."""


def is_message(value: Any) -> bool:
    """Tell whether *value* is one of LangChain's messages."""
    module = sys.modules.get("langchain_core.messages.base")
    kind = getattr(module, "BaseMessage", None)
    return isinstance(kind, type) and isinstance(value, kind)


def describe_message(message: Any) -> dict[str, Any]:
    """
    Give one message as ``{role, content, …}``.

    Returns:
        With ``tool_calls`` for an answer that asks for tools, also for those with rejected arguments;
        with ``tool_call_id``, and ``status`` where it failed, for a tool's result.
    """
    kind = str(getattr(message, "type", ""))
    role = _ROLES.get(kind) or str(getattr(message, "role", None) or kind)
    described: dict[str, Any] = {"role": role}
    calls = [_describe_call(call) for call in _calls_of(message)]
    described["content"] = _describe_content(getattr(message, "content", None), bool(calls))
    name = getattr(message, "name", None)
    if name:
        described["name"] = name
    if calls:
        described["tool_calls"] = calls
    if role == "tool":
        described["tool_call_id"] = getattr(message, "tool_call_id", None)
        if getattr(message, "status", None) == "error":
            described["status"] = "error"
    return described


def _calls_of(message: Any) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for name in ("tool_calls", "invalid_tool_calls"):
        calls = getattr(message, name, None)
        if isinstance(calls, list):
            found += [call for call in calls if isinstance(call, Mapping)]
    return found


def _describe_call(call: Mapping[str, Any]) -> dict[str, Any]:
    arguments = call.get("args")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False, default=str)
    return {
        "id": call.get("id"),
        "type": "function",
        "function": {"name": call.get("name"), "arguments": arguments},
    }


def _describe_content(content: Any, has_calls: bool) -> Any:
    if not has_calls or not isinstance(content, list):
        return content
    return [part for part in content if not (isinstance(part, Mapping) and part.get("type") in _CALL_BLOCKS)]


def describe_messages(messages: Any) -> list[Any]:
    """Give each of *messages* described; what is no message stays."""
    return [_describe_one(one) if is_message(one) else one for one in messages]


def _describe_one(message: Any) -> Any:
    try:
        return describe_message(message)
    except Exception:  # a message of a user's own class; the encoder takes whatever it is
        return message


def _is_history(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(map(_is_any_message, value))


def _is_any_message(value: Any) -> bool:
    """Tell a message of LangChain's, or one as a provider takes it."""
    return is_message(value) or (isinstance(value, dict) and "role" in value)


def _describe_history(messages: Sequence[Any], kept_count: int, is_known: bool) -> list[Any]:
    """Give the last messages; the ones before are a mark, since they stand in rows of their own."""
    last = describe_messages(messages[-kept_count:])
    if is_known:
        last = [_shorten(one) for one in last]
    missing = len(messages) - len(last)
    return [Mark("cut", items=missing), *last] if missing else last


def _shorten(message: Any) -> Any:
    """Give the beginning of a long message, which stands whole where it was made."""
    content = message.get("content") if isinstance(message, dict) else message
    if not isinstance(content, str) or len(content) <= _KNOWN_LIMIT_CHARS:
        return message
    cut = Mark(
        "cut", head=safe_head(content, _KNOWN_LIMIT_CHARS), bytes=len(content.encode("utf-8", "replace"))
    )
    return {**message, "content": cut} if isinstance(message, dict) else cut


def describe_state(state: Any, kept_count: int = 1, *, is_known: bool = False) -> Any:
    """
    Give a state, or an update of one, with the histories in it shortened.

    Args:
        state: A dict, a dataclass, a model of pydantic, a list of messages, or anything else.
        kept_count: How many messages of each list are kept: the last ones.
        is_known: Whatever is in it was given to the graph, or by one of its nodes, and was kept there.
    """
    try:
        fields_of_state = state if isinstance(state, Mapping) else _fields_of(state)
        if fields_of_state is None:
            return _describe_field(state, kept_count, is_known)
        return {key: _describe_field(value, kept_count, is_known) for key, value in fields_of_state.items()}
    except Exception:  # an object of a user's own; the encoder takes whatever it is
        return state


def _describe_field(value: Any, kept_count: int, is_known: bool) -> Any:
    if _is_history(value):
        return _describe_history(value, kept_count, is_known)
    if isinstance(value, list) and len(value) > _ITEMS_LIMIT_COUNT:
        return _describe_history(value, _ITEMS_LIMIT_COUNT, is_known)
    return _describe_one(value) if is_message(value) else value


def _fields_of(state: Any) -> dict[str, Any] | None:
    """Give the fields of a state that is an object; None for what is none."""
    if isinstance(state, type) or is_message(state):
        return None
    if is_dataclass(state):
        return {one.name: getattr(state, one.name, None) for one in fields(state)}
    names = getattr(type(state), "model_fields", None)
    if isinstance(names, Mapping):
        return {name: getattr(state, name, None) for name in names}
    return None


def describe_output(value: Any) -> Any:
    """Give what a node or a tool returned: a state's update, a ``Command``, or a list of those."""
    try:
        return _describe_returned(value)
    except Exception:  # an object of a user's own, or a list that holds itself
        return value


def _describe_returned(value: Any) -> Any:
    if isinstance(value, list) and not _is_history(value):
        return [_describe_returned(one) for one in value]
    if type(value).__name__ == "Command" and hasattr(value, "goto"):
        parts = {
            name: getattr(value, name, None)
            for name in ("goto", "graph", "update", "resume")
            if getattr(value, name, None) not in (None, (), [])
        }
        if "update" in parts:
            parts["update"] = describe_state(parts["update"], _NEW_MESSAGES)
        return parts
    return describe_state(value, _NEW_MESSAGES)


def tool_calls_in(state: Any) -> list[Mapping[str, Any]]:
    """Give the tool calls that a node with *state* as its input is to run: those not yet answered."""
    try:
        if isinstance(state, Mapping) and isinstance(state.get("tool_call"), Mapping):
            return [state["tool_call"]]  # one call, sent to the node by itself
        for messages in _values_of(state):
            if isinstance(messages, list) and messages:
                last = messages[-1]
                if isinstance(last, Mapping) and last.get("type") == "tool_call":
                    return [one for one in messages if isinstance(one, Mapping)]
                calls = _unanswered(messages)
                if calls:
                    return calls
    except Exception:  # an object of a user's own
        return []
    return []


def _values_of(state: Any) -> Iterable[Any]:
    if isinstance(state, list):
        return (state,)
    return state.values() if isinstance(state, Mapping) else getattr(state, "__dict__", {}).values()


def _unanswered(messages: list[Any]) -> list[Mapping[str, Any]]:
    """Give the calls of the last answer in *messages* that no message after it gives a result of."""
    answered: set[Any] = set()
    for message in reversed(messages):
        kind = getattr(message, "type", "") if is_message(message) else ""
        if kind in ("ai", "AIMessageChunk"):
            calls = getattr(message, "tool_calls", None) or ()
            return [one for one in calls if one.get("id") not in answered]
        if kind == "tool":
            answered.add(getattr(message, "tool_call_id", None))
    return []
