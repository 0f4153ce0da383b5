"""MCP over real transports: a client, and a server in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession

import agenttrace
from agenttrace import agent_scope, model_turn, traced_tool
from tests.frameworks.conftest import Rows
from tests.frameworks.mcp_clients import (
    Opened,
    is_failed,
    open_http,
    open_modern,
    open_program,
    open_sse,
    open_stdio,
    text_of,
)
from tests.frameworks.mcp_servers import IS_VERSION_2
from tests.reading import open_store

pytestmark = pytest.mark.slow

WAYS = [
    pytest.param(open_stdio, "high", id="stdio-high"),
    pytest.param(open_stdio, "low", id="stdio-low"),
    pytest.param(open_http, "high", id="http-high"),
    pytest.param(open_http, "low", id="http-low"),
    pytest.param(open_sse, "high", id="sse-high"),
]
if IS_VERSION_2:
    WAYS += [pytest.param(open_modern, level, id=f"modern-{level}") for level in ("high", "low")]

TREE = """
SELECT c.tool_name, p.tool_name, c.agent_name, substr(c.span_id, 1, 8) = substr(p.span_id, 1, 8), c.status
FROM tool_traces c LEFT JOIN tool_traces p ON p.span_id = c.parent_span_id ORDER BY c.started_at, c.id
"""
"""Each call with the call it runs in, and whether both are of one process."""


def drive(opened: AbstractAsyncContextManager[ClientSession], *calls: tuple[str, Any]) -> list[Any]:
    """Make *calls* as one agent, and tell its model what came of them."""

    async def go() -> list[Any]:
        found: list[Any] = []
        with agent_scope("caller"):
            async with opened as session:
                for name, arguments in calls:
                    found.append(await session.call_tool(name, arguments))
            with model_turn("m", input=[{"role": "tool", "content": text_of(one)} for one in found]):
                pass
        return found

    return asyncio.run(go())


def recover(rows: Rows) -> None:
    """Have what ended processes left behind written to the database."""
    agenttrace.flush()
    open_store(rows.database).close()


@pytest.mark.shared_ring  # each test ends its server's process, and reads what that left
@pytest.mark.parametrize(("opened", "level"), WAYS)
class TestTwoProcesses:
    """A client and a server that are both traced."""

    def test_make_one_tree(self, rows: Rows, opened: Opened, level: str) -> None:
        """The server's call lies under the client's, as that agent's, and what its tool calls below that."""
        drive(opened(level, rows), ("define", {"word": "a"}))
        recover(rows)
        assert rows(TREE) == [
            ("define", None, "caller", None, "ok"),
            ("define", "define", "caller", 0, "ok"),
            ("look_up", "define", "caller", 1, "ok"),
        ]
        assert rows(
            "SELECT count(DISTINCT conversation_id), count(DISTINCT agent_id) FROM trajectory_events"
        ) == [(1, 1)]
        assert rows("SELECT count(*) FROM processes") == [(2,)]
        assert rows.agents() == [("caller", None, "ok")]

    def test_tell_of_a_failure_once(self, rows: Rows, opened: Opened, level: str) -> None:
        """The server writes the failure as it was raised; the client's call closes with the same one."""
        (result,) = drive(opened(level, rows), ("fail", {"word": "xyzzy"}))
        assert is_failed(result)
        assert not any("agenttrace" in key for key in result.meta or {})
        recover(rows)
        kind = "LookupError" if level == "high" else "ReturnedFailure"
        # Version 1 logs exceptions of its own as a connection ends; those are of no tool.
        ((tool, error_type, message, at, fate),) = rows(
            "SELECT tool_name, error_type, message, raised_at, fate FROM failures WHERE tool_name IS NOT NULL"
        )
        assert (tool, error_type, fate) == ("fail", kind, "reported")
        assert "no such word: xyzzy" in message
        assert level == "low" or "mcp_servers.py" in at
        assert rows("SELECT tool_name, status, error_type FROM tool_traces") == [("fail", "error", kind)] * 2
        ends = rows(
            "SELECT DISTINCT error_id FROM trajectory_events WHERE tool_name = 'fail' AND status = 'error'"
        )
        assert len(ends) == 1

    def test_keep_concurrent_calls_apart(self, rows: Rows, opened: Opened, level: str) -> None:
        """Of calls that run at once over one session, each server side lies under its own client side."""
        words = [f"word{at}" for at in range(20)]

        async def go() -> None:
            with agent_scope("caller"):
                async with opened(level, rows) as session:
                    await asyncio.gather(*(session.call_tool("define", {"word": one}) for one in words))

        asyncio.run(go())
        recover(rows)
        pairs = rows(
            "SELECT p.tool_input, c.tool_input FROM tool_traces c"
            " JOIN tool_traces p ON p.span_id = c.parent_span_id WHERE c.tool_name = 'define'"
        )
        assert sorted(pairs) == sorted((f'{{"word":"{one}"}}',) * 2 for one in words)


@pytest.mark.parametrize("opened", [open_stdio, open_modern] if IS_VERSION_2 else [open_stdio])
class TestProtocolError:
    """A handler that raises, which version 2 makes an error of the protocol of."""

    @pytest.mark.shared_ring  # the client ends the server's process
    def test_tells_of_the_server_s_failure(self, rows: Rows, opened: Opened) -> None:
        """The client's failure is the SDK's exception; a model told of it was told of the server's too."""

        async def go() -> None:
            with agent_scope("caller"):
                async with opened("low", rows) as session:
                    try:
                        told = text_of(await session.call_tool("raise", {}))
                    except Exception as exc:
                        told = str(exc)
                with model_turn("m", input=[{"role": "tool", "content": told}]):
                    pass

        asyncio.run(go())
        recover(rows)
        found = rows("SELECT error_type, fate FROM failures WHERE tool_name = 'raise' ORDER BY ts_ms, id")
        assert found[0] == ("KeyError", "reported")
        assert [fate for _, fate in found] == ["reported"] * (2 if IS_VERSION_2 else 1)


@pytest.mark.parametrize(("opened", "level"), WAYS)
class TestClientAlone:
    """A server that knows nothing of us."""

    def test_records_the_call(self, rows: Rows, opened: Opened, level: str) -> None:
        """Arguments, result, and isError as a failure that the model was told of."""
        good, bad = drive(
            opened(level, rows, traced=False), ("define", {"word": "a"}), ("fail", {"word": "xyzzy"})
        )
        assert text_of(good) == "A: a word"
        assert is_failed(bad)
        (first, second) = rows.calls()
        assert first[:2] == ("define", {"word": "a"})
        assert first[2]["content"] == [{"type": "text", "text": "A: a word"}]
        assert second[0::3] == ("fail", "error")
        assert second[2]["content"][0]["text"] == text_of(bad)
        assert rows("SELECT returned, message, fate FROM failures") == [("isError", text_of(bad), "reported")]


@pytest.mark.parametrize("opened", [open_stdio, open_http])
class TestServerAlone:
    """A client that is not traced."""

    def test_records_by_itself(self, rows: Rows, tmp_path: Path, opened: Opened) -> None:
        """The server's calls belong to its own agent main."""
        database = tmp_path / "server.db"
        agenttrace.disable()
        drive(opened("high", rows, database=database), ("define", {"word": "a"}))
        agenttrace.enable()
        assert rows("SELECT 1 FROM trajectory_events") == []
        other = Rows(database)
        open_store(database).close()
        assert other(TREE) == [("define", None, "main", None, "ok"), ("look_up", "define", "main", 1, "ok")]


SERVER = """
import sys

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:
    from mcp.server.fastmcp import FastMCP as MCPServer

server = MCPServer("plain")


@server.tool()
def divide(a: int, b: int) -> float:
    return a / b


@server.tool()
def is_ours_loaded() -> str:
    return str("agenttrace" in sys.modules)


server.run("stdio")
"""


class TestUnchangedServer:
    """A server program that knows nothing of agenttrace."""

    def test_is_traced_under_agenttrace_run(self, rows: Rows, tmp_path: Path) -> None:
        """The protocol on its stdout is as without us; its calls lie under the client's."""
        program = tmp_path / "server.py"
        program.write_text(SERVER)
        good, bad = drive(
            open_program(rows, "-m", "agenttrace", "run", str(program)),
            ("divide", {"a": 1, "b": 4}),
            ("divide", {"a": 1, "b": 0}),
        )
        assert text_of(good) == "0.25"
        assert is_failed(bad)
        recover(rows)
        assert [row[:2] + row[3:] for row in rows(TREE)] == [
            ("divide", None, None, "ok"),
            ("divide", "divide", 0, "ok"),
            ("divide", None, None, "error"),
            ("divide", "divide", 0, "error"),
        ]
        ((error_type, at),) = rows("SELECT error_type, raised_at FROM failures")
        assert (error_type, at) == ("ZeroDivisionError", f"{program}:14 divide")

    def test_is_left_alone_without(self, rows: Rows, tmp_path: Path) -> None:
        """Started as it is by a traced client, it loads nothing of ours."""
        program = tmp_path / "server.py"
        program.write_text(SERVER)
        (result,) = drive(open_program(rows, str(program)), ("is_ours_loaded", {}))
        assert text_of(result) == "False"
        assert [row[:2] for row in rows(TREE)] == [("is_ours_loaded", None)]


class TestTwoDatabases:
    """A server that is traced, to a database of its own."""

    def test_each_has_the_failure(self, rows: Rows, tmp_path: Path) -> None:
        """What only the other database holds is not taken for told: both have a row, each in its words."""
        database = tmp_path / "server.db"
        (result,) = drive(open_stdio("high", rows, database=database), ("fail", {"word": "xyzzy"}))
        assert result.meta is None
        open_store(database).close()
        assert rows("SELECT tool_name, error_type, returned FROM failures") == [
            ("fail", "ReturnedFailure", "isError")
        ]
        assert Rows(database)("SELECT tool_name, error_type FROM failures") == [("fail", "LookupError")]


class TestBrokenCall:
    """A call that gets no answer."""

    def call_hanging(self, rows: Rows, on_progress: Any, opened: Opened = open_stdio, **kwargs: Any) -> Any:
        """Call the tool that never ends; gives what left the call."""

        async def go() -> Any:
            with agent_scope("caller"):
                async with opened("high", rows) as session:
                    task = asyncio.ensure_future(
                        session.call_tool(
                            "hang", {}, progress_callback=lambda *told: on_progress(task, *told), **kwargs
                        )
                    )
                    (left,) = await asyncio.gather(task, return_exceptions=True)
                    return left

        left = asyncio.run(go())
        recover(rows)
        return left

    # A client of version 1 waits on for the answer of an HTTP server that has gone.
    @pytest.mark.shared_ring
    @pytest.mark.parametrize("opened", [open_stdio, open_http] if IS_VERSION_2 else [open_stdio])
    def test_is_interrupted_where_the_server_was_killed(self, rows: Rows, opened: Opened) -> None:
        """The client's call ends in the SDK's error, the server's is interrupted, under it."""

        async def kill(task: Any, progress: float, *others: Any) -> None:
            os.kill(int(progress), signal.SIGKILL)

        left = self.call_hanging(rows, kill, opened)
        assert isinstance(left, Exception)
        assert rows(TREE) == [
            ("hang", None, "caller", None, "error"),
            ("hang", "hang", "caller", 0, "interrupted"),
        ]

    def test_is_cancelled_on_both_sides(self, rows: Rows) -> None:
        """A client that no longer wants the answer cancels what the server does for it."""

        async def cancel(task: Any, *told: Any) -> None:
            task.cancel()

        left = self.call_hanging(rows, cancel)
        assert isinstance(left, asyncio.CancelledError)
        assert rows("SELECT status FROM tool_traces ORDER BY id") == [("cancelled",)] * 2
        assert rows.failures() == []
        assert (1,) in rows(
            "SELECT json_extract(payload, '$.progress.count') FROM trajectory_events"
            " WHERE kind = 'tool_result'"
        )

    def test_is_an_error_where_it_takes_too_long(self, rows: Rows) -> None:
        """The SDK's own limit of time is a failure of the client's call."""

        async def wait(*told: Any) -> None:
            return None

        limit: Any = 0.3 if IS_VERSION_2 else timedelta(seconds=0.3)
        left = self.call_hanging(rows, wait, read_timeout_seconds=limit)
        assert "imed out" in str(left)
        ((tool, error_type, _),) = rows.failures()
        assert (tool, error_type) == ("hang", type(left).__name__)


class TestProgress:
    """What a server tells of a call while it runs."""

    def test_is_kept_with_the_result(self, rows: Rows) -> None:
        """How often it told and what came last stand beside the output; tools in callbacks are the call's."""
        told: list[Any] = []

        @traced_tool
        def note(message: str) -> None:
            told.append(message)

        async def go() -> None:
            seen = asyncio.Event()

            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                note(str(message))
                if progress == 3:
                    seen.set()

            with agent_scope("caller"):
                async with open_stdio("high", rows) as session:
                    await session.call_tool("count", {}, progress_callback=on_progress)
                    await seen.wait()

        asyncio.run(go())
        recover(rows)
        assert sorted(told) == ["step 1", "step 2", "step 3"]
        notes = [row for row in rows(TREE) if row[0] == "note"]
        assert notes == [("note", "count", "caller", 1, "ok")] * 3
        ((progress,),) = rows(
            "SELECT json_extract(payload, '$.progress.message') FROM trajectory_events"
            " WHERE kind = 'tool_result' AND tool_name = 'count' AND payload LIKE '%progress%'"
        )
        assert str(progress).startswith("step ")
