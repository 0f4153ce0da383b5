"""
What a small agent will do, drawn from a seed: turns of calls, subagents, and the habits of healthy ones.

Invariant: the same seed gives the same plan; a plan without a fault has nothing in it that anybody
should be told of, though much that looks like it: retries, polling, tools that give nothing, errors
that a model was told of and mended.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["Plan", "Step", "build_plan"]

STYLES = ("sync", "threads", "async")
TOOLS = ("search", "read_page", "lookup", "convert", "save", "poll", "translate", "count_words")
SUBAGENTS = ("researcher", "writer", "checker")
_TOPICS = ("apples", "pears", "plums", "quinces", "figs", "dates")


@dataclass(slots=True)
class Step:
    """One call, or one subagent."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    """Of the subagent; None for a call."""
    habit: str = ""
    """What a healthy program does here: ``mended`` (fails, the model is told and calls it anew),
    ``retried`` (fails once or twice, is tried again), ``probing`` (an exception that is expected)."""
    fault: str = ""
    """How it goes wrong; "" where it does not."""
    detail: Any = None
    ms: float = 20.0


@dataclass(slots=True)
class Plan:
    """One agent's run."""

    name: str
    style: str
    model: str
    task: str
    turns: list[list[Step]] = field(default_factory=list)
    """The calls that each model's turn asks for."""
    tokens: list[int] = field(default_factory=list)
    turn_ms: list[float] = field(default_factory=list)
    switch_at: int | None = None
    """The turn before which another model is taken, with a reason."""
    is_streaming: bool = False
    answer: Any = "all is done"
    fault: str = ""
    detail: Any = None
    fault_turn: int = -1

    def agents(self) -> list[Plan]:
        """Give this plan and those of all subagents."""
        found = [self]
        for steps in self.turns:
            for step in steps:
                if step.plan is not None:
                    found += step.plan.agents()
        return found


def build_plan(seed: int, *, name: str = "lead", depth: int = 0) -> Plan:
    """Draw a healthy plan."""
    draw = random.Random(f"{seed} {name} {depth}")
    plan = Plan(
        name=name,
        style=draw.choice(STYLES),
        model="acme-large" if depth == 0 else "acme-small",
        task=f"{name}: compare {draw.choice(_TOPICS)} and {draw.choice(_TOPICS)} ({draw.randrange(10_000)})",
        is_streaming=draw.random() < 0.3,
    )
    for number in range(draw.randint(2, 4)):
        plan.turns.append([_build_call(draw, number * 10 + at) for at in range(draw.randint(1, 3))])
    if depth < 2 and (depth == 0 or draw.random() < 0.25):
        steps = [
            Step(each, plan=build_plan(seed * 7 + at, name=each, depth=depth + 1))
            for at, each in enumerate(draw.sample(SUBAGENTS, draw.randint(1, 3)))
        ]
        plan.turns.insert(draw.randint(1, len(plan.turns)), steps)
    if draw.random() < 0.2:
        plan.switch_at = draw.randint(1, len(plan.turns))
    if name == "checker":
        plan.answer = None  # this one never answers, and nobody waits for it to
    plan.tokens = [int(draw.lognormvariate(6.5, 0.5)) for _ in range(len(plan.turns) + 1)]
    plan.turn_ms = [draw.lognormvariate(5.5, 0.5) for _ in range(len(plan.turns) + 1)]
    return plan


def _build_call(draw: random.Random, number: int) -> Step:
    name = draw.choice(TOOLS)
    step = Step(name, {"text": f"{draw.choice(_TOPICS)} {number}"}, ms=draw.lognormvariate(3.5, 0.8))
    if name == "poll":
        step.arguments, step.detail = {"text": "job"}, draw.randint(1, 6)
    elif draw.random() < 0.25:
        step.habit = draw.choice(("mended", "retried", "probing", "nothing", "twice", "plain_error"))
        step.detail = draw.randint(1, 2)
    return step


def copy_step(step: Step, **changes: Any) -> Step:
    """Give the same step, with something else in it."""
    return replace(step, **changes)
