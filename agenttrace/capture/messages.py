"""
The providers' messages, read for two things: the calls that an answer asks for, and their results.

Known are Anthropic's content blocks, OpenAI's chat messages (also the legacy ``function_call``) and
Responses items, and LangChain's messages, each as plain data or as the SDK's own objects. What a
provider runs itself (``server_tool_use``, ``web_search_call``) is left alone.

Invariants: pure; nothing is raised, and no code of a message's own class runs; what is read is
bounded. Cost: 1 to 2 µs a message; a history is read from its end, until what is sought was found.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from agenttrace.encode import codec
from agenttrace.encode.inspection import is_a, iter_state

__all__ = [
    "History",
    "RequestedCall",
    "ReturnedResult",
    "is_instruction",
    "messages_of",
    "read_history",
    "read_offer",
    "read_requests",
    "text_of",
]

_MEMBERS_LIMIT_COUNT = 64
_ITEMS_LIMIT_COUNT = 10_000
"""How many messages, blocks and calls of one input or answer are looked at."""
_CALLS_LIMIT_COUNT = 256
_DEPTH_LIMIT_COUNT = 5
_NAME_LIMIT_CHARS = 256
_ARGUMENTS_LIMIT_CHARS = 1_000_000
_TEXT_LIMIT_CHARS = 65_536
_TOOLS_LIMIT_COUNT = 2_000

_NAMES = frozenset(
    "role type id call_id tool_use_id tool_call_id name input arguments args content output is_error status "
    "tool_calls invalid_tool_calls function_call function custom choices message messages contents data text "
    "tools functions".split()
)
_NO_RECORDS = frozenset({list, tuple, str, bytes, bytearray, int, float, bool, type(None), complex})
_CALL_ITEMS = frozenset({"function_call", "custom_tool_call"})
_RESULT_ITEMS = frozenset({"function_call_output", "custom_tool_call_output"})
_INSTRUCTIONS = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class RequestedCall:
    """One call that a model's answer asks for."""

    call_id: str | None
    """The provider's; None where the form has none."""
    name: str
    arguments: Any
    """Parsed; the text itself where it is no JSON."""
    is_json_valid: bool = True


@dataclass(frozen=True, slots=True)
class ReturnedResult:
    """What a model's input says that a call gave."""

    call_id: str | None
    name: str | None
    """Of the tool, in forms that say it."""
    content: Any
    is_error: bool | None
    """As the message says; None where it does not."""


@dataclass(slots=True)
class History:
    """What a model's input says about some calls."""

    results: dict[str, ReturnedResult] = field(default_factory=dict)
    """By call id, or by tool name for calls that have none; of several, the last."""
    requested: set[str] = field(default_factory=set)
    """Those that an answer in it asks for."""


# ------------------------------------------------------------------ reading anything


def _members(value: Any) -> dict[str, Any]:
    """Give the members that have a meaning here, of a mapping or of an SDK's object."""
    kind = type(value)
    if kind in _NO_RECORDS:
        return {}
    if kind is dict or is_a(kind, dict):
        pairs: Any = islice(dict.items(value), _MEMBERS_LIMIT_COUNT)
    else:
        pairs = iter_state(value, _MEMBERS_LIMIT_COUNT)
    return {name: member for name, member in pairs if type(name) is str and name in _NAMES}


def _items(value: Any) -> list[Any]:
    """Give the items of a list or tuple; [] for anything else."""
    kind = type(value)
    if kind is not list and kind in _NO_RECORDS and kind is not tuple:
        return []
    if is_a(kind, list):
        return list(islice(list.__iter__(value), _ITEMS_LIMIT_COUNT))
    if is_a(kind, tuple):
        return list(islice(tuple.__iter__(value), _ITEMS_LIMIT_COUNT))
    return []


def _text(value: Any) -> str | None:
    """Give a text that is not empty as a plain str, also one of an enum."""
    kind = type(value)
    if kind is not str:
        if value is None or not is_a(kind, str):
            return None
        value = str.__str__(value)
    return value or None


def _short(value: Any) -> str | None:
    """Give an id or a name; None for a text that is too long for one."""
    text = _text(value)
    return text if text is not None and len(text) <= _NAME_LIMIT_CHARS else None


def messages_of(value: Any) -> list[Any] | None:
    """
    Give the messages of a model's input: a list, or one under ``messages``, ``input`` or ``contents``.

    Of more than 10,000, the last. None where *value* is nothing of the kind, text for instance.
    """
    try:
        return _messages_in(value, 0)
    except Exception:  # changed by another thread as it was read
        return None


def _messages_in(value: Any, depth: int) -> list[Any] | None:
    kind = type(value)
    if is_a(kind, list) or is_a(kind, tuple):
        base: Any = list if is_a(kind, list) else tuple
        items: list[Any] = base.__getitem__(value, slice(-_ITEMS_LIMIT_COUNT, None))
        if len(items) == 1 and is_a(type(items[0]), list) and depth == 0:
            return _messages_in(items[0], 1)  # a batch of one
        return list(items)
    members = _members(value) if depth == 0 else {}
    for name in ("messages", "input", "contents"):
        found = _messages_in(members[name], 1) if name in members else None
        if found is not None:
            return found
    return None


def is_instruction(message: Any) -> bool:
    """Tell a system or developer message."""
    members = _members(message)
    return _text(members.get("role")) in _INSTRUCTIONS or _text(members.get("type")) in _INSTRUCTIONS


# ------------------------------------------------------------------ what an answer asks for


def read_requests(answer: Any) -> list[RequestedCall]:
    """
    Read which calls *answer* asks for, in its order, each id once.

    Args:
        answer: A message, a list of content blocks or of output items, or a whole response.
    """
    found: list[RequestedCall] = []
    known: set[str] = set()
    try:
        for call in _iter_requests(answer, 0):
            if call.call_id is not None:
                if call.call_id in known:
                    continue
                known.add(call.call_id)
            found.append(call)
            if len(found) >= _CALLS_LIMIT_COUNT:
                break
    except Exception:  # changed by another thread as it was read; what was read until then counts
        return found
    return found


def _iter_requests(value: Any, depth: int) -> Iterator[RequestedCall]:
    if depth > _DEPTH_LIMIT_COUNT:
        return
    for each in _items(value):
        yield from _iter_requests(each, depth + 1)
    members = _members(value)
    if not members:
        return
    kind = _text(members.get("type"))
    if kind == "tool_use":
        yield from _request(members.get("id"), members.get("name"), members.get("input"))
    elif kind in _CALL_ITEMS:
        arguments = members.get("arguments") if kind == "function_call" else members.get("input")
        call_id = members.get("call_id") or members.get("id")
        yield from _request(call_id, members.get("name"), arguments, is_text=kind != "function_call")
    else:
        yield from _iter_requests_of_message(members, depth)


def _iter_requests_of_message(members: dict[str, Any], depth: int) -> Iterator[RequestedCall]:
    for call in _items(members.get("tool_calls")):
        yield from _request_of_chat(_members(call))
    for call in _items(members.get("invalid_tool_calls")):
        one = _members(call)
        for refused in _request(one.get("id"), one.get("name"), one.get("args"), is_text=True):
            yield replace(refused, is_json_valid=False)
    if members.get("function_call") is not None:
        one = _members(members["function_call"])
        yield from _request(None, one.get("name"), one.get("arguments"))
    for name in ("content", "choices", "message", "output", "data"):
        if members.get(name) is not None:
            yield from _iter_requests(members[name], depth + 1)


def _request_of_chat(call: dict[str, Any]) -> Iterator[RequestedCall]:
    """Read one of ``tool_calls``: OpenAI's function or custom tool, or LangChain's."""
    for kind, arguments in (("function", "arguments"), ("custom", "input")):
        if call.get(kind) is not None:
            inside = _members(call[kind])
            is_text = kind == "custom"
            yield from _request(call.get("id"), inside.get("name"), inside.get(arguments), is_text=is_text)
            return
    yield from _request(call.get("id"), call.get("name"), call.get("args", call.get("arguments")))


def _request(call_id: Any, name: Any, arguments: Any, *, is_text: bool = False) -> Iterator[RequestedCall]:
    tool = _short(name)
    if tool is None:
        return
    text = None if is_text else _text(arguments)
    if text is None:
        is_empty = not is_text and (arguments is None or arguments == "")
        yield RequestedCall(_short(call_id), tool, {} if is_empty else arguments)
        return
    is_valid, parsed = _parse(text)
    yield RequestedCall(_short(call_id), tool, parsed, is_valid)


def _parse(text: str) -> tuple[bool, Any]:
    """Parse arguments as programs do: nothing is no arguments, and NaN is a number."""
    if len(text) > _ARGUMENTS_LIMIT_CHARS:
        return True, text  # too long to be judged
    if not text.strip():
        return True, {}
    try:
        return True, codec.loads(text)
    except ValueError:
        pass
    try:
        return True, json.loads(text)
    except (ValueError, RecursionError):
        return False, text


# ------------------------------------------------------------------ what an input hands back


def read_history(messages: list[Any], wanted: Collection[str]) -> History:
    """
    Read what *messages* say about the calls *wanted*: a result counts where it follows its request.

    Args:
        messages: As ``messages_of`` gives them.
        wanted: Call ids, and for calls without one the names of their tools.
    """
    history = History()
    missing = set(wanted)
    for message in reversed(messages):
        if not missing:
            break
        try:
            for result in _iter_results(message, 0):
                key = result.call_id or result.name
                if key in missing:
                    missing.discard(key)
                    history.results[key] = result
            for call in _iter_requests(message, 0):
                key = call.call_id or call.name
                missing.discard(key)  # what stands before the request answers an older one of that id
                if key in wanted:
                    history.requested.add(key)
        except Exception:  # changed by another thread as it was read
            continue
    return history


def _iter_results(value: Any, depth: int) -> Iterator[ReturnedResult]:
    members = _members(value)
    if not members:
        return
    kind, role = _text(members.get("type")), _text(members.get("role"))
    if kind == "tool_result":
        yield _result(members.get("tool_use_id"), members.get("content"), members)
    elif kind in _RESULT_ITEMS:
        yield _result(members.get("call_id"), members.get("output"), members)
    elif role == "tool" or kind == "tool":
        inside = _members(members.get("data"))
        members = inside or members
        yield _result(members.get("tool_call_id"), members.get("content"), members)
    elif role == "function" or kind == "function":
        yield ReturnedResult(None, _short(members.get("name")), members.get("content"), None)
    elif depth == 0:
        for block in reversed(_items(members.get("content"))):
            yield from _iter_results(block, 1)


def _result(call_id: Any, content: Any, members: dict[str, Any]) -> ReturnedResult:
    said = members.get("is_error")
    if type(said) is not bool:
        said = True if _text(members.get("status")) == "error" else None
    return ReturnedResult(_short(call_id), None, content, said)


def text_of(content: Any) -> str:
    """Give what a result's content says in words: its text, or those of its blocks."""
    text = _text(content)
    if text is not None:
        return text[:_TEXT_LIMIT_CHARS]
    found: list[str] = []
    length = 0
    try:
        for block in _items(content):
            piece = _text(block)
            if piece is None:
                members = _members(block)
                piece = _text(members.get("text")) or _text(members.get("content"))
            if piece is not None:
                found.append(piece[: _TEXT_LIMIT_CHARS - length])
                length += len(found[-1]) + 1
                if length >= _TEXT_LIMIT_CHARS:
                    break
    except Exception:
        return "\n".join(found)
    return "\n".join(found)


# ------------------------------------------------------------------ what was on offer


def read_offer(params: Any) -> frozenset[str] | None:
    """
    Read the names of the tools that a request offers, of ``tools`` or the older ``functions`` in *params*.

    Returns:
        None where nothing certain can be said: there are none, or one of them has no name to be read
        and is not one that the provider runs itself.
    """
    names: set[str] = set()
    try:
        members = _members(params)
        items = _items(members.get("tools") or members.get("functions"))
        if not items or len(items) > _TOOLS_LIMIT_COUNT:
            return None
        for tool in items:
            found = _names_of_tool(tool)
            if found is None:
                return None
            names.update(found)
    except Exception:
        return None
    return frozenset(names) or None


def _names_of_tool(tool: Any) -> list[str] | None:
    """Give the names that a model may call *tool* by; [] for one of the provider's own."""
    text = _short(tool)
    if text is not None:
        return [text]
    members = _members(tool)
    for name in ("function", "custom"):
        if members.get(name) is not None:
            members = _members(members[name])
            break
    named = _short(members.get("name"))
    inside = [_short(_members(each).get("name")) for each in _items(members.get("tools"))]
    if inside:  # a namespace
        return [each for each in inside if each is not None] + ([] if named is None else [named])
    if named is not None:
        return [named]
    kind = _text(members.get("type"))
    return [] if kind is not None and kind not in ("function", "custom") else None
