"""The OpenAI Agents SDK on OpenAI's SDK and real HTTP: one turn a request, however many libraries see it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, function_tool
from agents.retry import ModelRetryBackoffSettings, ModelRetrySettings, retry_policies
from openai import AsyncOpenAI, RateLimitError

import agenttrace
from tests.clients.provider import Provider
from tests.clients.provider_replies import (
    Call,
    Reply,
    Usage,
    bad_request,
    broken_stream,
    rate_limited,
    text,
    tool_calls,
)
from tests.clients.turns import read_turns
from tests.frameworks.conftest import Rows
from tests.frameworks.openai_agents_scripts import WAYS, Way
from tests.reading import ROOT, query

USAGE = Usage(100, 50, cache_read_tokens=20, reasoning_tokens=10)

Make = Callable[[str, int], Any]

_CLIENTS: list[AsyncOpenAI] = []
"""Kept: a client that is collected closes itself in whatever loop runs then, and is heard to fail at it."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Start a provider that must be asked for exactly what it was told to answer."""
    with Provider() as started:
        yield started


@pytest.fixture(params=[OpenAIResponsesModel, OpenAIChatCompletionsModel], ids=["responses", "chat"])
def make(request: pytest.FixtureRequest, provider: Provider) -> Make:
    """Give what makes a model on that provider, of a name and with so many retries of the SDK."""

    def make_model(name: str = "gpt-asked", max_retries: int = 2) -> Any:
        client = AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=max_retries)
        _CLIENTS.append(client)
        return request.param(model=name, openai_client=client)

    return make_model


@function_tool
def add(a: int, b: int) -> int:
    """Add a and b."""
    return a + b


@pytest.mark.parametrize("run", list(WAYS.values()), ids=list(WAYS))
class TestTurn:
    """What a turn of the framework is, when OpenAI's SDK asks the model."""

    @pytest.mark.parametrize("followed", [("auto",), ("openai_agents",)], ids=["both", "framework alone"])
    def test_is_told_once(
        self, rows: Rows, provider: Provider, make: Make, run: Way, followed: tuple[str, ...]
    ) -> None:
        """Two requests are two turns with the tokens of the wire, whether one library or two are followed."""
        agenttrace.uninstall()
        agenttrace.install(*followed)
        provider.queue(
            tool_calls([Call("add", {"a": 1, "b": 2}, "call_a")], usage=USAGE, response_id="r1"),
            text("3", usage=USAGE, response_id="r2"),
        )
        told = ModelSettings(include_usage=True)  # chat streams tell no usage unless they are asked
        result = run(Agent(name="A", model=make("gpt-asked", 2), tools=[add], model_settings=told), "1 + 2?")
        assert result.final_output == "3"
        turns = read_turns(rows)
        assert [(one.asked, one.provider, one.number, one.status) for one in turns] == [
            ("gpt-asked", "openai", 1, "ok"),
            ("gpt-asked", "openai", 2, "ok"),
        ]
        assert [one.usage for one in turns] == [USAGE, USAGE]
        assert rows("SELECT call_id, tool_name, status FROM tool_traces") == [("call_a", "add", "ok")]

    def test_says_which_model_answered(self, rows: Rows, provider: Provider, make: Make, run: Way) -> None:
        """What the framework does not tell (the model that answered, the provider's usage) is the SDK's."""
        provider.queue(text("ok", model="gpt-answered", usage=USAGE))
        told = ModelSettings(include_usage=True)
        run(Agent(name="A", model=make("gpt-asked", 2), model_settings=told), "hi")
        (turn,) = read_turns(rows)
        assert (turn.asked, turn.answered) == ("gpt-asked", "gpt-answered")
        assert turn.payload["usage"]
        (item,) = turn.payload["output"]
        assert item["content"][0]["text"] == "ok"

    def test_has_the_retries_of_the_sdk(self, rows: Rows, provider: Provider, make: Make, run: Way) -> None:
        """A 429 that the SDK tries again is an attempt of this turn, and retried."""
        provider.queue(rate_limited(), text("ok"))
        run(Agent(name="A", model=make("gpt-asked", 2)), "hi")
        (turn,) = read_turns(rows)
        assert (turn.status, turn.attempt) == ("ok", 2)
        assert [one["type"] for one in turn.errors] == ["RateLimitError"]
        assert len(turn.retries) == 1
        assert [fate for (fate,) in rows("SELECT fate FROM failures")] == ["retried"]

    def test_has_the_retries_of_the_runner(
        self, rows: Rows, provider: Provider, make: Make, run: Way
    ) -> None:
        """What the framework's own policy tries again is an attempt of the same turn too."""
        provider.queue(rate_limited(), rate_limited(), text("ok"))
        retry = ModelRetrySettings(
            max_retries=3,
            backoff=ModelRetryBackoffSettings(initial_delay=0.001, max_delay=0.001, jitter=False),
            policy=retry_policies.any(retry_policies.provider_suggested(), retry_policies.http_status([429])),
        )
        agent = Agent(name="A", model=make("gpt-asked", 0), model_settings=ModelSettings(retry=retry))
        run(agent, "hi")
        (turn,) = read_turns(rows)
        assert (turn.status, turn.attempt) == ("ok", 3)
        assert [one["type"] for one in turn.errors] == ["RateLimitError"] * 2
        assert [fate for (fate,) in rows("SELECT fate FROM failures")] == ["retried"] * 2

    def test_that_fails_fails_the_run(self, rows: Rows, provider: Provider, make: Make, run: Way) -> None:
        """An API error is one failure: of the turn, and of the agent that it leaves."""
        provider.queue(rate_limited())
        with pytest.raises(RateLimitError):
            run(Agent(name="A", model=make("gpt-asked", 0)), "hi")
        (turn,) = read_turns(rows)
        assert (turn.status, turn.error_type) == ("error", "RateLimitError")
        assert rows("SELECT error_type, fate FROM failures") == [("RateLimitError", "escaped")]
        assert rows.agents() == [("A", None, "error")]

    def test_of_an_invalid_request_is_a_failure(
        self, rows: Rows, provider: Provider, make: Make, run: Way
    ) -> None:
        """Nobody tries a 400 again."""
        provider.queue(bad_request())
        with pytest.raises(Exception, match="no such parameter"):
            run(Agent(name="A", model=make("gpt-asked", 2)), "hi")
        assert [one.status for one in read_turns(rows)] == ["error"]


class TestStream:
    """A streamed run on the wire."""

    def test_keeps_the_words_that_came(self, rows: Rows, provider: Provider, make: Make) -> None:
        """The pieces of the answer are kept once, though two libraries see them."""
        words = " ".join(f"word{number}" for number in range(300))
        provider.queue(text(words))
        WAYS["run_streamed"](Agent(name="A", model=make("gpt-asked", 2)), "hi")
        (turn,) = read_turns(rows)
        assert turn.payload["first_chunk_ms"] > 0
        assert words.startswith("".join(turn.deltas)) and len("".join(turn.deltas)) > 500

    def test_that_breaks_keeps_what_had_come(self, rows: Rows, provider: Provider, make: Make) -> None:
        """The pieces before the break stay; the turn and the agent are failed."""
        provider.queue(broken_stream(text("one two three four five"), after=3))
        with pytest.raises(Exception):  # which one is OpenAI's affair
            WAYS["run_streamed"](Agent(name="A", model=make("gpt-asked", 0)), "hi")
        (turn,) = read_turns(rows)
        assert turn.status == "error" and "".join(turn.deltas).startswith("one two")
        assert rows.agents() == [("A", None, "error")]


PROGRAM = '''
from agents import Agent, Runner, function_tool, set_default_openai_api, set_tracing_disabled
from agents.exceptions import ModelBehaviorError

set_tracing_disabled(True)


@function_tool
def read_file(path: str) -> str:
    """Read a file."""
    return open(path).read()


agent = Agent(name="Reader", model="gpt-test", tools=[read_file])
print(Runner.run_sync(agent, "read it").final_output)
try:
    Runner.run_sync(agent, "now write it")
except ModelBehaviorError as exc:
    print("sorry:", exc)
    raise SystemExit(3)
'''
REPLIES: list[Reply] = [
    rate_limited(),
    tool_calls([Call("read_file", {"path": "/nowhere"}, "call_1")]),
    text("there is no such file"),
    tool_calls([Call("write_file", {"path": "/nowhere"}, "call_2")]),
]


@pytest.mark.slow
class TestProgram:
    """A program that never heard of us, run under ``agenttrace run``."""

    def run(self, program: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTTRACE_DB")}
        return subprocess.run(
            [sys.executable, *command, str(program)],
            env={**kept, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_leaves_all_three_failures_with_call_and_line(self, tmp_path: Path) -> None:
        """
        A retried 429, a swallowed error and a hallucinated tool are found; output and exit code are its own.

        Done when: each with the call it belongs to and the line that it came from or was caught at.
        """
        program, database = tmp_path / "program.py", tmp_path / "t.db"
        program.write_text(PROGRAM)
        outcomes = []
        for command in ((), ("-m", "agenttrace", "run")):
            with Provider() as provider:
                provider.queue(*REPLIES)
                outcomes.append(
                    self.run(program, *command, **provider.environment, AGENTTRACE_DB=str(database))
                )
        plain, traced = outcomes
        assert (traced.stdout, traced.returncode) == (plain.stdout, plain.returncode)
        assert plain.returncode == 3 and plain.stdout.splitlines() == [
            "there is no such file",
            "sorry: Tool write_file not found in agent Reader",
        ]
        failures = query(database, "SELECT error_type, tool_name, fate FROM failures ORDER BY ts_ms, id")
        assert [(kind, tool) for kind, tool, _ in failures] == [
            ("RateLimitError", None),
            ("FileNotFoundError", "read_file"),
            ("ModelBehaviorError", "write_file"),
        ]
        assert [fate for *_, fate in failures[:2]] == ["retried", "reported"]
        calls = query(database, "SELECT tool_name, call_id, status FROM tool_traces ORDER BY id")
        assert calls == [("read_file", "call_1", "error"), ("write_file", "call_2", "error")]
        places = query(
            database,
            "SELECT error_type, json_extract(payload, '$.error.frames'),"
            " json_extract(payload, '$.handled_at') FROM trajectory_events WHERE kind = 'error' ORDER BY id",
        )
        lines = PROGRAM.splitlines()
        raised = lines.index("    return open(path).read()") + 1
        assert f'"line":{raised},"function":"read_file"' in places[1][1].replace(" ", "")
        asked = lines.index('    Runner.run_sync(agent, "now write it")') + 1
        assert f'"line":{asked},"function":"<module>"' in places[2][1].replace(" ", "")
        assert query(database, "SELECT status FROM agents ORDER BY ts_ms") == [("ok",), ("error",)]
