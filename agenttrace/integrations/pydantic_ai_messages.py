"""
pydantic-ai's messages, tools and answers in the form of OpenAI's chat completions.

pydantic-ai has a form of its own for all providers; every turn of it is kept in this one, whichever
provider is asked. Invariant: pure functions, which change nothing they are given; what is unknown
is left out. Cost: one pass over the messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["build_answer", "build_messages", "build_params"]

_TEXT_LIMIT_CHARS = 100_000
_SETTINGS = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "tool_choice",
    "parallel_tool_calls",
    "presence_penalty",
    "frequency_penalty",
    "stop_sequences",
    "thinking",
)


def build_messages(messages: Iterable[Any]) -> list[dict[str, Any]]:
    """Give *messages*, requests and responses, as chat messages; the instructions in force come first."""
    told: list[dict[str, Any]] = []
    instructions = None
    for message in messages:
        if getattr(message, "kind", None) == "response":
            told.append(build_answer(message))
        else:
            instructions = getattr(message, "instructions", None) or instructions
            told.extend(_requests_of(message))
    if instructions:
        told.insert(0, {"role": "system", "content": str(instructions)})
    return told


def _requests_of(message: Any) -> Iterator[dict[str, Any]]:
    for part in getattr(message, "parts", ()):
        kind = part.part_kind
        if kind == "system-prompt":
            yield {"role": "system", "content": part.content}
        elif kind == "user-prompt":
            yield {"role": "user", "content": _content_of(part.content)}
        elif kind == "tool-return":
            yield _tool_message(part, _text_of(part, "model_response_str"))
        elif kind == "retry-prompt" and part.tool_name is not None:
            yield _tool_message(part, _text_of(part, "model_response"))
        elif kind in ("retry-prompt", "retry-feedback"):
            yield {"role": "user", "content": _text_of(part, "model_response")}


def _tool_message(part: Any, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": part.tool_call_id, "content": text}


def _text_of(part: Any, method: str) -> str:
    """Give what the model reads of *part*; its bare content, where the library cannot say."""
    try:
        return str(getattr(part, method)())
    except Exception:
        return str(getattr(part, "content", ""))[:_TEXT_LIMIT_CHARS]


def _content_of(content: Any) -> Any:
    """Give text as it is, and of anything else what it is, never the bytes."""
    if isinstance(content, str):
        return content
    return [
        {"type": "text", "text": one if isinstance(one, str) else one.content}
        if isinstance(one, str) or isinstance(getattr(one, "content", None), str)
        else {"type": type(one).__name__, "url": getattr(one, "url", None)}
        for one in content
    ]


def build_answer(response: Any) -> dict[str, Any]:
    """Give what a model answered as an assistant's message."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in response.parts:
        if part.part_kind == "text":
            texts.append(part.content)
        elif part.part_kind == "thinking" and part.content:
            thoughts.append(part.content)
        elif part.part_kind == "tool-call":
            function = {"name": part.tool_name, "arguments": part.args_as_json_str()}
            calls.append({"id": part.tool_call_id, "type": "function", "function": function})
    answer: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    if thoughts:
        answer["reasoning_content"] = "".join(thoughts)
    if calls:
        answer["tool_calls"] = calls
    return answer


def build_params(settings: Any, parameters: Any) -> dict[str, Any]:
    """Give what goes with the messages: settings, and the tools, those for the output too."""
    found = settings if isinstance(settings, dict) else {}
    params = {name: found[name] for name in _SETTINGS if found.get(name) is not None}
    tools = [
        *(getattr(parameters, "function_tools", None) or ()),
        *(getattr(parameters, "output_tools", None) or ()),
    ]
    if tools:
        params["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters_json_schema,
                },
            }
            for tool in tools
        ]
    return params
