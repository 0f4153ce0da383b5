"""
What a planner is, and the deterministic one that needs no key and no network.

A planner stands where a model client would: it gets the messages so far and the
tools on offer, and answers with text, tool calls and usage counts. Invariant: a
plan depends on the messages alone, so the same folder is audited the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

__all__ = [
    "Decision",
    "Memory",
    "Message",
    "Plan",
    "PlannedCall",
    "Planner",
    "Result",
    "Rule",
    "RulePlanner",
    "ToolSpec",
]

Message = Mapping[str, Any]
"""``{"role": "system"|"user"|"assistant"|"tool", "content": str, …}``; an assistant's may have
``calls``, a tool's has ``name``, ``call_id`` and ``is_error``."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """Describe one tool to a planner."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """Name one tool call that the planner wants made."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """Carry one answer of a planner; without calls its text is the final answer."""

    text: str
    calls: tuple[PlannedCall, ...]
    usage: Mapping[str, int]
    """``input_tokens`` and ``output_tokens``."""
    finish_reason: str = "stop"
    response_id: str | None = None

    def to_message(self) -> dict[str, Any]:
        """Give the plan as the assistant's message."""
        calls = [
            {"call_id": call.call_id, "name": call.name, "arguments": dict(call.arguments)}
            for call in self.calls
        ]
        return {"role": "assistant", "content": self.text, "calls": calls}


class Planner(Protocol):
    """Decide what an agent does next."""

    @property
    def model(self) -> str: ...

    @property
    def provider(self) -> str: ...

    def plan(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Plan:
        """Answer *messages*, with calls from *tools* or with a final text."""
        ...


class Result(NamedTuple):
    """One tool message as a rule reads it."""

    name: str
    value: Any
    """The decoded content; the text itself when it is no JSON."""
    is_error: bool


class Memory(NamedTuple):
    """What a rule knows when it decides."""

    task: str
    turns: int
    """How often this planner has answered in these messages."""
    results: list[Result]

    def values_of(self, name: str) -> list[Mapping[str, Any]]:
        """Give the good results of tool *name* that are objects, in order."""
        return [
            result.value
            for result in self.results
            if result.name == name and not result.is_error and isinstance(result.value, dict)
        ]

    def value_of(self, name: str) -> Mapping[str, Any]:
        """Give the first of ``values_of``; {} when there is none."""
        return next(iter(self.values_of(name)), {})


class Decision(NamedTuple):
    """What a rule wants: something to say, and tools to call with their arguments."""

    text: str
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()


Rule = Callable[[Memory], Decision]


class RulePlanner:
    """
    Answer by a rule instead of a model.

    Its tokens are words: usage counts the words of everything it was shown and of what it says.
    """

    model = "demo-planner-1"
    provider = "agenttrace"

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def plan(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Plan:
        """Apply the rule to what the messages tell."""
        memory = read_memory(messages)
        decision = self._rule(memory)
        calls = tuple(
            PlannedCall(f"call_{memory.turns + 1}_{number}", name, dict(arguments))
            for number, (name, arguments) in enumerate(decision.calls, start=1)
        )
        shown = [str(message.get("content", "")) for message in messages]
        shown += [f"{tool.name} {tool.description}" for tool in tools]
        said = [decision.text, *(f"{call.name} {json.dumps(call.arguments)}" for call in calls)]
        usage = {"input_tokens": count_words(shown), "output_tokens": count_words(said)}
        return Plan(decision.text, calls, usage, finish_reason="tool_calls" if calls else "stop")


def read_memory(messages: Sequence[Message]) -> Memory:
    """Read the task, the number of earlier answers and all tool results out of *messages*."""
    task = next((str(message["content"]) for message in messages if message["role"] == "user"), "")
    turns = sum(message["role"] == "assistant" for message in messages)
    results = [
        Result(str(message["name"]), decode(str(message["content"])), bool(message["is_error"]))
        for message in messages
        if message["role"] == "tool"
    ]
    return Memory(task, turns, results)


def decode(content: str) -> Any:
    """Decode JSON; any other text stays text."""
    try:
        return json.loads(content)
    except ValueError:
        return content


def count_words(texts: Sequence[str]) -> int:
    """Count the whitespace-separated words of all *texts*."""
    return sum(len(text.split()) for text in texts)
