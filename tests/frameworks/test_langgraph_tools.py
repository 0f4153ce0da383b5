"""LangChain's tools, alone and in a ToolNode: one call each, the asker's, and failures with their line."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool, ToolException, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, create_react_agent
from langgraph.types import Command, Send

from agenttrace import agent_scope, model_turn, traced_tool
from agenttrace.store.reports import rebuild_reports
from tests.frameworks.conftest import Rows
from tests.frameworks.langgraph_graphs import (
    HELLO,
    Log,
    asks,
    build_agent,
    build_line,
    build_model,
    run_graph,
)

BOTH = pytest.mark.parametrize("way", ["invoke", "ainvoke"])
CALLS = "SELECT agent_name, tool_name, call_id, status, error_type FROM tool_traces ORDER BY id"


def divide(a: int, b: int) -> float:
    """Divide a by b."""
    return a / b


async def divide_later(a: int, b: int) -> float:
    """Divide a by b."""
    await asyncio.sleep(0)
    return a / b


DIVIDE_LINE = divide.__code__.co_firstlineno + 2


def run_tool(way: str, one: BaseTool, given: Any) -> Any:
    """Run a tool as a program does."""
    return one.invoke(given) if way == "invoke" else asyncio.run(one.ainvoke(given))


def asked(name: str = "divide", call_id: str = "call-1", **given: Any) -> dict[str, Any]:
    """Give a call as a model asks for it."""
    return {"name": name, "args": given, "id": call_id, "type": "tool_call"}


class TestTool:
    """A tool that a program runs itself."""

    @pytest.mark.parametrize(
        ("way", "function"), [("invoke", divide), ("ainvoke", divide), ("ainvoke", divide_later)]
    )
    def test_is_one_call(self, rows: Rows, way: str, function: Any) -> None:
        """With the arguments by name, the result, and the id that the model gave."""
        one = tool("divide")(function)
        with agent_scope("a"):
            assert run_tool(way, one, {"a": 1, "b": 4}) == 0.25
            assert run_tool(way, one, asked(a=1, b=2)).content == "0.5"
        assert [(name, given, gave) for name, given, gave, *_ in rows.calls()] == [
            ("divide", {"a": 1, "b": 4}, 0.25),
            ("divide", {"a": 1, "b": 2}, 0.5),
        ]
        assert [row[:4] for row in rows(CALLS)] == [
            ("a", "divide", None, "ok"),
            ("a", "divide", "call-1", "ok"),
        ]

    @BOTH
    @pytest.mark.parametrize("order", ["above", "below"])
    def test_is_the_same_call_as_the_traced_function(self, rows: Rows, way: str, order: str) -> None:
        """``@traced_tool`` inside leaves no second pair, and its own error is the call's."""
        one = traced_tool(tool(divide)) if order == "above" else tool(traced_tool(divide))
        with agent_scope("a"):
            assert run_tool(way, one, asked(a=1, b=2)).content == "0.5"
            with pytest.raises(ZeroDivisionError):
                run_tool(way, one, asked(call_id="call-2", a=1, b=0))
        assert rows(CALLS) == [
            ("a", "divide", "call-1", "ok", None),
            ("a", "divide", "call-2", "error", "ZeroDivisionError"),
        ]
        assert len(rows.events("error")) == 1

    @BOTH
    def test_obeys_what_its_decorator_says(self, rows: Rows, way: str) -> None:
        """What is redacted in the function is redacted in the call around it."""
        one = tool(traced_tool(redact=["b"], capture_result=False)(divide))
        run_tool(way, one, asked(a=1, b=717_171))
        found = str(rows("SELECT payload FROM trajectory_events"))
        assert "717171" not in found and "1.39" not in found and '"a":1' in found

    @BOTH
    def test_fails_with_its_own_line(self, rows: Rows, way: str) -> None:
        """The exception that left it, at the line that raised it."""
        with agent_scope("a"), pytest.raises(ZeroDivisionError):
            run_tool(way, tool(divide), {"a": 1, "b": 0})
        (failure,) = rows.events("error")
        last = failure["payload"]["error"]["frames"][-1]
        assert (failure["error_type"], last["file"], last["line"]) == (
            "ZeroDivisionError",
            __file__,
            DIVIDE_LINE,
        )

    @pytest.mark.parametrize(("way", "function"), [("invoke", divide), ("ainvoke", divide_later)])
    def test_fails_with_arguments_that_it_rejects(self, rows: Rows, way: str, function: Any) -> None:
        """Arguments that do not fit are that call's failure, and name the line that made it."""
        with agent_scope("a"), pytest.raises(ValueError, match="valid integer"):
            run_tool(way, tool("divide")(function), {"a": "x", "b": 0})
        assert [row[1:] for row in rows(CALLS)] == [("divide", None, "error", "ValidationError")]
        frames = rows.events("error")[0]["payload"]["error"]["frames"]
        assert frames[0]["file"] == __file__

    @BOTH
    @pytest.mark.parametrize("with_id", [False, True])
    def test_that_hides_its_error_has_failed(self, rows: Rows, way: str, with_id: bool) -> None:
        """``handle_tool_error`` makes a text of the exception; it is the call's failure all the same."""

        def look(word: str) -> str:
            """Look it up."""
            raise ToolException(f"no {word}")

        one = StructuredTool.from_function(look, handle_tool_error=True)
        given = asked("look", word="x") if with_id else {"word": "x"}
        with agent_scope("a"):
            result = run_tool(way, one, given)
        assert (result.content if with_id else result) == "no x"
        (call,) = rows.calls()
        assert call == ("look", {"word": "x"}, "no x", "error", "ToolException")
        (failure,) = rows.events("error")
        assert failure["payload"]["error"]["frames"][-1]["line"] == look.__code__.co_firstlineno + 2
        assert [fate for *_, fate in rows.failures()] == ["swallowed"]

    @BOTH
    def test_that_hides_rejected_arguments_has_failed(self, rows: Rows, way: str) -> None:
        """``handle_validation_error`` too."""
        one = StructuredTool.from_function(divide, handle_validation_error="try again")
        with agent_scope("a"):
            assert run_tool(way, one, {"a": "x", "b": 1}) == "try again"
        assert [row[3:] for row in rows.calls()] == [("error", "ValidationError")]

    def test_keeps_what_was_injected_to_itself(self, rows: Rows) -> None:
        """What LangChain hands over beside the model's arguments is none of them."""

        @tool
        def greet(name: str, secret: Annotated[str, InjectedToolArg]) -> str:
            """Greet."""
            return f"hello {name}"

        assert greet.invoke({"name": "Ann", "secret": "s-hidden"}) == "hello Ann"
        assert rows.calls()[0][1] == {"name": "Ann"}
        assert "s-hidden" not in str(rows("SELECT payload FROM trajectory_events"))

    def test_that_runs_another_has_it_inside(self, rows: Rows) -> None:
        """A tool that calls a tool are two calls, one in the other."""
        inner = tool(divide)

        @tool
        def half(a: int) -> float:
            """Halve."""
            return float(inner.invoke({"a": a, "b": 2}))

        half.invoke({"a": 3})
        found = rows(
            "SELECT c.tool_name, p.tool_name FROM tool_traces c LEFT JOIN tool_traces p"
            " ON p.span_id = c.parent_span_id ORDER BY c.id"
        )
        assert found == [("half", None), ("divide", "half")]

    def test_may_be_cancelled(self, rows: Rows) -> None:
        """A call that is cancelled did not fail."""

        @tool
        async def wait(a: int) -> None:
            """Wait."""
            await asyncio.Event().wait()

        async def go() -> None:
            running = asyncio.ensure_future(wait.ainvoke({"a": 1}))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running])

        asyncio.run(go())
        assert [row[3] for row in rows.calls()] == ["cancelled"]


class TestToolNode:
    """What a ToolNode runs."""

    @BOTH
    def test_makes_the_calls_of_the_agent_that_asked(self, rows: Rows, way: str) -> None:
        """Name, id and arguments as the model sent them; the agent is the node that asked the model."""
        graph = build_agent(
            [divide], asks(("divide", {"a": 1, "b": 4}), ("divide", {"a": 1, "b": 2})), "done"
        )
        run_graph(way, graph, HELLO)
        assert rows(CALLS) == [
            ("agent", "divide", "call-1", "ok", None),
            ("agent", "divide", "call-2", "ok", None),
        ]
        assert sorted(name for name, *_ in rows.agents()) == ["agent", "assistant"]
        assert not rows("SELECT 1 FROM trajectory_events WHERE payload LIKE '%\"rebuilt\"%'")
        assert not rows.events("result_dropped")

    @BOTH
    def test_swallows_errors_that_are_failures(self, rows: Rows, way: str) -> None:
        """An unknown tool, rejected arguments and an exception: each its call's failure, each reported."""
        wanted = asks(("divide", {"a": 1, "b": 0}), ("conquer", {"b": 1}), ("divide", {"a": "x", "b": 1}))
        result = run_graph(way, build_agent([divide], wanted, "sorry"), HELLO)
        assert [one.status for one in result["messages"] if isinstance(one, ToolMessage)] == 3 * ["error"]
        assert sorted(rows(CALLS)) == [
            ("agent", "conquer", "call-2", "error", "ReturnedFailure"),
            ("agent", "divide", "call-1", "error", "ZeroDivisionError"),
            ("agent", "divide", "call-3", "error", "ValidationError"),
        ]
        assert sorted(rows.failures()) == [
            ("conquer", "ReturnedFailure", "reported"),
            ("divide", "ValidationError", "reported"),
            ("divide", "ZeroDivisionError", "reported"),
        ]
        frames = {one["error_type"]: one["payload"]["error"]["frames"] for one in rows.events("error")}
        assert frames["ZeroDivisionError"][-1]["line"] == DIVIDE_LINE
        for one in frames.values():  # the line that ran the graph, where only the library's own would stand
            assert one[0]["function"] in ("WAYS.<lambda>", "<lambda>")
        assert [gave for name, _, gave, *_ in rows.calls() if name == "conquer"] == [
            "Error: conquer is not a valid tool, try one of [divide]."
        ]

    @BOTH
    def test_swallows_what_no_model_is_told_of(self, rows: Rows, way: str) -> None:
        """Where the graph goes on without telling its model, the failure is swallowed."""
        model = build_model(asks(("divide", {"a": 1, "b": 0})))
        graph = StateGraph(MessagesState)
        graph.add_node("agent", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_node("tools", ToolNode([divide], handle_tool_errors=True))
        graph.add_node("end", lambda state: {"messages": [AIMessage("all is well")]})
        graph.add_edge(START, "agent")
        graph.add_edge("agent", "tools")
        graph.add_edge("tools", "end")
        run_graph(way, graph.compile(name="g"), HELLO)
        assert rows.failures() == [("divide", "ZeroDivisionError", "swallowed")]

    @BOTH
    def test_lets_errors_pass_that_it_does_not_handle(self, rows: Rows, way: str) -> None:
        """One failure, through the call, the node and the graph."""
        node = ToolNode([divide], handle_tool_errors=False)
        with pytest.raises(ZeroDivisionError):
            run_graph(way, build_agent([], asks(("divide", {"a": 1, "b": 0})), node=node), HELLO)
        assert rows.failures() == [("divide", "ZeroDivisionError", "escaped")]
        assert {name: status for name, _, status in rows.agents()} == {"assistant": "error", "agent": "ok"}

    @BOTH
    def test_is_one_call_with_the_traced_function(self, rows: Rows, way: str) -> None:
        """A ToolNode, a LangChain tool and a ``@traced_tool`` are one pair of rows."""
        graph = build_agent([tool(traced_tool(divide))], asks(("divide", {"a": 1, "b": 0})), "done")
        run_graph(way, graph, HELLO)
        assert rows(CALLS) == [("agent", "divide", "call-1", "error", "ZeroDivisionError")]
        assert len(rows.events("error")) == 1

    def test_in_threads_keeps_each_call_apart(self, rows: Rows) -> None:
        """Calls that run at the same time have their own arguments, results and ids."""
        together = threading.Barrier(4, timeout=10)

        def echo(number: int) -> int:
            """Echo."""
            together.wait()
            return number

        graph = build_agent([echo], asks(*[("echo", {"number": n}) for n in range(4)]), "done")
        graph.invoke(HELLO)
        found = rows("SELECT call_id, tool_input, tool_output FROM tool_traces ORDER BY call_id")
        assert found == [(f"call-{n + 1}", f'{{"number":{n}}}', str(n)) for n in range(4)]

    @BOTH
    @pytest.mark.filterwarnings("ignore:create_react_agent")
    def test_sent_one_call_each_makes_them_the_askers_too(self, rows: Rows, way: str) -> None:
        """``create_react_agent`` sends each call by itself; the calls are still the model's node's."""
        model = build_model(asks(("divide", {"a": 1, "b": 4}), ("divide", {"a": 1, "b": 2})), "done")
        object.__setattr__(model, "bind_tools", lambda *_, **__: model)
        graph = create_react_agent(model, [divide], version="v2")
        run_graph(way, graph, HELLO)
        assert sorted(rows(CALLS)) == [
            ("agent", "divide", "call-1", "ok", None),
            ("agent", "divide", "call-2", "ok", None),
        ]

    def test_keeps_the_state_to_itself(self, rows: Rows) -> None:
        """A state that is injected is no argument."""

        @tool
        def count(word: str, state: Annotated[Any, InjectedState]) -> int:
            """Count."""
            return len(state["messages"])

        build_agent([count], asks(("count", {"word": "x"})), "done").invoke(HELLO)
        assert rows.calls() == [("count", {"word": "x"}, 2, "ok", None)]

    def test_hands_over_what_a_tool_says(self, rows: Rows) -> None:
        """A tool that returns a ``Command`` hands over; that is its result."""

        @tool
        def transfer(to: str) -> Command:
            """Transfer."""
            return Command(goto="billing", update={"messages": [ToolMessage("ok", tool_call_id="call-1")]})

        model = build_model(asks(("transfer", {"to": "billing"})))
        graph = StateGraph(MessagesState)
        graph.add_node("agent", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_node("tools", ToolNode([transfer]))
        graph.add_node("billing", lambda state: {"messages": [AIMessage("paid")]})
        graph.add_edge(START, "agent")
        graph.add_edge("agent", "tools")
        graph.compile(name="g").invoke(HELLO)
        assert [(one["agent"], one["payload"]) for one in rows.events("handoff")] == [
            ("agent", {"to": ["billing"]})
        ]
        ((_, _, output, status, _),) = rows.calls()
        assert (output["goto"], status) == ("billing", "ok")

    @BOTH
    def test_in_branches_with_equal_ids_keeps_them_apart(self, rows: Rows, way: str) -> None:
        """Agents that run beside each other, whose models count their calls alike, have their own each."""

        @tool
        def echo(number: int) -> int:
            """Echo."""
            return 1 // (number % 4)

        def work(state: Any) -> Any:
            agent = build_agent([echo], asks(("echo", {"number": state["number"]})), "done", name="worker")
            agent.invoke(HELLO)
            return {"log": [state["number"]]}

        graph = StateGraph(Log)
        graph.add_node("work", work)
        graph.add_conditional_edges(
            START, lambda _: [Send("work", {"number": n}) for n in range(12)], ["work"]
        )
        assert run_graph(way, graph.compile(name="fan"), {"log": []})["log"] == list(range(12))
        assert rows("SELECT status, count(*) FROM tool_traces GROUP BY 1 ORDER BY 1") == [
            ("error", 3),
            ("ok", 9),
        ]
        assert rows("SELECT fate, count(*) FROM failures GROUP BY 1") == [("reported", 3)]
        strays = (
            "SELECT 1 FROM trajectory_events WHERE payload LIKE '%\"rebuilt\"%' OR kind = 'result_dropped'"
        )
        assert not rows(strays)

    def test_may_run_a_subagent(self, rows: Rows) -> None:
        """A tool that runs a graph has that graph's agents inside its call."""
        inner = build_line(("work", lambda state: {"log": [1]}), name="inner")

        def research(topic: str) -> str:
            """Research."""
            return str(inner.invoke({"log": []}))

        build_agent([research], asks(("research", {"topic": "x"})), "done").invoke(HELLO)
        assert sorted(rows.agents()) == [
            ("agent", "assistant", "ok"),
            ("assistant", None, "ok"),
            ("inner", "agent", "ok"),
            ("work", "inner", "ok"),
        ]
        assert rows(
            "SELECT c.tool_name FROM trajectory_events s JOIN tool_traces c ON c.span_id = s.parent_span_id"
            " WHERE s.kind = 'agent_start' AND s.agent_name = 'inner'"
        ) == [("research",)]


class TestToolsByHand:
    """A node of the program's own that runs the tools."""

    @pytest.mark.parametrize("whole", [True, False])
    def test_makes_the_calls_that_were_asked_for(self, rows: Rows, whole: bool) -> None:
        """Each has its id, also where only the arguments are handed on; none is told twice."""
        one = tool(divide)
        model = build_model(asks(("divide", {"a": 1, "b": 4}), ("divide", {"a": 1, "b": 2})), "done")

        def agent(state: MessagesState) -> Any:
            return {"messages": [model.invoke(state["messages"])]}

        def tools(state: MessagesState) -> Any:
            results = []
            for call in state["messages"][-1].tool_calls:
                result = one.invoke(call if whole else call["args"])
                results.append(ToolMessage(str(getattr(result, "content", result)), tool_call_id=call["id"]))
            return {"messages": results}

        graph = StateGraph(MessagesState)
        for node in (agent, tools):
            graph.add_node(node)
        graph.add_edge(START, "agent")
        graph.add_conditional_edges("agent", lambda s: "tools" if s["messages"][-1].tool_calls else "__end__")
        graph.add_edge("tools", "agent")
        graph.compile(name="g").invoke(HELLO)
        caller = "agent" if whole else "tools"
        assert rows(CALLS) == [
            (caller, "divide", "call-1", "ok", None),
            (caller, "divide", "call-2", "ok", None),
        ]
        assert {name: parent for name, parent, _ in rows.agents()} == {"g": None, "agent": "g", "tools": "g"}
        assert not rows.events("result_dropped")

    def test_traced_by_hand_are_known_for_what_was_asked(self, rows: Rows) -> None:
        """A ``@traced_tool`` that such a node calls has the id of what was asked for."""
        traced = traced_tool(divide)
        model = build_model(asks(("divide", {"a": 1, "b": 4})), "done")

        def tools(state: MessagesState) -> Any:
            (call,) = state["messages"][-1].tool_calls
            return {"messages": [ToolMessage(str(traced(**call["args"])), tool_call_id=call["id"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("agent", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_node("tools", tools)
        graph.add_edge(START, "agent")
        graph.add_conditional_edges("agent", lambda s: "tools" if s["messages"][-1].tool_calls else "__end__")
        graph.add_edge("tools", "agent")
        graph.compile(name="g").invoke(HELLO)
        assert rows(CALLS) == [("tools", "divide", "call-1", "ok", None)]

    @pytest.mark.parametrize("kind", ["traced", "langchain"])
    @pytest.mark.parametrize("is_told", [True, False])
    def test_fail_for_the_model_that_is_told(self, rows: Rows, kind: str, is_told: bool) -> None:
        """A failure in one node whose text another node's model gets as that call's result is reported."""
        model = build_model(asks(("divide", {"a": 1, "b": 0})), "sorry")
        function = traced_tool(divide) if kind == "traced" else tool(divide).invoke

        def tools(state: MessagesState) -> Any:
            (call,) = state["messages"][-1].tool_calls
            try:
                result = function(**call["args"]) if kind == "traced" else function(call["args"])
            except ZeroDivisionError as exc:
                result = f"Error: {exc}" if is_told else "0"
            return {"messages": [ToolMessage(str(result), tool_call_id=call["id"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("planner", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_node("tools", tools)
        graph.add_node("writer", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_edge(START, "planner")
        graph.add_edge("planner", "tools")
        graph.add_edge("tools", "writer")
        graph.compile(name="g").invoke(HELLO)
        fate = "reported" if is_told else "swallowed"
        assert rows.failures() == [("divide", "ZeroDivisionError", fate)]
        assert rows(CALLS) == [("tools", "divide", "call-1", "error", "ZeroDivisionError")]
        told = rows("SELECT error_id, agent_id, kind FROM failure_reports")
        with closing(sqlite3.connect(rows.database)) as connection:
            rebuild_reports(connection)
            assert (
                connection.execute("SELECT error_id, agent_id, kind FROM failure_reports").fetchall() == told
            )
        assert len(told) == is_told

    def test_outside_a_graph_belong_to_their_agent(self, rows: Rows) -> None:
        """A loop without LangGraph: model, tools and all are the one agent's."""
        model = build_model(asks(("divide", {"a": 1, "b": 0})), "sorry")
        one = tool(divide)
        with agent_scope("loop"):
            answer = model.invoke([("user", "divide")])
            with pytest.raises(ZeroDivisionError):
                one.invoke({**answer.tool_calls[0], "type": "tool_call"})
            model.invoke([answer, ToolMessage("division by zero", tool_call_id="call-1", status="error")])
        assert rows(CALLS) == [("loop", "divide", "call-1", "error", "ZeroDivisionError")]
        assert rows.failures() == [("divide", "ZeroDivisionError", "reported")]

    def test_of_another_model_turn_keep_their_agent(self, rows: Rows) -> None:
        """A turn recorded by hand asks too; the tool that is run for it is that agent's."""
        with agent_scope("mine"):
            with model_turn("m", input=[]) as turn:
                turn.set_output({"role": "assistant", "content": "", "tool_calls": []})
            tool(divide).invoke(asked(a=1, b=4))
        assert rows(CALLS) == [("mine", "divide", "call-1", "ok", None)]
