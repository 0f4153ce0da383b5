"""An agent as people write them: a loop of model and tools, which has never heard of being traced."""

import sys

import anthropic

STOCK = {"apples": 3}


def count(item):
    return str(STOCK[item])


TOOLS = {"count": count}


def run_tool(block):
    if block.name not in TOOLS:
        return {"content": f"there is no tool {block.name}", "is_error": True}
    try:
        return {"content": TOOLS[block.name](**block.input)}
    except Exception as exc:
        return {"content": f"{type(exc).__name__}: {exc}", "is_error": True}


def main():
    client = anthropic.Anthropic()
    messages = [{"role": "user", "content": "how many apples and pears are there?"}]
    schema = {"type": "object", "properties": {"item": {"type": "string"}}}
    tools = [{"name": "count", "description": "Count an item.", "input_schema": schema}]
    while True:
        with client.messages.stream(
            model="claude-sonnet-5", max_tokens=1000, messages=messages, tools=tools
        ) as stream:
            for text in stream.text_stream:
                print(text, end="", flush=True)
            answer = stream.get_final_message()
        messages.append({"role": "assistant", "content": answer.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, **run_tool(block)}
            for block in answer.content
            if block.type == "tool_use"
        ]
        if not results:
            print()
            break
        messages.append({"role": "user", "content": results})
    try:
        client.messages.create(model="claude-haiku-4-5", max_tokens=1000, messages=[])
    except anthropic.BadRequestError as exc:
        print("no summary:", exc.status_code)
    sys.exit(3)


main()
