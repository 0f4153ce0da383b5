"""
One fault of a named kind, put into a healthy plan at a place that the seed draws.

Invariant: nothing else in the plan changes. Its habits stay: errors that a model was told of and mended,
retries that helped and caught look-ups come before and after the fault, and are not its cause.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

from tests.diagnosis.plans import Plan, Step, build_plan, copy_step

__all__ = ["FAULTS", "build_faulty", "put_fault"]

_ERRORS = (
    lambda: ConnectionError("the index is away"),
    lambda: ValueError("month must be in 1..12"),
    lambda: RuntimeError("no more credits"),
    lambda: PermissionError("not allowed to read it"),
)
_RETURNED: tuple[Any, ...] = (
    {"error": "quota exceeded"},
    {"status_code": 503, "reason": "Service Unavailable"},
    {"isError": True, "content": [{"type": "text", "text": "no such page"}]},
    {"returncode": 2, "stderr": "no such file"},
    '{"error": {"code": 429, "message": "quota exceeded"}}',
)
_FALLEN_BACK: tuple[Any, ...] = ([], None, "", {}, {"found": None, "rows": []})
_NEEDS_SUBAGENT = frozenset({"subagent_ignored", "empty_answer"})


def _pick_call(plan: Plan, draw: random.Random) -> tuple[Plan, Step]:
    """Choose a call of any agent."""
    agent, step = draw.choice(
        [(agent, step) for agent in plan.agents() for step in agent.steps() if not step.plan]
    )
    step.habit, step.detail = "", None
    return agent, step


def _pick_traced(plan: Plan, draw: random.Random) -> tuple[Plan, Step]:
    """Choose a call; the tools of its agent are traced, because nothing else tells of it."""
    agent, step = _pick_call(plan, draw)
    agent.has_plain_tools = False
    return agent, step


def _turn(plan: Plan, draw: random.Random, fault: str, *, is_alone: bool = False) -> Plan:
    """Choose a turn of any agent; with *is_alone* of one that nothing runs beside."""
    agent = draw.choice(plan.agents())
    if is_alone and any(each.style != "sync" for each in plan.agents()):
        agent = plan
    agent.fault, agent.fault_turn = fault, draw.randrange(len(agent.turns) + 1)
    return agent


def _failed_call(plan: Plan, draw: random.Random) -> None:
    if draw.random() < 0.2:
        _turn(plan, draw, "refuse_turn")
        return
    _, step = _pick_call(plan, draw)
    step.fault, step.detail = "raise", draw.choice(_ERRORS)()
    step.habit = draw.choice(("escape", ""))


def _swallowed_error(plan: Plan, draw: random.Random) -> None:
    if draw.random() < 0.2:
        _turn(plan, draw, "refuse_turn_caught")
        return
    agent, step = _pick_call(plan, draw)
    ways = ["swallow_outside", "suppress", "swallow_inside"]
    if sys.version_info < (3, 12):
        ways.remove("swallow_inside")  # nothing tells of it there
    step.fault, step.detail = draw.choice(ways), draw.choice(_ERRORS)()
    if step.fault == "swallow_inside":
        agent.has_plain_tools = False
        step.detail = draw.choice(_FALLEN_BACK)


def _returned_failure(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_call(plan, draw)
    step.fault, step.detail = "return", draw.choice(_RETURNED)


def _unknown_tool(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_call(plan, draw)
    step.name, step.fault = draw.choice(("serch", "read_file", "run_sql")), "unknown"


def _dropped_result(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_traced(plan, draw)
    step.fault = "drop"


def _truncated(plan: Plan, draw: random.Random) -> None:
    agent = _turn(plan, draw, "cut")
    agent.fault = draw.choice(("cut", "break", "leave") if agent.api else ("cut", "break"))
    agent.detail = draw.choice(("length", "max_tokens"))


def _retry_storm(plan: Plan, draw: random.Random) -> None:
    asking = [agent for agent in plan.agents() if agent.api]
    if asking and draw.random() < 0.3:
        agent = draw.choice(asking)
        agent.fault, agent.fault_turn = "model_storm", draw.randrange(len(agent.turns) + 1)
        agent.detail = draw.choice((5, 6, 7))
        return
    _, step = _pick_traced(plan, draw)
    step.fault, step.detail = "storm", draw.choice((5, 6, 7, 99))


def _loop(plan: Plan, draw: random.Random) -> None:
    agent, step = _pick_call(plan, draw)
    other = copy_step(step, name="lookup" if step.name != "lookup" else "search", fault="")
    step.fault = "loop"
    steps = [step] if draw.random() < 0.6 else [step, other]
    at = next(at for at, steps_of in enumerate(agent.turns) if any(each is step for each in steps_of))
    before = agent.turns[at][: next(n for n, each in enumerate(agent.turns[at]) if each is step)]
    rounds = draw.randint(4, 8)
    agent.turns[at : at + 1] = [
        before or [copy_step(other, arguments={"text": "before"})],
        *[list(steps) for _ in range(rounds)],
    ]
    agent.tokens = [*agent.tokens, *[500] * (rounds + 1)]
    agent.turn_ms = [*agent.turn_ms, *[200.0] * (rounds + 1)]


def _subagent_ignored(plan: Plan, draw: random.Random) -> None:
    agent = draw.choice(plan.agents()[1:])
    agent.fault, agent.detail = "ignored", draw.choice(("raise", "told"))
    if agent.detail == "raise":
        step = draw.choice([each for each in agent.steps() if each.plan is None])
        step.fault, step.habit, step.detail = "raise_through", "", draw.choice(_ERRORS)()


def _empty_answer(plan: Plan, draw: random.Random) -> None:
    # An auditor that answers nothing has found nothing wrong, and a checker never answers.
    agent = draw.choice([each for each in plan.agents()[1:] if each.name not in ("auditor", "checker")])
    agent.fault = "empty"
    agent.answer = draw.choice(
        (
            "",
            "Error: could not reach the index",
            "I'm sorry, I cannot help with that.",
            "  \n",
            "Traceback (most recent call last):\n  File ...",
            [],
            None,
        )
    )


def _model_switched(plan: Plan, draw: random.Random) -> None:
    agent = draw.choice(plan.agents())
    agent.fault, agent.fault_turn, agent.switch_at = "switch", draw.randint(1, len(agent.turns)), None


def _stalled(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_traced(plan, draw)
    step.fault = "stall"
    step.detail = draw.uniform(4_000, 60_000) if step.name != "draw_chart" else draw.uniform(150_000, 400_000)


def _outlier(plan: Plan, draw: random.Random) -> None:
    _turn(plan, draw, "spend").detail = draw.randint(60, 200)


def _slow_path(plan: Plan, draw: random.Random) -> None:
    _turn(plan, draw, "linger", is_alone=True).detail = draw.uniform(200_000, 400_000)


def _interrupted(plan: Plan, draw: random.Random) -> None:
    _, step = _pick_traced(plan, draw)
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


def build_faulty(seed: int, kind: str, family: str) -> Plan:
    """Draw a plan that a fault of *kind* can be put into, and put it in."""
    if kind in _NEEDS_SUBAGENT and family in ("sync", "async"):
        family = "agents"
    for again in range(1000):
        plan = build_plan(seed + again * 1_000_000, family)
        below = plan.agents()[1:]
        if kind == "empty_answer":
            below = [each for each in below if each.name not in ("auditor", "checker")]
        if kind not in _NEEDS_SUBAGENT or below:
            break
    put_fault(plan, kind, seed)
    return plan
