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
from typing import Any, NamedTuple

from agenttrace.capture.message_parts import items_of, members_of, read_text, read_word
from agenttrace.encode import codec

__all__ = [
    "History",
    "RequestedCall",
    "ReturnedResult",
    "read_history",
    "read_offer",
    "read_requests",
]

_CALLS_LIMIT_COUNT = 256
_DEPTH_LIMIT_COUNT = 5
_ARGUMENTS_LIMIT_CHARS = 1_000_000
_TOOLS_LIMIT_COUNT = 2_000

_CALL_ITEMS = frozenset({"function_call", "custom_tool_call"})
_RESULT_ITEMS = frozenset({"function_call_output", "custom_tool_call_output"})


class RequestedCall(NamedTuple):
    """One call that a model's answer asks for."""

    call_id: str | None
    """The provider's; None where the form has none."""
    name: str
    arguments: Any
    """Parsed; the text itself where it is no JSON."""
    is_json_valid: bool = True


class ReturnedResult(NamedTuple):
    """What a model's input says that a call gave."""

    call_id: str | None
    name: str | None
    """Of the tool, in forms that say it."""
    content: Any
    is_error: bool | None
    """As the message says; None where it does not."""


class History:
    """What a model's input says about some calls."""

    __slots__ = ("requested", "results")

    def __init__(self) -> None:
        self.results: dict[str, ReturnedResult] = {}
        """By call id, or by tool name for calls that have none; of several, the last."""
        self.requested: set[str] = set()
        """Those that an answer in it asks for."""


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
    for each in items_of(value):
        yield from _iter_requests(each, depth + 1)
    members = members_of(value)
    if not members:
        return
    kind = read_text(members.get("type"))
    if kind == "tool_use":
        yield from _request(members.get("id"), members.get("name"), members.get("input"))
    elif kind in _CALL_ITEMS:
        arguments = members.get("arguments") if kind == "function_call" else members.get("input")
        call_id = members.get("call_id") or members.get("id")
        yield from _request(call_id, members.get("name"), arguments, is_text=kind != "function_call")
    else:
        yield from _iter_requests_of_message(members, depth)


def _iter_requests_of_message(members: dict[str, Any], depth: int) -> Iterator[RequestedCall]:
    for call in items_of(members.get("tool_calls")):
        yield from _request_of_chat(members_of(call))
    for call in items_of(members.get("invalid_tool_calls")):
        one = members_of(call)
        for refused in _request(one.get("id"), one.get("name"), one.get("args"), is_text=True):
            yield refused._replace(is_json_valid=False)
    if members.get("function_call") is not None:
        one = members_of(members["function_call"])
        yield from _request(None, one.get("name"), one.get("arguments"))
    for name in ("content", "choices", "message", "output", "data"):
        if members.get(name) is not None:
            yield from _iter_requests(members[name], depth + 1)


def _request_of_chat(call: dict[str, Any]) -> Iterator[RequestedCall]:
    """Read one of ``tool_calls``: OpenAI's function or custom tool, or LangChain's."""
    for kind, arguments in (("function", "arguments"), ("custom", "input")):
        if call.get(kind) is not None:
            inside = members_of(call[kind])
            is_text = kind == "custom"
            yield from _request(call.get("id"), inside.get("name"), inside.get(arguments), is_text=is_text)
            return
    yield from _request(call.get("id"), call.get("name"), call.get("args", call.get("arguments")))


def _request(call_id: Any, name: Any, arguments: Any, *, is_text: bool = False) -> Iterator[RequestedCall]:
    tool = read_word(name)
    if tool is None:
        return
    text = None if is_text else read_text(arguments)
    if text is None:
        is_empty = not is_text and (arguments is None or arguments == "")
        yield RequestedCall(read_word(call_id), tool, {} if is_empty else arguments)
        return
    is_valid, parsed = _parse(text)
    yield RequestedCall(read_word(call_id), tool, parsed, is_valid)


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
    members = members_of(value)
    if not members:
        return
    kind, role = read_text(members.get("type")), read_text(members.get("role"))
    if kind == "tool_result":
        yield _result(members.get("tool_use_id"), members.get("content"), members)
    elif kind in _RESULT_ITEMS:
        yield _result(members.get("call_id"), members.get("output"), members)
    elif role == "tool" or kind == "tool":
        inside = members_of(members.get("data"))
        members = inside or members
        yield _result(members.get("tool_call_id"), members.get("content"), members)
    elif role == "function" or kind == "function":
        yield ReturnedResult(None, read_word(members.get("name")), members.get("content"), None)
    elif depth == 0:
        for block in reversed(items_of(members.get("content"))):
            yield from _iter_results(block, 1)


def _result(call_id: Any, content: Any, members: dict[str, Any]) -> ReturnedResult:
    said = members.get("is_error")
    if type(said) is not bool:
        said = True if read_text(members.get("status")) == "error" else None
    return ReturnedResult(read_word(call_id), None, content, said)


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
        members = members_of(params)
        items = items_of(members.get("tools") or members.get("functions"))
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
    text = read_word(tool)
    if text is not None:
        return [text]
    members = members_of(tool)
    for name in ("function", "custom"):
        if members.get(name) is not None:
            members = members_of(members[name])
            break
    named = read_word(members.get("name"))
    inside = [read_word(members_of(each).get("name")) for each in items_of(members.get("tools"))]
    if inside:  # a namespace
        return [each for each in inside if each is not None] + ([] if named is None else [named])
    if named is not None:
        return [named]
    kind = read_text(members.get("type"))
    return [] if kind is not None and kind not in ("function", "custom") else None
