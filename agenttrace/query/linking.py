"""
Operations hung below each other: parents found, cycles cut, attempts folded, turns spread.

Invariant: afterwards every operation is below exactly one other or is a root, and
following parents always ends. No recursion: a chain of any length is a loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agenttrace.query.operations import Operation

__all__ = ["link_operations", "spread_turns"]


def link_operations(operations: list[Operation]) -> list[Operation]:
    """
    Give every operation its parent.

    Args:
        operations: In the order of their first rows; they are changed.

    Returns:
        The operations that stand for themselves: further attempts are folded into the first.
    """
    _link(operations)
    _cut_cycles(operations)
    return _merge_attempts(operations)


def _link(operations: list[Operation]) -> None:
    """Give every operation its parent: by span, else its agent's run, else the parent agent's run."""
    by_span: dict[str, Operation] = {}
    runs: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.span_id is not None and operation.family != "event":
            by_span.setdefault(operation.span_id, operation)
        if operation.family == "agent":
            runs.setdefault(operation.agent_id, []).append(operation)
    for operation in operations:
        operation.parent = _find_parent(operation, by_span, runs)


def _find_parent(
    operation: Operation, by_span: Mapping[str, Operation], runs: Mapping[str, list[Operation]]
) -> Operation | None:
    spans: tuple[str | None, ...] = (operation.parent_span_id,)
    if operation.family == "event":
        spans = (operation.span_id, operation.parent_span_id)
    for span_id in spans:
        found = by_span.get(span_id) if span_id is not None else None
        if found is not None and found is not operation:
            return found
    agent_id = operation.parent_agent_id if operation.family == "agent" else operation.agent_id
    if agent_id is None:
        return None
    candidates = [run for run in runs.get(agent_id, ()) if run is not operation]
    if not candidates:
        operation.notes.append("parent not in this trace")
        return None
    earlier = [run for run in candidates if run.key <= operation.key]
    return earlier[-1] if earlier else candidates[0]


def _cut_cycles(operations: list[Operation]) -> None:
    """Make the earliest operation of each cycle a root, so that the rest hangs below it."""
    settled: set[int] = set()
    for start in operations:
        path: list[Operation] = []
        on_path: set[int] = set()
        at: Operation | None = start
        while at is not None and id(at) not in settled and id(at) not in on_path:
            path.append(at)
            on_path.add(id(at))
            at = at.parent
        if at is not None and id(at) in on_path:
            cycle = path[next(index for index, member in enumerate(path) if member is at) :]
            first = min(cycle, key=lambda member: member.key)
            first.parent = None
            first.notes.append("cyclic parent")
        settled |= on_path


def _merge_attempts(operations: list[Operation]) -> list[Operation]:
    """Fold the calls that repeat another (``retry_of``) into the first of them."""
    firsts = {
        operation.span_id: operation
        for operation in reversed(operations)
        if operation.family == "call" and operation.span_id and not operation.retry_of
    }
    kept: list[Operation] = []
    into: dict[int, Operation] = {}
    for operation in operations:
        first = firsts.get(operation.retry_of) if operation.retry_of else None
        if first is None or operation.family != "call" or first.parent is not operation.parent:
            kept.append(operation)
            continue
        into[id(operation)] = first
        first.absorb(operation)
    for operation in kept:
        while operation.parent is not None and id(operation.parent) in into:
            operation.parent = into[id(operation.parent)]
    return kept


def spread_turns(operations: Iterable[Operation]) -> None:
    """Count what an agent does after a model turn as of that turn, until the next one."""
    for agent in operations:
        turn: int | None = None
        for child in agent.children if agent.family == "agent" else ():
            if child.turn is None and child.end is not None:
                child.turn = child.end.turn
            if child.turn is None:
                child.turn = turn
            if child.family == "turn":
                turn = child.turn
