"""A run that its program gives up: what was open ends as cancelled, and the program goes on as ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from agents import Runner, function_tool

import agenttrace
from tests.frameworks import openai_agents_scripts, pydantic_ai_scripts
from tests.frameworks.conftest import Rows


def start_openai_agent(wait: Callable[[], Awaitable[str]]) -> Awaitable[Any]:
    """Run an agent of the OpenAI Agents SDK, in a tool of which another agent waits."""
    ask, agent = openai_agents_scripts.ask, openai_agents_scripts.agent
    helper = agent("Helper", [ask("wait")], tools=[function_tool(name_override="wait")(wait)])
    boss = agent("Boss", [ask("ask_helper", input="go")], tools=[helper.as_tool("ask_helper", "Ask.")])
    return Runner.run(boss, "go")


def start_pydantic_agent(wait: Callable[[], Awaitable[str]]) -> Awaitable[Any]:
    """Run an agent of pydantic-ai, in a tool of which another agent waits."""
    ask, agent = pydantic_ai_scripts.ask, pydantic_ai_scripts.agent
    helper = agent("Helper", [ask("wait")], tools=[wait])

    async def ask_helper() -> str:
        return str((await helper.run("go")).output)

    return agent("Boss", [ask("ask_helper")], tools=[ask_helper]).run("go")


@pytest.mark.parametrize("start", [start_openai_agent, start_pydantic_agent])
class TestCancelled:
    """``task.cancel()`` while a tool of a subagent waits."""

    def test_ends_all_that_was_open(self, rows: Rows, start: Any) -> None:
        """The calls and both agents are cancelled, and none of it is a failure."""

        async def main() -> None:
            is_waiting = asyncio.Event()

            async def wait() -> str:
                is_waiting.set()
                await asyncio.Event().wait()
                return "never"

            task = asyncio.ensure_future(start(wait))
            await is_waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while len(asyncio.all_tasks()) > 1:  # what the frameworks leave to end by itself
                await asyncio.sleep(0)

        asyncio.run(main())
        assert rows.agents() == [("Boss", None, "cancelled"), ("Helper", "Boss", "cancelled")]
        assert rows("SELECT tool_name, status FROM tool_traces ORDER BY tool_name") == [
            ("ask_helper", "cancelled"),
            ("wait", "cancelled"),
        ]
        assert rows.failures() == []
        assert agenttrace.current() is None
