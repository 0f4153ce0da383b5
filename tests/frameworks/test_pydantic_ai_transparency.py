"""A program with pydantic-ai behaves alike with tracing on, off, and not installed."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.tool_manager import ToolManager

import agenttrace
from agenttrace.integrations import patching
from tests.frameworks.conftest import Rows
from tests.frameworks.pydantic_ai_scripts import agent, ask, scripted

MODES = ("not installed", "off", "on")


def add(a: int, b: int) -> int:
    """Add a and b."""
    return a + b


def make_good() -> Agent[Any, Any]:
    """Give an agent that calls a tool well, one badly and one that there is not."""
    wanted = [ask("add", "c1", a=1, b=2), ask("nope", "c2"), ask("add", "c3", a="x", b=1)]
    return agent("A", wanted, "done", tools=[add])


def make_hopeless() -> Agent[Any, Any]:
    """Give an agent whose model never calls a tool that there is."""
    return agent("A", [ask("nope", "c1")], [ask("nope", "c2")])


def make_broken() -> Agent[Any, Any]:
    """Give an agent whose model raises."""
    return agent("A", ValueError("broken"))


def make_picky() -> Agent[Any, Any]:
    """Give an agent that takes no answer."""
    made = agent("A", "bad", "bad")

    @made.output_validator
    def check(output: str) -> str:
        raise ModelRetry("never")

    return made


def enter(mode: str) -> None:
    """Put the process into one of the modes."""
    agenttrace.enable()
    agenttrace.install("pydantic_ai")
    if mode == "not installed":
        agenttrace.uninstall()
    elif mode == "off":
        agenttrace.disable()


class TestTransparency:
    """A program behaves alike with tracing on, off, and not installed."""

    @pytest.mark.parametrize("make", [make_good, make_hopeless, make_broken, make_picky])
    def test_shows_the_same_run(self, rows: Rows, make: Any) -> None:
        """Output, messages, and exceptions with their causes are equal in all modes."""
        seen = []
        for mode in MODES:
            enter(mode)
            starting = make()
            try:
                result = starting.run_sync("hi")
            except Exception as exc:
                seen.append([type(exc), str(exc), type(exc.__cause__), type(exc.__context__)])
            else:
                parts = [part for message in result.all_messages() for part in message.parts]
                seen.append(
                    [result.output, [(part.part_kind, getattr(part, "content", None)) for part in parts]]
                )
        assert seen[0] == seen[1] == seen[2]
        assert len(rows.agents()) == 1

    def test_shows_the_same_events(self, rows: Rows) -> None:
        """The events of a streamed run come, each once and in its order."""

        async def consume() -> list[str]:
            kinds = []
            async with make_good().run_stream_events("hi") as events:
                async for event in events:
                    kinds.append(type(event).__name__)
            return kinds

        seen = []
        for mode in MODES:
            enter(mode)
            seen.append(asyncio.run(consume()))
        assert seen[0] == seen[1] == seen[2] and len(seen[0]) > 5
        assert [status for *_, status in rows.agents()] == ["ok"]

    def test_leaves_names_and_signatures(self, rows: Rows) -> None:
        """A patched function is what it was to ``inspect``, and is put back whole."""
        functions = [(Agent, "iter"), (ToolManager, "validate_tool_call"), (ToolManager, "execute_tool_call")]
        functions += [(type(scripted()), "request"), (type(scripted()), "request_stream")]

        def look() -> list[Any]:
            return [
                (inspect.signature(vars(owner)[name]), vars(owner)[name].__qualname__)
                for owner, name in functions
            ]

        def stand() -> list[Any]:
            return [vars(owner)[name] for owner, name in functions]

        agenttrace.uninstall()
        plain, standing = look(), stand()
        agenttrace.install("pydantic_ai")
        assert look() == plain
        assert all(one is not other for one, other in zip(stand(), standing, strict=True))
        agenttrace.uninstall()
        assert all(one is other for one, other in zip(stand(), standing, strict=True))

    def test_reaches_models_that_come_later(self, rows: Rows) -> None:
        """A model class of the program's own, defined after all else, leaves its turns once."""

        class Own(type(scripted())):  # type: ignore[misc]
            async def request(self, *args: Any, **kwargs: Any) -> Any:
                return await super().request(*args, **kwargs)

        Agent(Own(lambda messages, info: _words("ok")), name="A").run_sync("hi")
        assert len(rows.events("model_call")) == len(rows.events("model_turn")) == 1


def _words(words: str) -> Any:
    return ModelResponse([TextPart(words)])


class TestChangedLibrary:
    """A library that has lost what we follow."""

    def test_loses_what_is_gone_and_nothing_more(self, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the module that runs tools, runs and turns are still seen; doctor can say what is not."""
        known = {name: list(texts) for name, texts in patching._problems.items()}
        agenttrace.uninstall()
        monkeypatch.delattr("pydantic_ai.tool_manager.ToolManager")
        try:
            agenttrace.install("pydantic_ai")
            problems = patching.problems()["pydantic_ai"]
            assert any("pydantic-ai-slim 2" in text and "ToolManager" in text for text in problems)
            agent("A", [ask("add", a=1, b=1)], "ok", tools=[add]).run_sync("hi")
            assert rows.agents() == [("A", None, "ok")] and len(rows.events("model_turn")) == 2
        finally:
            patching._problems.clear()
            patching._problems.update(known)
