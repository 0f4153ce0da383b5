"""
Which agents of two runs are the same agent.

Agents are the same when the agents around them are, and they have one name. Of several, those with the
same input that did the same, then the same input, then that did the same, then in the order in which they
began: so agents that ran at the same time are told apart by what they were asked, not by who was first.
Invariant: an agent is in one pair or alone. Pure; cost: one pass over the steps.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from agenttrace.query.steps import Payloads, TakenStep

__all__ = ["AgentPair", "pair_agents"]

_Key = Callable[[TakenStep], Hashable]


class AgentPair(NamedTuple):
    """One agent in both runs, or in one of them."""

    path: str
    """``lead/search#2``; numbers are those of A, then those that only B has."""
    a: TakenStep | None
    b: TakenStep | None


def pair_agents(a: Sequence[TakenStep], b: Sequence[TakenStep], payloads: Payloads) -> list[AgentPair]:
    """
    Pair the agents of two runs, and name their steps and themselves by their paths.

    Args:
        a: The steps of the one run, in the order in which they began.
        b: Those of the other.
        payloads: Reads what agents were asked.
    """
    below = (_children(a), _children(b))
    did = (_did(a), _did(b))

    def asked(step: TakenStep) -> Hashable:
        return payloads.key(step.given, "input") or None

    def levels(side: int) -> tuple[_Key, ...]:
        return (
            lambda step: (asked(step), did[side][step.at]) if asked(step) is not None else None,
            asked,
            lambda step: did[side][step.at],
            lambda step: True,
        )

    pairs: list[AgentPair] = []
    waiting = deque([AgentPair("", None, None)])
    keys = (levels(0), levels(1))
    while waiting:
        around = waiting.popleft()
        if around.path and (around.a is None or around.b is None):
            continue  # what is below an agent that only one run has is only in that run
        inside = [
            below[side].get(None if step is None else step.at, [])
            for side, step in enumerate((around.a, around.b))
        ]
        for name, first, second in _pair_children(inside[0], inside[1], keys, is_root=not around.path):
            path = f"{around.path}/{name}" if around.path else name
            for step in (first, second):
                if step is not None:
                    step.name, step.key = name, ("agent", name, "")
                    step.agent = around.path or path
            pair = AgentPair(path, first, second)
            pairs.append(pair)
            waiting.append(pair)
    return pairs


def _children(steps: Iterable[TakenStep]) -> dict[int | None, list[TakenStep]]:
    found: defaultdict[int | None, list[TakenStep]] = defaultdict(list)
    for step in steps:
        if step.node.family == "agent":
            found[step.owner].append(step)
    return found


def _did(steps: Sequence[TakenStep]) -> dict[int, Hashable]:
    """Give what each agent did, all below it too, in whatever order."""
    done: defaultdict[int, list[int]] = defaultdict(list)
    found: dict[int, Hashable] = {}
    for step in sorted(steps, key=lambda each: -each.at):  # children before their parents
        mark = hash(step.key)
        if step.node.family == "agent":
            found[step.at] = mark = hash((step.key, tuple(sorted(done[step.at]))))
        if step.owner is not None:
            done[step.owner].append(mark)
    return found


def _pair_children(
    a: Sequence[TakenStep], b: Sequence[TakenStep], keys: tuple[tuple[_Key, ...], ...], *, is_root: bool
) -> list[tuple[str, TakenStep | None, TakenStep | None]]:
    """Pair the agents below one; gives the name of each in its number."""
    partner: dict[int, TakenStep] = {}
    left_a, left_b = list(a), list(b)
    for level, (key_a, key_b) in enumerate(zip(*keys, strict=True)):
        if not left_a or not left_b:
            break
        queues: defaultdict[Hashable, deque[TakenStep]] = defaultdict(deque)
        for step in left_b:
            queues[step.node.name, key_b(step)].append(step)
        for step in left_a:
            own = key_a(step)
            queue = queues.get((step.node.name, own))
            if queue and (own is not None or level == len(keys[0]) - 1):
                partner[step.at] = queue.popleft()
        taken = {step.at for step in partner.values()}
        left_a = [step for step in left_a if step.at not in partner]
        left_b = [step for step in left_b if step.at not in taken]
    if is_root:  # a root agent with another name is still the root
        for step, other in zip(left_a, left_b, strict=False):
            partner[step.at] = other
        left_b = left_b[len(left_a) :]
    named: list[tuple[str, TakenStep | None, TakenStep | None]] = []
    counts: defaultdict[str, int] = defaultdict(int)
    for first, second in [(step, partner.get(step.at)) for step in a] + [(None, step) for step in left_b]:
        name = (first or second).node.name  # type: ignore[union-attr]
        counts[name] += 1
        named.append((name if counts[name] == 1 else f"{name}#{counts[name]}", first, second))
    return named
