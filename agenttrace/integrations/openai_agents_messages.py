"""
What the OpenAI Agents SDK sends and gets, in the form of the Responses API.

The SDK's items are of that form already, whichever API or provider is asked. Invariant: pure
functions, which change nothing they are given.
"""

from __future__ import annotations

from typing import Any

from agenttrace.capture.tool_objects import parse_arguments
from agenttrace.integrations.openai_agents_runs import Wanted

__all__ = ["build_messages", "build_params", "build_plain", "find_wanted"]

_SETTINGS = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "tool_choice",
    "parallel_tool_calls",
    "truncation",
    "max_tokens",
    "reasoning",
    "verbosity",
)
_CALL_KINDS = ("function_call", "custom_tool_call")


def build_messages(given: Any) -> Any:
    """Give the input as items of the Responses API."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [build_plain(item) for item in given] if isinstance(given, list) else given


def build_plain(item: Any) -> Any:
    """Give an item as a dict without what is not set; what is none already, as it is."""
    dump = getattr(item, "model_dump", None)
    return dump(exclude_unset=True) if callable(dump) else item


def _describe_tool(tool: Any) -> dict[str, Any]:
    name, schema = getattr(tool, "name", type(tool).__name__), getattr(tool, "params_json_schema", None)
    if schema is None:
        return {"type": str(name)}
    return {
        "type": "function",
        "name": str(name),
        "description": getattr(tool, "description", None),
        "parameters": schema,
        "strict": getattr(tool, "strict_json_schema", None),
    }


def _describe_handoff(handoff: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "name": str(getattr(handoff, "tool_name", None)),
        "description": getattr(handoff, "tool_description", None),
        "parameters": getattr(handoff, "input_json_schema", None),
    }


def build_params(given: dict[str, Any]) -> dict[str, Any]:
    """Give what goes with the messages: instructions, settings, tools, and handoffs as the tools they are."""
    params: dict[str, Any] = {}
    if given.get("system_instructions"):
        params["instructions"] = given["system_instructions"]
    tools, handoffs = given.get("tools") or [], given.get("handoffs") or []
    if tools or handoffs:
        params["tools"] = [*map(_describe_tool, tools), *map(_describe_handoff, handoffs)]
    settings = given.get("model_settings")
    for name in _SETTINGS:
        value = getattr(settings, name, None)
        if value is not None:
            params[name] = value
    return params


def find_wanted(items: list[Any], given: dict[str, Any]) -> list[Wanted]:
    """Give the calls that an answer asks for, and what each of them is to the request."""
    handoffs = {getattr(one, "tool_name", None) for one in given.get("handoffs") or ()}
    tools = {getattr(one, "name", None) for one in given.get("tools") or ()}
    found = []
    for item in items:
        if isinstance(item, dict) and item.get("type") in _CALL_KINDS and item.get("call_id"):
            name = str(item.get("name"))
            kind = "handoff" if name in handoffs else "tool" if name in tools else "unknown"
            arguments = parse_arguments(item.get("arguments", item.get("input")))
            found.append(Wanted(str(item["call_id"]), name, arguments, kind))
    return found
