"""Models that answer as they are told, and the three ways to run an agent of the OpenAI Agents SDK."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

from agents import Agent, Runner
from agents.testing import ScriptedModel
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

__all__ = ["WAYS", "Way", "agent", "ask", "say", "stream"]

_numbers = itertools.count(1)

Way = Callable[..., Any]


def say(text: str) -> ResponseOutputMessage:
    """Give an answer in words."""
    content = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(
        id="msg_1", role="assistant", status="completed", type="message", content=[content]
    )


def ask(name: str, call_id: str | None = None, /, **arguments: Any) -> ResponseFunctionToolCall:
    """Give the wish to call the tool *name*; ``_text`` stands for arguments that are no JSON."""
    text = arguments.pop("_text", None)
    return ResponseFunctionToolCall(
        type="function_call",
        name=name,
        arguments=json.dumps(arguments) if text is None else text,
        call_id=call_id or f"call_{next(_numbers)}",
    )


def agent(name: str, *steps: Any, **more: Any) -> Agent[Any]:
    """Make an agent whose model gives *steps* in turn; a str is an answer in words."""
    script = [[say(step)] if isinstance(step, str) else step for step in steps]
    return Agent(name=name, model=ScriptedModel(script), **more)


async def stream(starting: Agent[Any], input: Any, **more: Any) -> Any:
    """Run an agent streaming, and consume all of it."""
    result = Runner.run_streamed(starting, input, **more)
    async for _ in result.stream_events():
        pass
    return result


def _run(starting: Agent[Any], input: Any, **more: Any) -> Any:
    return asyncio.run(Runner.run(starting, input, **more))


def _run_sync(starting: Agent[Any], input: Any, **more: Any) -> Any:
    return Runner.run_sync(starting, input, **more)


def _run_streamed(starting: Agent[Any], input: Any, **more: Any) -> Any:
    return asyncio.run(stream(starting, input, **more))


WAYS: dict[str, Way] = {"run": _run, "run_sync": _run_sync, "run_streamed": _run_streamed}
