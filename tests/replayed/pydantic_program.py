"""
An agent of pydantic-ai as people write them: a tool that asks for another try, one that fails, two at once.

Each run of a tool adds a line to the file RAN. ``openai``, ``responses`` or ``anthropic``, and ``plain`` or
``streamed``.
"""

import asyncio
import os
import sys

from pydantic_ai import Agent, ModelRetry


def note(text):
    with open(os.environ["RAN"], "a") as file:
        file.write(text + "\n")


def build_fake():
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import DeltaToolCall, FunctionModel

    calls = [("divide", '{"a": 6, "b": 3}'), ("divide", '{"a": 1, "b": 0}'), ("look_up", '{"word": "x"}')]

    def is_first(messages):
        note("model")
        return len(messages) == 1

    def answer(messages, info):
        if not is_first(messages):
            return ModelResponse([TextPart("it is done")])
        return ModelResponse([ToolCallPart(*call, f"call-{at}") for at, call in enumerate(calls)])

    async def stream(messages, info):
        if is_first(messages):
            for at, (name, given) in enumerate(calls):
                yield {at: DeltaToolCall(name, given, tool_call_id=f"call-{at}")}
        else:
            for word in ("it ", "is ", "done"):
                yield word

    return FunctionModel(answer, stream_function=stream)


def build_model(api):
    if api == "fake":
        return build_fake()
    if api == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel

        return AnthropicModel("claude-x")
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

    return OpenAIResponsesModel("gpt-x") if api == "responses" else OpenAIChatModel("gpt-x")


agent = Agent(build_model(sys.argv[1]), name="calculator", retries=1)


@agent.tool_plain
def divide(a: int, b: int) -> float:
    """Divide a by b."""
    note("divide")
    if b == 0:
        raise ModelRetry("b must not be 0")
    return a / b


@agent.tool_plain
async def look_up(word: str) -> dict:
    """Look a word up."""
    note("look_up")
    return {"word": word, "found": [1, 2]}


@agent.tool_plain
def explode(how: str) -> str:
    """Fail."""
    note("explode")
    raise ValueError(f"exploded {how}")


async def main(way):
    try:
        if way == "plain":
            result = await agent.run("use your tools")
            print(result.output, len(result.all_messages()))
        else:
            async with agent.run_stream("use your tools") as result:
                async for text in result.stream_text(delta=True, debounce_by=None):
                    print(repr(text))
        for message in result.all_messages():
            for part in message.parts:
                print(part.part_kind, part.args_as_dict() if hasattr(part, "args") else part.content)
    except Exception as exc:
        print(type(exc).__name__, exc, repr(exc.__cause__))
        sys.exit(2)


asyncio.run(main(sys.argv[2]))
