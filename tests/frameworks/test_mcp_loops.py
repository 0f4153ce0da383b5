"""Hand-written loops that ask a model over HTTP and call an MCP server's tools, with nothing decorated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from mcp import ClientSession
from openai import AsyncOpenAI

from agenttrace import agent_scope
from tests.clients.provider import Provider
from tests.clients.provider_replies import text, tool_calls
from tests.frameworks.conftest import Rows
from tests.frameworks.mcp_clients import is_failed, open_stdio, text_of
from tests.frameworks.test_mcp import recover

WANTED = [
    ("define", {"word": "a"}),
    ("fail", {"word": "xyzzy"}),
    ("hallucinated", {"x": 1}),
    ("define", {"word": "a"}),
]


async def loop_with_openai(provider: Provider, session: ClientSession) -> None:
    """One call after the other."""
    client = AsyncOpenAI(base_url=provider.openai_url, api_key="k")
    messages: list[Any] = [{"role": "user", "content": "define it"}]
    while True:
        answer = await client.chat.completions.create(model="gpt-5", messages=messages)
        message = answer.choices[0].message
        messages.append(message)
        if not message.tool_calls:
            return
        for call in message.tool_calls:
            result = await session.call_tool(call.function.name, json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": text_of(result)})


async def loop_with_anthropic(provider: Provider, session: ClientSession) -> None:
    """All calls of a turn at once."""
    client = AsyncAnthropic(base_url=provider.anthropic_url, api_key="k")
    messages: list[Any] = [{"role": "user", "content": "define it"}]
    while True:
        answer = await client.messages.create(model="claude-opus-4-5", max_tokens=99, messages=messages)
        messages.append({"role": "assistant", "content": answer.content})
        uses = [block for block in answer.content if block.type == "tool_use"]
        if not uses:
            return
        results = await asyncio.gather(*(session.call_tool(use.name, use.input) for use in uses))
        blocks = [
            {
                "type": "tool_result",
                "tool_use_id": use.id,
                "content": text_of(result),
                "is_error": is_failed(result),
            }
            for use, result in zip(uses, results, strict=True)
        ]
        messages.append({"role": "user", "content": blocks})


@pytest.mark.slow
@pytest.mark.parametrize("loop", [loop_with_openai, loop_with_anthropic])
class TestLoop:
    """Model, client and server, each seen by an integration of its own."""

    def test_leaves_one_tree(
        self, rows: Rows, loop: Callable[[Provider, ClientSession], Awaitable[None]]
    ) -> None:
        """Each call has the model's id and the server's side in it; each failure is one, and was reported."""

        async def go() -> None:
            with Provider() as provider:
                provider.queue(tool_calls(WANTED), text("done"))
                with agent_scope("reader"):
                    async with open_stdio("high", rows) as session:
                        await loop(provider, session)

        asyncio.run(go())
        recover(rows)
        asked = rows(
            "SELECT c.tool_name, c.tool_input, c.status, s.tool_name, s.tool_input, s.status, s.call_id"
            " FROM tool_traces c JOIN tool_traces s"
            " ON s.parent_span_id = c.span_id AND s.tool_name = c.tool_name"
            " WHERE c.call_id IS NOT NULL ORDER BY c.call_id"
        )
        sides = [
            (name, json.dumps(given, separators=(",", ":")), "ok" if name == "define" else "error")
            for name, given in WANTED
        ]
        assert asked == [(*side, *side, None) for side in sides]
        assert rows("SELECT count(*), count(DISTINCT call_id) FROM tool_traces") == [(10, 4)]
        assert sorted(rows.failures()) == [
            ("fail", "LookupError", "reported"),
            ("hallucinated", "ToolError", "reported"),
        ]
        assert rows("SELECT count(*) FROM trajectory_events WHERE kind = 'model_turn'") == [(2,)]
