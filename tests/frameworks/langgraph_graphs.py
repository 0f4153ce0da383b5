"""Graphs whose models answer as they are told, and the ways in which a program runs a graph."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

__all__ = ["HELLO", "WAYS", "Log", "asks", "build_agent", "build_line", "build_model", "run_graph"]

HELLO = {"messages": [("user", "hello")]}


class Log(TypedDict):
    """A state that is one growing list."""

    log: Annotated[list[Any], operator.add]


def asks(*calls: tuple[str, dict[str, Any]], start: int = 1) -> AIMessage:
    """Give an answer that asks for *calls*; their ids are ``call-1`` and so on."""
    return AIMessage(
        "",
        tool_calls=[
            {"name": name, "args": given, "id": f"call-{number}"}
            for number, (name, given) in enumerate(calls, start)
        ],
    )


def build_model(*answers: AIMessage | str | Exception) -> GenericFakeChatModel:
    """Make a model that gives *answers* in turn, and raises those that are exceptions."""

    def give() -> Any:
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            yield answer

    return GenericFakeChatModel(messages=give())


def build_agent(
    tools: list[Any], *answers: AIMessage | str, name: str = "assistant", node: Any = None, **options: Any
) -> Any:
    """
    Make the usual loop: a node ``agent`` that asks a model, and a ``ToolNode`` beside it.

    Args:
        tools: Of the ToolNode.
        answers: Of the model.
        name: Of the graph.
        node: The ToolNode, if not one that makes messages of all errors.
        options: Of ``compile``.
    """
    model = build_model(*answers)

    def agent(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", node or ToolNode(tools, handle_tool_errors=True))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    return graph.compile(name=name, **options)


def build_line(*nodes: tuple[str, Callable[..., Any]], name: str = "line", **options: Any) -> Any:
    """
    Make a graph that runs *nodes* one after the other.

    Args:
        nodes: Names and functions.
        name: Of the graph.
        options: Of ``compile``; ``retry_policy`` is each node's.
    """
    policy = options.pop("retry_policy", None)
    graph = StateGraph(Log)
    before = START
    for title, function in nodes:
        graph.add_node(title, function, retry_policy=policy)
        graph.add_edge(before, title)
        before = title
    return graph.compile(name=name, **options)


def _stream(graph: Any, given: Any, config: Any) -> Any:
    return list(graph.stream(given, config, stream_mode="values"))[-1]


def _astream(graph: Any, given: Any, config: Any) -> Any:
    async def go() -> Any:
        return [state async for state in graph.astream(given, config, stream_mode="values")][-1]

    return asyncio.run(go())


WAYS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "invoke": lambda graph, given, config: graph.invoke(given, config),
    "ainvoke": lambda graph, given, config: asyncio.run(graph.ainvoke(given, config)),
    "stream": _stream,
    "astream": _astream,
    "batch": lambda graph, given, config: graph.batch([given], config)[0],
}
"""Each gives the last state."""


def run_graph(way: str, graph: Any, given: Any, config: Any = None) -> Any:
    """Run *graph* in one of ``WAYS``."""
    return WAYS[way](graph, given, config)
