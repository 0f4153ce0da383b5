"""Many runs at once, in one loop and in many threads: each keeps its own agents, turns and calls."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from agents import Runner, function_tool

import agenttrace
from tests.frameworks import openai_agents_scripts, pydantic_ai_scripts
from tests.frameworks.conftest import Rows

pytestmark = pytest.mark.slow

RUNS = 12
CALLS = 3


async def give(number: int) -> int:
    """Give the number back, after others had their turn."""
    await asyncio.sleep(0)
    return number


def make_openai_agent(number: int) -> Any:
    """Give an agent that calls a tool several times at once, hands over, and whose helper calls it again."""
    ask = openai_agents_scripts.ask
    wanted = [ask("give", f"c{number}-{at}", number=number) for at in range(CALLS)]
    other = openai_agents_scripts.agent(
        f"Other{number}", [ask("give", f"o{number}", number=number)], "ok", tools=[function_tool(give)]
    )
    handing = [ask(f"transfer_to_other{number}", f"t{number}")]
    return openai_agents_scripts.agent(
        f"First{number}", wanted, handing, tools=[function_tool(give)], handoffs=[other]
    )


def make_pydantic_agent(number: int) -> Any:
    """Give an agent that calls a tool several times at once, and another agent in a tool."""
    ask = pydantic_ai_scripts.ask
    helper = pydantic_ai_scripts.agent(
        f"Other{number}", [ask("give", f"o{number}", number=number)], "ok", tools=[give]
    )

    async def transfer(number: int) -> str:
        return str((await helper.run("go")).output)

    wanted = [ask("give", f"c{number}-{at}", number=number) for at in range(CALLS)]
    handing = [ask("transfer", f"t{number}", number=number)]
    return pydantic_ai_scripts.agent(f"First{number}", wanted, handing, "ok", tools=[give, transfer])


def check(rows: Rows) -> None:
    """Every call stands in the agent of its number, and every run in a conversation of its own."""
    found = rows("SELECT agent_name, tool_name, call_id, tool_output FROM tool_traces")
    calls = {(name, call_id): gave for name, tool, call_id, gave in found if tool == "give"}
    assert calls == {
        **{(f"First{n}", f"c{n}-{at}"): n for n in range(RUNS) for at in range(CALLS)},
        **{(f"Other{n}", f"o{n}"): n for n in range(RUNS)},
    }
    assert sorted(rows.agents()) == sorted(
        [(f"First{n}", None, "ok") for n in range(RUNS)]
        + [(f"Other{n}", f"First{n}", "ok") for n in range(RUNS)]
    )
    per_conversation = rows(
        "SELECT count(DISTINCT conversation_id), count(DISTINCT substr(agent_name, 6) || conversation_id)"
        " FROM trajectory_events"
    )
    assert per_conversation == [(RUNS, RUNS)]
    assert rows("SELECT count(*) FROM trajectory_events WHERE status = 'interrupted'") == [(0,)]
    assert rows.events("result_dropped") == []
    assert agenttrace.current() is None


class TestOpenaiAgents:
    """Runs of the OpenAI Agents SDK."""

    @pytest.mark.parametrize("way", ["run", "run_streamed"])
    def test_in_one_loop_keep_apart(self, rows: Rows, way: str) -> None:
        """Gathered runs share a thread and a loop, and nothing else."""

        async def start(number: int) -> None:
            if way == "run":
                await Runner.run(make_openai_agent(number), "go")
            else:
                await openai_agents_scripts.stream(make_openai_agent(number), "go")

        async def start_all() -> None:
            await asyncio.gather(*(start(number) for number in range(RUNS)))

        asyncio.run(start_all())
        check(rows)

    def test_in_threads_keep_apart(self, rows: Rows) -> None:
        """Each thread has a loop of its own."""

        def start(number: int) -> None:
            asyncio.run(Runner.run(make_openai_agent(number), "go"))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(start, range(RUNS)))
        check(rows)


class TestPydanticAi:
    """Runs of pydantic-ai."""

    @pytest.mark.parametrize("way", ["run", "run_stream"])
    def test_in_one_loop_keep_apart(self, rows: Rows, way: str) -> None:
        """Gathered runs share a thread and a loop, and nothing else."""

        async def start(number: int) -> None:
            starting = make_pydantic_agent(number)
            if way == "run":
                await starting.run("go")
            else:
                async with starting.run_stream("go") as result:
                    await result.get_output()

        async def start_all() -> None:
            await asyncio.gather(*(start(number) for number in range(RUNS)))

        asyncio.run(start_all())
        check(rows)

    def test_in_threads_keep_apart(self, rows: Rows) -> None:
        """Each thread has a loop of its own."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: make_pydantic_agent(number).run_sync("go"), range(RUNS)))
        check(rows)
