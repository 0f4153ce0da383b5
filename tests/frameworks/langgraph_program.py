"""
A LangGraph program as people write them: it imports nothing of ours.

Its model asks for a tool that does not exist, is refused once (429), and is told of an error that a
ToolNode swallowed. Run with ``sync`` or ``async``; the provider is named by the environment.
"""

from __future__ import annotations

import asyncio
import sys

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


@tool
def divide(a: int, b: int) -> float:
    """Divide a by b."""
    return a / b  # the line of the swallowed error


model = ChatOpenAI(model="gpt-4o").bind_tools([divide])


def agent(state: MessagesState) -> dict:
    return {"messages": [model.invoke(state["messages"])]}


async def agent_later(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke(state["messages"])]}


def build(is_async: bool):
    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent_later if is_async else agent)
    graph.add_node("tools", ToolNode([divide], handle_tool_errors=True))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    return graph.compile(name="calculator")


def main(is_async: bool) -> int:
    graph = build(is_async)
    given = {"messages": [("user", "divide 1 by 0, then conquer")]}
    if is_async:
        result = asyncio.run(graph.ainvoke(given))
    else:
        result = graph.invoke(given)  # the line that ran the graph
    for message in result["messages"]:
        print(message.type, message.content, [call["name"] for call in getattr(message, "tool_calls", ())])
    return 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] == "async"))
