"""
LangChain's tools and chat models in a replay: what was recorded comes in the place of what they do.

Invariants: LangChain's own code around them runs as ever: it checks arguments, calls back, makes
messages of results and of failures; the tool and the model that the program has are left as they are,
also while others use them. Nothing here is imported while no replay goes on.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from agenttrace.capture.substitution import Outcome, RecordedTurn
from agenttrace.integrations.replies_said import read_parts, split_text

__all__ = ["answering_model", "answering_tool"]

_COMMAND = frozenset(("goto", "graph", "update", "resume"))


def answering_tool(tool: Any, outcome: Outcome, call_id: Any) -> Any:
    """Give a tool like *tool* that gives or raises what was recorded, instead of doing anything."""

    def run(*_: Any, **__: Any) -> Any:
        return _result_of(tool, outcome, call_id)

    async def arun(*_: Any, **__: Any) -> Any:
        return _result_of(tool, outcome, call_id)

    made = copy.copy(tool)
    # Beside the fields, as pydantic's own private attributes are.
    vars(made)["_run"], vars(made)["_arun"] = run, arun
    return made


def _result_of(tool: Any, outcome: Outcome, call_id: Any) -> Any:
    if outcome.exception is not None:
        raise outcome.exception
    value = outcome.output
    if call_id and _is_command(value):
        value = _build_command(value)  # anything else that is no text LangChain would have made a text of
    elif call_id and isinstance(value, list) and value and all(map(_is_command, value)):
        value = [_build_command(one) for one in value]
    return (value, None) if getattr(tool, "response_format", "") == "content_and_artifact" else value


def _is_command(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and _COMMAND.issuperset(value)


def _build_command(parts: Mapping[str, Any]) -> Any:
    from langgraph.types import Command  # late: only who returned one has it

    update = parts.get("update")
    if isinstance(update, Mapping):
        update = {key: _build_messages(value) for key, value in update.items()}
    return Command(**{**parts, "update": update})


def _build_messages(value: Any) -> Any:
    """Give messages for what was recorded of them; anything else as it is."""
    from langchain_core.messages import convert_to_messages  # late, as above

    if isinstance(value, Mapping) and "role" in value and "content" in value:
        return convert_to_messages([dict(value)])[0]
    return [_build_messages(one) for one in value] if isinstance(value, list) else value


# ------------------------------------------------------------------ models


def answering_model(model: Any, recorded: RecordedTurn) -> Any:
    """Give a chat model like *model* that answers as recorded, or fails so, instead of asking anybody."""

    def generate(*_: Any, **__: Any) -> Any:
        return _build_result(recorded)

    async def agenerate(*_: Any, **__: Any) -> Any:
        return _build_result(recorded)

    def stream(*_: Any, **__: Any) -> Iterator[Any]:
        yield from _iter_chunks(recorded)

    async def astream(*_: Any, **__: Any) -> AsyncIterator[Any]:
        for chunk in _iter_chunks(recorded):
            yield chunk

    made = copy.copy(model)
    vars(made).update(_generate=generate, _agenerate=agenerate, _stream=stream, _astream=astream)
    return made


def _build_message(recorded: RecordedTurn) -> dict[str, Any]:
    """Give what a message of the answer is made from."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in read_parts(recorded.output):
        if part.kind in ("text", "refusal"):
            texts.append(part.text)
        elif part.kind != "thinking":
            calls.append({"name": part.name, "args": part.text, "id": part.call_id, "index": len(calls)})
    metadata = {"finish_reason": recorded.finish_reason, "model_name": recorded.model}
    given, answered = recorded.counts.get("input_tokens"), recorded.counts.get("output_tokens")
    message: dict[str, Any] = {
        "content": "".join(texts),
        "tool_call_chunks": [{"type": "tool_call_chunk", **call} for call in calls],
        "response_metadata": {name: value for name, value in metadata.items() if value is not None},
    }
    output = recorded.output
    if isinstance(output, Mapping) and isinstance(output.get("content"), list):
        message["content"] = output["content"]
    if recorded.response_id is not None:
        message["id"] = recorded.response_id
    if given is not None or answered is not None:
        given, answered = given or 0, answered or 0
        total = given + answered
        message["usage_metadata"] = {"input_tokens": given, "output_tokens": answered, "total_tokens": total}
    return message


def _build_result(recorded: RecordedTurn) -> Any:
    # Late: whoever has a chat model has them.
    from langchain_core.messages import AIMessageChunk, message_chunk_to_message
    from langchain_core.outputs import ChatGeneration, ChatResult

    if recorded.exception is not None:
        raise recorded.exception
    message = message_chunk_to_message(AIMessageChunk(**_build_message(recorded)))
    return ChatResult(generations=[ChatGeneration(message=message)])


def _iter_chunks(recorded: RecordedTurn) -> Iterator[Any]:
    """Give the answer in pieces: the text word by word, and the rest at the end."""
    # Late, as above.
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk

    if recorded.exception is None or recorded.output is not None:
        message = _build_message(recorded)
        content = message["content"]
        for piece in split_text(content) if isinstance(content, str) else ():
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece, id=message.get("id")))
        message["content"] = "" if isinstance(content, str) else content
        yield ChatGenerationChunk(message=AIMessageChunk(**message))
    if recorded.exception is not None:
        raise recorded.exception
