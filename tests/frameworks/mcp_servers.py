"""Two MCP servers, of the high and the low level; run as a program over stdio or HTTP."""

from __future__ import annotations

import sys
from typing import Any

from mcp.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, ListToolsResult, TextContent, Tool

from agenttrace import traced_tool

__all__ = ["build_server"]


@traced_tool
def look_up(word: str) -> str:
    return word.upper()


def high_level() -> MCPServer:
    server = MCPServer("dictionary")

    @server.tool()
    async def define(word: str) -> str:
        """Define a word."""
        return f"{look_up(word)}: a word"

    @server.tool()
    def fail(word: str) -> str:
        """Fail."""
        raise LookupError(f"no such word: {word}")

    return server


async def _list_tools(ctx: Any, params: Any) -> ListToolsResult:
    schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    tools = [Tool(name=name, input_schema=schema) for name in ("define", "fail")]
    return ListToolsResult(tools=tools)


async def _call_tool(ctx: Any, params: Any) -> CallToolResult:
    word = (params.arguments or {}).get("word", "")
    if params.name == "fail":
        return CallToolResult(content=[TextContent(type="text", text=f"no such word: {word}")], is_error=True)
    return CallToolResult(content=[TextContent(type="text", text=f"{look_up(word)}: a word")])


def low_level() -> Server:
    return Server("dictionary", on_list_tools=_list_tools, on_call_tool=_call_tool)


def build_server(level: str) -> Any:
    """Give the server of that level: ``high`` or ``low``."""
    return high_level() if level == "high" else low_level()


def _serve_stdio(server: Any) -> None:
    import anyio
    from mcp.server.stdio import stdio_server

    if isinstance(server, MCPServer):
        server.run("stdio")
        return

    async def serve() -> None:
        async with stdio_server() as (reader, writer):
            await server.run(reader, writer, server.create_initialization_options())

    anyio.run(serve)


def _serve_http(server: Any) -> None:
    import socket

    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="critical", ws="none")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    (_serve_http if sys.argv[2:] == ["http"] else _serve_stdio)(build_server(sys.argv[1]))
