"""pydantic-ai on the SDKs of OpenAI and Anthropic and real HTTP: one turn a request, whoever sees it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

import agenttrace
from tests.clients.provider import Provider
from tests.clients.provider_replies import (
    Call,
    Usage,
    bad_request,
    broken_stream,
    rate_limited,
    text,
    tool_calls,
)
from tests.clients.turns import read_turns
from tests.frameworks.conftest import Rows
from tests.frameworks.pydantic_ai_scripts import WAYS, Way
from tests.reading import ROOT, query

MODELS = ("chat", "responses", "anthropic")
Make = Callable[[int], Any]

_CLIENTS: list[Any] = []
"""Kept: a client that is collected closes itself in whatever loop runs then, and is heard to fail at it."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Start a provider that must be asked for exactly what it was told to answer."""
    with Provider() as started:
        yield started


@pytest.fixture(params=MODELS)
def make(request: pytest.FixtureRequest, provider: Provider) -> Make:
    """Give what makes a model on that provider, with so many retries of the SDK."""

    def make_model(max_retries: int) -> Any:
        if request.param == "anthropic":
            client: Any = anthropic.AsyncAnthropic(
                base_url=provider.anthropic_url, api_key="k", max_retries=max_retries
            )
            made: Any = AnthropicModel("m-asked", provider=AnthropicProvider(anthropic_client=client))
        else:
            client = openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=max_retries)
            kind = OpenAIChatModel if request.param == "chat" else OpenAIResponsesModel
            made = kind("m-asked", provider=OpenAIProvider(openai_client=client))
        _CLIENTS.append(client)
        return made

    return make_model


def add(a: int, b: int) -> int:
    """Add a and b."""
    return a + b


@pytest.mark.parametrize("run", list(WAYS.values()), ids=list(WAYS))
class TestTurn:
    """What a turn of the framework is, when an SDK asks the model."""

    @pytest.mark.parametrize("followed", [("auto",), ("pydantic_ai",)], ids=["all", "framework alone"])
    def test_is_told_once(
        self, rows: Rows, provider: Provider, make: Make, run: Way, followed: tuple[str, ...]
    ) -> None:
        """Two requests are two turns with the tokens of the wire, whether one library or two are followed."""
        agenttrace.uninstall()
        agenttrace.install(*followed)
        model = make(2)
        caches = 30 if isinstance(model, AnthropicModel) else 0
        usage = Usage(100, 50, cache_read_tokens=20, cache_write_tokens=caches)
        provider.queue(
            tool_calls([Call("add", {"a": 1, "b": 2}, "call_a")], usage=usage),
            text("3", usage=usage, model="m-answered"),
        )
        assert run(Agent(model, name="A", tools=[add]), "1 + 2?") == "3"
        turns = read_turns(rows)
        assert [(one.asked, one.answered, one.number, one.status) for one in turns] == [
            ("m-asked", "m-asked", 1, "ok"),
            ("m-asked", "m-answered", 2, "ok"),
        ]
        assert [one.usage for one in turns] == [usage, usage]
        assert {one.provider for one in turns} == {model.system}
        assert rows("SELECT call_id, tool_name, status FROM tool_traces") == [("call_a", "add", "ok")]

    def test_has_the_retries_of_the_sdk(self, rows: Rows, provider: Provider, make: Make, run: Way) -> None:
        """A 429 that the SDK tries again is an attempt of this turn, and retried."""
        provider.queue(rate_limited(), text("ok"))
        run(Agent(make(2), name="A"), "hi")
        (turn,) = read_turns(rows)
        assert (turn.status, turn.attempt) == ("ok", 2)
        assert [one["type"] for one in turn.errors] == ["RateLimitError"]
        assert [fate for (fate,) in rows("SELECT fate FROM failures")] == ["retried"]

    def test_that_fails_fails_the_run(self, rows: Rows, provider: Provider, make: Make, run: Way) -> None:
        """An API error ends turn and agent; the library's exception of it is not told as a second error."""
        provider.queue(bad_request())
        with pytest.raises(Exception, match="no such parameter"):
            run(Agent(make(2), name="A"), "hi")
        (turn,) = read_turns(rows)
        assert turn.status == "error"
        assert rows.agents() == [("A", None, "error")]
        assert {fate for (fate,) in rows("SELECT fate FROM failures")} == {"escaped"}


class TestStream:
    """A streamed run on the wire."""

    def test_that_breaks_keeps_what_had_come(self, rows: Rows, provider: Provider, make: Make) -> None:
        """The pieces before the break stay; the turn and the agent are failed."""
        provider.queue(broken_stream(text("one two three four five"), after=3))
        with pytest.raises(Exception):  # which one is the library's affair
            WAYS["run_stream"](Agent(make(0), name="A"), "hi")
        (turn,) = read_turns(rows)
        assert turn.status == "error" and "".join(turn.deltas).startswith("one two")
        assert rows.agents() == [("A", None, "error")]

    def test_left_early_is_an_agent_that_ended(self, rows: Rows, provider: Provider, make: Make) -> None:
        """A consumer that leaves the block after the first piece leaves one ended agent and turn."""
        provider.queue(text(" ".join(["word"] * 200)))

        async def consume() -> None:
            async with Agent(make(0), name="A").run_stream("hi") as result:
                async for _ in result.stream_text(delta=True, debounce_by=None):
                    break

        asyncio.run(consume())
        assert len(read_turns(rows)) == 1 and len(rows.events("agent_end")) == 1
        assert agenttrace.current() is None


PROGRAM = '''
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelRetry

agent = Agent("anthropic:claude-test", name="reader")


@agent.tool_plain
def read_file(path: str) -> str:
    """Read a file."""
    try:
        return open(path).read()
    except OSError as exc:
        raise ModelRetry(f"not readable: {exc}") from exc


print(agent.run_sync("read it").output)
'''


@pytest.mark.slow
class TestProgram:
    """A program that never heard of us, run under ``agenttrace run``."""

    def test_leaves_all_three_failures(self, tmp_path: Path) -> None:
        """A retried 429, an error told to the model, a hallucinated tool; output and exit are its own."""
        program, database = tmp_path / "program.py", tmp_path / "t.db"
        program.write_text(PROGRAM)
        outcomes = []
        for command in ((), ("-m", "agenttrace", "run")):
            with Provider() as provider:
                provider.queue(
                    rate_limited(),
                    tool_calls([Call("read_file", {"path": "/nowhere"}, "toolu_1")]),
                    tool_calls([Call("write_file", {"path": "/nowhere"}, "toolu_2")]),
                    text("there is no such file"),
                )
                kept = {k: v for k, v in os.environ.items() if not k.startswith("AGENTTRACE_DB")}
                outcomes.append(
                    subprocess.run(
                        [sys.executable, *command, str(program)],
                        env={
                            **kept,
                            **provider.environment,
                            "PYTHONPATH": str(ROOT),
                            "AGENTTRACE_DB": str(database),
                        },
                        capture_output=True,
                        text=True,
                        timeout=60,
                    )
                )
        plain, traced = outcomes
        assert (
            (traced.stdout, traced.returncode)
            == (plain.stdout, plain.returncode)
            == (
                "there is no such file\n",
                0,
            )
        )
        failures = query(database, "SELECT error_type, tool_name, fate FROM failures ORDER BY ts_ms, id")
        assert failures == [
            ("RateLimitError", None, "retried"),
            ("ModelRetry", "read_file", "reported"),
            ("_UnknownTool", "write_file", "reported"),
        ]
        calls = query(database, "SELECT tool_name, call_id, status FROM tool_traces ORDER BY id")
        assert calls == [("read_file", "toolu_1", "error"), ("write_file", "toolu_2", "error")]
        ((frames,),) = query(
            database,
            "SELECT json_extract(payload, '$.error.frames') FROM trajectory_events"
            " WHERE kind = 'error' AND error_type = 'ModelRetry'",
        )
        line = PROGRAM.splitlines().index('        raise ModelRetry(f"not readable: {exc}") from exc') + 1
        assert f'"line":{line},"function":"read_file"' in frames.replace(" ", "")
