"""
What a small agent will do, drawn from a seed: turns of calls, subagents, and the habits of healthy ones.

Invariant: the same seed gives the same plan; a plan without a fault has nothing in it that anybody
should be told of, though much that looks like it: retries that helped, polling, pages of nothing, errors
that a model was told of and mended, slow tools, two models by design, empty answers that are right.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["FAMILIES", "Plan", "Step", "build_plan", "copy_step"]

FAMILIES = ("sync", "async", "agents", "sdk")
"""One agent, one with tasks, several agents, one or several on a provider's SDK."""
TOOLS = ("search", "read_page", "lookup", "convert", "save", "poll", "translate", "draw_chart")
SUBAGENTS = ("researcher", "writer", "checker", "auditor", "archivist")
MENDED = frozenset({"mended", "respelled", "reworded", "other_way"})
HABITS = (
    "mended",
    "respelled",
    "reworded",
    "other_way",
    "retried",
    "probing",
    "optional_file",
    "fallback",
    "suppressed",
    "nothing",
    "twice",
    "good_text",
    "pages",
)
HABITS_OF_SAVE = tuple(each for each in HABITS if each not in ("fallback", "good_text", "nothing", "pages"))
"""It gives nothing, so that nobody could tell whether a fallback did what was asked for."""
POLLING = ("counting_down", "asking_anew", "still_waiting")
_TOPICS = tuple(
    "apples pears plums quinces figs dates medlars cherries mulberries walnuts lemons grapes rhubarb".split()
)
_ASPECTS = tuple(
    "price taste harvest history diseases storage trade varieties recipes colour weight pollination grafting "
    "vitamins yield ripeness tariffs folklore".split()
)
_PLACES = (
    "in Spain",
    "near Lübeck",
    "by the sea",
    "during winter",
    "under glass",
    "for jam",
    "at the market",
    "before 1900",
    "东京",
    "on clay soil",
)
GOOD_TEXTS: tuple[Any, ...] = (
    "Error handling in Python: try, except, else, finally.",
    "no error was found in 12 files",
    "Failed states are rare among these pears.",
    {"errors": [], "checked": 12},
    {"error_count": 0, "warnings": 2},
    {"error": None, "status": 200, "rows": ["a"]},
    {"title": "The connection was reset: a history of TCP", "pages": 300},
    {"log": "ERROR 2021-01-01 disk full (resolved)", "status": "closed"},
)
"""Good results that have the words of bad ones."""
GOOD_ANSWERS = (
    "all is done",
    "No errors: all sources agree.",
    "Sorry Tale is a novel of 1917; it fits the question best.",
    "Errors in the first draft were mended, and it reads well now.",
    "Error: a film of 2009 by that name is the oldest of the three that were found. The second was made in "
    "2014 and had a larger audience, but the reviews that were read say that the first one is the better, "
    "and the third has not been shown outside of festivals; so the answer to the question is the first.",
    {"error": None, "rows": 3},
)


@dataclass(slots=True)
class Step:
    """One call, or one subagent."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    """Of the subagent; None for a call."""
    habit: str = ""
    """What a healthy program does here; see ``tools``."""
    fault: str = ""
    """How it goes wrong; "" where it does not."""
    detail: Any = None
    ms: float = 20.0

    @property
    def is_mended(self) -> bool:
        """Whether it first fails, and then is done otherwise because the model was told."""
        return self.habit in MENDED and not self.fault and self.plan is None


@dataclass(slots=True)
class Plan:
    """One agent's run."""

    name: str
    style: str
    model: str
    task: str
    family: str = "sync"
    api: str = ""
    """Of the SDK; "" where turns are recorded by hand."""
    has_plain_tools: bool = False
    """Whether its tools are traced by nobody; only with an SDK."""
    turns: list[list[Step]] = field(default_factory=list)
    """The calls that each model's turn asks for."""
    tokens: list[int] = field(default_factory=list)
    turn_ms: list[float] = field(default_factory=list)
    busy: dict[int, int] = field(default_factory=dict)
    """How often the provider is busy at a turn, before it answers."""
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
        for step in self.steps():
            if step.plan is not None:
                found += step.plan.agents()
        return found

    def steps(self) -> Iterator[Step]:
        """Give the steps of this agent alone."""
        for steps in self.turns:
            yield from steps

    def model_of(self, number: int) -> str:
        """Give the model of a turn: a writer drafts with the large one and polishes with the small."""
        if self.name == "writer":
            return "acme-large" if number == 0 else "acme-small"
        return self.model


def build_plan(
    seed: int, family: str | None = None, *, name: str = "lead", depth: int = 0, api: str = ""
) -> Plan:
    """
    Draw a healthy plan.

    Args:
        seed: Whatever is drawn, is drawn from it.
        family: One of ``FAMILIES``; drawn when left out.
        name: Of the agent.
        depth: How many agents are above it.
        api: Of the SDK that the agents above use.
    """
    draw = random.Random(f"{seed} {name} {depth}")
    drawn = draw.choice(FAMILIES)
    family = family or drawn
    plan = Plan(
        name=name,
        style={"sync": "sync", "async": "async"}.get(family) or draw.choice(("sync", "threads", "async")),
        model="acme-large" if depth == 0 else "acme-small",
        task=f"{name}: compare {draw.choice(_TOPICS)} and {draw.choice(_TOPICS)} ({draw.randrange(10_000)})",
        family=family,
        is_streaming=draw.random() < 0.3,
    )
    if family == "sdk":
        plan.api = api or draw.choice(("chat", "responses", "messages"))
        plan.style = "async" if plan.style == "async" else "sync"
        plan.has_plain_tools = draw.random() < 0.3
    for number in range(draw.randint(2, 4) if draw.random() < 0.85 else draw.randint(8, 14)):
        plan.turns.append([_build_call(draw, number * 10 + at) for at in range(draw.randint(1, 3))])
    if family in ("agents", "sdk") and depth < 2:
        _add_subagents(plan, draw, seed, depth)
    if draw.random() < 0.2 and name != "writer":
        plan.switch_at = draw.randint(1, len(plan.turns))
    _draw_answer(plan, draw)
    middle = 10.5 if name == "archivist" else 6.5
    plan.tokens = [int(draw.lognormvariate(middle, 0.5)) for _ in range(len(plan.turns) + 1)]
    plan.turn_ms = [draw.lognormvariate(5.5, 0.5) for _ in range(len(plan.turns) + 1)]
    if plan.api and draw.random() < 0.3:
        plan.busy[draw.randrange(len(plan.turns))] = draw.randint(1, 2)
    return plan


def _add_subagents(plan: Plan, draw: random.Random, seed: int, depth: int) -> None:
    share = {("agents", 0): 1.0, ("sdk", 0): 0.5}.get((plan.family, depth), 0.2)
    if draw.random() >= share:
        return
    steps = []
    for at, each in enumerate(draw.sample(SUBAGENTS, draw.randint(1, 3))):
        below = build_plan(seed * 7 + at, plan.family, name=each, depth=depth + 1, api=plan.api)
        steps.append(Step(each, plan=below))
    plan.turns.insert(draw.randint(1, len(plan.turns)), steps)


def _draw_answer(plan: Plan, draw: random.Random) -> None:
    plan.answer = draw.choice(GOOD_ANSWERS)
    if plan.name == "checker":
        plan.answer = None  # this one never answers, and nobody waits for it to
    if plan.name == "auditor":
        # What it found wrong: most often nothing.
        plan.answer = [] if draw.random() < 0.7 else [{"line": draw.randrange(99), "error": "a typo"}]


def _draw_text(draw: random.Random, number: int) -> str:
    form = draw.choice(
        ("{a} of {t} {p} {n}", "{t} {p}: {a} ({n})", "what is the {a} of {t}? {n}", "{n} {t}", "{p}, {a} {n}")
    )
    return form.format(a=draw.choice(_ASPECTS), t=draw.choice(_TOPICS), p=draw.choice(_PLACES), n=number)


def _build_call(draw: random.Random, number: int) -> Step:
    name = draw.choice(TOOLS)
    ms = draw.lognormvariate(3.5, 0.8) if name != "draw_chart" else draw.lognormvariate(8.5, 0.5)
    step = Step(name, {"text": _draw_text(draw, number)}, ms=ms)
    if name == "poll":
        step.arguments, step.detail = {"text": f"job {number}"}, draw.randint(1, 7)
        step.habit = draw.choice(POLLING)
    elif draw.random() < 0.35:
        step.habit = draw.choice(HABITS if name != "save" else HABITS_OF_SAVE)
        step.detail = draw.randint(1, 3)
        if step.habit == "good_text":
            step.detail = draw.choice(GOOD_TEXTS)
        elif step.habit == "pages":
            step.detail = draw.randint(3, 12)
    return step


def copy_step(step: Step, **changes: Any) -> Step:
    """Give the same step, with something else in it."""
    return replace(step, **changes)
