"""
The door to the MCP SDK, versions 1 and 2: the tools served on stdin and stdout.

Invariant: stdout carries the protocol and nothing else. A call runs on a thread of its own, so that
a long one does not keep the client from asking whether we live.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import anyio
import anyio.to_thread
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from agenttrace._version import VERSION
from agenttrace.mcp_server.tools import INSTRUCTIONS, TOOLS, Failed, Tools

__all__ = ["serve"]


def serve(database: str) -> None:
    """
    Serve until the client closes its end.

    Args:
        database: Path or URL; it need not be there yet.
    """
    anyio.run(_serve, database)


async def _serve(database: str) -> None:
    server = _build_server(Tools(database))
    with _take_streams() as streams:
        stdin, stdout = (anyio.wrap_file(stream) for stream in streams)
        async with stdio_server(stdin, stdout) as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())


@contextmanager
def _take_streams() -> Iterator[tuple[TextIO, TextIO]]:
    """Take stdin and stdout for the protocol; what anything else prints meanwhile goes to stderr."""
    with (
        open(os.dup(0), encoding="utf-8", errors="replace") as stdin,
        open(os.dup(1), "w", encoding="utf-8", newline="") as stdout,
    ):
        os.dup2(2, 1)
        try:
            yield stdin, stdout
        finally:
            os.dup2(stdout.fileno(), 1)


def _build_server(tools: Tools) -> Any:
    def build_tools() -> list[Any]:
        return [types.Tool.model_validate(_describe(name)) for name in TOOLS]

    async def answer(name: str, arguments: dict[str, Any] | None) -> Any:
        result = await anyio.to_thread.run_sync(_call, tools, name, arguments)
        return types.CallToolResult.model_validate(result)

    of_class: Any = Server
    if not hasattr(Server, "call_tool"):  # version 2: handlers are given as it is made

        async def on_list_tools(context: Any, params: Any) -> Any:
            return types.ListToolsResult(tools=build_tools())

        async def on_call_tool(context: Any, params: Any) -> Any:
            return await answer(params.name, params.arguments)

        return of_class(
            "agenttrace",
            version=VERSION,
            instructions=INSTRUCTIONS,
            on_list_tools=on_list_tools,
            on_call_tool=on_call_tool,
        )
    server = of_class("agenttrace", version=VERSION, instructions=INSTRUCTIONS)

    @server.list_tools()  # type: ignore[untyped-decorator]
    async def list_tools() -> list[Any]:
        return build_tools()

    @server.call_tool(validate_input=False)  # type: ignore[untyped-decorator]
    async def call_tool(name: str, arguments: dict[str, Any]) -> Any:
        return await answer(name, arguments)

    return server


def _describe(name: str) -> dict[str, Any]:
    """Give a tool in the words of the protocol, which both versions read."""
    tool = TOOLS[name]
    described: dict[str, Any] = {
        "name": name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.input_schema(),
        "annotations": {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False},
    }
    schema = tool.output_schema()
    if schema is not None:
        described["outputSchema"] = schema
    return described


def _call(tools: Tools, name: str, arguments: dict[str, Any] | None) -> dict[str, Any]:
    try:
        found = tools.call(name, arguments)
    except Failed as exc:
        return {"content": [{"type": "text", "text": str(exc)}], "isError": True}
    result: dict[str, Any] = {"content": [{"type": "text", "text": found.text}], "isError": False}
    if found.data is not None:
        result["structuredContent"] = found.data
    return result
