"""
What mypy must know of the decorators and scopes; read by mypy, never run.

Each ``assert_type`` is a promise to users' editors: a decorated function keeps
its parameters, its result and its kind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, assert_type

from agenttrace import (
    agent_scope,
    conversation_scope,
    flush,
    model_turn,
    tool_scope,
    traced_agent,
    traced_tool,
)


@traced_tool
def add(a: int, b: int = 1, *, scale: float = 1.0) -> float:
    return (a + b) * scale


@traced_tool(name="sum", redact=["b"], capture_arguments=["a"])
def add_with_options(a: int, b: int = 1, *, scale: float = 1.0) -> float:
    return (a + b) * scale


@traced_tool
async def fetch(url: str) -> bytes:
    return url.encode()


@traced_tool(max_payload_bytes=1024)
async def fetch_with_options(url: str) -> bytes:
    return url.encode()


@traced_tool
def count(limit: int) -> Iterator[int]:
    yield from range(limit)


@traced_tool
async def tick(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        yield number


@traced_agent
def run(task: str) -> list[str]:
    return [task]


@traced_agent(name="lead", model="m")
async def run_async(task: str) -> list[str]:
    return [task]


class Box:
    @traced_tool
    def get(self, key: str) -> int:
        return len(key)

    @traced_tool(name="get")
    async def get_later(self, key: str) -> int:
        return len(key)

    @classmethod
    @traced_tool
    def build(cls, size: int) -> Box:
        return cls()

    @staticmethod
    @traced_tool
    def measure(text: str) -> int:
        return len(text)


assert_type(add(1, 2, scale=0.5), float)
assert_type(add_with_options(1), float)
assert_type(count(3), Iterator[int])
assert_type(tick(3), AsyncIterator[int])
assert_type(run("x"), list[str])
assert_type(Box().get("k"), int)
assert_type(Box.build(3), Box)
assert_type(Box.measure("x"), int)

takes_two: Callable[[int, int], float] = add
takes_url: Callable[[str], Coroutine[Any, Any, bytes]] = fetch
bound: Callable[[str], int] = Box().get

add("1")  # type: ignore[arg-type]
add(1, scale="wide")  # type: ignore[arg-type]
add_with_options(1, colour="red")  # type: ignore[call-arg]
Box().get(3)  # type: ignore[arg-type]
traced_tool(nmae="x")  # type: ignore[call-overload]


async def main() -> None:
    assert_type(await fetch("u"), bytes)
    assert_type(await fetch_with_options("u"), bytes)
    assert_type(await run_async("t"), list[str])
    assert_type(await Box().get_later("k"), int)
    async with agent_scope("later") as agent:
        assert_type(agent.agent_id, str)


with conversation_scope(task="t") as conversation:
    assert_type(conversation.conversation_id, str)
with agent_scope("lead", input={"a": 1}, metadata={"b": 2}) as lead:
    assert_type(lead.agent_id, str)
    assert_type(lead.parent_agent_id, str | None)
    lead.set_output("done")
with tool_scope("search", call_id="c1", arguments={"q": "x"}) as call:
    call.set_result([1], is_error=False)
with model_turn("m", provider="p") as turn:
    turn.delta("a")
    turn.set_usage(input_tokens=1, output_tokens=2)
result = flush(1.0)
assert_type(result.written, int)
assert_type(result.pending, int)
assert_type(result.dropped, int)
