"""
The agents at work: one loop of plan and act, a lead that delegates, three subagents.

Owns the shape that the recorded tree shows. Invariant: failures are met, never
staged; nothing here raises one by itself. One subagent is careless on purpose:
what its command raises, it drops, and ends as if all were well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from agenttrace import agent_scope, bind, model_turn, tool_scope
from agenttrace.demo.planner import Message, PlannedCall, Planner, ToolSpec
from agenttrace.demo.rules import SUBAGENTS
from agenttrace.demo.tools import describe

__all__ = ["Crew", "run_lead"]

_TURNS_LIMIT_COUNT = 8
_ATTEMPTS_LIMIT_COUNT = 3
_FIRST_WAIT_S = 0.02
_CONTENT_LIMIT_CHARS = 3_000

_LEAD_BRIEF = (
    "List the files, delegate to every specialist in one answer, save the report, then answer with it."
)
_SUBAGENT_BRIEF = "Audit Python code with the tools, then answer in a sentence. Nobody can answer questions."

_LEAD_TOOLS = ("list_files", "save_report")
_SUBAGENT_TOOLS: dict[str, tuple[str, ...]] = {
    "structure": ("survey_functions", "parse_python", "read_lines"),
    "hygiene": ("grep", "read_lines"),
    "examples": ("run_command",),
}
_DELEGATE = ToolSpec(
    "delegate",
    "Let a specialist do a task; calls in one answer run side by side.",
    {
        "type": "object",
        "properties": {"agent": {"type": "string", "enum": list(SUBAGENTS)}, "task": {"type": "string"}},
        "required": ["agent", "task"],
    },
)

Act = Callable[[Sequence[PlannedCall]], list[Message]]


@dataclass(frozen=True, slots=True)
class Crew:
    """What all agents of one audit share."""

    toolbox: Mapping[str, Callable[..., Any]]
    planner_for: Callable[[str], Planner]
    """Gives the planner of the agent with that name."""
    tell: Callable[[str], None]
    """Takes one line of progress."""


def run_lead(crew: Crew, task: str) -> str:
    """Audit with three subagents in parallel threads, and give the report."""

    def act(calls: Sequence[PlannedCall]) -> list[Message]:
        delegated = [call for call in calls if call.name == _DELEGATE.name]
        with ThreadPoolExecutor(max(len(delegated), 1), "agenttrace-demo") as pool:
            # bind hands the lead's scope to the thread, also where threads are not patched.
            running = {call.call_id: pool.submit(bind(_run_subagent), crew, call) for call in delegated}
        return [
            _collect(call, running[call.call_id])
            if call.call_id in running
            else _perform_patiently(crew, call)
            for call in calls
        ]

    return _run_agent(crew, "lead", task, [*_specs(crew, _LEAD_TOOLS), _DELEGATE], act)


def _run_subagent(crew: Crew, call: PlannedCall) -> str:
    name = str(call.arguments["agent"])
    specs = _specs(crew, _SUBAGENT_TOOLS[name])

    def act(calls: Sequence[PlannedCall]) -> list[Message]:
        return [_perform(crew, call) for call in calls]

    def act_carelessly(calls: Sequence[PlannedCall]) -> list[Message]:
        messages = []
        for call in calls:
            try:
                messages.append(_answer(call, _dispatch(crew, call)))
            except Exception:
                # The fault to find in the trace: the run ends ok, and nobody is told.
                messages.append(_answer(call, "no output"))
        return messages

    return _run_agent(
        crew, name, str(call.arguments["task"]), specs, act_carelessly if name == "examples" else act
    )


def _run_agent(crew: Crew, name: str, task: str, specs: Sequence[ToolSpec], act: Act) -> str:
    """Plan and act in turns, until the planner answers without calling a tool."""
    planner = crew.planner_for(name)
    messages: list[Message] = [
        {
            "role": "system",
            "content": f"You are {name}. {_LEAD_BRIEF if name == 'lead' else _SUBAGENT_BRIEF}",
        },
        {"role": "user", "content": task},
    ]
    with agent_scope(name, input=task, model=planner.model, provider=planner.provider) as agent:
        for _ in range(_TURNS_LIMIT_COUNT):
            with model_turn(planner.model, provider=planner.provider, input=messages) as turn:
                plan = planner.plan(messages, specs)
                turn.set_output(
                    plan.to_message(), finish_reason=plan.finish_reason, response_id=plan.response_id
                )
                turn.set_usage(**plan.usage)
            crew.tell(f"{name}: {plan.text}")
            if not plan.calls:
                agent.set_output(plan.text)
                return plan.text
            messages = [*messages, plan.to_message(), *act(plan.calls)]
        text = f"stopped after {_TURNS_LIMIT_COUNT} turns without a final answer"
        agent.set_output(text, is_error=True)
        return text


def _dispatch(crew: Crew, call: PlannedCall) -> Any:
    with tool_scope(call.name, call_id=call.call_id, arguments=call.arguments):
        return crew.toolbox[call.name](**call.arguments)


def _perform(crew: Crew, call: PlannedCall) -> Message:
    """Make one call; a failure becomes the message that tells the planner."""
    try:
        return _answer(call, _dispatch(crew, call))
    except Exception as exc:
        return _answer(call, f"{type(exc).__name__}: {exc}", is_error=True)


def _perform_patiently(crew: Crew, call: PlannedCall) -> Message:
    """Make one call, and again after a wait while what it needs is locked."""
    for attempt in range(1, _ATTEMPTS_LIMIT_COUNT):
        try:
            return _answer(call, _dispatch(crew, call))
        except BlockingIOError:
            time.sleep(_FIRST_WAIT_S * attempt)
        except Exception as exc:
            return _answer(call, f"{type(exc).__name__}: {exc}", is_error=True)
    return _perform(crew, call)


def _collect(call: PlannedCall, subagent: Future[str]) -> Message:
    try:
        return _answer(call, subagent.result())
    except Exception as exc:
        return _answer(call, f"{type(exc).__name__}: {exc}", is_error=True)


def _answer(call: PlannedCall, value: Any, *, is_error: bool = False) -> Message:
    content = value if isinstance(value, str) else json.dumps(value)
    return {
        "role": "tool",
        "name": call.name,
        "call_id": call.call_id,
        "content": content[:_CONTENT_LIMIT_CHARS],
        "is_error": is_error,
    }


def _specs(crew: Crew, names: Sequence[str]) -> list[ToolSpec]:
    return describe({name: crew.toolbox[name] for name in names})
