"""
Where two runs part, and in what they differ.

Runs are aligned by the path of the agent and by what it did there, never by time or id: steps
with the same name and arguments first, then those with the same name. Invariants: a run compared
with itself, or with the same run recorded again, differs in nothing; how long things took, tokens
and cost are told but are no difference. Cost: two trees, and ``align``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from agenttrace.query.align import align
from agenttrace.query.reading import Reader
from agenttrace.query.steps import Step, read_steps
from agenttrace.query.tree import Tree

__all__ = ["Difference", "RunDiff", "Totals", "build_diff"]

_SHOWN_AT_END = frozenset({"outcome", "result", "attempts", "answer"})


@dataclass(frozen=True, slots=True)
class Totals:
    """One of the two runs in numbers."""

    conversation_id: str
    status: str
    agents: int
    calls: int
    turns: int
    failed: int
    """Steps that ended in an error."""
    retries: int
    duration_ms: float | None
    tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One step that is not the same in both runs."""

    kind: str
    """
    ``only in A``, ``only in B``, ``model``, ``arguments``, ``outcome``, ``result``, ``attempts``
    or ``answer``.
    """
    agent: str
    """Path of the agent, ``lead/search#2``."""
    a: Step | None
    b: Step | None

    @property
    def is_minor(self) -> bool:
        """The words of a model's answer: two runs of one program hardly ever share them."""
        return self.kind == "answer"


@dataclass(frozen=True, slots=True)
class RunDiff:
    """Two runs side by side."""

    a: Totals
    b: Totals
    first: Difference | None
    """Where they part; of differences in the words of answers only where there is no other."""
    differences: tuple[Difference, ...]
    """All, in the order in which they showed."""
    same_count: int
    """Steps that are the same in both."""

    @property
    def is_same(self) -> bool:
        """Tell whether both did the same."""
        return not self.differences


def build_diff(reader: Reader, trees: tuple[Tree, Tree], statuses: tuple[str, str]) -> RunDiff:
    """
    Compare two conversations.

    Args:
        reader: Where to read what came back.
        trees: Of A and of B.
        statuses: How each stands.
    """
    steps = tuple(read_steps(reader, tree) for tree in trees)
    differences: list[Difference] = []
    same_count = 0
    for agent, (of_a, of_b) in _by_agent(steps[0], steps[1]).items():
        for at_a, at_b in align(of_a, of_b, (_exactly, _by_name)):
            a = None if at_a is None else of_a[at_a]
            b = None if at_b is None else of_b[at_b]
            kinds = _compare(a, b)
            same_count += not kinds
            differences += [Difference(kind, agent, a, b) for kind in kinds]
    zeros = tuple(min((step.start_ns for step in run), default=0) for run in steps)
    differences.sort(key=lambda each: _place_ns(each, zeros))
    first = next((each for each in differences if not each.is_minor), None)
    return RunDiff(
        a=_sum_up(trees[0], steps[0], statuses[0]),
        b=_sum_up(trees[1], steps[1], statuses[1]),
        first=first or (differences[0] if differences else None),
        differences=tuple(differences),
        same_count=same_count,
    )


def _by_agent(a: Sequence[Step], b: Sequence[Step]) -> dict[str, tuple[list[Step], list[Step]]]:
    grouped: dict[str, tuple[list[Step], list[Step]]] = defaultdict(lambda: ([], []))
    for side, steps in enumerate((a, b)):
        for step in steps:
            grouped[step.agent][side].append(step)
    return grouped


def _exactly(step: Step) -> tuple[str, str, str]:
    return step.family, step.name, step.arguments


def _by_name(step: Step) -> tuple[str, str]:
    return step.family, "" if step.family == "turn" else step.name


def _compare(a: Step | None, b: Step | None) -> list[str]:
    """Name in what two steps differ; the first that is named is why the others do."""
    if a is None or b is None:
        return ["only in B" if a is None else "only in A"]
    kinds = []
    if a.name != b.name:
        kinds.append("model")
    if a.arguments != b.arguments:
        kinds.append("arguments")
    if (a.status, a.error) != (b.status, b.error):
        kinds.append("outcome")
    elif a.result != b.result:
        kinds.append("answer" if a.family == "turn" else "result")
    if a.attempts != b.attempts:
        kinds.append("attempts")
    return kinds


def _place_ns(difference: Difference, zeros: tuple[int, ...]) -> int:
    """
    Give how long after the run's begin it showed, in the run where it did so first.

    What is done shows as it begins, what comes back as it ends: so a failed call stands before the
    agent that gave another result because of it.
    """
    places = [
        (step.end_ns if difference.kind in _SHOWN_AT_END else step.start_ns) - zero
        for step, zero in zip((difference.a, difference.b), zeros, strict=True)
        if step is not None
    ]
    return min(places)


def _sum_up(tree: Tree, steps: Sequence[Step], status: str) -> Totals:
    costs = [step.cost_usd for step in steps if step.cost_usd is not None]
    starts = [node.start_ns for node in tree.nodes]
    ends = [node.end_ns or node.start_ns for node in tree.nodes]
    return Totals(
        conversation_id=tree.conversation_id,
        status=status,
        agents=sum(node.family == "agent" for node in tree.nodes),
        calls=sum(step.family == "call" for step in steps),
        turns=sum(step.family == "turn" for step in steps),
        failed=sum(step.status == "error" for step in steps),
        retries=sum(step.attempts - 1 for step in steps),
        duration_ms=(max(ends) - min(starts)) / 1e6 if starts else None,
        tokens=sum(step.tokens for step in steps),
        cost_usd=sum(costs) if costs else None,
    )
