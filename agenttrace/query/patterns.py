"""
Runs grouped by the shape of what they did, and how those that failed began.

The failing prefix: every run is a row of steps, walked from its root (an agent before what it did, a step
that failed is another one than a step that did not, how the run ended is its last). Of all beginnings of
such rows with which no ok run begins, the one that most failed runs share, and of those the longest.
Invariants: the same rows give the same patterns; a run counts once. Bounds: 100,000 calls of a run are
looked at, 2,000 steps of its shape, 64 agents below each other. Cost: one read of the ends of calls, some
50,000 at a time, and one pass over them; no query per run.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from agenttrace.query.reading import Reader
from agenttrace.query.runs import RunFilter
from agenttrace.query.shape import Step, Timed, collapse, iter_path, order_steps, render_shape, render_step
from agenttrace.query.shares import nearest_rank

__all__ = ["FailingPrefix", "Pattern", "Patterns", "find_patterns"]

CALLS_LIMIT = 100_000
"""Calls of one run that are looked at."""
_BATCH_CALLS = 50_000
_DEPTH_LIMIT = 64
_OK = frozenset({"completed"})
_FAILED = frozenset({"failed", "interrupted"})
_OPEN = frozenset({"running"})

_RUNS = """
SELECT s.id, s.status, coalesce(s.duration_ms, 0), coalesce(s.tool_calls, 0) + coalesce(s.retries, 0)
FROM agent_sessions s WHERE {condition} ORDER BY s.ts_ms, s.id
"""
_AGENTS = """
SELECT r.conversation_id, r.agent_id, coalesce(r.agent_name, r.agent_id), r.parent_agent_id,
    s.parent_span_id, coalesce(r.last_status, 'ok'), coalesce(s.ts_ns, r.first_ts_ms * 1000000),
    coalesce((SELECT e.ts_ns FROM trajectory_events e WHERE e.conversation_id = r.conversation_id
        AND e.agent_id = r.agent_id AND e.seq = r.last_end_seq), r.last_ts_ms * 1000000)
FROM json_each(?) c CROSS JOIN agent_rollups r ON r.conversation_id = c.value
LEFT JOIN trajectory_events s ON s.conversation_id = r.conversation_id AND s.agent_id = r.agent_id
    AND s.seq = r.first_start_seq
WHERE r.events > 0
"""
_CALLS = """
SELECT e.conversation_id, e.agent_id, coalesce(e.tool_name, '(unnamed tool)'), e.status,
    coalesce(e.ts_ns, e.ts_ms * 1000000), e.duration_ms, e.span_id, e.parent_span_id
FROM json_each(?) c CROSS JOIN trajectory_events e ON e.conversation_id = c.value
WHERE +e.kind = 'tool_result' LIMIT ?
"""
_OPEN_CALLS = """
SELECT o.conversation_id, o.agent_id,
    coalesce((SELECT e.tool_name FROM trajectory_events e WHERE e.conversation_id = o.conversation_id
        AND e.agent_id = o.agent_id AND e.seq = o.seq), '(unnamed tool)'), NULL, o.ts_ns, NULL, o.span_id,
    (SELECT e.parent_span_id FROM trajectory_events e WHERE e.conversation_id = o.conversation_id
        AND e.agent_id = o.agent_id AND e.seq = o.seq)
FROM json_each(?) c CROSS JOIN open_spans o ON o.conversation_id = c.value WHERE o.kind = 'tool_call'
"""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Runs of one shape."""

    shape: str
    """``lead(list → search(fetch*n) → write)``: agents with what they did; ``*n`` repeats."""
    steps: int
    """Steps of the shape, agents too."""
    runs: int
    ended: int
    failed: int
    """Runs that failed or were interrupted."""
    failed_share: float | None
    """``failed / ended``; None while none has ended."""
    duration_p50_ms: float | None
    example: str
    """Conversation to open: the newest that failed, or else the newest."""
    is_cut: bool
    """Only the first steps of its runs were looked at."""


@dataclass(frozen=True, slots=True)
class FailingPrefix:
    """How failed runs begin, and no ok run does."""

    steps: tuple[str, ...]
    """Each behind what it stands in, ``lead » search » fetch ✘``; the last may be how the run ended."""
    left_at: int
    """From which of them (0 is the first) on no ok run goes along."""
    failed: int
    """Failed runs that begin so."""
    failed_in_all: int
    ok_goes_on: str | None
    """What most of the ok runs that went along until then did instead; None where none went along."""
    example: str
    """The newest run that begins so."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """What runs have in common."""

    runs: int
    patterns: tuple[Pattern, ...]
    """The commonest first."""
    failing_prefix: FailingPrefix | None
    """None where no run failed, or where failed ones share no beginning that ok ones have not."""


_Steps = tuple[Step, ...]
_Token = tuple[str, Step]
"""A step, and what it stands in."""


class _Run(NamedTuple):
    conversation_id: str
    status: str
    duration_ms: float
    calls: int


class _Shaped(NamedTuple):
    run: _Run
    shape: tuple[Step, ...]
    path: tuple[_Token, ...]
    is_cut: bool


_Call = tuple[str, "str | None", int, "float | None", "str | None", "str | None"]
"""Name, status, end, duration, span and span of what is around it."""
_Agent = tuple[str, str, "str | None", "str | None", str, int, int]
"""Id, name, id and span of what is around it, status, start and end."""


def find_patterns(reader: Reader, which: RunFilter) -> Patterns:
    """
    Group runs by their shape.

    Args:
        reader: Where to read; the caller holds a snapshot.
        which: Which runs.
    """
    condition, values = which.condition("s.id", "s.ts_ms", "s.task")
    runs = [_Run(*row) for row in reader.rows(_RUNS.format(condition=condition), values)]
    grouped: defaultdict[tuple[Step, ...], list[tuple[_Run, bool]]] = defaultdict(list)
    paths: defaultdict[tuple[_Token, ...], list[_Run]] = defaultdict(list)
    for shaped in _iter_shaped(reader, runs):
        grouped[shaped.shape].append((shaped.run, shaped.is_cut))
        paths[shaped.path].append(shaped.run)
    order = {run.conversation_id: number for number, run in enumerate(runs)}
    patterns = sorted(
        (_sum_up(shape, members) for shape, members in grouped.items()),
        key=lambda each: (-each.runs, -each.failed, each.shape),
    )
    return Patterns(len(runs), tuple(patterns), _find_failing_prefix(paths, order))


def _iter_shaped(reader: Reader, runs: Sequence[_Run]) -> Iterator[_Shaped]:
    for batch in _batches(runs):
        ids = json.dumps([run.conversation_id for run in batch])
        agents: defaultdict[str, list[_Agent]] = defaultdict(list)
        for row in reader.rows(_AGENTS, [ids]):
            agents[row[0]].append(row[1:])
        limit = CALLS_LIMIT if len(batch) == 1 else -1
        rows = reader.rows(_CALLS, [ids, limit])
        is_cut = len(rows) == limit
        calls: defaultdict[tuple[str, str], list[_Call]] = defaultdict(list)
        for row in [*rows, *reader.rows(_OPEN_CALLS, [ids])]:
            calls[row[:2]].append(row[2:])
        for run in batch:
            yield _shape_run(run, agents[run.conversation_id], calls, is_cut)


def _batches(runs: Iterable[_Run]) -> Iterator[list[_Run]]:
    batch: list[_Run] = []
    calls = 0
    for run in runs:
        if batch and calls + run.calls > _BATCH_CALLS:
            yield batch
            batch, calls = [], 0
        batch.append(run)
        calls += run.calls
    if batch:
        yield batch


def _shape_run(
    run: _Run,
    agents: Sequence[_Agent],
    calls: dict[tuple[str, str], list[_Call]],
    is_cut: bool,
) -> _Shaped:
    """Put the steps of one run together, the innermost agents first."""
    parents = {agent[0]: agent[2] for agent in agents}
    depths = {agent_id: _depth(agent_id, parents) for agent_id in parents}
    inside: defaultdict[str | None, list[tuple[str | None, Timed]]] = defaultdict(list)
    for agent_id, name, _, span, status, start_ns, end_ns in sorted(
        agents, key=lambda each: -depths[each[0]]
    ):
        told, plain, height = _order(calls.get((run.conversation_id, agent_id), ()), inside.pop(agent_id, ()))
        step = Step(name, _collapse(told), is_failed=status in _BAD)
        parent = parents[agent_id] if depths[agent_id] else None
        timed = Timed(end_ns, start_ns, step, Step(name, _collapse(plain)), height + 1)
        inside[parent].append((span, timed))
    told, plain = _part(order_steps([timed for _, timed in inside[None]]))
    path = (*iter_path(_collapse(told)), ("", Step(_END.get(run.status, run.status))))
    return _Shaped(run, _collapse(plain), path, is_cut)


_BAD = frozenset({"error", "interrupted"})
_END = {
    "completed": "(the run ends ok)",
    "failed": "(the run fails)",
    "interrupted": "(the run is interrupted)",
}


def _depth(agent_id: str, parents: dict[str, str | None]) -> int:
    """Count the agents around one; 0 for a root, for an orphan, and beyond the limit or in a cycle."""
    depth = 0
    at = parents.get(agent_id)
    while at is not None and at in parents:
        depth += 1
        if depth > _DEPTH_LIMIT or at == agent_id:
            return 0
        at = parents[at]
    return depth


def _order(calls: Sequence[_Call], agents: Sequence[tuple[str | None, Timed]]) -> tuple[_Steps, _Steps, int]:
    """Put what an agent did in order, with and without what failed; with how many are inside each other."""
    spans = {call[4] for call in calls}
    if not agents and spans.isdisjoint([call[5] for call in calls]) and _is_one_by_one(calls):
        told = tuple([_to_step(call[0], call[1] in _BAD) for call in calls])
        return told, tuple([_to_step(call[0], False) for call in calls]), 0
    spans.discard(None)
    done: defaultdict[str | None, list[Timed]] = defaultdict(list)
    for span, timed in agents:
        done[span if span in spans else None].append(timed)
    for name, status, end_ns, duration_ms, span, around in sorted(calls, key=_inner_first):
        inner = done.pop(span, []) if span is not None else []
        height = 1 + max([timed.height for timed in inner]) if inner else 0
        target = done[around if around in spans and around != span else None]
        if height > _DEPTH_LIMIT:
            target += inner
            inner, height = [], 0
        step, plain = _to_step(name, status in _BAD), _to_step(name, False)
        if inner:
            told_inside, plain_inside = _part(order_steps(inner))
            step = step._replace(inner=_collapse(told_inside))
            plain = plain._replace(inner=_collapse(plain_inside))
        target.append(Timed(end_ns, end_ns - int((duration_ms or 0.0) * 1e6), step, plain, height))
    steps = [timed for of_one in done.values() for timed in of_one]  # also what ended after what is around it
    return *_part(order_steps(steps)), max((timed.height for timed in steps), default=0)


def _part(steps: Sequence[Timed]) -> tuple[_Steps, _Steps]:
    return tuple([timed.step for timed in steps]), tuple([timed.plain for timed in steps])


def _inner_first(call: _Call) -> tuple[int, float, str]:
    return call[2], call[3] or 0.0, call[0]


def _is_one_by_one(calls: Sequence[_Call]) -> bool:
    """Tell whether no call ran while another did, and they are in their order."""
    last_ns = 0
    for _, _, end_ns, duration_ms, _, _ in calls:
        if end_ns - (duration_ms or 0.0) * 1e6 < last_ns - 100_000 or end_ns < last_ns:
            return False
        last_ns = end_ns
    return True


@lru_cache(maxsize=4096)
def _to_step(name: str, is_failed: bool) -> Step:
    return Step(name, None, False, is_failed)


@lru_cache(maxsize=256)
def _collapse(steps: _Steps) -> _Steps:
    return collapse(steps)


def _sum_up(shape: tuple[Step, ...], members: Sequence[tuple[_Run, bool]]) -> Pattern:
    runs = [run for run, _ in members]
    ended = [run for run in runs if run.status not in _OPEN]
    failed = [run for run in ended if run.status in _FAILED]
    return Pattern(
        shape=render_shape(shape),
        steps=sum(1 for _ in iter_path(shape)),
        runs=len(runs),
        ended=len(ended),
        failed=len(failed),
        failed_share=len(failed) / len(ended) if ended else None,
        duration_p50_ms=nearest_rank([float(run.duration_ms) for run in ended], 0.5),
        example=(failed or runs)[-1].conversation_id,
        is_cut=any(is_cut for _, is_cut in members),
    )


class _Node:
    """A beginning that runs share."""

    __slots__ = ("around", "below", "depth", "failed", "newest", "ok", "ok_below", "token")

    def __init__(self, around: _Node | None = None, token: _Token | None = None) -> None:
        self.around: _Node | None = around
        self.token = token
        self.depth: int = 0 if around is None else around.depth + 1
        self.below: dict[_Token, _Node] = {}
        self.ok = 0
        self.failed = 0
        self.ok_below: Counter[_Token] = Counter()
        self.newest = (-1, "")

    def nodes(self) -> list[_Node]:
        """Give the nodes on the way to it, itself the last, the root not."""
        found: list[_Node] = []
        at = self
        while at.around is not None:
            found.append(at)
            at = at.around
        return found[::-1]

    def say(self) -> tuple[str, ...]:
        """Give its beginning in words."""
        return tuple(_say(node.token) for node in self.nodes() if node.token is not None)


def _find_failing_prefix(
    paths: dict[tuple[_Token, ...], list[_Run]], order: dict[str, int]
) -> FailingPrefix | None:
    """Find the beginning that most failed runs share and no ok run has; of several the longest."""
    root = _Node()
    for path, runs in paths.items():
        ok = sum(run.status in _OK for run in runs)
        failed = [run.conversation_id for run in runs if run.status in _FAILED]
        if not ok and not failed:
            continue
        at = root
        at.ok, at.failed = at.ok + ok, at.failed + len(failed)
        for token in path:
            if ok:
                at.ok_below[token] += ok
            found = at.below.get(token)
            if found is None:
                found = at.below[token] = _Node(at, token)
            at = found
            at.ok, at.failed = at.ok + ok, at.failed + len(failed)
            if failed:
                at.newest = max(at.newest, (order[failed[-1]], failed[-1]))
    best: _Node | None = None
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if not node.ok and node is not root and (best is None or _is_better(node, best)):
            best = node
        needed = max(1, best.failed if best is not None else 1)
        waiting += [each for each in node.below.values() if each.failed >= needed]
    if best is None or best.failed < min(2, root.failed):
        return None
    return _tell(best, root)


def _is_better(node: _Node, best: _Node) -> bool:
    if (node.failed, node.depth) != (best.failed, best.depth):
        return (node.failed, node.depth) > (best.failed, best.depth)
    return node.say() < best.say()


def _tell(best: _Node, root: _Node) -> FailingPrefix:
    nodes = best.nodes()
    left_at = next(place for place, node in enumerate(nodes) if not node.ok)
    goes_on = nodes[left_at].around or root
    most = min(goes_on.ok_below.items(), key=lambda each: (-each[1], _say(each[0])), default=None)
    return FailingPrefix(
        steps=best.say(),
        left_at=left_at,
        failed=best.failed,
        failed_in_all=root.failed,
        ok_goes_on=None if most is None else _say(most[0]),
        example=best.newest[1],
    )


def _say(token: _Token) -> str:
    around, step = token
    said = render_step(step) if step.name or step.inner else "(fails)"
    return f"{around.replace('/', ' » ')} » {said}" if around else said
