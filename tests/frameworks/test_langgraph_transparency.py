"""A program sees the same with tracing on, off, and with everything taken back."""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.callbacks.manager import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, tool
from langchain_core.tools import base as tools_base
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphBubbleUp, GraphRecursionError
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel, _runner
from langgraph.types import Command, RetryPolicy, Send, interrupt

import agenttrace
from agenttrace import agent_scope, errors
from agenttrace.capture import failures
from agenttrace.integrations import langgraph, patching
from agenttrace.integrations.langgraph_tools import describe_tool_node
from tests.frameworks.conftest import Rows
from tests.frameworks.langgraph_graphs import HELLO, Log, asks, build_agent, build_line, build_model

STATES = ("on", "off", "uninstalled")
REPLACED = [
    (Pregel, "stream"),
    (Pregel, "astream"),
    (_runner, "run_with_retry"),
    (_runner, "arun_with_retry"),
    (BaseTool, "run"),
    (BaseTool, "arun"),
    (tools_base, "_handle_tool_error"),
    (tools_base, "_handle_validation_error"),
    (ToolNode, "_execute_tool_sync"),
    (ToolNode, "_execute_tool_async"),
    (BaseChatModel, "_generate_with_cache"),
    (BaseChatModel, "_agenerate_with_cache"),
    (BaseChatModel, "stream"),
    (BaseChatModel, "astream"),
    (BaseChatModel, "_iter_v2_events"),
    (BaseChatModel, "_aiter_v2_events"),
    (CallbackManagerForLLMRun, "on_llm_new_token"),
    (AsyncCallbackManagerForLLMRun, "on_llm_new_token"),
]
PLAIN = {(owner, name): vars(owner)[name] for owner, name in REPLACED}
"""As the libraries made them: no test has switched tracing on as this is imported."""


def divide(a: int, b: int) -> float:
    """Divide a by b."""
    return a / b


class Watcher(BaseCallbackHandler):
    """What a program's own callbacks are told, and in which order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_chain_start(self, *_: Any, name: str | None = None, **__: Any) -> None:
        self.told.append(f"chain {name}")

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.told.append("model")

    def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.told.append(f"token {token}")

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.told.append("model end")

    def on_tool_start(self, serialized: Any, text: str, **_: Any) -> None:
        self.told.append(f"tool {text}")

    def on_tool_error(self, error: BaseException, **_: Any) -> None:
        self.told.append(f"tool error {error}")

    def on_chain_error(self, error: BaseException, **_: Any) -> None:
        self.told.append(f"chain error {type(error).__name__}")


def show(messages: Any) -> list[Any]:
    """Give messages without the ids that are made anew each time."""
    return [
        (one.type, one.content, getattr(one, "tool_calls", None), getattr(one, "status", None))
        for one in messages
    ]


def use_agent() -> Any:
    return show(build_agent([divide], asks(("divide", {"a": 1, "b": 0})), "done").invoke(HELLO)["messages"])


def use_agent_later() -> Any:
    graph = build_agent([divide], asks(("divide", {"a": 1, "b": 4}), ("no", {})), "done")
    return show(asyncio.run(graph.ainvoke(HELLO))["messages"])


def use_updates() -> Any:
    graph = build_agent([divide], asks(("divide", {"a": 1, "b": 4})), "done")
    return [
        (mode, {name: show(update["messages"]) for name, update in data.items()})
        for mode, data in graph.stream(HELLO, stream_mode=["updates"])
    ]


def use_tokens() -> Any:
    graph = build_agent([divide], "one two three")
    return [
        (piece.content, about["langgraph_node"])
        for piece, about in graph.stream(HELLO, stream_mode="messages")
    ]


def use_events() -> Any:
    async def go() -> list[str]:
        graph = build_agent([divide], "one two")
        return [f"{one['event']} {one['name']}" async for one in graph.astream_events(HELLO, version="v2")]

    return asyncio.run(go())


def use_callbacks() -> Any:
    watcher = Watcher()
    build_agent([divide], asks(("divide", {"a": 1, "b": 0})), "one two").invoke(
        HELLO, {"callbacks": [watcher]}
    )
    return watcher.told


def use_exception() -> Any:
    def broken(state: Any) -> Any:
        raise KeyError("gone")

    try:
        build_line(("broken", broken)).invoke({"log": []})
    except KeyError as exc:
        notes = [note.partition(" and id")[0] for note in exc.__notes__]
        return exc.args, notes, traceback.extract_tb(exc.__traceback__)[-1].name


def use_retries() -> Any:
    tries: list[int] = []

    def flaky(state: Any, runtime: Any = None) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError
        return {"log": [len(tries)]}

    policy = RetryPolicy(initial_interval=0.001, jitter=False)
    return build_line(("flaky", flaky), retry_policy=policy).invoke({"log": []})


def use_interrupt() -> Any:
    graph = build_line(("ask", lambda state: {"log": [interrupt("?")]}), checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    waiting = graph.invoke({"log": []}, config)["__interrupt__"][0].value
    return waiting, graph.get_state(config).next, graph.invoke(Command(resume="!"), config)


def use_limit() -> Any:
    graph = StateGraph(Log)
    graph.add_node("loop", lambda state: {"log": [1]})
    graph.add_edge(START, "loop")
    graph.add_edge("loop", "loop")
    with pytest.raises(GraphRecursionError) as caught:
        graph.compile().invoke({"log": []}, {"recursion_limit": 3})
    return str(caught.value)


def use_branches() -> Any:
    graph = StateGraph(Log)
    graph.add_node("work", lambda state: {"log": [state["n"]]})
    graph.add_conditional_edges(START, lambda _: [Send("work", {"n": n}) for n in range(4)], ["work"])
    return graph.compile().invoke({"log": []})


def use_tools() -> Any:
    one = tool(divide)
    with agent_scope("around"):
        found: list[Any] = [one.invoke({"a": 1, "b": 4}), asyncio.run(one.ainvoke({"a": 1, "b": 2}))]
        for given in ({"a": 1, "b": 0}, {"a": "x"}):
            try:
                one.invoke(given)
            except Exception as exc:
                found.append((type(exc), str(exc)))
    return found, one.args, one.name, one.description


def use_model() -> Any:
    model = build_model("one two", "three four", "five")
    streamed = [piece.content for piece in model.stream("hi")]

    async def go() -> list[Any]:
        return [piece.content async for piece in model.astream("hi")]

    return streamed, asyncio.run(go()), model.invoke("hi").content


def use_third_form() -> Any:
    stream = build_model("one two").stream_events("hi", version="v3")
    names = [event["event"] for event in stream]
    graph = build_agent([divide], "one two")
    return names, stream.output.content, show(graph.stream_events(HELLO, version="v3").output["messages"])


def use_thrown() -> Any:
    """What is thrown into a stream is what comes out of it."""
    stream = build_line(("a", lambda state: {"log": [1]}), ("b", lambda state: {"log": [2]})).stream(
        {"log": []}
    )
    next(stream)
    try:
        stream.throw(ValueError("thrown"))
    except ValueError as exc:
        return str(exc), next(stream, "over")


PROGRAMS: list[Callable[[], Any]] = [
    use_agent,
    use_agent_later,
    use_updates,
    use_tokens,
    use_events,
    use_callbacks,
    use_exception,
    use_retries,
    use_interrupt,
    use_limit,
    use_branches,
    use_tools,
    use_model,
    use_third_form,
    use_thrown,
]


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest, rows: Rows) -> Iterator[str]:
    """Have tracing on, off after it was on, or all taken back."""
    if request.param != "on":
        agenttrace.disable()
    if request.param == "uninstalled":
        agenttrace.uninstall()
    yield request.param


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol", "ignore:The method")
class TestProgram:
    """Programs that use LangGraph in every way that we look at."""

    @pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
    def test_sees_the_same(self, state: str, rows: Rows, program: Callable[[], Any]) -> None:
        """What a program gets, in which order, and what is raised, are as without us."""
        for (owner, name), plain in PLAIN.items():  # as if we had never been there
            if state == "uninstalled":
                assert vars(owner)[name] is plain
        with_us = program()
        agenttrace.uninstall()
        assert with_us == program()
        assert not errors.LOSSES
        assert bool(rows("SELECT 1 FROM trajectory_events LIMIT 1")) is (state == "on")


class TestReplaced:
    """What stands in the place of the libraries' own functions."""

    @pytest.mark.parametrize(("owner", "name"), REPLACED, ids=lambda one: getattr(one, "__name__", one))
    def test_says_of_itself_what_the_former_says(self, rows: Rows, owner: Any, name: str) -> None:
        """Name, signature, kind of function and documentation."""
        ours, plain = vars(owner)[name], PLAIN[owner, name]
        assert ours is not plain
        assert inspect.signature(ours) == inspect.signature(plain)
        for tell in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
            assert tell(ours) == tell(plain)
        assert (ours.__name__, ours.__qualname__, ours.__doc__) == (
            plain.__name__,
            plain.__qualname__,
            plain.__doc__,
        )

    def test_is_put_back(self, rows: Rows) -> None:
        """After ``uninstall`` the very objects of the libraries stand there again."""
        use_agent()
        agenttrace.uninstall()
        assert {key: vars(key[0])[key[1]] for key in PLAIN} == PLAIN
        assert GraphBubbleUp not in failures.SIGNALS

    def test_runs_on_where_a_graph_outlives_it(self, rows: Rows) -> None:
        """A stream that is open as all is taken back goes on to its end."""
        graph = build_line(("a", lambda s: {"log": [1]}), ("b", lambda s: {"log": [2]}))
        stream = graph.stream({"log": []}, stream_mode="updates")
        assert next(stream) == {"a": {"log": [1]}}
        agenttrace.uninstall()
        agenttrace.disable()
        assert list(stream) == [{"b": {"log": [2]}}]

    def test_serves_many_threads(self, rows: Rows) -> None:
        """Graphs that run at once in threads keep to themselves."""
        graph = build_line(("a", lambda s: {"log": [threading.get_ident()]}))
        results: list[Any] = []
        threads = [
            threading.Thread(target=lambda: results.append(graph.invoke({"log": []}))) for _ in range(8)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(results) == 8
        assert rows("SELECT count(*), count(DISTINCT conversation_id) FROM agents") == [(16, 8)]


class OldNode:
    """A ToolNode as LangGraph 1.0.0 had it, as far as we look at it."""

    def __init__(self, *tools: BaseTool) -> None:
        self.tools_by_name = {one.name: one for one in tools}

    def _run_one(self, call: dict[str, Any], input_type: str, config: Any) -> Any:
        one = self.tools_by_name.get(call["name"])
        if one is None:
            return ToolMessage("no such tool", tool_call_id=call["id"], status="error")
        return one.invoke({**call, "type": "tool_call"})

    async def _arun_one(self, call: dict[str, Any], input_type: str, config: Any) -> Any:
        return self._run_one(call, input_type, config)


class TestChangedLibrary:
    """A library that is older, or has changed in private."""

    def test_may_have_the_first_kind_of_tool_node(self, rows: Rows) -> None:
        """The method that ran one call before is followed just so."""
        patches = list(describe_tool_node(cast("ModuleType", SimpleNamespace(ToolNode=OldNode))))
        for patch in patches:
            patch.apply()
        node = OldNode(tool(divide))
        with agent_scope("a"):
            for number, (name, given) in enumerate([("divide", {"a": 1, "b": 4}), ("conquer", {})]):
                node._run_one({"name": name, "args": given, "id": f"{number}"}, "list", None)
                asyncio.run(
                    node._arun_one({"name": name, "args": given, "id": f"later-{number}"}, "list", None)
                )
        for patch in patches:
            patch.undo()
        assert rows("SELECT tool_name, call_id, status FROM tool_traces ORDER BY id") == [
            ("divide", "0", "ok"),
            ("divide", "later-0", "ok"),
            ("conquer", "1", "error"),
            ("conquer", "later-1", "error"),
        ]

    def test_is_named_where_its_nodes_or_tools_run_elsewhere(
        self, rows: Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A LangGraph before 0.6, or a ToolNode of another kind: said for ``doctor``, and no more."""
        agenttrace.uninstall("langgraph")
        monkeypatch.setattr(patching, "_problems", {})
        monkeypatch.setattr(langgraph, "find_spec", lambda name: None)
        agenttrace.install("langgraph")
        assert not list(describe_tool_node(cast("ModuleType", SimpleNamespace(ToolNode=object))))
        nodes, tools = patching.problems()["langgraph"]
        assert "runs its nodes elsewhere" in nodes and "ToolNode" in tools
        assert use_agent()

    @pytest.mark.parametrize(
        ("owner", "name"),
        [one for one in REPLACED if one[1] not in ("run_with_retry", "_execute_tool_async")],
        ids=lambda one: getattr(one, "__name__", one),
    )
    def test_is_followed_as_far_as_it_goes(
        self, rows: Rows, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
    ) -> None:
        """What lacks is named for ``doctor``; what else can be followed is, and nothing fails."""
        agenttrace.uninstall("langgraph")
        monkeypatch.setattr(patching, "_problems", {})
        real = patching.Patch.apply

        def apply(self: patching.Patch) -> None:
            if self._owner is owner and self._name == name:
                raise AttributeError(f"it has no {name}")
            real(self)

        monkeypatch.setattr(patching.Patch, "apply", apply)
        monkeypatch.setenv("AGENTTRACE_STRICT", "0")
        agenttrace.install("langgraph")
        said = patching.problems()["langgraph"]
        assert len(said) == 1 and name in said[0]
        assert use_agent() and use_agent_later() and use_model()
