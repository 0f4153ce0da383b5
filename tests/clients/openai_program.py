"""
An agent as anybody writes one on OpenAI's SDK: a loop, a tool, and errors that the model is told of.

It knows nothing of agenttrace. Run as ``openai_program.py {chat|responses} {sync|async}``; it prints what
the model said last, and exits with 3.
"""

import asyncio
import json
import sys

import openai


def divide(a, b):
    return a / b


TOOLS = {"divide": divide}


def run_tool(name, arguments):
    try:
        return str(TOOLS[name](**json.loads(arguments)))
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


def chat():
    client = openai.OpenAI()
    messages = [{"role": "user", "content": "use your tools"}]
    while True:
        message = client.chat.completions.create(model="gpt-x", messages=messages).choices[0].message
        messages.append(message)
        if not message.tool_calls:
            return message.content
        for call in message.tool_calls:
            text = run_tool(call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": text})


async def chat_later():
    async with openai.AsyncOpenAI() as client:
        messages = [{"role": "user", "content": "use your tools"}]
        while True:
            stream = await client.chat.completions.create(model="gpt-x", messages=messages, stream=True)
            content, calls = "", {}
            async for chunk in stream:
                delta = chunk.choices[0].delta if chunk.choices else None
                content += (delta and delta.content) or ""
                for piece in (delta and delta.tool_calls) or ():
                    call = calls.setdefault(piece.index, {"id": piece.id, "name": "", "arguments": ""})
                    call["name"] += piece.function.name or ""
                    call["arguments"] += piece.function.arguments or ""
            if not calls:
                return content
            messages.append(
                {
                    "role": "assistant",
                    "content": content or None,
                    "tool_calls": [
                        {
                            "id": call["id"],
                            "type": "function",
                            "function": {"name": call["name"], "arguments": call["arguments"]},
                        }
                        for call in calls.values()
                    ],
                }
            )
            for call in calls.values():
                text = run_tool(call["name"], call["arguments"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})


def responses():
    client = openai.OpenAI()
    items = [{"role": "user", "content": "use your tools"}]
    while True:
        response = client.responses.create(model="gpt-x", input=items)
        items += response.output
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return response.output_text
        for call in calls:
            text = run_tool(call.name, call.arguments)
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": text})


async def responses_later():
    async with openai.AsyncOpenAI() as client:
        answer, previous, items = None, None, [{"role": "user", "content": "use your tools"}]
        while answer is None:
            given = {"previous_response_id": previous} if previous else {}
            async with client.responses.stream(model="gpt-x", input=items, **given) as stream:
                response = await stream.get_final_response()
            previous = response.id
            calls = [item for item in response.output if item.type == "function_call"]
            items = [
                {
                    "type": "function_call_output",
                    "call_id": call.call_id,
                    "output": run_tool(call.name, call.arguments),
                }
                for call in calls
            ]
            answer = None if calls else response.output_text
        return answer


if __name__ == "__main__":
    api, way = sys.argv[1:]
    if way == "sync":
        print({"chat": chat, "responses": responses}[api]())
    else:
        print(asyncio.run({"chat": chat_later, "responses": responses_later}[api]()))
    sys.exit(3)
