"""A program with the OpenAI Agents SDK behaves alike with tracing on, off, and not installed."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import sys
import types
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import agents
import pytest
from agents import Agent, RunHooks, Runner, function_tool, input_guardrail
from agents.guardrail import GuardrailFunctionOutput
from agents.models.interface import Model
from agents.testing import ScriptedModel

import agenttrace
from agenttrace import errors
from agenttrace.integrations import patching
from agenttrace.integrations.parts import describe_parts
from tests.frameworks.conftest import Rows
from tests.frameworks.openai_agents_scripts import WAYS, Way, agent, ask, say

MODES = ("not installed", "off", "on")


def enter(mode: str) -> None:
    """Put the process into one of the modes."""
    agenttrace.enable()
    agenttrace.install("openai_agents")
    if mode == "not installed":
        agenttrace.uninstall()
    elif mode == "off":
        agenttrace.disable()


@function_tool
def add(a: int, b: int) -> int:
    """Add a and b."""
    return a + b


@function_tool
def fail(x: str = "") -> str:
    """Fail."""
    raise ValueError(x)


@input_guardrail
async def closed(context: Any, agent: Any, asked: Any) -> GuardrailFunctionOutput:
    """Refuse everything."""
    return GuardrailFunctionOutput(output_info="closed", tripwire_triggered=True)


def make_good() -> tuple[Agent[Any], dict[str, Any]]:
    """Give an agent that calls two tools, of which one fails, and answers."""
    wanted = [ask("add", "c1", a=1, b=2), ask("fail", "c2", x="y")]
    return agent("A", wanted, "done", tools=[add, fail]), {}


def make_handoff() -> tuple[Agent[Any], dict[str, Any]]:
    """Give an agent that hands over."""
    return agent("A", [ask("transfer_to_b", "c1")], handoffs=[agent("B", "from B")]), {}


def make_hallucinating() -> tuple[Agent[Any], dict[str, Any]]:
    """Give an agent whose model calls a tool that there is not."""
    return agent("A", [ask("nope", "c1")], tools=[add]), {}


def make_endless() -> tuple[Agent[Any], dict[str, Any]]:
    """Give an agent that never ends."""
    return agent("A", *([ask("add", f"c{n}", a=1, b=1)] for n in range(9)), tools=[add]), {"max_turns": 2}


def make_guarded() -> tuple[Agent[Any], dict[str, Any]]:
    """Give an agent that a guardrail stops."""
    return agent("A", "no", input_guardrails=[closed]), {}


def make_refused_hooks() -> tuple[Agent[Any], dict[str, Any]]:
    """Give hooks that are none."""
    return agent("A", "no"), {"hooks": object()}


def make_unknown_option() -> tuple[Agent[Any], dict[str, Any]]:
    """Give an argument that there is not."""
    return agent("A", "no"), {"nothing": 1}


PROGRAMS: list[Callable[[], tuple[Agent[Any], dict[str, Any]]]] = [
    make_good,
    make_handoff,
    make_hallucinating,
    make_endless,
    make_guarded,
    make_refused_hooks,
    make_unknown_option,
]


class Witness(RunHooks[Any]):
    """Hooks that tell what they are called with."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    async def on_agent_start(self, context: Any, agent: Any) -> None:
        self.seen.append(("agent_start", agent.name))

    async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
        self.seen.append(("agent_end", agent.name, output))

    async def on_llm_start(self, context: Any, agent: Any, system_prompt: Any, input_items: Any) -> None:
        self.seen.append(("llm_start", agent.name, system_prompt, len(input_items)))

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        self.seen.append(("llm_end", agent.name, len(response.output)))

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        self.seen.append(("tool_start", agent.name, tool.name))

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        self.seen.append(("tool_end", agent.name, tool.name, result))

    async def on_handoff(self, context: Any, from_agent: Any, to_agent: Any) -> None:
        self.seen.append(("handoff", from_agent.name, to_agent.name))


def observe(run: Way, make: Callable[[], tuple[Agent[Any], dict[str, Any]]]) -> list[Any]:
    """Run a program, and give all that it can see of the run."""
    starting, more = make()
    hooks = Witness()
    more.setdefault("hooks", hooks)
    try:
        result = run(starting, "hi", **more)
    except Exception as exc:
        return [type(exc), str(exc), exc.__cause__, sorted(hooks.seen, key=str)]
    return [
        result.final_output,
        result.last_agent.name,
        [type(item).__name__ for item in result.new_items],
        result.to_input_list(),
        sorted(hooks.seen, key=str),
    ]


@pytest.mark.parametrize("run", list(WAYS.values()), ids=list(WAYS))
@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__.removeprefix("make_"))
class TestProgram:
    """One program, three modes."""

    def test_sees_the_same_run(self, rows: Rows, run: Way, make: Any) -> None:
        """Result, items, exception and the calls of the user's hooks are equal in all modes."""
        observed = []
        for mode in MODES:
            enter(mode)
            observed.append(observe(run, make))
        assert observed[0] == observed[1] == observed[2]
        assert [name for name, parent, _ in rows.agents() if parent is None] == ["A"]  # with tracing on alone


class TestStream:
    """The events that a consumer gets."""

    def events(self) -> list[str]:
        async def consume() -> list[str]:
            starting, more = make_good()
            result = Runner.run_streamed(starting, "hi", **more)
            return [event.type for event in [one async for one in result.stream_events()]]

        return asyncio.run(consume())

    def test_gives_the_same_events(self, rows: Rows) -> None:
        """Each event comes, once and in its order, whichever mode."""
        seen = []
        for mode in MODES:
            enter(mode)
            seen.append(self.events())
        assert seen[0] == seen[1] == seen[2] and len(seen[0]) > 5

    def test_left_early_ends_the_run_once(self, rows: Rows) -> None:
        """A consumer that goes away after the first event leaves one ended agent."""

        async def consume() -> None:
            starting, _ = make_good()
            result = Runner.run_streamed(starting, "hi")
            stream = result.stream_events()
            await anext(stream)
            await stream.aclose()

        asyncio.run(consume())
        assert [one["status"] for one in rows.events("agent_end")] == ["ok"]

    def test_that_is_cancelled_ends_the_run_as_cancelled(self, rows: Rows) -> None:
        """``result.cancel()`` stops the run; agent and open turn end as cancelled."""

        class Endless(ScriptedModel):
            async def stream_response(self, *args: Any, **kwargs: Any) -> Any:
                await asyncio.Event().wait()
                yield None

        async def consume() -> None:
            result = Runner.run_streamed(Agent(name="A", model=Endless([])), "hi")
            while not result.run_loop_task or not rows.events("model_call"):
                await asyncio.sleep(0)
            result.cancel()
            async for _ in result.stream_events():
                pass

        asyncio.run(consume())
        ends = rows.events("model_turn", "agent_end")
        assert [(one["kind"], one["status"]) for one in ends] == [
            ("model_turn", "cancelled"),
            ("agent_end", "cancelled"),
        ]

    def test_that_nobody_consumes_is_ended_with_its_task(self, rows: Rows) -> None:
        """A run whose stream nobody looks at ends as its task does."""

        async def start() -> None:
            starting, _ = make_hallucinating()
            result = Runner.run_streamed(starting, "hi")
            assert result.run_loop_task is not None
            with contextlib.suppress(Exception):
                await result.run_loop_task

        asyncio.run(start())
        assert rows.agents() == [("A", None, "error")]

    def test_keeps_asyncio_telling_of_failures_that_nobody_sees(
        self, rows: Rows, caplog: pytest.LogCaptureFixture
    ) -> None:
        """That the task of a run failed unseen is logged by asyncio as ever."""

        async def start() -> None:
            starting, _ = make_hallucinating()
            result = Runner.run_streamed(starting, "hi")
            task = result.run_loop_task
            assert task is not None
            await asyncio.wait([task])

        with caplog.at_level(logging.ERROR, "asyncio"):
            asyncio.run(start())
            import gc

            gc.collect()
        assert "Task exception was never retrieved" in caplog.text


class TestPatches:
    """What is replaced, and put back."""

    def test_leave_names_and_signatures(self, rows: Rows) -> None:
        """A patched function is what it was to ``inspect``."""
        agenttrace.uninstall()
        names = ("run", "run_sync", "run_streamed")
        plain = {
            name: (inspect.signature(getattr(Runner, name)), getattr(Runner, name).__qualname__)
            for name in names
        }
        kinds = {name: inspect.iscoroutinefunction(getattr(Runner, name)) for name in names}
        agenttrace.install("openai_agents")
        assert plain == {
            name: (inspect.signature(getattr(Runner, name)), getattr(Runner, name).__qualname__)
            for name in names
        }
        assert kinds == {name: inspect.iscoroutinefunction(getattr(Runner, name)) for name in names}

    def test_are_taken_back_whole(self, rows: Rows) -> None:
        """After ``uninstall`` every function is the very one that stood there."""
        agenttrace.uninstall()

        def standing() -> list[Any]:
            tool, execution = sys.modules["agents.tool"], sys.modules["agents.run_internal.tool_execution"]
            names = (
                "_invoke_function_tool_with_metadata",
                "maybe_invoke_function_tool_failure_error_function",
            )
            return [
                *(vars(Runner)[name] for name in ("run", "run_sync", "run_streamed")),
                *(vars(module)[name] for module in (tool, execution) for name in names),
                agents.RunResultStreaming.stream_events,
                *(vars(ScriptedModel)[name] for name in ("get_response", "stream_response")),
                vars(Model).get("__init_subclass__"),
            ]

        plain = standing()
        agenttrace.install("openai_agents")
        assert sum(one is not other for one, other in zip(plain, standing(), strict=True)) == 10
        agenttrace.uninstall()
        assert all(one is other for one, other in zip(plain, standing(), strict=True))

    def test_reach_models_that_come_later(self, rows: Rows) -> None:
        """A model class of the program's own, defined after all else, leaves its turns."""

        class Own(ScriptedModel):
            async def get_response(self, *args: Any, **kwargs: Any) -> Any:
                return await super().get_response(*args, **kwargs)

        Runner.run_sync(Agent(name="A", model=Own([[say("ok")]])), "hi")
        assert [one["status"] for one in rows.events("model_turn")] == ["ok"]

    def test_take_models_that_pass_on_for_one_turn(self, rows: Rows) -> None:
        """A model that asks another one is that one's turn, told once."""

        class Passing(Model):
            def __init__(self, inner: Model) -> None:
                self.inner = inner

            async def get_response(self, *args: Any, **kwargs: Any) -> Any:
                return await self.inner.get_response(*args, **kwargs)

            def stream_response(self, *args: Any, **kwargs: Any) -> Any:
                return self.inner.stream_response(*args, **kwargs)

        for run in WAYS.values():
            run(Agent(name="A", model=Passing(ScriptedModel([[say("ok")]]))), "hi")
        assert len(rows.events("model_call")) == len(rows.events("model_turn")) == len(WAYS)


class TestOwnTracing:
    """The SDK's own traces."""

    def test_is_as_the_user_has_it(self, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
        """A processor of the user's own gets the same spans, and there is none of ours beside it."""

        class Seen(agents.TracingProcessor):
            def __init__(self) -> None:
                self.spans: list[str] = []

            def on_trace_start(self, trace: Any) -> None: ...
            def on_trace_end(self, trace: Any) -> None: ...
            def on_span_start(self, span: Any) -> None: ...
            def on_span_end(self, span: Any) -> None:
                self.spans.append(span.span_data.type)

            def shutdown(self) -> None: ...
            def force_flush(self) -> None: ...

        seen = []
        agents.set_tracing_disabled(False)
        try:
            for mode in MODES:
                enter(mode)
                processor = Seen()
                agents.set_trace_processors([processor])
                starting, _ = make_good()
                Runner.run_sync(starting, "hi")
                seen.append(sorted(processor.spans))
        finally:
            agents.set_trace_processors([])
            agents.set_tracing_disabled(True)
        assert seen[0] == seen[1] == seen[2] and "agent" in seen[0]


@pytest.fixture
def quiet() -> Iterator[None]:
    """Forget afterwards what was said of a changed library."""
    known = {name: list(texts) for name, texts in patching._problems.items()}
    yield
    patching._problems.clear()
    patching._problems.update(known)


class TestChangedSdk:
    """An SDK that has lost what we follow, and a module that only has its name."""

    def test_loses_what_is_gone_and_nothing_more(
        self, rows: Rows, quiet: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without the function that runs tools, runs and turns are still seen; doctor can say what is not."""
        agenttrace.uninstall()
        monkeypatch.delattr("agents.run_internal.tool_execution._invoke_function_tool_with_metadata")
        agenttrace.install("openai_agents")
        (problem,) = patching.problems()["openai_agents"]
        assert "_invoke_function_tool_with_metadata" in problem and "openai-agents 0." in problem
        Runner.run_sync(agent("A", "ok"), "hi")
        assert rows.agents() == [("A", None, "ok")] and len(rows.events("model_turn")) == 1

    def test_of_another_shape_is_named_with_its_version(
        self, rows: Rows, quiet: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where a whole part is gone, the message names the distribution and its version."""
        agenttrace.uninstall()
        monkeypatch.delattr("agents.run.Runner")
        agenttrace.install("openai_agents")
        texts = patching.problems()["openai_agents"]
        assert any("openai-agents 0." in text and "Runner" in text for text in texts)
        assert errors.LOSSES["integrations.openai_agents"] >= 1

    @pytest.mark.parametrize("is_installed", [True, False])
    def test_is_no_other_module_of_that_name(
        self,
        quiet: None,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        is_installed: bool,
    ) -> None:
        """A program's own package ``agents`` is left alone, whether the SDK is installed beside it or not."""

        def missing(name: str) -> Any:
            raise metadata.PackageNotFoundError(name)

        if not is_installed:
            monkeypatch.setattr(metadata, "distribution", missing)
        own = types.ModuleType("agents")
        own.__file__ = __file__
        listed: list[Any] = []

        def part() -> list[patching.Patch]:
            listed.append("asked")
            return []

        assert list(describe_parts("openai_agents", "openai-agents", (part,))(own)) == []
        assert listed == []
        if is_installed:
            list(describe_parts("openai_agents", "openai-agents", (part,))(agents))
            assert listed == ["asked"]
        assert "openai_agents" not in patching.problems() and not caplog.records
