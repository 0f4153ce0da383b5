"""Frameworks' tool objects: how each is made of a function, and how it is called by its framework."""

from __future__ import annotations

import asyncio
import inspect
import json
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from agents import FunctionTool, function_tool
from agents.tool_context import ToolContext
from anthropic import beta_async_tool, beta_tool
from langchain_core.tools import tool as langchain_tool
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.tools import Tool as McpTool
from pydantic_ai import Agent
from pydantic_ai import Tool as PydanticTool
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

__all__ = [
    "MAKERS",
    "REGISTERS",
    "Maker",
    "agents_context",
    "call_pydantic_tool",
    "copy_of",
    "divide",
    "divide_later",
]


def divide(a: int, b: int) -> float:
    """Divide a by b."""
    return a / b


async def divide_later(a: int, b: int) -> float:
    """Divide a by b."""
    await asyncio.sleep(0)
    return a / b


class Maker(NamedTuple):
    """One framework."""

    name: str
    make: Callable[[Any], Any]
    call: Callable[[Any, dict[str, Any]], Any]
    """Makes the framework call the tool; a coroutine function."""


def agents_context(tool: Any, arguments: str) -> Any:
    """Give what the Agents SDK hands to a tool."""
    return ToolContext(context=None, tool_name=tool.name, tool_call_id="call-1", tool_arguments=arguments)


async def _call_langchain(tool: Any, arguments: dict[str, Any]) -> Any:
    return await tool.ainvoke(arguments)


async def _call_agents(tool: FunctionTool, arguments: dict[str, Any]) -> Any:
    text = json.dumps(arguments)
    return await tool.on_invoke_tool(agents_context(tool, text), text)


async def _call_mcp(tool: Any, arguments: dict[str, Any]) -> Any:
    return await MCPServer("calculator", tools=[tool]).call_tool(tool.name, arguments)


async def call_pydantic_tool(tool: Any, arguments: dict[str, Any]) -> Any:
    """Run an agent whose model calls *tool* once."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse([ToolCallPart(tool.name, arguments, "call-1")])
        return ModelResponse([TextPart("done")])

    return await Agent(FunctionModel(answer), tools=[tool]).run("divide")


def copy_of(function: Any) -> Any:
    """Give a function of the same code that nobody has decorated yet."""
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__)
    made.__annotations__, made.__doc__ = dict(function.__annotations__), function.__doc__
    return made


def _register_at_server(traced: Any, function: Any, order: str) -> Callable[[dict[str, Any]], Any]:
    server = MCPServer("calculator")
    if order == "above":
        traced(server.tool()(function))
    else:
        server.tool()(traced(function))

    return lambda arguments: server.call_tool(function.__name__, arguments)


def _register_at_agent(traced: Any, function: Any, order: str) -> Callable[[dict[str, Any]], Any]:
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse([ToolCallPart(function.__name__, asked, "call-1")])
        return ModelResponse([TextPart("done")])

    asked: dict[str, Any] = {}
    agent = Agent(FunctionModel(answer))
    if order == "above":
        traced(agent.tool_plain(function))
    else:
        agent.tool_plain(traced(function))

    async def run(arguments: dict[str, Any]) -> Any:
        asked.update(arguments)
        return await agent.run("divide")

    return run


REGISTERS = {"mcp": _register_at_server, "pydantic_ai": _register_at_agent}
"""Decorators that give the function back, and keep it: what each makes of it, and how it is called."""


def _make_anthropic(function: Any) -> Any:
    return (beta_async_tool if inspect.iscoroutinefunction(function) else beta_tool)(function)


async def _call_anthropic(tool: Any, arguments: dict[str, Any]) -> Any:
    result = tool.call(arguments)
    return await result if inspect.isawaitable(result) else result


MAKERS = {
    maker.name: maker
    for maker in (
        Maker("langchain", langchain_tool, _call_langchain),
        Maker("agents", function_tool, _call_agents),
        Maker("mcp", McpTool.from_function, _call_mcp),
        Maker("pydantic_ai", PydanticTool, call_pydantic_tool),
        Maker("anthropic", _make_anthropic, _call_anthropic),
    )
}
