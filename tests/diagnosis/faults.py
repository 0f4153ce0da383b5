"""
One fault of a named kind, put into a healthy plan at a place that the seed draws.

Invariant: nothing else in the plan changes, but that what a fault is about is not mended by chance.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

from tests.diagnosis.plans import Plan, Step, copy_step

__all__ = ["FAULTS", "put_fault"]

_ERRORS = (
    lambda: ConnectionError("the index is away"),
    lambda: ValueError("month must be in 1..12"),
    lambda: RuntimeError("no more credits"),
    lambda: PermissionError("not allowed to read it"),
)
_RETURNED = (
    {"error": "quota exceeded"},
    {"status_code": 503, "reason": "Service Unavailable"},
    {"isError": True, "content": [{"type": "text", "text": "no such page"}]},
    {"returncode": 2, "stderr": "no such file"},
)


def _pick_call(plan: Plan, draw: random.Random, *, is_last_of_its_tool: bool = False) -> tuple[Plan, Step]:
    """Choose a call of any agent; with *is_last_of_its_tool* one that the agent makes no other later."""
    found = []
    for agent in plan.agents():
        calls = [step for steps in agent.turns for step in steps if step.plan is None]
        for at, step in enumerate(calls):
            if not is_last_of_its_tool or all(each.name != step.name for each in calls[at + 1 :]):
                found.append((agent, step))
    agent, step = draw.choice([each for each in found if each[1].name not in ("poll", "save")] or found)
    step.habit, step.detail = "", None
    return agent, step


def _subagent(plan: Plan, draw: random.Random) -> Plan:
    return draw.choice(plan.agents()[1:])


def _turn(plan: Plan, draw: random.Random, fault: str, *, is_alone: bool = False) -> Plan:
    """Choose a turn of any agent; with *is_alone* of one that nothing runs beside."""
    agent = draw.choice(plan.agents())
    if is_alone and any(each.style != "sync" for each in plan.agents()):
        agent = plan
    agent.fault, agent.fault_turn = fault, draw.randrange(len(agent.turns) + 1)
    return agent


def _failed_call(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_call(plan, draw, is_last_of_its_tool=True)
    step.fault, step.detail = "raise", draw.choice(_ERRORS)()
    step.habit = draw.choice(("escape", ""))


def _swallowed_error(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_call(plan, draw)
    ways = ["swallow_outside", "suppress", "swallow_inside"]
    if sys.version_info < (3, 12):
        ways.remove("swallow_inside")  # nothing tells of it there
    step.fault, step.detail = draw.choice(ways), draw.choice(_ERRORS)()


def _returned_failure(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_call(plan, draw, is_last_of_its_tool=True)
    step.fault, step.detail = "return", draw.choice(_RETURNED)


def _unknown_tool(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_call(plan, draw)
    step.name, step.fault = draw.choice(("serch", "read_file", "run_sql")), "unknown"


def _dropped_result(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_call(plan, draw)
    step.fault = "drop"


def _truncated(plan: Plan, draw: random.Random) -> None:
    agent = _turn(plan, draw, draw.choice(("cut", "break")))
    agent.detail = draw.choice(("length", "max_tokens"))


def _retry_storm(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_call(plan, draw, is_last_of_its_tool=True)
    step.fault, step.detail = "storm", draw.choice((5, 6, 7, 99))


def _loop(plan: Plan, draw: random.Random) -> None:
    agent, step = _pick_call(plan, draw)
    other = copy_step(step, name="lookup" if step.name != "lookup" else "search", fault="")
    step.fault = "loop"
    steps = [step] if draw.random() < 0.6 else [step, other]
    at = next(at for at, steps_of in enumerate(agent.turns) if step in steps_of)
    rounds = draw.randint(4, 8)
    agent.turns[at : at + 1] = [
        agent.turns[at][: agent.turns[at].index(step)] or [copy_step(other, arguments={"text": "before"})],
        *[list(steps) for _ in range(rounds)],
    ]
    agent.tokens = [*agent.tokens, *[500] * (rounds + 1)]
    agent.turn_ms = [*agent.turn_ms, *[200.0] * (rounds + 1)]


def _subagent_ignored(plan: Plan, draw: random.Random) -> None:
    agent = _subagent(plan, draw)
    agent.fault, agent.detail = "ignored", draw.choice(("raise", "told"))
    if agent.detail == "raise":
        calls = [step for steps in agent.turns for step in steps if step.plan is None]
        step = draw.choice(calls)
        step.fault, step.habit, step.detail = "raise_through", "", draw.choice(_ERRORS)()


def _empty_answer(plan: Plan, draw: random.Random) -> None:
    agent = _subagent(plan, draw)
    agent.fault = "empty"
    agent.answer = draw.choice(
        ("", "Error: could not reach the index", "I'm sorry, I cannot help with that.", [])
    )


def _model_switched(plan: Plan, draw: random.Random) -> None:
    agent = draw.choice(plan.agents())
    agent.fault, agent.fault_turn, agent.switch_at = "switch", draw.randint(1, len(agent.turns)), None


def _stalled(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_call(plan, draw)
    step.fault, step.detail = "stall", draw.uniform(4_000, 60_000)


def _outlier(plan: Plan, draw: random.Random) -> None:
    _turn(plan, draw, "spend").detail = draw.randint(60, 200)


def _slow_path(plan: Plan, draw: random.Random) -> None:
    _turn(plan, draw, "linger", is_alone=True).detail = draw.uniform(40_000, 90_000)


def _interrupted(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_call(plan, draw)
    step.fault = "die"


FAULTS: dict[str, Callable[[Plan, random.Random], None]] = {
    "failed_call": _failed_call,
    "swallowed_error": _swallowed_error,
    "returned_failure": _returned_failure,
    "unknown_tool": _unknown_tool,
    "dropped_result": _dropped_result,
    "truncated": _truncated,
    "retry_storm": _retry_storm,
    "loop": _loop,
    "subagent_ignored": _subagent_ignored,
    "empty_answer": _empty_answer,
    "model_switched": _model_switched,
    "stalled": _stalled,
    "outlier": _outlier,
    "slow_path": _slow_path,
    "interrupted": _interrupted,
}


def put_fault(plan: Plan, kind: str, seed: int) -> None:
    """Put one fault of *kind* into *plan*."""
    FAULTS[kind](plan, random.Random(f"{seed} {kind}"))
