"""
Agents of the OpenAI Agents SDK as people write them: a tool that fails, two at once, and one that nobody has.

Each run of a tool adds a line to the file RAN, so that a test may count them. ``chat`` or ``responses``,
and ``plain`` or ``streamed``.
"""

import asyncio
import os
import sys

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

set_tracing_disabled(True)


def note(text):
    with open(os.environ["RAN"], "a") as file:
        file.write(text + "\n")


@function_tool
def divide(a: int, b: int) -> float:
    """Divide a by b."""
    note("divide")
    return a / b


@function_tool
async def look_up(word: str) -> dict:
    """Look a word up."""
    note("look_up")
    return {"word": word, "found": [1, 2]}


async def main(api, way):
    kind = OpenAIChatCompletionsModel if api == "chat" else OpenAIResponsesModel
    model = kind(model="gpt-x", openai_client=AsyncOpenAI())
    agent = Agent(name="calculator", instructions="calculate", model=model, tools=[divide, look_up])
    try:
        if way == "plain":
            result = await Runner.run(agent, "use your tools")
        else:
            result = Runner.run_streamed(agent, "use your tools")
            async for event in result.stream_events():
                print(event.type, end=" ")
            print()
        for item in result.to_input_list():
            print(item.get("type"), item.get("output") or item.get("arguments") or item.get("content"))
    except Exception as exc:
        print(type(exc).__name__, exc)
        sys.exit(2)


asyncio.run(main(*sys.argv[1:]))
