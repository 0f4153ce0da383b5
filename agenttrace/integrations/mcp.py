"""
Follow the MCP SDK, versions 1 and 2: what clients call, and what servers run.

Owns which names of the SDK are replaced; `mcp_client` and `mcp_server` say by what.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from types import ModuleType

from agenttrace.integrations.mcp_client import build_client_call, build_connect, build_session_call
from agenttrace.integrations.mcp_server import (
    build_compose,
    build_error_result,
    build_handle_request,
    build_manager_call,
)
from agenttrace.integrations.patching import Library, Patch

__all__ = ["install", "uninstall"]


def _describe_session(module: ModuleType) -> Iterable[Patch]:
    yield Patch(module.ClientSession, "call_tool", build_session_call)


def _describe_client(module: ModuleType) -> Iterable[Patch]:
    yield Patch(module.Client, "call_tool", build_client_call)


def _describe_transport(module: ModuleType) -> Iterable[Patch]:
    for name in (
        "stdio_client",
        "sse_client",
        "streamable_http_client",
        "streamablehttp_client",
        "websocket_client",
    ):
        function = vars(module).get(name)
        if getattr(function, "__module__", None) == module.__name__:
            yield Patch(module, name, build_connect)


def _describe_runner(module: ModuleType) -> Iterable[Patch]:
    yield Patch(module.ServerRunner, "_compose_server_middleware", build_compose)


def _describe_server(module: ModuleType) -> Iterable[Patch]:
    if find_spec("mcp.server.runner") is None:  # version 1
        yield Patch(module.Server, "_handle_request", build_handle_request)
        yield Patch(module.Server, "_make_error_result", build_error_result)


def _describe_manager(module: ModuleType) -> Iterable[Patch]:
    yield Patch(module.ToolManager, "call_tool", build_manager_call)


_LIBRARY = Library(
    "mcp",
    {
        "mcp.client.session": _describe_session,
        "mcp.client.client": _describe_client,
        "mcp.client.stdio": _describe_transport,
        "mcp.client.sse": _describe_transport,
        "mcp.client.streamable_http": _describe_transport,
        "mcp.client.websocket": _describe_transport,
        "mcp.server.runner": _describe_runner,
        "mcp.server.lowlevel.server": _describe_server,
        "mcp.server.mcpserver.tools.tool_manager": _describe_manager,
        "mcp.server.fastmcp.tools.tool_manager": _describe_manager,
    },
)

install = _LIBRARY.install
uninstall = _LIBRARY.uninstall
