"""MCP: what clients call and what servers run, over real transports."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ListToolsResult

import agenttrace
from agenttrace import agent_scope, model_turn, traced_tool
from tests.frameworks.conftest import Rows
from tests.frameworks.mcp_servers import build_server
from tests.reading import ROOT, open_store

PROGRAM = str(Path(__file__).with_name("mcp_servers.py"))


def environment(rows: Rows, traced: bool) -> dict[str, str]:
    """Give the server's environment: what a client passes on, and whether it is traced."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "AGENTTRACE_RING_DIR")}
    kept["PYTHONPATH"] = str(ROOT)
    kept.update(AGENTTRACE="1" if traced else "0", AGENTTRACE_DB=str(rows.database))
    return kept


@asynccontextmanager
async def over_stdio(level: str, rows: Rows, traced: bool = True) -> AsyncIterator[ClientSession]:
    """Start the server as a child process."""
    command = StdioServerParameters(
        command=sys.executable, args=[PROGRAM, level], env=environment(rows, traced)
    )
    async with stdio_client(command) as streams, ClientSession(*streams[:2]) as session:
        await session.initialize()
        yield session


@asynccontextmanager
async def over_http(level: str, rows: Rows, traced: bool = True) -> AsyncIterator[ClientSession]:
    """Start the server on a port of loopback."""
    process = subprocess.Popen(
        [sys.executable, PROGRAM, level, "http"],
        env=environment(rows, traced),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        port = (await asyncio.to_thread(process.stdout.readline)).strip()
        url = f"http://127.0.0.1:{port}/mcp"
        async with streamable_http_client(url) as streams, ClientSession(*streams[:2]) as session:
            await session.initialize()
            yield session
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)
        process.stdout.close()


Transport = Callable[..., AbstractAsyncContextManager[ClientSession]]


def drive(opened: AbstractAsyncContextManager[ClientSession], *calls: tuple[str, Any]) -> list[Any]:
    """Make *calls* as one agent, and tell its model what came of them."""

    async def go() -> list[Any]:
        found: list[Any] = []
        with agent_scope("caller"):
            async with opened as session:
                for name, arguments in calls:
                    found.append(await session.call_tool(name, arguments))
            with model_turn("m", input=[{"role": "tool", "content": one.content[0].text} for one in found]):
                pass
        return found

    return asyncio.run(go())


@pytest.mark.slow
@pytest.mark.parametrize("transport", [over_stdio, over_http])
@pytest.mark.parametrize("level", ["high", "low"])
class TestTwoProcesses:
    """A client and a server that are both traced."""

    def test_make_one_tree(self, rows: Rows, transport: Transport, level: str) -> None:
        """The server's call lies under the client's, and what its tool calls below that."""
        drive(transport(level, rows), ("define", {"word": "a"}))
        open_store(rows.database).close()
        found = rows(
            "SELECT c.tool_name, p.tool_name, c.agent_name,"
            " substr(c.span_id, 1, 8) = substr(p.span_id, 1, 8),"
            " c.status FROM tool_traces c LEFT JOIN tool_traces p ON p.span_id = c.parent_span_id"
            " ORDER BY c.started_at, c.id"
        )
        assert found == [
            ("define", None, "caller", None, "ok"),
            ("define", "define", "caller", 0, "ok"),
            ("look_up", "define", "caller", 1, "ok"),
        ]
        assert rows("SELECT count(DISTINCT conversation_id) FROM trajectory_events") == [(1,)]
        assert rows("SELECT count(*) FROM processes") == [(2,)]
        assert rows.agents() == [("caller", None, "ok")]

    def test_tell_of_a_failure_once(self, rows: Rows, transport: Transport, level: str) -> None:
        """The server writes the failure with its own words; the client's call closes with the same one."""
        (result,) = drive(transport(level, rows), ("fail", {"word": "xyzzy"}))
        assert result.is_error and result.meta is None
        open_store(rows.database).close()
        kind = "LookupError" if level == "high" else "ReturnedFailure"
        ((tool, error_type, message),) = rows("SELECT tool_name, error_type, message FROM failures")
        assert (tool, error_type) == ("fail", kind)
        assert "no such word: xyzzy" in message
        assert rows("SELECT tool_name, status, error_type FROM tool_traces") == [("fail", "error", kind)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("transport", [over_stdio, over_http])
class TestClientAlone:
    """A server that knows nothing of us."""

    def test_records_the_call(self, rows: Rows, transport: Transport) -> None:
        """Arguments, result, and isError as a failure that the model was told of."""
        good, bad = drive(
            transport("low", rows, traced=False), ("define", {"word": "a"}), ("fail", {"word": "xyzzy"})
        )
        assert good.content[0].text == "A: a word" and bad.is_error
        assert rows("SELECT tool_name, status, tool_input FROM tool_traces ORDER BY id") == [
            ("define", "ok", '{"word":"a"}'),
            ("fail", "error", '{"word":"xyzzy"}'),
        ]
        assert rows("SELECT returned, fate FROM failures") == [("isError", "reported")]


def connected(server: Any, work: Callable[[Client], Any]) -> Any:
    """Let a client in this process work with *server*."""

    async def go() -> Any:
        async with Client(server) as client:
            return await work(client)

    return asyncio.run(go())


class TestCall:
    """Calls of one process, whatever they come to."""

    def test_of_an_unknown_tool_is_a_failure(self, rows: Rows) -> None:
        """S1.7: a name that the server does not have is seen on both sides."""
        connected(build_server("high"), lambda client: client.call_tool("hallucinated", {"a": 1}))
        assert [(name, given, status) for name, given, _, status, _ in rows.calls()] == [
            ("hallucinated", {"a": 1}, "error")
        ] * 2
        assert rows("SELECT message FROM failures") == [("Unknown tool: hallucinated",)]

    def test_with_rejected_arguments_is_a_failure(self, rows: Rows) -> None:
        """What the server's schema refuses is recorded with what was sent."""
        connected(build_server("high"), lambda client: client.call_tool("define", {"wrong": 1}))
        assert [(name, given, status) for name, given, _, status, _ in rows.calls()] == [
            ("define", {"wrong": 1}, "error")
        ] * 2
        ((message,),) = rows("SELECT message FROM failures")
        assert "word" in message

    def test_without_a_scope_of_its_own_is_recorded(self, rows: Rows) -> None:
        """Outside any agent both sides belong to the agent main."""
        connected(build_server("high"), lambda client: client.call_tool("define", {"word": "a"}))
        assert [name for name, *_ in rows.calls()] == ["define", "define", "look_up"]
        assert rows.agents() == [("main", None, "running")]

    def test_that_the_protocol_refuses_is_a_failure(self, rows: Rows) -> None:
        """A server without tools answers with a protocol error, which reaches the program."""

        async def work(client: Client) -> None:
            with pytest.raises(MCPError):
                await client.call_tool("define", {})

        connected(Server("empty"), work)
        assert ("define", "error", "MCPError") in rows(
            "SELECT tool_name, status, error_type FROM tool_traces"
        )

    def test_keeps_what_the_program_sends_along(self, rows: Rows) -> None:
        """A program's own _meta, traceparent included, reaches the server unchanged beside ours."""
        seen: list[Any] = []

        async def call(ctx: Any, params: Any) -> Any:
            seen.append(dict(ctx.meta or {}))
            return CallToolResult(content=[])

        own = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "mine": "x"}

        async def list_tools(ctx: Any, params: Any) -> ListToolsResult:
            return ListToolsResult(tools=[])

        server = Server("s", on_call_tool=call, on_list_tools=list_tools)
        connected(server, lambda client: client.session.call_tool("t", {}, meta=own))
        assert seen[0]["mine"] == "x"
        assert "conversation_id" in seen[0]["agenttrace"]
        assert own == {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "mine": "x"}

    def test_goes_on_in_a_foreign_trace(self, rows: Rows) -> None:
        """A caller that only knows W3C's traceparent gives the conversation; the server is its agent."""
        trace = "c" * 32
        server = build_server("high")
        meta = {"traceparent": f"00-{trace}-{'b' * 16}-01"}

        async def work(client: Client) -> Any:
            plain = ClientSession.call_tool.__wrapped__  # type: ignore[attr-defined]
            return await plain(client.session, "define", {"word": "a"}, meta=meta)

        connected(server, work)
        assert rows("SELECT DISTINCT conversation_id FROM trajectory_events") == [(trace,)]
        assert rows.agents() == [("dictionary", None, "ok")]


class TestDecoratedHandler:
    """A function that is traced itself."""

    @pytest.mark.parametrize("order", ["above", "below"])
    @pytest.mark.parametrize("later", [False, True])
    def test_is_the_server_s_call(self, rows: Rows, order: str, later: bool) -> None:
        """Above or below ``@server.tool()``, one call, with the decorator's own options."""
        server = MCPServer("s")

        def double(n: int, key: str = "") -> int:
            return 2 * n

        async def double_later(n: int, key: str = "") -> int:
            return 2 * n

        function = double_later if later else double
        traced = traced_tool(name="twice", redact=["key"])
        if order == "above":
            traced(server.tool(name="double")(function))
        else:
            server.tool(name="double")(traced(function))
        asyncio.run(server.call_tool("double", {"n": 2, "key": "hidden"}))
        assert [(name, out, status) for name, _, out, status, _ in rows.calls()] == [("twice", 4, "ok")]
        assert "hidden" not in str(rows("SELECT payload FROM trajectory_events"))


class TestUninstall:
    """Taking the patches back."""

    def test_leaves_everything_as_it_was(self, rows: Rows) -> None:
        """The classes have their own methods; servers made meanwhile go on working, unrecorded."""
        server = build_server("low")
        agenttrace.uninstall("mcp")
        before = vars(ClientSession)["call_tool"], vars(MCPServer)["call_tool"], vars(Server)["__init__"]
        assert not any(hasattr(one, "__wrapped__") for one in before)
        result = connected(server, lambda client: client.call_tool("fail", {"word": "a"}))
        assert result.is_error
        assert rows.calls() == []
