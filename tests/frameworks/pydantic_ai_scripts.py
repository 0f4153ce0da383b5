"""Models that answer as they are told, and the ways to run an agent of pydantic-ai."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel

__all__ = ["WAYS", "Way", "agent", "ask", "scripted"]

_numbers = itertools.count(1)

Way = Callable[..., Any]


def ask(name: str, call_id: str | None = None, /, **arguments: Any) -> ToolCallPart:
    """Give the wish to call the tool *name*; ``_text`` stands for arguments that are no JSON."""
    text = arguments.pop("_text", None)
    return ToolCallPart(name, arguments if text is None else text, call_id or f"call_{next(_numbers)}")


def scripted(*steps: Any) -> FunctionModel:
    """Make a model that gives *steps* in turn: words, lists of calls, and exceptions, which it raises."""
    left = iter(steps)

    def parts() -> list[Any]:
        step = next(left)
        if isinstance(step, BaseException):
            raise step
        return [TextPart(step)] if isinstance(step, str) else list(step)

    def answer(messages: Any, info: Any) -> ModelResponse:
        return ModelResponse(parts())

    async def stream(messages: Any, info: Any) -> AsyncIterator[Any]:
        for index, part in enumerate(parts()):
            if isinstance(part, TextPart):
                for word in part.content.split(" "):
                    yield word if word is part.content else word + " "
            else:
                call = DeltaToolCall(part.tool_name, part.args_as_json_str(), tool_call_id=part.tool_call_id)
                yield {index: call}

    return FunctionModel(answer, stream_function=stream)


def agent(name: str, *steps: Any, **more: Any) -> Agent[Any, Any]:
    """Make an agent whose model gives *steps* in turn."""
    return Agent(scripted(*steps), name=name, **more)


def _run(starting: Any, prompt: Any, **more: Any) -> Any:
    return asyncio.run(starting.run(prompt, **more)).output


def _run_sync(starting: Any, prompt: Any, **more: Any) -> Any:
    return starting.run_sync(prompt, **more).output


def _run_stream(starting: Any, prompt: Any, **more: Any) -> Any:
    async def consume() -> Any:
        async with starting.run_stream(prompt, **more) as result:
            return await result.get_output()

    return asyncio.run(consume())


def _iter(starting: Any, prompt: Any, **more: Any) -> Any:
    async def consume() -> Any:
        async with starting.iter(prompt, **more) as run:
            async for _ in run:
                pass
            return run.result.output

    return asyncio.run(consume())


WAYS: dict[str, Way] = {"run": _run, "run_sync": _run_sync, "run_stream": _run_stream, "iter": _iter}
