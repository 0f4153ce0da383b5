"""
Where two runs part, and in what they differ.

Runs are aligned by the path of the agent and by what it did there, never by time or id: agents first
(``pairing``), then of each the steps with the same name and arguments, then those with the same name.
Invariants: a run compared with itself, or with the same run recorded again, differs in nothing, also where
what ran at the same time began in another order; how long things took, tokens and cost are told but
are no difference. Cost: two trees, and ``align``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass

from agenttrace.query.align import fill_gaps, match
from agenttrace.query.pairing import pair_agents
from agenttrace.query.reading import Reader
from agenttrace.query.steps import Payloads, Step, TakenStep, read_steps, steady
from agenttrace.query.tree import Tree

__all__ = ["Difference", "RunDiff", "Totals", "build_diff"]

_SHOWN_AT_END = frozenset({"outcome", "result", "attempts", "answer", "caught"})
_MINOR = frozenset({"answer", "input"})
_WHOLE = frozenset({"only in A", "only in B", "instead"})
_LOOKED_BACK = 100


@dataclass(frozen=True, slots=True)
class Totals:
    """One of the two runs in numbers."""

    conversation_id: str
    status: str
    agents: int
    calls: int
    turns: int
    failed: int
    """Calls, turns and subagents that ended in an error."""
    retries: int
    duration_ms: float | None
    tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One step that is not the same in both runs."""

    kind: str
    """
    ``only in A``, ``only in B``, ``instead`` (A did one thing, B another), ``model``, ``name``,
    ``input``, ``arguments``, ``order`` (the same at another place), ``outcome``,
    ``result``, ``caught``, ``attempts`` or ``answer``.
    """
    agent: str
    """Path of the agent, ``lead/search#2``."""
    a: Step | None
    b: Step | None
    inside: int = 0
    """Steps below an agent that is only in one of them; they are no differences of their own."""

    @property
    def is_minor(self) -> bool:
        """
        Tell whether the runs may have done the same all the same.

        So it is with the words of a model's answer, which two runs of one program hardly ever share, and
        with what the root agent was asked.
        """
        return self.kind in _MINOR


@dataclass(frozen=True, slots=True)
class RunDiff:
    """Two runs side by side."""

    a: Totals
    b: Totals
    first: Difference | None
    """Where they part; a minor one only where there is no other."""
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
        reader: Where to read what came back; the caller holds a snapshot.
        trees: Of A and of B.
        statuses: How each stands.
    """
    payloads = Payloads(reader)
    a, b = (read_steps(reader, tree, payloads) for tree in trees)
    totals = [_sum_up(*each) for each in zip(trees, (a, b), statuses, strict=True)]
    comparer = _Comparer(a, b, payloads)
    comparer.compare()
    differences = comparer.differences()
    first = next((each for each in differences if not each.is_minor), None)
    return RunDiff(
        a=totals[0],
        b=totals[1],
        first=first or (differences[0] if differences else None),
        differences=tuple(differences),
        same_count=comparer.same_count,
    )


class _Comparer:
    """Two runs, and what was found of them."""

    def __init__(self, a: Sequence[TakenStep], b: Sequence[TakenStep], payloads: Payloads) -> None:
        self._payloads = payloads
        self._below = (_by_owner(a), _by_owner(b))
        self._pairs = pair_agents(a, b, payloads)
        self._has_turns = {
            (side, step.owner)
            for side, run in enumerate((a, b))
            for step in run
            if step.node.family == "turn"
        }
        self._found: list[tuple[tuple[int, int, int], str, TakenStep | None, TakenStep | None]] = []
        self.same_count = 0

    def compare(self) -> None:
        """Compare the agents and what they did."""
        self._compare_below(None, None, "")
        for pair in self._pairs:
            if pair.a is not None and pair.b is not None:
                self._compare_below(pair.a, pair.b, pair.path)

    def differences(self) -> list[Difference]:
        """Give what was found, in the order in which it showed."""
        self._found.sort(key=lambda each: each[0])
        return [
            Difference(
                kind,
                (a or b).agent,  # type: ignore[union-attr]
                None if a is None else a.step(self._payloads),
                None if b is None else b.step(self._payloads),
                self._count_inside(0, a) + self._count_inside(1, b) if kind in _WHOLE else 0,
            )
            for _, kind, a, b in self._found
        ]

    def _compare_below(self, agent_a: TakenStep | None, agent_b: TakenStep | None, path: str) -> None:
        """Compare what one agent did in both runs; None for what stands below no agent."""
        a, b = (
            below.get(None if agent is None else agent.at, [])
            for below, agent in zip(self._below, (agent_a, agent_b), strict=True)
        )
        begun_ns = a[0].start_ns if agent_a is None and a else agent_a.start_ns if agent_a else 0
        for step in (*a, *b):
            if step.node.family != "agent":
                step.agent = path
        pairs = match([step.key for step in a], [step.key for step in b])
        moved = _match_moved(a, b, pairs)
        names: list[list[Hashable]] = [
            [_loose_key(step) if at not in gone else (side, at) for at, step in enumerate(steps)]
            for side, (steps, gone) in enumerate(((a, moved), (b, set(moved.values()))))
        ]
        pairs = match(names[0], names[1], pairs)
        alone_b = set(moved.values())
        reached_ns = begun_ns
        partners = {at_b: at_a for at_a, at_b in pairs} | {at_b: at_a for at_a, at_b in moved.items()}
        for at_a, at_b in _put_beside(fill_gaps(pairs, len(a), len(b)), moved, alone_b):
            if at_a is not None:
                reached_ns = max(reached_ns, a[at_a].start_ns)
            if at_a is not None and at_a in moved:
                first, second = a[at_a], b[moved[at_a]]
                is_parallel = _is_parallel(a, b, at_a, moved[at_a], pairs)
                self._compare_steps(first, second, first.start_ns, () if is_parallel else ("order",))
            elif at_a is not None:
                self._compare_steps(a[at_a], None if at_b is None else b[at_b], a[at_a].start_ns)
            elif at_b is not None and at_b not in alone_b:
                place_ns = max(reached_ns, _place_of(b, at_b, a, partners, begun_ns))
                self._compare_steps(None, b[at_b], place_ns)

    def _compare_steps(
        self,
        a: TakenStep | None,
        b: TakenStep | None,
        place_ns: int,
        kinds: Sequence[str] = (),
    ) -> None:
        """Note in what two steps differ; *place_ns* is where that stands in the time of A."""
        kinds = [*kinds, *self._name_kinds(a, b)]
        self.same_count += not kinds
        for kind in kinds:
            shown_ns = a.end_ns if a is not None and kind in _SHOWN_AT_END else place_ns
            order = (shown_ns, 0 if a is not None else 1, b.start_ns if b is not None else 0)
            self._found.append((order, kind, a, b))

    def _name_kinds(self, a: TakenStep | None, b: TakenStep | None) -> list[str]:
        """Name in what two steps differ; the first that is named is why the others do."""
        if a is None or b is None:
            return ["only in B" if a is None else "only in A"]
        family = a.node.family
        if _loose_key(a) != _loose_key(b):
            return ["instead"]
        kinds = []
        if family == "turn" and a.key != b.key:
            kinds.append("model")
        if family == "agent" and a.node.name != b.node.name:
            kinds.append("name")
        if a.asked and not self._is_same(a.given, b.given, a.asked):
            kinds.append("input" if family == "agent" and a.owner is None else "arguments")
        if _outcome(a) != _outcome(b) and steady(_outcome(a)) != steady(_outcome(b)):
            kinds.append("outcome")
        elif not self._is_same(a.back, b.back, "output"):
            kinds.append("answer" if self._are_words(a, b) else "result")
        if a.caught != b.caught and steady(a.caught) != steady(b.caught):
            kinds.append("caught")
        if a.node.attempts != b.node.attempts:
            kinds.append("attempts")
        return kinds

    def _is_same(self, a: str, b: str, part: str) -> bool:
        if a == b:
            return True
        first, second = self._payloads.part(a, part), self._payloads.part(b, part)
        if first != second and steady(first) != steady(second):
            return False
        return self._payloads.lost(a) == self._payloads.lost(b)

    def _are_words(self, a: TakenStep, b: TakenStep) -> bool:
        """Tell whether both gave back what a model wrote: its answer, or that of an agent that has one."""
        if a.node.family == "turn":
            return True
        return (
            a.node.family == "agent"
            and (0, a.at) in self._has_turns
            and (1, b.at) in self._has_turns
            and self._payloads.part(a.back, "output")[:1] == '"'
            and self._payloads.part(b.back, "output")[:1] == '"'
        )

    def _count_inside(self, side: int, step: TakenStep | None) -> int:
        if step is None or step.node.family != "agent":
            return 0
        count, waiting = 0, [step.at]
        while waiting:
            inside = self._below[side].get(waiting.pop(), [])
            count += len(inside)
            waiting += [each.at for each in inside if each.node.family == "agent"]
        return count


def _put_beside(
    filled: Sequence[tuple[int | None, int | None]], moved: dict[int, int], moved_b: Collection[int]
) -> Iterator[tuple[int | None, int | None]]:
    """Put the first that A did alone beside the first that B did alone in its place."""
    alone: list[tuple[int | None, int | None]] = []
    for at_a, at_b in [*filled, (-1, -1)]:
        if at_b is None and at_a not in moved:
            alone.append((at_a, None))
            continue
        if at_a is None and at_b not in moved_b:
            if alone and alone[0][1] is None and alone[0][0] is not None:
                alone[0] = (alone[0][0], at_b)
            else:
                alone.append((None, at_b))
            continue
        if at_a is None or at_b is None:
            yield at_a, at_b  # it moved
            continue
        yield from alone
        alone.clear()
        if at_a >= 0:
            yield at_a, at_b


def _by_owner(steps: Sequence[TakenStep]) -> dict[int | None, list[TakenStep]]:
    found: defaultdict[int | None, list[TakenStep]] = defaultdict(list)
    for step in steps:
        found[step.owner].append(step)
    return found


def _loose_key(step: TakenStep) -> tuple[str, str]:
    return step.node.family, "" if step.node.family == "turn" else step.name


def _outcome(step: TakenStep) -> str:
    return "open" if step.is_open else f"{step.node.status} {step.error}"


def _match_moved(
    a: Sequence[TakenStep], b: Sequence[TakenStep], pairs: Sequence[tuple[int, int]]
) -> dict[int, int]:
    """Pair what is alone on both sides and the same but for its place."""
    taken_a, taken_b = {at for at, _ in pairs}, {at for _, at in pairs}
    waiting: defaultdict[Hashable, deque[int]] = defaultdict(deque)
    for at, step in enumerate(b):
        if at not in taken_b and step.node.family != "turn":
            waiting[step.key].append(at)
    moved = {}
    for at, step in enumerate(a):
        if at not in taken_a and waiting.get(step.key):
            moved[at] = waiting[step.key].popleft()
    return moved


def _is_parallel(
    a: Sequence[TakenStep],
    b: Sequence[TakenStep],
    at_a: int,
    at_b: int,
    pairs: Sequence[tuple[int, int]],
) -> bool:
    """Tell whether a step that moved ran, in one of the runs, at the same time as all that it passed."""
    places = sorted((bisect_left(pairs, (at_a, 0)), bisect_left(pairs, at_b, key=lambda pair: pair[1])))
    passed = pairs[places[0] : places[1]]
    return all(_overlap(a[at_a], a[one]) or _overlap(b[at_b], b[other]) for one, other in passed)


def _overlap(one: TakenStep, other: TakenStep) -> bool:
    return one.start_ns < other.end_ns and other.start_ns < one.end_ns


def _place_of(
    b: Sequence[TakenStep], at: int, a: Sequence[TakenStep], partners: dict[int, int], begun_ns: int
) -> int:
    """Give the time in A by which that was over which was over in B when a step of B alone began."""
    for before in range(at - 1, max(-1, at - 1 - _LOOKED_BACK), -1):
        if before in partners and b[before].end_ns <= b[at].start_ns:
            return a[partners[before]].end_ns
    return begun_ns


def _sum_up(tree: Tree, steps: Sequence[TakenStep], status: str) -> Totals:
    costs = [step.node.cost_usd for step in steps if step.node.cost_usd is not None]
    starts = [node.start_ns for node in tree.nodes]
    ends = [node.end_ns or node.start_ns for node in tree.nodes]
    inner = [step.node for step in steps if step.owner is not None or step.node.family != "agent"]
    return Totals(
        conversation_id=tree.conversation_id,
        status=status,
        agents=sum(node.family == "agent" for node in tree.nodes),
        calls=sum(node.family == "call" for node in inner),
        turns=sum(node.family == "turn" for node in inner),
        failed=sum(node.status == "error" for node in inner),
        retries=sum(node.attempts - 1 for node in inner),
        duration_ms=(max(ends) - min(starts)) / 1e6 if starts else None,
        tokens=sum((node.input_tokens or 0) + (node.output_tokens or 0) for node in inner),
        cost_usd=sum(costs) if costs else None,
    )
