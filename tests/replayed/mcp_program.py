"""
A client of MCP servers as people write them: it lists tools, calls them, and meets failures of all kinds.

The server is this file too (``serve``), started over stdio; each run of a tool adds a line to the file RAN.
"""

import asyncio
import os
import sys

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


def note(text):
    with open(os.environ["RAN"], "a") as file:
        file.write(text + "\n")


def serve():
    try:
        from mcp.server.mcpserver import MCPServer
    except ImportError:  # version 1
        from mcp.server.fastmcp import FastMCP as MCPServer

    server = MCPServer("calculator")

    @server.tool()
    def divide(a: int, b: int) -> float:
        """Divide a by b."""
        note("divide")
        return a / b

    @server.tool()
    def look_up(word: str) -> dict[str, str]:
        """Look a word up."""
        note("look_up")
        return {"word": word}

    server.run("stdio")


async def main():
    command = StdioServerParameters(command=sys.executable, args=[__file__, "serve"], env=dict(os.environ))
    async with stdio_client(command) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        listed = await session.list_tools()
        print(sorted(tool.name for tool in listed.tools))
        for a, b in ((6, 3), (1, 0)):
            result = await session.call_tool("divide", {"a": a, "b": b})
            failed = getattr(result, "is_error", None) or getattr(result, "isError", None)
            print(type(result).__name__, bool(failed), [part.text for part in result.content])

        found = {}

        async def look_up(word):
            result = await session.call_tool("look_up", {"word": word})
            said = getattr(result, "structured_content", None) or getattr(result, "structuredContent", None)
            found[word] = (said, result.content[0].text)

        async with anyio.create_task_group() as tasks:
            for word in ("one", "two", "three"):
                tasks.start_soon(look_up, word)
        print(sorted(found.items()))


if sys.argv[1:] == ["serve"]:
    serve()
else:
    asyncio.run(main())
