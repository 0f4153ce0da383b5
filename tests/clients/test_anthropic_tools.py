"""The tools that Anthropic's SDK runs itself, and the models that other clouds serve."""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

import agenttrace
from agenttrace import agent_scope, traced_tool
from tests.clients.provider import Provider
from tests.clients.provider_replies import Call, rate_limited, text, tool_calls
from tests.clients.turns import read_turns
from tests.frameworks.conftest import Rows

tools = pytest.importorskip("anthropic.lib.tools", reason="this version of the SDK has no tools of its own")
ToolError = getattr(tools, "ToolError", ValueError)

GIVEN: dict[str, Any] = {
    "model": "claude-asked",
    "max_tokens": 99,
    "messages": [{"role": "user", "content": "divide"}],
}


def divide(a: int, b: int) -> str:
    """Divide a by b.

    Args:
        a: This one.
        b: By this one.
    """
    if a < 0:
        raise ToolError("nothing below zero")
    return str(a / b)


async def divide_later(a: int, b: int) -> str:
    """Divide a by b.

    Args:
        a: This one.
        b: By this one.
    """
    await asyncio.sleep(0)
    return divide(a, b)


SCRIPT = [
    tool_calls(
        [Call("divide", {"a": 1, "b": 4}, "toolu_fine"), Call("divide", {"a": 1, "b": 0}, "toolu_zero")]
    ),
    tool_calls([Call("divide", {"a": -1, "b": 4}, "toolu_told"), Call("divide", {"a": "x"}, "toolu_bad")]),
    rate_limited(),
    tool_calls([Call("multiply", {"a": 1}, "toolu_none")]),
    text("that is all"),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep what the SDK says of failed tools out of the test's output."""
    logger = logging.getLogger("anthropic")
    before = logger.disabled, logging.getLogger("anthropic.lib.tools._beta_runner").disabled
    logging.getLogger("anthropic.lib.tools._beta_runner").disabled = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
    logger.disabled, logging.getLogger("anthropic.lib.tools._beta_runner").disabled = before


MODES: dict[str, dict[str, Any]] = {"at once": {}, "streamed": {"stream": True}}
if "run_tools_eagerly" in inspect.signature(anthropic.resources.beta.Messages.tool_runner).parameters:
    MODES["eager"] = {"stream": True, "run_tools_eagerly": True}  # tools run while the answer streams in


def run(url: str, tool: Any, mode: str) -> Any:
    """Let the SDK's runner answer what the model asks for."""
    with anthropic.Anthropic(base_url=url, api_key="k") as client:
        runner = client.beta.messages.tool_runner(**GIVEN, tools=[tool], **MODES[mode])
        if mode == "at once":
            return runner.until_done().content[0].text
        for events in runner:
            for _ in events:
                pass
        return events.get_final_message().content[0].text


async def run_async(url: str, tool: Any, mode: str) -> Any:
    async with anthropic.AsyncAnthropic(base_url=url, api_key="k") as client:
        runner = client.beta.messages.tool_runner(**GIVEN, tools=[tool], **MODES[mode])
        if mode == "at once":
            return (await runner.until_done()).content[0].text
        async for events in runner:
            async for _ in events:
                pass
        return (await events.get_final_message()).content[0].text


def run_script(provider: Provider, mode: str, *, is_async: bool, is_decorated: bool) -> list[Any]:
    """Run the whole script; give what the tools told the model."""
    provider.queue(*SCRIPT)
    function: Any = divide_later if is_async else divide
    function = traced_tool(name="divide")(function) if is_decorated else function
    with agent_scope("divider"):
        if is_async:
            tool: Any = anthropic.beta_async_tool(function, name="divide")
            said = asyncio.run(run_async(provider.anthropic_url, tool, mode))
        else:
            said = run(provider.anthropic_url, anthropic.beta_tool(function, name="divide"), mode)
    assert said == "that is all"
    return [body["messages"][-1]["content"] for body in provider.bodies if len(body["messages"]) > 1]


def takes(cloud: tuple[str, dict[str, str], Any]) -> bool:
    """Tell whether this version of the SDK has the client, and can be told what it is to be told."""
    kind = getattr(anthropic, cloud[0], None)
    return kind is not None and cloud[1].keys() <= inspect.signature(kind.__init__).parameters.keys()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("is_decorated", [False, True], ids=["plain", "decorated"])
class TestRunner:
    """The SDK's own loop of model and tools."""

    def test_leaves_a_row_for_each_call(
        self, rows: Rows, provider: Provider, mode: str, is_async: bool, is_decorated: bool
    ) -> None:
        """With the model's id, the arguments, and the error itself, though the model got a text."""
        run_script(provider, mode, is_async=is_async, is_decorated=is_decorated)
        found = rows(
            "SELECT call_id, tool_name, status, error_type, tool_output FROM tool_traces ORDER BY id"
        )
        *told, unknown = [row[:4] for row in found]
        assert told == [
            ("toolu_fine", "divide", "ok", None),
            ("toolu_zero", "divide", "error", "ZeroDivisionError"),
            ("toolu_told", "divide", "error", ToolError.__name__),
            ("toolu_bad", "divide", "error", "ValueError"),
        ]
        assert unknown[:3] == ("toolu_none", "multiply", "error")
        assert found[0][4] == "0.25"

    def test_leaves_each_failure_once(
        self, rows: Rows, provider: Provider, mode: str, is_async: bool, is_decorated: bool
    ) -> None:
        """Four calls failed and one request was tried again: five failures, of which the model was told."""
        run_script(provider, mode, is_async=is_async, is_decorated=is_decorated)
        fates = [(tool, fate) for tool, _, fate in rows.failures()]
        assert fates == [
            ("divide", "reported"),
            ("divide", "reported"),
            ("divide", "reported"),
            (None, "retried"),
            ("multiply", "reported"),
        ]

    def test_counts_its_turns(
        self, rows: Rows, provider: Provider, mode: str, is_async: bool, is_decorated: bool
    ) -> None:
        """Each request is a turn, the one that was tried again too."""
        run_script(provider, mode, is_async=is_async, is_decorated=is_decorated)
        turns = read_turns(rows)
        assert [(turn.number, turn.status, turn.attempt) for turn in turns] == [
            (1, "ok", None),
            (2, "ok", None),
            (3, "ok", 2),
            (4, "ok", None),
        ]
        # What was sent before may be a reference.
        assert [turn.call["input"][-1] for turn in turns] == [
            provider.bodies[number]["messages"][-1] for number in (0, 1, 2, 4)
        ]
        assert turns[0].call["params"]["tools"] == provider.bodies[0]["tools"]

    def test_tells_the_model_the_same(
        self, rows: Rows, provider: Provider, mode: str, is_async: bool, is_decorated: bool
    ) -> None:
        """What goes back to the model is what goes back untraced."""
        on = run_script(provider, mode, is_async=is_async, is_decorated=is_decorated)
        agenttrace.disable()
        agenttrace.uninstall()
        with Provider() as another:
            off = run_script(another, mode, is_async=is_async, is_decorated=False)
        assert on == off


CLOUDS: dict[str, tuple[str, dict[str, str], tuple[bool, ...]]] = {
    "google": ("AnthropicVertex", {"access_token": "t", "project_id": "p", "region": "r"}, (False, True)),
    "azure": ("AnthropicFoundry", {"api_key": "k"}, (False, True)),
    "aws": ("AnthropicBedrock", {"api_key": "k", "aws_region": "r"}, (False,)),
}
"""Who serves, to the SDK's client, its settings, and whether it is streamed: Amazon's is binary."""
CLOUDS = {cloud: one for cloud, one in CLOUDS.items() if takes(one)}


class TestOtherClouds:
    """The SDK's clients for clouds that serve Anthropic's models."""

    @pytest.mark.parametrize("cloud, stream", [(cloud, way) for cloud in CLOUDS for way in CLOUDS[cloud][2]])
    def test_ask_the_same_model_elsewhere(
        self, rows: Rows, provider: Provider, cloud: str, stream: bool
    ) -> None:
        """Most have the model in the path; it is told all the same, and whose machine answered."""
        name, settings, _ = CLOUDS[cloud]
        provider.queue(rate_limited(), text("from afar"))
        with getattr(anthropic, name)(base_url=provider.url, **settings) as client:
            if stream:
                with client.messages.stream(**GIVEN) as events:
                    assert events.get_final_text() == "from afar"
            else:
                assert client.messages.create(**GIVEN).content[0].text == "from afar"
        assert ("model" in provider.bodies[0]) == (cloud == "azure")
        (turn,) = read_turns(rows)
        assert (turn.asked, turn.answered, turn.provider) == ("claude-asked", "claude-asked", cloud)
        assert (turn.status, turn.attempt) == ("ok", 2)

    def test_are_known_by_the_class_they_are_made_of(self, rows: Rows, provider: Provider) -> None:
        """A program's own class of client is served where the one beneath it is."""

        class OurVertex(anthropic.AnthropicVertex):
            pass

        provider.queue(text("from afar"), text("from near"))
        with OurVertex(base_url=provider.url, access_token="t", project_id="p", region="r") as client:
            client.messages.create(**GIVEN)

        class OurAnthropic(anthropic.Anthropic):
            pass

        with OurAnthropic(base_url=provider.anthropic_url, api_key="k") as near:
            near.messages.create(**GIVEN)
        assert [turn.provider for turn in read_turns(rows)] == ["google", "anthropic"]
