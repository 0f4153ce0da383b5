"""
A LangGraph agent as people write them: an error that a ToolNode makes a message of, and two tools at once.

Each run of a tool adds a line to the file RAN. ``openai``, ``responses``, ``anthropic`` or ``fake`` (a model
that is asked in this process), and ``sync``, ``async`` or ``streamed``.
"""

import asyncio
import os
import sys

from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


def note(text):
    with open(os.environ["RAN"], "a") as file:
        file.write(text + "\n")


@tool
def divide(a: int, b: int) -> float:
    """Divide a by b."""
    note("divide")
    return a / b


@tool
def look_up(word: str) -> dict:
    """Look a word up."""
    note("look_up")
    return {"word": word, "found": [1, 2]}


def build_model(api):
    if api == "anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(model="claude-x", max_tokens=100)
    if api == "fake":
        from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
        from langchain_core.messages import AIMessage

        def give():
            note("model")
            calls = [("divide", {"a": 6, "b": 3}), ("divide", {"a": 1, "b": 0}), ("look_up", {"word": "x"})]
            yield AIMessage(
                "",
                tool_calls=[
                    {"name": name, "args": given, "id": f"call-{number}"}
                    for number, (name, given) in enumerate(calls)
                ],
            )
            note("model")
            yield AIMessage("it is done")

        class Fake(GenericFakeChatModel):
            def bind_tools(self, tools, **more):
                return self

        return Fake(messages=give())
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-x", use_responses_api=api == "responses")


TOOLS = [divide, look_up]
model = build_model(sys.argv[1]).bind_tools(TOOLS)


def agent(state: MessagesState):
    return {"messages": [model.invoke(state["messages"])]}


async def agent_later(state: MessagesState):
    return {"messages": [await model.ainvoke(state["messages"])]}


def agent_streaming(state: MessagesState):
    whole = None
    for chunk in model.stream(state["messages"]):
        print(repr(chunk.text), end=" ")
        whole = chunk if whole is None else whole + chunk
    return {"messages": [whole]}


def main(way):
    graph = StateGraph(MessagesState)
    graph.add_node("agent", {"sync": agent, "async": agent_later, "streamed": agent_streaming}[way])
    graph.add_node("tools", ToolNode(TOOLS, handle_tool_errors=True))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    compiled = graph.compile(name="calculator")
    given = {"messages": [("user", "use your tools")]}
    try:
        result = asyncio.run(compiled.ainvoke(given)) if way == "async" else compiled.invoke(given)
    except Exception as exc:
        print(type(exc).__name__, exc)
        sys.exit(2)
    print()
    for message in result["messages"]:
        calls = [(call["name"], call["args"]) for call in getattr(message, "tool_calls", ())]
        usage = getattr(message, "usage_metadata", None) or {}
        print(message.type, repr(message.text), calls, usage.get("total_tokens"))


main(sys.argv[2])
