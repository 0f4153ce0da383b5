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


def build_fake():
    from agents.testing import ScriptedModel
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

    calls = [("divide", '{"a": 6, "b": 3}'), ("divide", '{"a": 1, "b": 0}'), ("look_up", '{"word": "x"}')]
    asked = [
        ResponseFunctionToolCall(type="function_call", name=name, arguments=given, call_id=f"call_{number}")
        for number, (name, given) in enumerate(calls)
    ]
    text = ResponseOutputText(type="output_text", text="it is done", annotations=[])
    said = ResponseOutputMessage(id="m", role="assistant", status="completed", type="message", content=[text])

    class Fake(ScriptedModel):
        async def get_response(self, *args, **kwargs):
            note("model")
            return await super().get_response(*args, **kwargs)

        async def stream_response(self, *args, **kwargs):
            note("model")
            async for event in super().stream_response(*args, **kwargs):
                yield event

    return Fake([asked, [said]])


def build_model(api):
    if api == "fake":
        return build_fake()
    kind = OpenAIChatCompletionsModel if api == "chat" else OpenAIResponsesModel
    return kind(model="gpt-x", openai_client=AsyncOpenAI())


async def main(api, way):
    model = build_model(api)
    agent = Agent(name="calculator", instructions="calculate", model=model, tools=[divide, look_up])
    try:
        if way == "plain":
            result = await Runner.run(agent, "use your tools")
        else:
            result = Runner.run_streamed(agent, "use your tools")
            async for event in result.stream_events():
                if event.type != "raw_response_event":
                    print(event.name if event.type == "run_item_stream_event" else event.type, end=" ")
            print()
        for item in result.to_input_list():
            print(item.get("type"), item.get("output") or item.get("arguments") or item.get("content"))
    except Exception as exc:
        print(type(exc).__name__, exc)
        sys.exit(2)


asyncio.run(main(*sys.argv[1:]))
