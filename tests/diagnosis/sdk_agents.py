"""
Agents that do what a plan says through a real SDK: OpenAI's chat and responses, Anthropic's messages.

The program does what programs do: asks, calls the tools that the model wants, tells it what they gave. What
a fault is about is known by the request's number or by the call's id, which the model gave.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import anthropic
import openai

import agenttrace
from agenttrace import agent_scope
from tests.diagnosis.agents import TURN_FAULTS, close_agent, open_agent
from tests.diagnosis.plans import Plan, Step
from tests.diagnosis.sdk_model import MODELS, Asked
from tests.diagnosis.tools import PLAIN_TOOLS, TOOLBOX, as_text, run_step
from tests.diagnosis.world import place, world

__all__ = ["run_sdk"]


class _Talk:
    """One agent's talk with its model: the history, in the form of one API."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.api = plan.api
        self.key, self.model = MODELS.add(plan)
        self.number = 0
        self.history: list[Any] = [{"role": "user", "content": plan.task}]

    @property
    def turn(self) -> int:
        """The number of the plan's turn that is asked for now."""
        return self.model.script[self.number][0]

    @property
    def is_here(self) -> bool:
        """Whether the fault of the plan is about the request that comes."""
        return self.plan.fault_turn == self.turn and self.model.is_first(self.number)

    @property
    def is_streaming(self) -> bool:
        """Whether the answer is streamed."""
        return self.plan.is_streaming or (self.is_here and self.plan.fault in ("break", "leave"))

    @property
    def model_name(self) -> str:
        """The model that is asked."""
        is_switched = self.plan.fault == "switch" and self.turn >= self.plan.fault_turn
        return "acme-tiny" if is_switched else self.plan.model_of(self.turn)

    def request(self) -> dict[str, Any]:
        """Give what is asked."""
        names = [*TOOLBOX, "ask_agent"]
        common = {"model": self.model_name, "extra_headers": {"x-stamp": f"{self.key}:{self.number}"}}
        if self.api == "messages":
            tools: list[Any] = [{"name": name, "input_schema": {"type": "object"}} for name in names]
            return {**common, "max_tokens": 1000, "messages": list(self.history), "tools": tools}
        if self.api == "chat":
            tools = [{"type": "function", "function": {"name": name}} for name in names]
            usage = {"stream_options": {"include_usage": True}} if self.is_streaming else {}
            return {**common, "messages": list(self.history), "tools": tools, **usage}
        tools = [{"type": "function", "name": name, "parameters": {}, "strict": False} for name in names]
        return {**common, "input": list(self.history), "tools": tools}

    def hear(self, answer: Any) -> list[tuple[str, str, dict[str, Any]]]:
        """Take an answer into the history; gives the calls that it asks for."""
        self.number += 1
        if self.api == "messages":
            self.history.append({"role": "assistant", "content": answer.content})
            return [(b.id, b.name, dict(b.input)) for b in answer.content if b.type == "tool_use"]
        if self.api == "chat":
            self.history.append(answer)
            return [
                (call.id, call.function.name, json.loads(call.function.arguments))
                for call in answer.tool_calls or ()
            ]
        self.history += answer.output
        return [
            (item.call_id, item.name, json.loads(item.arguments))
            for item in answer.output
            if item.type == "function_call"
        ]

    def tell(self, told: list[tuple[str, str, bool]]) -> None:
        """Put results into the history: id, text, whether it is an error."""
        if self.api == "messages":
            blocks = [
                {"type": "tool_result", "tool_use_id": i, "content": t, **({"is_error": True} if bad else {})}
                for i, t, bad in told
            ]
            if blocks:
                self.history.append({"role": "user", "content": blocks})
            return
        for call_id, said, _ in told:
            if self.api == "chat":
                self.history.append({"role": "tool", "tool_call_id": call_id, "content": said})
            else:
                self.history.append({"type": "function_call_output", "call_id": call_id, "output": said})

    def asked(self, call_id: str) -> Asked:
        """Give what the script says of a call."""
        return next(each for _, asked in self.model.script for each in asked if each.call_id == call_id)


def _client(api: str, *, later: bool) -> Any:
    provider = MODELS.provider()
    if api == "messages":
        kind: Any = anthropic.AsyncAnthropic if later else anthropic.Anthropic
        return kind(base_url=provider.anthropic_url, api_key="k", max_retries=9)
    kind = openai.AsyncOpenAI if later else openai.OpenAI
    return kind(base_url=provider.openai_url, api_key="k", max_retries=9)


def _join(chunks: list[Any]) -> Any:
    """Put the chunks of a chat's stream together, as programs do."""
    calls: dict[int, dict[str, Any]] = {}
    said = ""
    for chunk in chunks:
        for choice in chunk.choices:
            said += choice.delta.content or ""
            for piece in choice.delta.tool_calls or ():
                call = calls.setdefault(
                    piece.index, {"type": "function", "function": {"name": "", "arguments": ""}}
                )
                call["id"] = piece.id or call.get("id")
                call["function"]["name"] += piece.function.name or ""
                call["function"]["arguments"] += piece.function.arguments or ""
    message: dict[str, Any] = {"role": "assistant", "content": said or None}
    if calls:
        message["tool_calls"] = list(calls.values())
    return openai.types.chat.ChatCompletionMessage.model_validate(message)


def _ask(client: Any, talk: _Talk) -> Any:
    """Ask the model; None where the program did not wait for the end of the answer."""
    request = talk.request()
    leaves = talk.is_here and talk.plan.fault == "leave"
    if talk.api == "chat":
        if not talk.is_streaming:
            return client.chat.completions.create(**request).choices[0].message
        chunks = []
        with client.chat.completions.create(**request, stream=True) as stream:
            for chunk in stream:
                chunks.append(chunk)
                if leaves and len(chunks) == 5:
                    return None
        return _join(chunks)
    way = client.responses if talk.api == "responses" else client.messages
    if not talk.is_streaming:
        return way.create(**request)
    with way.stream(**request) as stream:
        if leaves:
            list(itertools.islice(stream, 6))
            return None
        return stream.get_final_response() if talk.api == "responses" else stream.get_final_message()


async def _ask_later(client: Any, talk: _Talk) -> Any:
    request = talk.request()
    leaves = talk.is_here and talk.plan.fault == "leave"
    if talk.api == "chat":
        if not talk.is_streaming:
            return (await client.chat.completions.create(**request)).choices[0].message
        chunks = []
        async with await client.chat.completions.create(**request, stream=True) as stream:
            async for chunk in stream:
                chunks.append(chunk)
                if leaves and len(chunks) == 5:
                    return None
        return _join(chunks)
    way = client.responses if talk.api == "responses" else client.messages
    if not talk.is_streaming:
        return await way.create(**request)
    async with way.stream(**request) as stream:
        if leaves:
            count = 0
            async for _ in stream:
                count += 1
                if count == 6:
                    return None
        return await (stream.get_final_response() if talk.api == "responses" else stream.get_final_message())


def _prepare(talk: _Talk, agent: Any, marker: str) -> None:
    """Do before a request what the plan says of it; a fault of the request is told."""
    plan = talk.plan
    if plan.switch_at == talk.turn and talk.model.is_first(talk.number):
        plan.model = "acme-large" if plan.model == "acme-small" else "acme-small"
        agent.set_model(plan.model, reason="this part is of another kind")
    if talk.is_here and plan.fault in TURN_FAULTS:
        where = None
        if _is_given_up(plan):
            where = place(__file__, marker)
        world().expect_turn(agent.agent_id, talk.number + 1, place=where)


def _is_given_up(plan: Plan) -> bool:
    return plan.fault == "refuse_turn_caught"


def _run(plan: Plan) -> Any:
    with agent_scope(plan.name, input=plan.task) as agent:
        open_agent(plan)
        talk, client = _Talk(plan), _client(plan.api, later=False)
        with client:
            while True:
                _prepare(talk, agent, "refuse_turn_caught")
                if _is_given_up(plan):
                    try:
                        answer = _ask(client, talk)
                    except Exception:  # line: refuse_turn_caught
                        break
                else:
                    answer = _ask(client, talk)
                calls = [] if answer is None else talk.hear(answer)
                if not calls:
                    break
                told = []
                for call_id, name, arguments in calls:
                    asked = talk.asked(call_id)
                    if asked.step.plan is not None:
                        told += _tell(call_id, _delegate(asked.step.plan))
                    else:
                        told += _use(plan, asked, call_id, name, arguments)
                talk.tell(told)
        return close_agent(plan, agent)


async def _run_later(plan: Plan) -> Any:
    async with agent_scope(plan.name, input=plan.task) as agent:
        open_agent(plan)
        talk, client = _Talk(plan), _client(plan.api, later=True)
        async with client:
            while True:
                _prepare(talk, agent, "refuse_turn_caught_later")
                if _is_given_up(plan):
                    try:
                        answer = await _ask_later(client, talk)
                    except Exception:  # line: refuse_turn_caught_later
                        break
                else:
                    answer = await _ask_later(client, talk)
                calls = [] if answer is None else talk.hear(answer)
                if not calls:
                    break
                told = []
                waiting = []
                for call_id, name, arguments in calls:
                    asked = talk.asked(call_id)
                    if asked.step.plan is not None:
                        waiting.append((call_id, _delegate_later(asked.step.plan)))
                    else:
                        told += _use(plan, asked, call_id, name, arguments)
                results = await asyncio.gather(*(each for _, each in waiting))
                for (call_id, _), answer in zip(waiting, results, strict=True):
                    told += _tell(call_id, answer)
                talk.tell(told)
        return close_agent(plan, agent)


def _tell(call_id: str, answer: Any) -> list[tuple[str, str, bool]]:
    return [(call_id, as_text(answer), False)]


def _delegate(plan: Plan) -> Any:
    """Let a subagent do something, as the tool that it is for the model."""
    if plan.fault == "ignored":
        try:
            return run_sdk(plan)
        except Exception:
            return "it was asked"
    return run_sdk(plan)


async def _delegate_later(plan: Plan) -> Any:
    if plan.fault == "ignored":
        try:
            return await _run_later(plan)
        except Exception:
            return "it was asked"
    return await _run_later(plan)


def _use(
    plan: Plan, asked: Asked, call_id: str, name: str, arguments: dict[str, Any]
) -> list[tuple[str, str, bool]]:
    """Make a call that the model asked for; gives what it is told."""
    step = asked.step
    call = partial(_call, plan, step, call_id, name, arguments)
    if step.fault == "unknown":
        world().expect_call(call_id)
        return [(call_id, f"Error: there is no tool {name}", True)]
    if step.fault in ("swallow_outside", "suppress"):
        world().expect_call(call_id, place=place(__file__, "sdk_swallow_outside"))
        try:
            content = as_text(call())
        except Exception:  # line: sdk_swallow_outside
            content = "nothing found"
        return [(call_id, content, False)]
    if step.habit == "escape" or step.fault == "raise_through":
        return [(call_id, as_text(call()), False)]
    for _ in range(8):
        try:
            value = call()
        except TimeoutError as exc:
            if step.habit != "retried" and step.fault != "storm":
                return [(call_id, f"TimeoutError: {exc}", True)]
            continue
        except Exception as exc:
            return [(call_id, f"{type(exc).__name__}: {exc}", True)]
        if step.fault == "drop":
            agenttrace.drop_result(call_id, "over budget")
            return []
        if step.fault == "withhold":
            return []
        return [(call_id, as_text(value), False)]
    return [(call_id, "TimeoutError: given up", True)]


def _call(plan: Plan, step: Step, call_id: str, name: str, arguments: dict[str, Any]) -> Any:
    tools: dict[str, Callable[..., Any]] = PLAIN_TOOLS if plan.has_plain_tools else TOOLBOX
    return run_step(step, tools[name], arguments, call_id if plan.has_plain_tools else None)


def run_sdk(plan: Plan) -> Any:
    """Run a plan through its SDK."""
    return asyncio.run(_run_later(plan)) if plan.style == "async" else _run(plan)
