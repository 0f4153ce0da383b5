"""
The model of agents on an SDK: the fake provider of ``tests/clients``, which asks for the calls of a plan.

Invariant: which agent asks, and for the how manyeth time, is said by a header of the request; a request
that the SDK tries again is the same request.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.clients.provider import Provider, Request
from tests.clients.provider_replies import (
    Call,
    Reply,
    Usage,
    bad_request,
    broken_stream,
    rate_limited,
    text,
    tool_calls,
)
from tests.diagnosis.plans import Plan, Step
from tests.diagnosis.tools import part_mended, rounds_of
from tests.diagnosis.world import world

__all__ = ["MODELS", "Asked", "Model"]

_PIECES = "let me think about it for a while"


@dataclass(slots=True)
class Asked:
    """One call that the model asks for."""

    step: Step
    name: str
    arguments: dict[str, Any]
    call_id: str = ""


def script_of(plan: Plan) -> Iterator[tuple[int, list[Asked]]]:
    """Give what the model asks for, request by request, each with the number of the plan's turn."""
    for number, steps in enumerate(plan.turns):
        now: list[Asked] = []
        later: list[Asked] = []
        for step in steps:
            if step.plan is not None:
                now.append(Asked(step, "ask_agent", {"agent": step.name, "task": step.plan.task}))
            elif step.is_mended:
                wrong, right = part_mended(step)
                now.append(Asked(wrong, wrong.name, wrong.arguments))
                later.append(Asked(right, step.name, step.arguments))
            else:
                at_once = 3 if step.habit == "twice" else 1
                rounds = [Asked(step, step.name, each) for each in rounds_of(step)]
                now += rounds[:at_once]
                later += rounds[at_once:]
        yield number, now
        yield from ((number, [each]) for each in later)
    yield len(plan.turns), []


class Model:
    """What the provider answers one agent."""

    def __init__(self, plan: Plan, key: str) -> None:
        self.plan = plan
        self.script = list(script_of(plan))
        self.busy = 0
        here = world()
        for _, asked in self.script:
            for each in asked:
                each.call_id = f"{key}_{here.new_id()}"

    def answer(self, number: int, is_new: bool, model: str) -> Reply:
        """Answer a request; a request that is tried again keeps its number."""
        with world().lock:
            return self._answer(number, is_new, model)

    def _answer(self, number: int, is_new: bool, model: str) -> Reply:
        plan, here = self.plan, world()
        turn, asked = self.script[number]
        is_here = plan.fault_turn == turn and self.is_first(number)
        tokens = plan.tokens[turn]
        if is_new:
            here.wait(plan.turn_ms[turn])
            self.busy = plan.busy.get(turn, 0) if self.is_first(number) else 0
            if is_here and plan.fault == "linger":
                here.wait(plan.detail)
            if is_here and plan.fault == "model_storm":
                self.busy = plan.detail
        if self.busy > 0:
            self.busy -= 1
            return rate_limited()
        if is_here and plan.fault in ("refuse_turn", "refuse_turn_caught"):
            return bad_request("the prompt is too long")
        if is_here and plan.fault == "spend":
            tokens *= plan.detail
        usage = Usage(input_tokens=tokens, output_tokens=tokens // 5)
        served = f"{model}-2026-08-07"
        if is_here and plan.fault == "cut":
            return Reply(text=_PIECES, stop="length", usage=usage, model=served)
        if is_here and plan.fault == "break":
            return broken_stream(text(_PIECES, usage=usage, model=served), after=3)
        if is_here and plan.fault == "leave":
            return text(_PIECES * 40, usage=usage, model=served)
        if not asked:
            return text("I have all that I need.", usage=usage, model=served)
        calls = [Call(each.name, each.arguments, each.call_id) for each in asked]
        return tool_calls(calls, content="I go on.", usage=usage, model=served)

    def is_first(self, number: int) -> bool:
        """Tell whether a request is the first one of its turn of the plan."""
        return number == 0 or self.script[number - 1][0] != self.script[number][0]


class Models:
    """All agents that run, by the key that their requests bear."""

    def __init__(self) -> None:
        self._provider: Provider | None = None
        self._lock = threading.Lock()
        self._keys = itertools.count(1)
        self._models: dict[str, Model] = {}
        self._seen: set[str] = set()

    def add(self, plan: Plan) -> tuple[str, Model]:
        """Take up an agent."""
        with self._lock:
            key = f"m{next(self._keys)}"
            model = self._models[key] = Model(plan, key)
            return key, model

    def provider(self) -> Provider:
        """Give the server; it is started once, and ends with the process."""
        with self._lock:
            if self._provider is None:
                self._provider = Provider(strict=False)
                # The process that dies of a fault does not wait for the threads of its server.
                self._provider._server.daemon_threads = True
                self._provider._server._thread.daemon = True
                self._provider.__enter__()
                self._provider.answer(self._answer)
            return self._provider

    def stop(self) -> None:
        """End the server."""
        with self._lock:
            if self._provider is not None:
                self._provider.__exit__(None, None, None)
            self._provider = None
            self._models.clear()
            self._seen.clear()

    def _answer(self, request: Request) -> Reply:
        stamp = request.headers["x-stamp"]
        key, _, number = stamp.partition(":")
        with self._lock:
            model = self._models[key]
            is_new = stamp not in self._seen
            self._seen.add(stamp)
        return model.answer(int(number), is_new, str(request.body.get("model")))


MODELS = Models()
