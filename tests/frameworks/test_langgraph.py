"""A graph is an agent, and so is each of its nodes: what its runs leave, however they are made."""

from __future__ import annotations

import asyncio
import operator
import threading
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware, wrap_tool_call
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError, NodeTimeoutError
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel

import agenttrace
from agenttrace import agent_scope, conversation_scope, errors, traced_tool
from tests.frameworks.conftest import Rows
from tests.frameworks.langgraph_graphs import (
    HELLO,
    WAYS,
    Log,
    asks,
    build_agent,
    build_line,
    build_model,
    run_graph,
)

EVERY_WAY = pytest.mark.parametrize("way", list(WAYS))
FAST = RetryPolicy(initial_interval=0.001, backoff_factor=1.0, jitter=False, max_attempts=3)


def add(*items: Any) -> Any:
    """Make a node that adds *items*."""
    return lambda state: {"log": list(items)}


class Hostile:
    """What answers no question."""

    def __getattribute__(self, name: str) -> Any:
        raise ValueError(name)

    def __repr__(self) -> str:
        raise ValueError


class Sly(dict[str, Any]):
    """A dict that only says that it is one."""

    def __contains__(self, key: object) -> bool:
        raise ValueError(key)

    def get(self, key: str, default: Any = None) -> Any:
        raise ValueError(key)


ODD: dict[str, Any] = {
    "hostile": Hostile,
    "sly": lambda: Sly(role=1),
    "list of sly": lambda: [Sly(role=1)],
    "object": object,
    "long": lambda: 2**70,
    "surrogate": lambda: "\ud800",
    "bytes": lambda: b"x",
}


def tree(rows: Rows) -> list[tuple[str, str | None, str]]:
    """Give ``(name, name of the parent, status)`` of each run of an agent, in their order."""
    return rows(
        "SELECT e.agent_name, (SELECT p.agent_name FROM trajectory_events p WHERE p.kind = 'agent_start'"
        " AND p.conversation_id = e.conversation_id AND p.agent_id = e.parent_agent_id LIMIT 1),"
        " (SELECT x.status FROM trajectory_events x WHERE x.kind = 'agent_end' AND x.span_id = e.span_id)"
        " FROM trajectory_events e WHERE e.kind = 'agent_start' ORDER BY e.ts_ns, e.id"
    )


class TestGraph:
    """A compiled graph and its nodes."""

    @EVERY_WAY
    def test_is_an_agent_with_its_nodes_below(self, rows: Rows, way: str) -> None:
        """One run of the graph, one of each node, each with what went in and what came out."""
        graph = build_line(("first", add(1)), ("second", add(2)))
        assert run_graph(way, graph, {"log": [0]}) == {"log": [0, 1, 2]}
        assert tree(rows) == [("line", None, "ok"), ("first", "line", "ok"), ("second", "line", "ok")]
        starts, ends = rows.events("agent_start"), rows.events("agent_end")
        assert [one["payload"]["input"] for one in starts] == [{"log": [0]}, {"log": [0]}, {"log": [0, 1]}]
        assert [one["payload"]["output"] for one in ends] == [{"log": [1]}, {"log": [2]}, {"log": [0, 1, 2]}]

    @pytest.mark.parametrize(
        ("mode", "output"),
        [
            ("values", {"log": [1, 2]}),
            (["updates", "values"], {"log": [1, 2]}),
            ("updates", {"second": {"log": [2]}}),
            (["custom"], None),
        ],
    )
    @pytest.mark.parametrize("subgraphs", [False, True])
    def test_ends_with_its_last_state(self, rows: Rows, mode: Any, output: Any, subgraphs: bool) -> None:
        """What a stream shows last is the output, in whichever mode; nothing where it shows no state."""
        graph = build_line(("first", add(1)), ("second", add(2)))
        list(graph.stream({"log": []}, stream_mode=mode, subgraphs=subgraphs))
        assert rows.events("agent_end")[-1]["payload"]["output"] == output

    @EVERY_WAY
    def test_fails_with_its_node(self, rows: Rows, way: str) -> None:
        """One failure, at the node that raised it, with the line; it escaped."""

        def break_(state: Log) -> Any:
            raise KeyError("gone")

        with pytest.raises(KeyError):
            run_graph(way, build_line(("first", add(1)), ("second", break_)), {"log": []})
        assert tree(rows) == [("line", None, "error"), ("first", "line", "ok"), ("second", "line", "error")]
        (failure,) = rows.events("error")
        assert (failure["agent"], failure["error_type"]) == ("second", "KeyError")
        last = failure["payload"]["error"]["frames"][-1]
        assert (last["line"], last["file"]) == (break_.__code__.co_firstlineno + 1, __file__)
        assert rows.failures() == [(None, "KeyError", "escaped")]

    def test_that_never_ends_fails_by_itself(self, rows: Rows) -> None:
        """The recursion limit is the graph's failure; its nodes went well."""
        graph = StateGraph(Log)
        graph.add_node("loop", add(1))
        graph.add_edge(START, "loop")
        graph.add_edge("loop", "loop")
        with pytest.raises(GraphRecursionError):
            graph.compile(name="looper").invoke({"log": []}, {"recursion_limit": 3})
        assert tree(rows) == [("looper", None, "error")] + 3 * [("loop", "looper", "ok")]
        (failure,) = rows.events("error")
        assert (failure["agent"], failure["error_type"]) == ("looper", "GraphRecursionError")

    def test_stopped_early_is_no_failure(self, rows: Rows) -> None:
        """A stream that nobody wants to the end is closed as such."""
        stream = build_line(("first", add(1)), ("second", add(2))).stream({"log": []}, stream_mode="updates")
        assert next(stream) == {"first": {"log": [1]}}
        stream.close()
        assert tree(rows) == [("line", None, "stopped_early"), ("first", "line", "ok")]
        assert not rows.failures()

    def test_takes_the_name_of_its_run(self, rows: Rows) -> None:
        """``run_name`` of the config says what it is called."""
        build_line(("first", add(1))).invoke({"log": []}, {"run_name": "nightly"})
        assert [name for name, *_ in tree(rows)] == ["nightly", "first"]

    def test_runs_in_the_scope_around_it(self, rows: Rows) -> None:
        """A graph that an agent of the program's own runs is its child; each node is traced in its place."""

        def node(state: Log) -> Any:
            with agent_scope("inner"):
                return {"log": [agenttrace.current().agent_name]}

        with conversation_scope("mine"), agent_scope("outer"):
            assert build_line(("node", node)).invoke({"log": []}) == {"log": ["inner"]}
            assert agenttrace.current().agent_name == "outer"
        assert [(name, parent) for name, parent, _ in tree(rows)] == [
            ("outer", None),
            ("line", "outer"),
            ("node", "line"),
            ("inner", "node"),
        ]
        assert rows("SELECT DISTINCT conversation_id FROM trajectory_events") == [("mine",)]

    def test_run_by_itself_is_a_conversation_each_time(self, rows: Rows) -> None:
        """Without a scope and without a thread, two runs have nothing in common."""
        graph = build_line(("first", add(1)))
        graph.batch([{"log": []}, {"log": []}])
        assert rows("SELECT count(DISTINCT conversation_id), count(DISTINCT agent_id) FROM agents") == [
            (2, 4)
        ]

    def test_keeps_a_long_message_where_it_was_made(self, rows: Rows) -> None:
        """It stands whole in what the graph was given and what a node gave; elsewhere is its beginning."""
        asked, answered = "why " * 500, "because " * 250
        build_agent([], answered).invoke({"messages": [("user", asked)]})
        (graph, node), (first, last) = rows.events("agent_start"), rows.events("agent_end")
        assert graph["payload"]["input"] == {"messages": [["user", asked]]}
        assert first["payload"]["output"] == {"messages": [{"role": "assistant", "content": answered}]}
        for state, text in ((node["payload"]["input"], asked), (last["payload"]["output"], answered)):
            cut = state["messages"][-1]["content"]
            assert cut["$agenttrace"] == "cut" and cut["bytes"] == len(text)
            assert text.startswith(cut["head"]) and 400 < len(cut["head"]) <= 512

    def test_keeps_no_history_twice(self, rows: Rows) -> None:
        """Of the messages in a state, the last is kept with each run, and how many stood before it."""
        build_agent([], asks(("none", {})), "done").invoke({"messages": [("user", "long " * 100)]})
        later, last = rows.events("agent_start")[-1], rows.events("agent_end")[-1]
        for messages, missing in ((later["payload"]["input"], 2), (last["payload"]["output"], 3)):
            assert messages["messages"][0] == {"$agenttrace": "cut", "items": missing}
            assert len(messages["messages"]) == 2 and "long" not in str(messages)

    @pytest.mark.parametrize(
        "make", [lambda n: {"role": "user", "content": f"item {n}"}, lambda n: f"item {n}"]
    )
    def test_keeps_the_end_of_what_grows(self, rows: Rows, make: Any) -> None:
        """Messages as a provider takes them are a history too; of any other list the last 32 are kept."""
        build_line(("first", add(make(100)))).invoke({"log": [make(n) for n in range(100)]})
        (graph, node), (first, last) = rows.events("agent_start"), rows.events("agent_end")
        assert first["payload"]["output"] == {"log": [make(100)]}
        for state in (graph["payload"]["input"], node["payload"]["input"], last["payload"]["output"]):
            mark, *kept = state["log"]
            assert kept[-1] in (make(99), make(100)) and len(kept) == (1 if isinstance(make(0), dict) else 32)
            assert mark["$agenttrace"] == "cut" and mark["items"] + len(kept) in (100, 101)

    @pytest.mark.parametrize("name", list(ODD))
    def test_is_told_whatever_it_passes_on(self, rows: Rows, name: str) -> None:
        """Values that refuse to be looked at cost nothing but themselves."""
        odd = ODD[name]()
        graph = build_line(("first", lambda state: {"log": [odd]}), ("second", lambda state: {"log": [1]}))
        assert graph.invoke({"log": [odd]})["log"][-1] == 1
        assert [status for *_, status in tree(rows)] == ["ok", "ok", "ok"]
        assert not errors.LOSSES

    def test_is_told_whatever_its_state_is(self, rows: Rows) -> None:
        """States may be dataclasses or models, and hold what no JSON has."""

        @dataclass
        class State:
            log: Annotated[list[Any], operator.add]
            odd: Any = None

        class Model(BaseModel):
            log: Annotated[list[Any], operator.add] = []
            odd: Any = None

        for kind in (State, Model):
            graph = StateGraph(kind)
            graph.add_node("first", lambda state: {"log": [1]})
            graph.add_edge(START, "first")
            assert graph.compile(name="g").invoke(kind(log=[], odd={1: {2, 3}}))["log"] == [1]
        started = [one["payload"]["input"] for one in rows.events("agent_start")]
        assert [one["log"] for one in started] == 4 * [[]]
        assert not errors.LOSSES


class TestNode:
    """One node over time."""

    def test_that_runs_again_is_the_same_agent(self, rows: Rows) -> None:
        """It goes on: one agent, its turns counted up."""
        build_agent([], asks(("none", {})), asks(("none", {}), start=2), "done").invoke(HELLO)
        assert rows("SELECT agent_name, runs FROM agents ORDER BY agent_name") == [
            ("agent", 3),
            ("assistant", 1),
        ]
        assert [one["turn"] for one in rows.events("model_turn")] == [1, 2, 3]

    @EVERY_WAY
    def test_beside_itself_is_another_agent(self, rows: Rows, way: str) -> None:
        """Branches that ``Send`` opens run at once, and nothing of one is told of another."""
        together = threading.Barrier(3, timeout=10)

        @traced_tool
        def look(number: int) -> int:
            return number

        def work(state: Any) -> Any:
            together.wait()
            return {"log": [look(state["number"])]}

        graph = StateGraph(Log)
        graph.add_node("work", work)
        graph.add_conditional_edges(
            START, lambda _: [Send("work", {"number": n}) for n in range(3)], ["work"]
        )
        assert run_graph(way, graph.compile(name="fan"), {"log": []}) == {"log": [0, 1, 2]}
        assert rows("SELECT count(*) FROM agents WHERE agent_name = 'work' AND runs = 1") == [(3,)]
        calls = rows(
            "SELECT c.agent_name, json_extract(s.payload, '$.input.number'),"
            " json_extract(c.tool_input, '$.number') FROM tool_traces c JOIN trajectory_events s"
            " ON s.kind = 'agent_start' AND s.span_id = c.parent_span_id ORDER BY 2"
        )
        assert calls == [("work", number, number) for number in range(3)]

    @EVERY_WAY
    def test_is_retried_as_its_policy_says(self, rows: Rows, way: str) -> None:
        """Attempts are an error row and a retry row each; the node's run is one, and so is its agent."""
        tries: list[int] = []

        def flaky(state: Log) -> Any:
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionError("no line")
            return {"log": [len(tries)]}

        graph = build_line(("flaky", flaky), retry_policy=FAST)
        assert run_graph(way, graph, {"log": []}) == {"log": [3]}
        assert tree(rows) == [("line", None, "ok"), ("flaky", "line", "ok")]
        kinds = [one["kind"] for one in rows.events("error", "retry")]
        assert kinds == ["error", "retry", "error", "retry"]
        retry = rows.events("retry")[0]["payload"]
        assert (retry["by"], retry["limit_count"]) == ("langgraph", 3) and retry["wait_ms"] >= 1
        assert rows.failures() == 2 * [(None, "ConnectionError", "retried")]

    def test_given_up_leaves_its_last_failure(self, rows: Rows) -> None:
        """All but the last were retried; the last escaped, and ended the node and the graph."""

        def broken(state: Log) -> Any:
            raise ConnectionError("no line")

        with pytest.raises(ConnectionError):
            build_line(("broken", broken), retry_policy=FAST).invoke({"log": []})
        assert [fate for *_, fate in rows.failures()] == ["retried", "retried", "escaped"]
        assert [status for *_, status in tree(rows)] == ["error", "error"]

    def test_with_a_policy_that_needs_none_leaves_nothing_of_it(self, rows: Rows) -> None:
        """A node that goes well at once has no attempts."""
        build_line(("first", add(1)), retry_policy=FAST).invoke({"log": []})
        assert not rows.events("error", "retry")

    def test_that_hands_over_says_to_whom(self, rows: Rows) -> None:
        """``Command(goto=…)`` leaves a ``handoff``; what goes to the end does not."""
        graph = StateGraph(Log)
        graph.add_node(
            "first", lambda _: Command(goto="second", update={"log": [1]}), destinations=("second",)
        )
        graph.add_node("second", lambda _: Command(goto="__end__", update={"log": [2]}))
        graph.add_edge(START, "first")
        assert graph.compile(name="line").invoke({"log": []}) == {"log": [1, 2]}
        assert [(one["agent"], one["payload"]) for one in rows.events("handoff")] == [
            ("first", {"to": ["second"]})
        ]
        output = rows.events("agent_end")[0]["payload"]["output"]
        assert output == {"goto": "second", "update": {"log": [1]}}

    def test_in_its_own_thread_belongs_to_its_graph(self, rows: Rows) -> None:
        """Two nodes of one step run in threads of a pool, and keep their place."""
        graph = StateGraph(Log)
        for name in ("left", "right"):
            graph.add_node(name, add(name))
            graph.add_edge(START, name)
        graph.compile(name="fork").invoke({"log": []})
        assert sorted(tree(rows)) == [("fork", None, "ok"), ("left", "fork", "ok"), ("right", "fork", "ok")]


class TestEnding:
    """Nodes that are ended by others."""

    async def wait(self, state: Log) -> Any:
        """Wait for ever."""
        await asyncio.Event().wait()

    def test_with_a_task_that_is_cancelled(self, rows: Rows) -> None:
        """Graph and node were cancelled, and did not fail."""

        async def go() -> None:
            begun = asyncio.Event()

            async def wait(state: Log) -> Any:
                begun.set()
                await self.wait(state)

            running = asyncio.ensure_future(build_line(("wait", wait)).ainvoke({"log": []}))
            await begun.wait()
            running.cancel()
            await asyncio.wait([running])

        asyncio.run(go())
        assert tree(rows) == [("line", None, "cancelled"), ("wait", "line", "cancelled")]
        assert not rows.failures()

    def test_with_a_neighbour_that_fails(self, rows: Rows) -> None:
        """One node failed; the one beside it was cancelled."""

        async def break_(state: Log) -> Any:
            await asyncio.sleep(0)
            raise KeyError("gone")

        graph = StateGraph(Log)
        for name, node in (("wait", self.wait), ("break", break_)):
            graph.add_node(name, node)
            graph.add_edge(START, name)
        with pytest.raises(KeyError):
            asyncio.run(graph.compile(name="fork").ainvoke({"log": []}))
        assert sorted(tree(rows)) == [
            ("break", "fork", "error"),
            ("fork", None, "error"),
            ("wait", "fork", "cancelled"),
        ]
        assert rows.failures() == [(None, "KeyError", "escaped")]

    def test_with_its_time(self, rows: Rows) -> None:
        """A node's timeout is its failure."""
        graph = StateGraph(Log)
        graph.add_node("wait", self.wait, timeout=0.01)
        graph.add_edge(START, "wait")
        with pytest.raises(NodeTimeoutError):
            asyncio.run(graph.compile(name="line").ainvoke({"log": []}))
        assert tree(rows) == [("line", None, "error"), ("wait", "line", "error")]
        assert rows.failures() == [(None, "NodeTimeoutError", "escaped")]

    def test_with_a_stream_that_is_left(self, rows: Rows) -> None:
        """An async stream that is closed amid its run was stopped early, and nothing stays open."""

        async def go() -> None:
            async with aclosing(build_line(("a", add(1)), ("b", add(2))).astream({"log": []})) as stream:
                async for _ in stream:
                    break

        asyncio.run(go())
        assert tree(rows)[0] == ("line", None, "stopped_early")
        assert not rows("SELECT 1 FROM open_operations")


class TestSubgraph:
    """A graph inside a graph."""

    @EVERY_WAY
    def test_as_a_node_is_that_node(self, rows: Rows, way: str) -> None:
        """One agent, not two; its own nodes are below it."""
        inner = build_line(("work", add(1)), name="inner")
        graph = build_line(("research", inner), ("after", add(2)))
        assert run_graph(way, graph, {"log": []})["log"][-1] == 2
        assert [(name, parent) for name, parent, _ in tree(rows)] == [
            ("line", None),
            ("research", "line"),
            ("work", "research"),
            ("after", "line"),
        ]

    def test_called_in_a_node_is_its_subagent(self, rows: Rows) -> None:
        """A node may run any graph; called again there, that one goes on."""
        inner = build_line(("work", add(1)), name="inner")

        def research(state: Log) -> Any:
            inner.invoke({"log": []})
            return inner.invoke({"log": []})

        build_line(("research", research)).invoke({"log": []})
        assert [(name, parent) for name, parent, _ in tree(rows)] == [
            ("line", None),
            ("research", "line"),
            *2 * [("inner", "research"), ("work", "inner")],
        ]
        assert rows("SELECT count(*) FROM agents") == [(4,)]

    def test_hands_over_to_the_graph_around_it(self, rows: Rows) -> None:
        """``Command(graph=PARENT)`` is said once, where it was given, and is no failure of anything."""

        def leave(state: Log) -> Any:
            return Command(goto="after", graph=Command.PARENT, update={"log": [1]})

        graph = StateGraph(Log)
        graph.add_node("first", build_line(("leave", leave), name="inner"))
        graph.add_node("after", add(2))
        graph.add_edge(START, "first")
        assert graph.compile(name="outer").invoke({"log": []}) == {"log": [1, 2]}
        said = [(one["agent"], one["payload"]) for one in rows.events("handoff")]
        assert said == [("leave", {"to": ["after"], "graph": "parent"})]
        assert [status for *_, status in tree(rows)] == 4 * ["ok"]
        assert not rows.failures()


class TestInterrupt:
    """A graph that waits for a person."""

    def ask(self, state: Log) -> Any:
        """Wait for an answer."""
        return {"log": [interrupt({"question": "go on?"})]}

    @pytest.mark.parametrize("is_async", [False, True])
    def test_is_no_failure_and_goes_on(self, rows: Rows, is_async: bool) -> None:
        """The question is an ``interrupt``; the answer resumes the same agents of the same conversation."""
        graph = build_line(("ask", self.ask), checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        way = "ainvoke" if is_async else "invoke"
        waiting = run_graph(way, graph, {"log": []}, config)
        assert waiting["__interrupt__"][0].value == {"question": "go on?"}
        assert run_graph(way, graph, Command(resume="yes"), config) == {"log": ["yes"]}
        assert [status for *_, status in tree(rows)] == ["ok", "stopped_early", "ok", "ok"]
        (asked,) = rows.events("interrupt")
        assert asked["agent"] == "ask" and asked["payload"]["value"] == {"question": "go on?"}
        assert not rows.failures()
        assert rows("SELECT agent_name, runs FROM agents ORDER BY 1") == [("ask", 2), ("line", 2)]
        assert rows.events("agent_start")[2]["payload"]["input"] == {"resume": "yes"}

    def test_beside_a_handover_is_still_waited_for(self, rows: Rows) -> None:
        """A branch that hands over as another one asks changes nothing for the one that asks."""

        def leave(state: Log) -> Any:
            return Command(goto="after", graph=Command.PARENT, update={"log": [1]})

        graph = StateGraph(Log)
        graph.add_node("first", build_line(("leave", leave), name="inner"))
        graph.add_node("ask", self.ask)
        graph.add_node("after", add(2))
        for name in ("first", "ask"):
            graph.add_edge(START, name)
        compiled = graph.compile(name="outer", checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        compiled.invoke({"log": []}, config)
        assert sorted(compiled.invoke(Command(resume="yes"), config)["log"], key=str) == [1, 2, "yes"]
        assert [one["agent"] for one in rows.events("interrupt")] == ["ask"]
        assert [one["agent"] for one in rows.events("handoff")] == ["leave"]
        assert not rows.failures()

    def test_below_other_graphs_is_told_once(self, rows: Rows) -> None:
        """It passes every graph up to the first, and stops each of them early."""
        inner = build_line(("ask", self.ask), name="inner")
        graph = build_line(("middle", lambda state: inner.invoke(state)), checkpointer=InMemorySaver())
        graph.invoke({"log": []}, {"configurable": {"thread_id": "1"}})
        assert [one["agent"] for one in rows.events("interrupt")] == ["ask"]
        assert tree(rows) == [
            ("line", None, "ok"),
            ("middle", "line", "stopped_early"),
            ("inner", "middle", "stopped_early"),
            ("ask", "inner", "stopped_early"),
        ]

    def test_in_a_tool_leaves_its_call_unfinished(self, rows: Rows) -> None:
        """The call stops early, without a failure; after the answer it is made again, under the same id."""

        @traced_tool
        def approve(what: str) -> str:
            """Ask a person."""
            return str(interrupt({"approve": what}))

        graph = build_agent(
            [approve], asks(("approve", {"what": "it"})), "done", checkpointer=InMemorySaver()
        )
        config = {"configurable": {"thread_id": "1"}}
        graph.invoke(HELLO, config)
        graph.invoke(Command(resume="fine"), config)
        calls = rows(
            "SELECT agent_name, tool_name, call_id, status, tool_output FROM tool_traces ORDER BY id"
        )
        assert calls == [
            ("agent", "approve", "call-1", "stopped_early", None),
            ("agent", "approve", "call-1", "ok", "fine"),
        ]
        assert not rows.failures()
        assert '"late"' not in str(rows.events("tool_result"))

    def test_that_refuses_a_call_is_its_failure(self, rows: Rows) -> None:
        """A call that a person refuses is never made; the model's next input tells of it, as a failure."""
        model = build_model(asks(("pay", {"sum": 9})), "sorry")

        def review(state: MessagesState) -> Any:
            (call,) = state["messages"][-1].tool_calls
            said = interrupt({"approve": call["name"]})
            return {"messages": [ToolMessage(said, tool_call_id=call["id"], status="error")]}

        graph = StateGraph(MessagesState)
        graph.add_node("agent", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_node("review", review)
        graph.add_edge(START, "agent")
        graph.add_conditional_edges(
            "agent", lambda s: "review" if s["messages"][-1].tool_calls else "__end__"
        )
        graph.add_edge("review", "agent")
        compiled = graph.compile(name="shop", checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        compiled.invoke(HELLO, config)
        compiled.invoke(Command(resume="not allowed"), config)
        assert rows("SELECT agent_name, tool_name, call_id, status FROM tool_traces") == [
            ("agent", "pay", "call-1", "error")
        ]
        assert rows.failures() == [("pay", "ReturnedFailure", "reported")]

    def test_of_another_process_keeps_its_place(self, rows: Rows, tmp_path: Any) -> None:
        """A thread that a lasting checkpointer keeps is one conversation, by its own id."""

        class LastingSaver(InMemorySaver):
            """Stands for one that writes to a disk; a second object for a second process."""

        config = {"configurable": {"thread_id": "customer-7"}}
        saver = LastingSaver()
        nodes = (("prepare", add("ready")), ("ask", self.ask))
        build_line(*nodes, checkpointer=saver).invoke({"log": []}, config)
        other = LastingSaver()
        other.storage, other.writes, other.blobs = saver.storage, saver.writes, saver.blobs
        graph = build_line(*nodes, checkpointer=other)
        assert graph.invoke(Command(resume="yes"), config) == {"log": ["ready", "yes"]}
        assert rows("SELECT conversation_id, agent_name, runs FROM agents ORDER BY 2") == [
            ("customer-7", "ask", 2),
            ("customer-7", "line", 2),
            ("customer-7", "prepare", 1),
        ]

    @pytest.mark.parametrize("name", ["\ud800", "x" * 5_000, 17, ""])
    def test_may_be_of_a_thread_of_any_name(self, rows: Rows, name: Any) -> None:
        """A thread's id is the program's; nothing is lost for it."""

        class LastingSaver(InMemorySaver):
            """Stands for one that writes to a disk."""

        graph = build_line(("first", add(1)), checkpointer=LastingSaver())
        assert graph.invoke({"log": []}, {"configurable": {"thread_id": name}}) == {"log": [1]}
        assert [status for *_, status in tree(rows)] == ["ok", "ok"]
        assert not errors.LOSSES

    def test_of_two_threads_at_once_stay_apart(self, rows: Rows) -> None:
        """Threads of one checkpointer are conversations of their own."""
        graph = build_line(("ask", self.ask), checkpointer=InMemorySaver())
        for name in ("1", "2"):
            graph.invoke({"log": []}, {"configurable": {"thread_id": name}})
        assert rows("SELECT count(DISTINCT conversation_id) FROM agents") == [(2,)]


class TestFunctions:
    """LangGraph's functional form."""

    @pytest.mark.parametrize("is_async", [False, True])
    def test_are_a_graph_and_its_tasks(self, rows: Rows, is_async: bool) -> None:
        """An entrypoint is one agent; each task that it calls is another, below it."""
        if is_async:

            @task
            async def double(number: int) -> int:
                return number * 2

            @entrypoint()
            async def flow(numbers: list[int]) -> list[int]:
                return list(await asyncio.gather(*[double(number) for number in numbers]))

            assert asyncio.run(flow.ainvoke([1, 2])) == [2, 4]
        else:

            @task
            def double(number: int) -> int:
                return number * 2

            @entrypoint()
            def flow(numbers: list[int]) -> list[int]:
                return [one.result() for one in [double(number) for number in numbers]]

            assert flow.invoke([1, 2]) == [2, 4]
        assert tree(rows) == [("flow", None, "ok"), ("double", "flow", "ok"), ("double", "flow", "ok")]
        given, *tasks = [one["payload"]["input"] for one in rows.events("agent_start")]
        assert given == [1, 2] and sorted(one["args"] for one in tasks) == [[1], [2]]

    def test_fail_with_their_task(self, rows: Rows) -> None:
        """One failure, at the task, however many it passes."""

        @task
        def divide(number: int) -> float:
            return 1 / number

        @entrypoint()
        def flow(number: int) -> float:
            return divide(number).result()

        with pytest.raises(ZeroDivisionError):
            flow.invoke(0)
        assert [(one["agent"], one["error_type"]) for one in rows.events("error")] == [
            ("divide", "ZeroDivisionError")
        ]
        assert tree(rows) == [("flow", None, "error"), ("divide", "flow", "error")]


class TestMiddleware:
    """Agents of ``langchain`` with middleware around their model and tools."""

    def build(self, middleware: Any, *answers: Any, tools: Any = ()) -> Any:
        """Make an agent whose model answers as told."""
        model = build_model(*answers)
        object.__setattr__(model, "bind_tools", lambda *_, **__: model)
        return create_agent(model, list(tools), middleware=[middleware], name="shop")

    def test_that_tries_a_tool_again_makes_attempts_at_one_call(self, rows: Rows) -> None:
        """Calls that a middleware makes again are attempts; their failures were retried."""
        tries: list[int] = []

        def pay(total: int) -> str:
            """Pay."""
            tries.append(total)
            if len(tries) < 3:
                raise ConnectionError("no line")
            return "paid"

        again = ToolRetryMiddleware(initial_delay=0.0, jitter=False)
        self.build(again, asks(("pay", {"total": 9})), "done", tools=[pay]).invoke(HELLO)
        assert rows("SELECT agent_name, tool_name, call_id, status, attempts FROM tool_traces") == [
            ("model", "pay", "call-1", "ok", 3)
        ]
        assert rows.failures() == 2 * [("pay", "ConnectionError", "retried")]

    def test_that_answers_for_a_tool_is_heard(self, rows: Rows) -> None:
        """A call that never reaches its tool is rebuilt from what the model is told."""

        @wrap_tool_call
        def refuse(request: Any, handler: Any) -> ToolMessage:
            return ToolMessage("not allowed", tool_call_id=request.tool_call["id"], status="error")

        def pay(total: int) -> str:
            """Pay."""
            return "paid"

        self.build(refuse, asks(("pay", {"total": 9})), "sorry", tools=[pay]).invoke(HELLO)
        assert rows("SELECT agent_name, tool_name, call_id, status FROM tool_traces") == [
            ("model", "pay", "call-1", "error")
        ]
        assert rows.failures() == [("pay", "ReturnedFailure", "reported")]


class TestToolNodeAlone:
    """A ToolNode for calls that no followed model asked for."""

    def test_is_an_agent_like_any_node(self, rows: Rows) -> None:
        """Nobody else is there to whom its calls could belong."""

        def look(word: str) -> str:
            """Look it up."""
            return word.upper()

        graph = StateGraph(MessagesState)
        graph.add_node("tools", ToolNode([look]))
        graph.add_edge(START, "tools")
        graph.compile(name="g").invoke({"messages": [asks(("look", {"word": "a"}))]})
        assert rows("SELECT agent_name, tool_name, call_id FROM tool_traces") == [("tools", "look", "call-1")]
        assert tree(rows) == [("g", None, "ok"), ("tools", "g", "ok")]
