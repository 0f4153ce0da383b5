"""
Agents that do what a plan says: a loop of turns and calls, alone, in threads or as tasks.

Owns the program that is traced. Time is a counter that calls and turns move on, so nothing sleeps; calls
take turns at it, so that no call seems slow because another was. What a fault leaves (span, line) is told
to ``World.expect`` by the code that does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import agenttrace
from agenttrace import agent_scope, bind, clock, model_turn, tool_scope, traced_tool
from tests.diagnosis.plans import Plan, Step

__all__ = ["FAULT_MESSAGES", "World", "play"]

FAULT_MESSAGES = (
    "the index is away",
    "month must be in 1..12",
    "no more credits",
    "not allowed to read it",
    "the connection was reset",
)
"""What a fault may raise out of a run; anything else is a mistake of this bench."""

_SOURCE = Path(__file__).read_text(encoding="utf-8").splitlines()


def _line(marker: str) -> int:
    """Give the number of the line that ends with a marker."""
    return next(number for number, line in enumerate(_SOURCE, 1) if line.endswith(f"# line: {marker}"))


class World:
    """One run: its clock, and what should be found in it."""

    def __init__(self, start_ns: int) -> None:
        self.now_ns = start_ns
        self.lock = threading.RLock()
        """Held by the call that runs."""
        self._counting = threading.Lock()
        self.span_id: str | None = None
        self.line: int | None = None
        self.step: Step | None = None
        self._ids = 0

    def wait(self, ms: float) -> None:
        """Let time pass."""
        with self._counting:
            self.now_ns += int(ms * 1e6)

    def read_clock(self) -> int:
        """Give the time; each look at it takes a microsecond."""
        with self._counting:
            self.now_ns += 1_000
            return self.now_ns

    def new_id(self) -> str:
        """Count up a call id."""
        with self._counting:
            self._ids += 1
            return f"call_{self._ids:04d}"

    def expect(self, *, line: str | None = None) -> None:
        """Say that what should be found is the operation that runs here; the first word counts."""
        scope = agenttrace.current()
        if self.span_id is None and scope is not None:
            self.span_id = scope.span_id
            self.line = None if line is None else _line(line)


class _Missing(Exception):
    """What the tools of this program raise."""


_WORLD: list[World] = []
_NOW: threading.local = threading.local()


def _work(text: str) -> Any:
    """Do what every tool does, and what the step says besides."""
    step: Step = _NOW.step
    world = _WORLD[-1]
    world.wait(step.ms)
    match step.fault or step.habit:
        case "raise" | "swallow_outside" | "suppress" | "raise_through":
            if step.fault != "raise_through":
                world.expect(line=step.fault if step.fault in ("swallow_outside", "suppress") else None)
            raise step.detail
        case "swallow_inside":
            world.expect(line="swallow_inside")
            try:
                raise ConnectionError("the index is away")
            except Exception:  # line: swallow_inside
                return []
        case "refuse":
            raise step.detail
        case "return":
            world.expect()
            return step.detail
        case "die":
            agenttrace.flush()
            print(json.dumps(agenttrace.current().span_id), flush=True)  # type: ignore[union-attr]
            os._exit(9)
        case "stall":
            world.expect()
            world.wait(step.detail)
        case "storm":
            world.expect()
            step.detail -= 1
            if step.detail >= 0:
                raise TimeoutError("the service is busy")
        case "loop":
            world.expect()
            return {"found": text}
        case "expect" | "drop" | "withhold":
            world.expect()
        case "retried":
            step.detail -= 1
            if step.detail >= 0:
                raise TimeoutError("busy for a moment")
        case "probing":
            try:
                return {"cached": {}[text]}
            except KeyError:
                return {"found": text.upper()}
        case "nothing":
            return []
        case "plain_error":
            return {"error": None, "status": 200, "rows": [text]}
    return {"found": text, "length": len(text)}


@traced_tool
def search(text: str) -> Any:
    return _work(text)


@traced_tool
def read_page(text: str) -> Any:
    return _work(text)


@traced_tool
def lookup(text: str) -> Any:
    return _work(text)


@traced_tool
def convert(text: str) -> Any:
    return _work(text)


@traced_tool
def save(text: str) -> None:
    _work(text)


@traced_tool
def translate(text: str) -> Any:
    return _work(text)


@traced_tool
def count_words(text: str) -> Any:
    return _work(text)


@traced_tool
def poll(text: str) -> Any:
    _work(text)
    step: Step = _NOW.step
    step.detail = step.detail - 1 if isinstance(step.detail, int) else 0
    return {"state": "done" if step.detail <= 0 else "waiting", "left": step.detail}


_TOOLBOX = {
    tool.__name__: tool for tool in (search, read_page, lookup, convert, save, translate, count_words, poll)
}


def _dispatch(step: Step, call_id: str) -> Any:
    world = _WORLD[-1]
    with world.lock:
        _NOW.step = step
        with tool_scope(step.name, call_id=call_id, arguments=step.arguments):
            if step.name not in _TOOLBOX:
                world.expect()
            return _TOOLBOX[step.name](**step.arguments)


def _perform(step: Step) -> list[dict[str, Any]]:
    """Make a call; gives the messages that the model is told."""
    call_id = _WORLD[-1].new_id()
    if step.fault == "swallow_outside":
        try:
            content = _text(_dispatch(step, call_id))
        except Exception:  # line: swallow_outside
            content = "nothing found"
        return [_message(call_id, content)]
    if step.fault == "suppress":
        content = "nothing found"
        with contextlib.suppress(Exception):  # line: suppress
            content = _text(_dispatch(step, call_id))
        return [_message(call_id, content)]
    if step.fault == "raise" and step.habit == "escape":
        return [_message(call_id, _text(_dispatch(step, call_id)))]
    if step.fault == "raise_through":
        return [_message(call_id, _text(_dispatch(step, call_id)))]
    for _ in range(8):
        try:
            value = _dispatch(step, call_id)
        except TimeoutError as exc:
            if step.habit != "retried" and step.fault != "storm":
                return [_message(call_id, f"TimeoutError: {exc}")]
            continue
        except Exception as exc:
            return [_message(call_id, f"{type(exc).__name__}: {exc}")]
        if step.fault == "drop":
            agenttrace.drop_result(call_id, "over budget")
            return []
        if step.fault == "withhold":
            return []
        return [_message(call_id, _text(value))]
    return [_message(call_id, "TimeoutError: given up")]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _message(call_id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _delegate(step: Step) -> list[dict[str, Any]]:
    """Let a subagent do something; gives what the model is told."""
    plan = step.plan
    assert plan is not None
    if plan.fault == "ignored":
        try:
            answer = _run(plan)
        except Exception:
            answer = None
        return [{"role": "user", "content": f"{plan.name} was asked"}]
    answer = _run(plan)
    return [{"role": "user", "content": f"{plan.name} says: {answer}"}]


def _run(plan: Plan) -> Any:
    return asyncio.run(_run_async(plan)) if plan.style == "async" else _run_sync(plan)


@contextmanager
def _turn(plan: Plan, number: int, messages: list[dict[str, Any]]) -> Iterator[Any]:
    world = _WORLD[-1]
    model = plan.model
    is_here = plan.fault_turn == number
    if plan.fault == "switch" and number >= plan.fault_turn:
        model = "acme-tiny"
    with model_turn(model, provider="acme", input=list(messages)) as turn:
        world.wait(plan.turn_ms[number])
        if plan.is_streaming or (is_here and plan.fault == "break"):
            for piece in ("let me ", "think ", "about it"):
                turn.delta(piece)
        if is_here and plan.fault in ("cut", "break", "spend", "linger"):
            world.expect()
        if is_here and plan.fault == "break":
            raise ConnectionError("the connection was reset")
        if is_here and plan.fault == "linger":
            world.wait(plan.detail)
        yield turn
        tokens = plan.tokens[number] * (plan.detail if is_here and plan.fault == "spend" else 1)
        turn.set_usage(input_tokens=tokens, output_tokens=tokens // 5)


def _finish(plan: Plan, number: int, usual: str) -> str:
    return plan.detail if plan.fault == "cut" and plan.fault_turn == number else usual


def _ask(plan: Plan, number: int, messages: list[dict[str, Any]], agent: Any) -> None:
    if plan.switch_at == number:
        plan.model = "acme-large" if plan.model == "acme-small" else "acme-small"
        agent.set_model(plan.model, reason="this part is of another kind")
    with _turn(plan, number, messages) as turn:
        turn.set_output(
            {"role": "assistant", "content": "I go on."}, finish_reason=_finish(plan, number, "stop")
        )


def _open(plan: Plan, agent: Any) -> list[dict[str, Any]]:
    if plan.fault in ("switch", "empty", "ignored"):
        _WORLD[-1].expect()
    return [{"role": "user", "content": plan.task}]


def _close(plan: Plan, agent: Any) -> Any:
    if plan.fault == "ignored" and plan.detail == "told":
        agent.set_output("the sources contradict each other", is_error=True)
        return None
    if plan.answer is not None:
        agent.set_output(plan.answer)
    return plan.answer


def _steps(steps: list[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        for _ in range(2 if step.habit == "twice" and not step.fault else 0):
            yield step
        if step.name == "poll" and not step.fault:
            while step.detail > 0:
                yield step


def _run_sync(plan: Plan) -> Any:
    with agent_scope(plan.name, input=plan.task) as agent:
        messages = _open(plan, agent)
        for number, steps in enumerate(plan.turns):
            _ask(plan, number, messages, agent)
            if plan.style == "threads" and all(step.plan is not None for step in steps):
                with ThreadPoolExecutor(3) as pool:
                    for told in [pool.submit(bind(_delegate), step) for step in steps]:
                        messages += told.result()
                continue
            for step in _steps(steps):
                messages += _delegate(step) if step.plan is not None else _mend(step)
        _ask(plan, len(plan.turns), messages, agent)
        return _close(plan, agent)


def _mend(step: Step) -> list[dict[str, Any]]:
    """Make a call as a healthy program does: one that failed is told of, and called anew with other words."""
    if step.habit != "mended" or step.fault:
        return _perform(step)
    text = step.arguments["text"]
    wrong = Step(step.name, {"text": f"{text} ?"}, habit="refuse", detail=_Missing(f"nothing fits {text} ?"))
    told = _perform(wrong)
    return [*told, *_perform(Step(step.name, step.arguments))]


async def _run_async(plan: Plan) -> Any:
    async with agent_scope(plan.name, input=plan.task) as agent:
        messages = _open(plan, agent)
        for number, steps in enumerate(plan.turns):
            _ask(plan, number, messages, agent)
            if all(step.plan is not None for step in steps):
                for told in await asyncio.gather(*(asyncio.to_thread(_delegate, step) for step in steps)):
                    messages += told
                continue
            for step in _steps(steps):
                await asyncio.sleep(0)
                messages += _delegate_or_mend(step)
        _ask(plan, len(plan.turns), messages, agent)
        return _close(plan, agent)


def _delegate_or_mend(step: Step) -> list[dict[str, Any]]:
    if step.plan is None:
        return _mend(step)
    # A subagent that has a loop of its own cannot run inside this one's thread.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(bind(_delegate), step).result()


def play(plan: Plan, conversation_id: str, start_ns: int) -> World:
    """Run a plan as one conversation; gives its world, with what should be found."""
    world = World(start_ns)
    _WORLD.append(world)
    before = clock.use(world.read_clock)
    try:
        with agenttrace.conversation_scope(conversation_id, task=plan.task):
            try:
                _run(plan)
            except Exception as exc:
                if str(exc) not in FAULT_MESSAGES:
                    raise
    finally:
        agenttrace.flush()
        clock.use(before)
        _WORLD.pop()
    return world
