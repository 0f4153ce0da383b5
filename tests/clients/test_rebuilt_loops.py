"""Loops on the real SDKs over HTTP: calls get the provider's ids; those that nobody traced are rebuilt."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from agenttrace import agent_scope, traced_tool
from tests.clients.conftest import Rows
from tests.clients.provider import Provider
from tests.clients.provider_replies import Call, rate_limited, text, tool_calls

WATCHED = sys.version_info >= (3, 12)
TOOLS = ("look", "send")


@traced_tool
def look(at: str, depth: int = 1) -> str:
    return f"seen {at}"


def send(to: str) -> str:
    if to == "nobody":
        raise LookupError("no address of nobody is known here")
    return f"sent to {to}"


def run_tool(name: str, arguments: Any) -> tuple[str, bool]:
    """Do as loops do: everything that goes wrong is told to the model."""
    try:
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        tool: Callable[..., str] = {"look": look, "send": send}[name]
        return tool(**arguments), False
    except KeyError:
        return f"Error: there is no tool {name}", True
    except Exception as exc:
        return f"Error: {exc}", True


class Messages:
    """Anthropic's messages; the history keeps the SDK's own blocks."""

    def __init__(self, provider: Provider) -> None:
        self.client = anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k")
        self.later = anthropic.AsyncAnthropic(base_url=provider.anthropic_url, api_key="k")
        self.history: list[Any] = [{"role": "user", "content": "go"}]

    def request(self) -> dict[str, Any]:
        tools = [{"name": name, "input_schema": {"type": "object"}} for name in TOOLS]
        return {"model": "m", "max_tokens": 100, "messages": self.history, "tools": tools}

    def ask(self) -> Any:
        return self.client.messages.create(**self.request())

    def stream(self) -> Any:
        with self.client.messages.stream(**self.request()) as stream:
            return stream.get_final_message()

    async def ask_later(self) -> Any:
        return await self.later.messages.create(**self.request())

    def go_on(self, answer: Any) -> bool:
        self.history.append({"role": "assistant", "content": answer.content})
        results = []
        for block in answer.content:
            if block.type == "tool_use":
                said, is_error = run_tool(block.name, block.input)
                result = {"type": "tool_result", "tool_use_id": block.id, "content": said}
                results.append({**result, "is_error": True} if is_error else result)
        if results:
            self.history.append({"role": "user", "content": results})
        return bool(results)


class Chat:
    """OpenAI's chat completions; the history keeps the SDK's own messages."""

    def __init__(self, provider: Provider) -> None:
        self.client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        self.later = openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k")
        self.history: list[Any] = [{"role": "user", "content": "go"}]

    def request(self) -> dict[str, Any]:
        tools = [{"type": "function", "function": {"name": name}} for name in TOOLS]
        return {"model": "m", "messages": self.history, "tools": tools}

    def ask(self) -> Any:
        return self.client.chat.completions.create(**self.request()).choices[0].message

    def stream(self) -> Any:
        calls: dict[int, dict[str, Any]] = {}
        said = ""
        for chunk in self.client.chat.completions.create(**self.request(), stream=True):
            for choice in chunk.choices:
                said += choice.delta.content or ""
                for piece in choice.delta.tool_calls or ():
                    call = calls.setdefault(
                        piece.index, {"type": "function", "function": {"name": "", "arguments": ""}}
                    )
                    call["id"] = piece.id or call.get("id")
                    assert piece.function is not None
                    call["function"]["name"] += piece.function.name or ""
                    call["function"]["arguments"] += piece.function.arguments or ""
        message: dict[str, Any] = {"role": "assistant", "content": said or None}
        if calls:
            message["tool_calls"] = list(calls.values())
        return openai.types.chat.ChatCompletionMessage.model_validate(message)

    async def ask_later(self) -> Any:
        return (await self.later.chat.completions.create(**self.request())).choices[0].message

    def go_on(self, answer: Any) -> bool:
        self.history.append(answer)
        for call in answer.tool_calls or ():
            said, _ = run_tool(call.function.name, call.function.arguments)
            self.history.append({"role": "tool", "tool_call_id": call.id, "content": said})
        return bool(answer.tool_calls)


class Responses:
    """OpenAI's responses; the history keeps the SDK's own items."""

    def __init__(self, provider: Provider) -> None:
        self.client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        self.later = openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k")
        self.history: list[Any] = [{"role": "user", "content": "go"}]

    def request(self) -> dict[str, Any]:
        tools = [{"type": "function", "name": n, "parameters": {}, "strict": False} for n in TOOLS]
        return {"model": "m", "input": self.history, "tools": tools}

    def ask(self) -> Any:
        return self.client.responses.create(**self.request())

    def stream(self) -> Any:
        with self.client.responses.stream(**self.request()) as stream:
            return stream.get_final_response()

    async def ask_later(self) -> Any:
        return await self.later.responses.create(**self.request())

    def go_on(self, answer: Any) -> bool:
        self.history += answer.output
        calls = [item for item in answer.output if item.type == "function_call"]
        for call in calls:
            said, _ = run_tool(call.name, call.arguments)
            self.history.append({"type": "function_call_output", "call_id": call.call_id, "output": said})
        return bool(calls)


LOOPS: dict[str, type[Any]] = {"messages": Messages, "chat": Chat, "responses": Responses}


def run_loop(api: str, way: str, provider: Provider) -> None:
    """Ask until the model wants no more calls."""
    loop = LOOPS[api](provider)

    async def run_later() -> None:
        while loop.go_on(await loop.ask_later()):
            pass

    with agent_scope("bot"):
        if way == "async":
            asyncio.run(run_later())
            return
        while loop.go_on(loop.stream() if way == "stream" else loop.ask()):
            pass


@pytest.mark.parametrize("way", ["plain", "stream", "async"])
@pytest.mark.parametrize("api", LOOPS)
class TestALoop:
    def test_leaves_each_call_once_with_its_id(
        self, api: str, way: str, rows: Rows, provider: Provider
    ) -> None:
        """Traced or not, in two rounds with the whole history and a request that was tried again."""
        provider.queue(
            tool_calls([Call("look", {"at": "x"}, "c1"), Call("send", {"to": "ann"}, "c2")]),
            rate_limited(),
            tool_calls([Call("send", {"to": "bob"}, "c3"), Call("look", {"at": "y", "depth": 2}, "c4")]),
            text("done"),
        )
        run_loop(api, way, provider)
        assert rows(
            "SELECT t.call_id, t.tool_name, t.tool_output, t.status,"
            " json_extract(e.payload, '$.rebuilt') FROM tool_traces t"
            " JOIN trajectory_events e ON e.id = t.id ORDER BY t.call_id"
        ) == [
            ("c1", "look", "seen x", "ok", None),
            ("c2", "send", "sent to ann", "ok", 1),
            ("c3", "send", "sent to bob", "ok", 1),
            ("c4", "look", "seen y", "ok", None),
        ]
        assert rows("SELECT DISTINCT agent_name FROM tool_traces") == [("bot",)]
        assert rows("SELECT error_type, fate FROM failures") == [("RateLimitError", "retried")]
        assert rows("SELECT call_id FROM trajectory_events WHERE kind = 'result_dropped'") == []

    def test_leaves_each_failure_once_with_its_call(
        self, api: str, way: str, rows: Rows, provider: Provider
    ) -> None:
        """A hallucinated name, an error handed back, and arguments that the traced tool refuses."""
        provider.queue(
            tool_calls(
                [
                    Call("frobnicate", {"at": "x"}, "c1"),
                    Call("send", {"to": "nobody"}, "c2"),
                    Call("look", {"where": "x"}, "c3"),
                    Call("send", {"to": "ann"}, "c4"),
                ]
            ),
            text("done"),
        )
        run_loop(api, way, provider)
        failures = rows("SELECT call_id, tool_name, error_type, fate, raised_at, handled_at FROM failures")
        found = {call_id: rest for call_id, *rest in failures}
        assert len(found) == len(failures) == 3
        assert found["c1"][:3] == ["frobnicate", "UnknownTool", "reported"]
        raised = "LookupError" if WATCHED else "ReturnedFailure"
        assert found["c2"][:3] == ["send", raised, "reported"]
        assert found["c3"][:3] == ["look", "TypeError", "reported"]
        assert all("test_rebuilt_loops.py:" in (rest[3] or rest[4]) for rest in found.values())
        assert dict(rows("SELECT call_id, status FROM tool_traces")) == {
            "c1": "error",
            "c2": "error",
            "c3": "error",
            "c4": "ok",
        }


@pytest.mark.parametrize("way", ["plain", "stream"])
@pytest.mark.parametrize("api", ["chat", "responses"])
class TestArgumentsThatAreNoJson:
    def test_are_a_failure_of_their_call(self, api: str, way: str, rows: Rows, provider: Provider) -> None:
        """The text stands as the arguments."""
        provider.queue(tool_calls([Call("look", '{"at": ', "c1")]), text("done"))
        run_loop(api, way, provider)
        (failure,) = rows("SELECT call_id, tool_name, error_type, fate FROM failures")
        raised = "JSONDecodeError" if WATCHED else "InvalidArguments"
        assert failure == ("c1", "look", raised, "reported")
        assert rows("SELECT tool_input FROM tool_traces") == [('{"at": ',)]
