"""
MCP clients in a replay: results of the SDK's own class, and a server that stands in for the recorded one.

Owns how a strict replay runs without the servers: in the place of a transport stands a server in this
process, which is shaken hands with as any other, lists the tools that the recorded run called, and runs
none of them. Invariants: calls are answered at the client, and reach no server; what a session sends
beside calls goes to the stand-in alone. Nothing here is imported while no replay goes on.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from agenttrace.capture.substitution import Outcome
from agenttrace.errors import ReplayError

__all__ = ["build_result", "stand_in_for_server"]

_SCHEMA = {"type": "object", "additionalProperties": True}


def build_result(name: str, outcome: Outcome) -> Any:
    """
    Give what a client gets of a recorded call.

    Raises:
        BaseException: What the recorded call raised.
        ReplayError: What was recorded is no result of a tool.
    """
    if outcome.exception is not None:
        raise _completed(outcome.exception)
    result, output = sys.modules["mcp.types"].CallToolResult, outcome.output
    if not isinstance(output, Mapping) or "content" not in output:
        raise ReplayError(f"what was recorded of {name} is no result of an MCP tool: {str(output)[:200]!r}")
    return result.model_validate(dict(output))


def _completed(exc: BaseException) -> BaseException:
    """Give the SDK's own error what programs ask of it: its ``error``, of which the text is recorded."""
    if type(exc).__name__ in ("McpError", "MCPError") and not hasattr(exc, "error"):
        code = -32603  # internal error: which it was is not recorded
        exc.error = sys.modules["mcp.types"].ErrorData(code=code, message=str(exc))  # type: ignore[attr-defined]
    return exc


@asynccontextmanager
async def stand_in_for_server(tools: Collection[str], *, with_session_id: bool) -> AsyncIterator[Any]:
    """
    Give the streams of a connection to a server that only stands there.

    Args:
        tools: The names that it lists.
        with_session_id: Whether what asks for the session's id comes third.
    """
    # Late: whoever has a client has it.
    import anyio

    connect = import_module("mcp.shared.memory").create_client_server_memory_streams
    server = _build_server(tools)
    async with connect() as (ours, theirs), anyio.create_task_group() as tasks:

        async def serve() -> None:
            await server.run(*theirs, server.create_initialization_options())

        tasks.start_soon(serve)
        try:
            yield (*ours, lambda: None) if with_session_id else ours
        finally:
            tasks.cancel_scope.cancel()


def _build_server(names: Collection[str]) -> Any:
    types, made = import_module("mcp.types"), import_module("mcp.server.lowlevel").Server
    tools = [
        types.Tool.model_validate({"name": name, "description": "as recorded", "inputSchema": _SCHEMA})
        for name in sorted(names)
    ]
    if hasattr(made, "call_tool"):  # version 1
        old = made("replayed")

        async def list_tools() -> list[Any]:
            return tools

        old.list_tools()(list_tools)
        return old

    async def list_all(ctx: Any, params: Any) -> Any:
        return types.ListToolsResult(tools=tools)

    return made("replayed", on_list_tools=list_all)
