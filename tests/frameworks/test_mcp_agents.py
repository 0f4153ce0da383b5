"""MCP tools that the OpenAI Agents SDK calls: the SDK's call and the client's are one."""

from __future__ import annotations

import asyncio
import sys

import pytest
from agents import Runner
from agents.mcp import MCPServerStdio

from tests.frameworks.conftest import Rows
from tests.frameworks.mcp_clients import PROGRAM, environment
from tests.frameworks.openai_agents_scripts import agent, ask
from tests.frameworks.test_mcp import TREE, recover


@pytest.mark.slow
class TestAgentWithServer:
    """An agent whose tools are an MCP server's."""

    def test_has_one_call_with_the_server_s_inside(self, rows: Rows) -> None:
        """Framework and client are one call, with the model's id; a failure is the tool's, and reported."""

        async def go() -> None:
            params = {"command": sys.executable, "args": [PROGRAM, "high", "stdio"], "env": environment(rows)}
            async with MCPServerStdio(params=params) as server:  # type: ignore[arg-type]
                asked = [[ask("define", "c1", word="a")], [ask("fail", "c2", word="xyzzy")]]
                await Runner.run(agent("Reader", *asked, "done", mcp_servers=[server]), "define it")

        asyncio.run(go())
        recover(rows)
        assert rows(TREE) == [
            ("define", None, "Reader", None, "ok"),
            ("define", "define", "Reader", 0, "ok"),
            ("look_up", "define", "Reader", 1, "ok"),
            ("fail", None, "Reader", None, "error"),
            ("fail", "fail", "Reader", 0, "error"),
        ]
        assert rows("SELECT tool_name, call_id FROM tool_traces WHERE call_id IS NOT NULL ORDER BY id") == [
            ("define", "c1"),
            ("fail", "c2"),
        ]
        assert rows.failures() == [("fail", "LookupError", "reported")]
