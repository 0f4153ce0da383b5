"""
Agents that do what a plan says: a loop of turns and calls, alone, in threads, as tasks or through an SDK.

Owns the program that is traced by hand, and ``play``. What a fault leaves is told to the world by the code
that does it (``world``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import agenttrace
from agenttrace import agent_scope, bind, clock, model_turn, tool_scope
from tests.diagnosis.plans import Plan, Step
from tests.diagnosis.tools import TOOLBOX, as_text, part_mended, rounds_of, run_step
from tests.diagnosis.world import World, place, world

__all__ = ["TURN_FAULTS", "close_agent", "open_agent", "play"]

FAULT_MESSAGES = (
    "the index is away",
    "month must be in 1..12",
    "no more credits",
    "not allowed to read it",
    "the connection was reset",
    "the prompt is too long",
)
"""What a fault may raise out of a run; anything else is a mistake of this bench."""

TURN_FAULTS = frozenset(
    {"cut", "break", "leave", "spend", "linger", "refuse_turn", "refuse_turn_caught", "model_storm"}
)
"""What is about one turn of an agent."""


def _dispatch(step: Step, arguments: dict[str, Any], call_id: str) -> Any:
    with world().lock, tool_scope(step.name, call_id=call_id, arguments=arguments):
        if step.fault == "unknown":
            world().expect()
        return run_step(step, TOOLBOX[step.name], arguments)


def _perform(step: Step, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Make a call; gives the messages that the model is told."""
    call_id = world().new_id()
    if step.fault == "swallow_outside":
        world().expect_call(call_id, place=place(__file__, "swallow_outside"))
        try:
            content = as_text(_dispatch(step, arguments, call_id))
        except Exception:  # line: swallow_outside
            content = "nothing found"
        return [_message(call_id, content)]
    if step.fault == "suppress":
        world().expect_call(call_id, place=place(__file__, "suppress"))
        content = "nothing found"
        with contextlib.suppress(Exception):  # line: suppress
            content = as_text(_dispatch(step, arguments, call_id))
        return [_message(call_id, content)]
    if step.habit == "escape" or step.fault == "raise_through":
        return [_message(call_id, as_text(_dispatch(step, arguments, call_id)))]
    for _ in range(8):
        try:
            value = _dispatch(step, arguments, call_id)
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
        return [_message(call_id, as_text(value))]
    return [_message(call_id, "TimeoutError: given up")]


def _message(call_id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _calls(step: Step) -> Iterator[tuple[Step, dict[str, Any]]]:
    """Give the calls that a step is; one that fails and is mended is two."""
    if step.is_mended:
        for each in part_mended(step):
            yield each, each.arguments
        return
    for arguments in rounds_of(step):
        yield step, arguments


def _delegate(step: Step) -> list[dict[str, Any]]:
    """Let a subagent do something; gives what the model is told."""
    plan = step.plan
    assert plan is not None
    if plan.fault == "ignored":
        try:
            answer = run_plan(plan)
        except Exception:
            answer = None
        return [{"role": "user", "content": f"{plan.name} was asked"}]
    answer = run_plan(plan)
    return [{"role": "user", "content": f"{plan.name} says: {answer}"}]


def run_plan(plan: Plan) -> Any:
    """Run an agent."""
    if plan.api:
        # Late: what is traced by hand needs no SDK.
        from tests.diagnosis.sdk_agents import run_sdk

        return run_sdk(plan)
    return asyncio.run(_run_async(plan)) if plan.style == "async" else _run_sync(plan)


@contextmanager
def _turn(plan: Plan, number: int, messages: list[dict[str, Any]]) -> Iterator[Any]:
    model = plan.model_of(number)
    is_here = plan.fault_turn == number
    if plan.fault == "switch" and number >= plan.fault_turn:
        model = "acme-tiny"
    with model_turn(model, provider="acme", input=list(messages)) as turn:
        world().wait(plan.turn_ms[number])
        if is_here and plan.fault in TURN_FAULTS:
            where = place(__file__, "refuse_turn_caught") if plan.fault == "refuse_turn_caught" else None
            world().expect(place=where)
        if is_here and plan.fault in ("refuse_turn", "refuse_turn_caught"):
            raise ValueError("the prompt is too long")
        if plan.is_streaming or (is_here and plan.fault == "break"):
            for piece in ("let me ", "think ", "about it"):
                turn.delta(piece)
        if is_here and plan.fault == "break":
            raise ConnectionError("the connection was reset")
        if is_here and plan.fault == "linger":
            world().wait(plan.detail)
        yield turn
        tokens = plan.tokens[number] * (plan.detail if is_here and plan.fault == "spend" else 1)
        turn.set_usage(input_tokens=tokens, output_tokens=tokens // 5)


def _ask(plan: Plan, number: int, messages: list[dict[str, Any]], agent: Any) -> None:
    if plan.switch_at == number:
        plan.model = "acme-large" if plan.model == "acme-small" else "acme-small"
        agent.set_model(plan.model, reason="this part is of another kind")
    reason = plan.detail if plan.fault == "cut" and plan.fault_turn == number else "stop"
    said = {"role": "assistant", "content": "I go on."}
    if plan.fault == "refuse_turn_caught":
        try:
            with _turn(plan, number, messages) as turn:
                turn.set_output(said, finish_reason=reason)
        except ValueError:  # line: refuse_turn_caught
            return
        return
    with _turn(plan, number, messages) as turn:
        turn.set_output(said, finish_reason=reason)


def open_agent(plan: Plan) -> None:
    """Begin an agent's run; called inside its scope."""
    if plan.fault in ("switch", "empty", "ignored"):
        world().expect()


def close_agent(plan: Plan, agent: Any) -> Any:
    """End an agent's run; gives its answer."""
    if plan.fault == "ignored" and plan.detail == "told":
        agent.set_output("the sources contradict each other", is_error=True)
        return None
    if plan.answer is not None:
        agent.set_output(plan.answer)
    return plan.answer


def _run_sync(plan: Plan) -> Any:
    with agent_scope(plan.name, input=plan.task) as agent:
        open_agent(plan)
        messages = [{"role": "user", "content": plan.task}]
        for number, steps in enumerate(plan.turns):
            _ask(plan, number, messages, agent)
            if plan.style == "threads" and all(step.plan is not None for step in steps):
                with ThreadPoolExecutor(3) as pool:
                    for told in [pool.submit(bind(_delegate), step) for step in steps]:
                        messages += told.result()
                continue
            for step in steps:
                if step.plan is not None:
                    messages += _delegate(step)
                    continue
                for each, arguments in _calls(step):
                    messages += _perform(each, arguments)
        _ask(plan, len(plan.turns), messages, agent)
        return close_agent(plan, agent)


async def _run_async(plan: Plan) -> Any:
    async with agent_scope(plan.name, input=plan.task) as agent:
        open_agent(plan)
        messages = [{"role": "user", "content": plan.task}]
        for number, steps in enumerate(plan.turns):
            _ask(plan, number, messages, agent)
            if all(step.plan is not None for step in steps):
                for told in await asyncio.gather(*(asyncio.to_thread(_delegate, step) for step in steps)):
                    messages += told
                continue
            for step in steps:
                await asyncio.sleep(0)
                if step.plan is not None:
                    messages += await asyncio.to_thread(_delegate, step)
                    continue
                for each, arguments in _calls(step):
                    messages += _perform(each, arguments)
        _ask(plan, len(plan.turns), messages, agent)
        return close_agent(plan, agent)


def play(plan: Plan, conversation_id: str, start_ns: int) -> World:
    """Run a plan as one conversation; gives its world, with what should be found."""
    here = World.current = World(start_ns)
    before = clock.use(here.read_clock)
    try:
        with agenttrace.conversation_scope(conversation_id, task=plan.task):
            try:
                run_plan(plan)
            except Exception as exc:
                is_meant = any(message in str(exc) for message in FAULT_MESSAGES)
                if not is_meant and not any(each.fault in ("break", "cut") for each in plan.agents()):
                    raise
    finally:
        agenttrace.flush()
        clock.use(before)
        World.current = None
    return here
