"""Cassettes of agents that are built on a model's SDK, which nobody changed for it."""

from __future__ import annotations

import os
import re

import pytest

from tests.testing.test_pytest_plugin import project, run

__all__ = ["project"]

pytest_plugins = ["pytester"]

_TEST = """
    import asyncio
    import json
    import os

    import httpx
    import openai
    import pytest

    from agenttrace import agent_scope, traced_tool

    sent = []

    def answer(request):
        sent.append(request)
        last = json.loads(request.content)["messages"][-1]
        message = {"role": "assistant", "content": f"answer: {last['content']}"}
        if last["role"] == "user":
            function = {"name": "search", "arguments": json.dumps({"query": last["content"]})}
            call = {"id": f"call_{os.urandom(8).hex()}", "type": "function", "function": function}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        said = {"id": f"chatcmpl-{os.urandom(8).hex()}", "object": "chat.completion", "created": 1}
        return httpx.Response(200, json={**said, "model": "gpt-4o", "choices": [choice], "usage": usage})

    @traced_tool
    def search(query):
        sent.append(query)
        return f"pages about {query}"

    async def ask(client, messages):
        done = await client.chat.completions.create(model="gpt-4o", messages=messages)
        messages.append(done.choices[0].message.model_dump(exclude_none=True))
        return done.choices[0].message

    async def work(question):
        transport = httpx.MockTransport(answer)
        client = openai.AsyncOpenAI(api_key="none", http_client=httpx.AsyncClient(transport=transport))
        async with agent_scope("reader", input=question):
            messages = [{"role": "user", "content": question}]
            for call in (await ask(client, messages)).tool_calls:
                pages = search(**json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": pages})
            return (await ask(client, messages)).content

    async def lead():
        async with agent_scope("lead"):
            return await asyncio.gather(*(work(f"figs {number}") for number in range(5)))

    @pytest.mark.trajectory(cassette=True, max_tokens=150, max_calls=5)
    def test_reads(trajectory):
        assert asyncio.run(lead()) == [f"answer: pages about figs {number}" for number in range(5)]
        trajectory.assert_called("search", times=5)
        print("sent", len(sent))
"""


@pytest.mark.slow
class TestOpenAI:
    def test_is_asked_once_and_never_again(self, project: pytest.Pytester) -> None:
        """Five subagents at once: 15 requests and calls once, then none, and the file stays as it is."""
        pytest.importorskip("openai")
        project.makepyfile(test_it=_TEST)
        path = project.path / "cassettes" / "test_it" / "test_reads.json"
        texts = []
        for mode, count in (("once", 15), ("none", 0), ("all", 15)):
            result = run(project, "-rP", f"--trajectory-record={mode}")
            result.assert_outcomes(passed=1)
            result.stdout.fnmatch_lines([f"sent {count}"])
            texts.append(path.read_text())
        assert len(set(texts)) == 1
        assert set(re.findall(r'"(call_\w+)"', texts[0])) <= {f"call_{number:04d}" for number in range(1, 31)}
        assert os.fspath(project.path) not in texts[0]
