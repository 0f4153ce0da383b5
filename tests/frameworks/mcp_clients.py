"""MCP clients that tests drive: over real transports, and within one process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client import streamable_http
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client

from tests.frameworks.conftest import Rows
from tests.frameworks.mcp_servers import IS_VERSION_2
from tests.reading import ROOT

__all__ = [
    "PROGRAM",
    "Opened",
    "connected",
    "environment",
    "is_failed",
    "open_http",
    "open_modern",
    "open_program",
    "open_sse",
    "open_stdio",
    "text_of",
]

PROGRAM = str(Path(__file__).with_name("mcp_servers.py"))
"""The servers, as a program: of (level, transport)."""

Opened = Callable[..., AbstractAsyncContextManager[ClientSession]]
"""Starts a server, and gives a session with it: of (level, rows, traced, database)."""


def environment(rows: Rows, traced: bool = True, database: Path | None = None) -> dict[str, str]:
    """Give the server's environment: what a client passes on, and whether it is traced."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "AGENTTRACE_RING_DIR")}
    kept["PYTHONPATH"] = str(ROOT)
    kept.update(AGENTTRACE="1" if traced else "0", AGENTTRACE_DB=str(database or rows.database))
    return kept


@asynccontextmanager
async def open_stdio(
    level: str, rows: Rows, traced: bool = True, database: Path | None = None
) -> AsyncIterator[ClientSession]:
    """Start the server as a child process."""
    given = environment(rows, traced, database)
    async with _over_stdio([PROGRAM, level, "stdio"], given) as session:
        yield session


@asynccontextmanager
async def open_program(rows: Rows, *arguments: str) -> AsyncIterator[ClientSession]:
    """Start Python with *arguments*, which make it a server; its environment is the SDK's default."""
    kept = {name: value for name, value in environment(rows).items() if name == "PYTHONPATH"}
    async with _over_stdio(arguments, kept) as session:
        yield session


@asynccontextmanager
async def _over_stdio(arguments: Sequence[str], given: dict[str, str]) -> AsyncIterator[ClientSession]:
    command = StdioServerParameters(command=sys.executable, args=list(arguments), env=given)
    with open(os.devnull, "w") as nowhere:
        async with stdio_client(command, nowhere) as streams, ClientSession(*streams[:2]) as session:
            await session.initialize()
            yield session


def _over_port(transport: str, path: str, connect: Callable[..., Any]) -> Opened:
    @asynccontextmanager
    async def opened(
        level: str, rows: Rows, traced: bool = True, database: Path | None = None
    ) -> AsyncIterator[ClientSession]:
        process = subprocess.Popen(
            [sys.executable, PROGRAM, level, transport],
            env=environment(rows, traced, database),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            port = (await asyncio.to_thread(process.stdout.readline)).strip()
            url = f"http://127.0.0.1:{port}{path}"
            async with connect(url) as found:
                if isinstance(found, ClientSession):
                    yield found
                    return
                async with ClientSession(*found[:2]) as session:
                    await session.initialize()
                    yield session
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 30)
            process.stdout.close()

    return opened


_connect_http = (
    getattr(streamable_http, "streamable_http_client", None) or vars(streamable_http)["streamablehttp_client"]
)

open_http = _over_port("http", "/mcp" if IS_VERSION_2 else "/mcp/", _connect_http)
"""Start the server on a port of loopback, with streamable HTTP."""
open_sse = _over_port("sse", "/sse", sse_client)
"""The same with server-sent events, the transport before it."""


@asynccontextmanager
async def _connect_modern(url: str) -> AsyncIterator[ClientSession]:
    """Give the session of a client that speaks the protocol of 2026, which knows no handshake."""
    from mcp import Client  # of version 2

    async with Client(url) as client:
        yield client.session


open_modern = _over_port("http", "/mcp", _connect_modern)
"""Streamable HTTP as version 2 speaks it with itself."""


def connected(server: Any, work: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    """Let a client in this process work with *server*."""

    async def go() -> Any:
        if IS_VERSION_2:
            from mcp import Client

            async with Client(server) as client:
                return await work(client.session)
        from mcp.shared.memory import create_connected_server_and_client_session

        async with create_connected_server_and_client_session(server) as session:
            return await work(session)

    return asyncio.run(go())


def is_failed(result: Any) -> bool:
    """Tell whether a result says of itself that it is an error."""
    return bool(result.is_error if IS_VERSION_2 else result.isError)


def text_of(result: Any) -> str:
    """Give the first text of a result."""
    return str(result.content[0].text)
