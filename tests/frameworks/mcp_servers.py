"""MCP servers of the high and the low level, for versions 1 and 2; run as a program over any transport."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from mcp.server import Server
from mcp.types import CallToolResult, ListToolsResult, TextContent, Tool

from agenttrace import traced_tool

try:
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError:  # version 1
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.server.fastmcp.exceptions import ToolError

__all__ = ["IS_VERSION_2", "Context", "MCPServer", "build_low_level", "build_server", "failed_result"]

IS_VERSION_2 = not hasattr(Server, "call_tool")


@traced_tool
def look_up(word: str) -> str:
    return word.upper()


@traced_tool(redact=["key"])
def charge(amount: int, key: str) -> int:
    """Charge."""
    if amount < 0:
        raise ValueError(f"cannot charge {amount}")
    return 2 * amount


# ------------------------------------------------------------------ the high level


def high_level() -> Any:
    server = MCPServer("dictionary")

    @server.tool()
    async def define(word: str) -> str:
        """Define a word."""
        return f"{look_up(word)}: a word"

    @server.tool()
    def fail(word: str) -> str:
        """Fail."""
        raise LookupError(f"no such word: {word}")

    @server.tool()
    async def fail_later(word: str) -> str:
        """Fail in a coroutine."""
        await anyio.lowlevel.checkpoint()
        raise LookupError(f"no such word: {word}")

    @server.tool()
    def refuse(word: str) -> str:
        """Fail with words that are meant for the model."""
        raise ToolError(f"I do not define {word}")

    @server.tool()
    def answer_no(word: str) -> dict[str, Any]:
        """Give a failure as data."""
        return {"error": f"nothing about {word}"}

    @server.tool()
    async def relay(word: str) -> str:
        """Call another tool of this server."""
        return str(await server.call_tool("fail", {"word": word}))

    @server.tool()
    def echo(value: Any) -> str:
        """Give something long, with characters that few expect."""
        return "\x00\u2028\U0001f600" + "x" * 300_000

    @server.tool()
    async def count(ctx: Context) -> int:
        """Tell of one's progress."""
        for at in range(1, 4):
            await ctx.report_progress(at, 3, f"step {at}")
        return 3

    @server.tool()
    async def hang(ctx: Context) -> str:
        """Say in which process one has begun, and never end."""
        await ctx.report_progress(os.getpid())
        await anyio.sleep_forever()
        return "never"

    server.tool()(charge)
    return server


# ------------------------------------------------------------------ the low level


def failed_result(text: str) -> CallToolResult:
    """Give a result that says of itself that it is an error."""
    content = [TextContent(type="text", text=text)]
    if IS_VERSION_2:
        return CallToolResult(content=content, is_error=True)
    return CallToolResult(content=content, isError=True)


def build_low_level(name: str, run: Callable[[str, dict[str, Any]], Awaitable[Any]]) -> Any:
    """Make a server whose calls *run* answers, with content or with a whole result."""
    schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    given = {"input_schema" if IS_VERSION_2 else "inputSchema": schema}
    tools = [Tool(name=one, **given) for one in ("define", "fail", "raise")]  # type: ignore[arg-type]

    if IS_VERSION_2:

        async def list_all(ctx: Any, params: Any) -> ListToolsResult:
            return ListToolsResult(tools=tools)

        async def call(ctx: Any, params: Any) -> Any:
            found = await run(params.name, params.arguments or {})
            return CallToolResult(content=found) if isinstance(found, list) else found

        return Server(name, on_list_tools=list_all, on_call_tool=call)

    server: Any = Server(name)

    async def list_tools() -> list[Tool]:
        return tools

    server.list_tools()(list_tools)
    server.call_tool()(run)
    return server


async def _run(name: str, arguments: dict[str, Any]) -> Any:
    word = arguments.get("word", "")
    if name == "fail":
        return failed_result(f"no such word: {word}")
    if name == "raise":
        raise KeyError("what nobody may know")
    return [TextContent(type="text", text=f"{look_up(word)}: a word")]


def build_server(level: str) -> Any:
    """Give the server of that level: ``high`` or ``low``."""
    return high_level() if level == "high" else build_low_level("dictionary", _run)


# ------------------------------------------------------------------ the program


def _serve_stdio(server: Any) -> None:
    from mcp.server.stdio import stdio_server

    if isinstance(server, MCPServer):
        server.run("stdio")
        return

    async def serve() -> None:
        async with stdio_server() as (reader, writer):
            await server.run(reader, writer, server.create_initialization_options())

    anyio.run(serve)


def _build_app(server: Any, transport: str) -> Any:
    if transport == "sse":
        return server.sse_app()
    if hasattr(server, "streamable_http_app"):
        return server.streamable_http_app()
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.applications import Starlette
    from starlette.routing import Mount

    manager = StreamableHTTPSessionManager(app=server)
    return Starlette(routes=[Mount("/mcp", app=manager.handle_request)], lifespan=lambda app: manager.run())


def _serve_http(server: Any, transport: str) -> None:
    import socket

    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(_build_app(server, transport), log_level="critical", ws="none")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    chosen, way = build_server(sys.argv[1]), sys.argv[2]
    _serve_stdio(chosen) if way == "stdio" else _serve_http(chosen, way)
