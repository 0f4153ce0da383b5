"""
What a run waited for: when each operation lay, how long it worked itself, and the path that decided the end.

Pure and iterative. An operation whose end nobody saw has no interval, and is never on the path.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from agenttrace.query.tree import Tree, TreeNode

__all__ = ["Wait", "find_waits", "interval_of", "own_ns_of", "trace_critical_path"]

_LEAST_SHARE = 0.05
"""Of its root's time; what was waited for less is not worth a mark."""


def interval_of(node: TreeNode) -> tuple[int, int] | None:
    """Give when a node began and ended, in ns; None for events, and where the end is not known."""
    if node.family == "event" or "rebuilt" in node.notes:
        return None
    if node.duration_ms is not None:
        return node.start_ns, node.start_ns + max(0, int(node.duration_ms * 1e6))
    if node.end_ns is not None and node.status != "interrupted":
        return node.start_ns, max(node.start_ns, node.end_ns)
    return None


def own_ns_of(nodes: Sequence[TreeNode], at: int) -> int | None:
    """Give the time in which none of a node's operations ran; None where that cannot be known."""
    whole = interval_of(nodes[at])
    if whole is None:
        return None
    inside = sorted(filter(None, (interval_of(nodes[child]) for child in nodes[at].children)))
    own, since = 0, whole[0]
    for start, end in inside:
        if start > since:
            own += min(start, whole[1]) - since
        since = max(since, min(end, whole[1]))
    return own + max(0, whole[1] - since)


def trace_critical_path(nodes: Sequence[TreeNode], root: int) -> dict[int, int]:
    """
    Give the time that each operation on the critical path was the one that was waited for, in ns.

    From the end backwards: of the operations inside, the one that ended last was waited for until it
    ended; before it began, the one that ended last before that.
    """
    own_ns: dict[int, int] = {}
    waiting = [(root, nodes[root].end_ns or nodes[root].start_ns)]
    while waiting:
        at, until_ns = waiting.pop()
        node = nodes[at]
        lost_ns = 0
        inside = sorted(
            (child for child in _own_time(nodes, node.children) if nodes[child].end_ns is not None),
            key=lambda child: (nodes[child].end_ns or 0, child),
            reverse=True,
        )
        for child in inside:
            end_ns = nodes[child].end_ns or 0
            if end_ns > until_ns:
                continue
            lost_ns += until_ns - end_ns
            waiting.append((child, end_ns))
            until_ns = nodes[child].start_ns
        own_ns[at] = lost_ns + max(0, until_ns - node.start_ns)
    return own_ns


def _own_time(nodes: Sequence[TreeNode], children: Sequence[int]) -> list[int]:
    """
    Leave out the calls that are only known from turn to turn, where something else ran in their time.

    A call rebuilt from what a model asked for and was told lasts from the one turn to the next; what
    it ran (a subagent) stands beside it.
    """
    rebuilt = [child for child in children if "rebuilt" in nodes[child].notes]
    if not rebuilt:
        return list(children)
    left_out = set(rebuilt)
    starts = sorted(nodes[child].start_ns for child in children if child not in left_out)
    for child in rebuilt:
        place = bisect_left(starts, nodes[child].start_ns)
        if place == len(starts) or starts[place] >= (nodes[child].end_ns or nodes[child].start_ns):
            left_out.discard(child)
    return [child for child in children if child not in left_out]


class Wait(NamedTuple):
    """What the roots waited for, by its name: all calls of a tool, turns of a model, an agent's own time."""

    family: str
    name: str
    times: int
    ns: int
    share: float
    """Of the time of the roots."""


def find_waits(tree: Tree) -> tuple[set[int], list[Wait]]:
    """
    Say what the roots of a tree waited for.

    Returns:
        The operations on the critical path that were waited for, themselves or what is inside, at least
        5 % of their root's time; and what that time went to, by name, the longest first.
    """
    nodes = tree.nodes
    marked: set[int] = set()
    by_name: dict[tuple[str, str], list[int]] = {}
    whole_ns = 0
    for root in tree.roots:
        end_ns = nodes[root].end_ns
        if nodes[root].family == "event" or end_ns is None or end_ns <= nodes[root].start_ns:
            continue
        total_ns = end_ns - nodes[root].start_ns
        own_ns = trace_critical_path(nodes, root)
        with_inside = dict(own_ns)
        for at in sorted(own_ns, reverse=True):  # parents stand before their children
            parent = nodes[at].parent
            if parent in with_inside and at != root:
                with_inside[parent] += with_inside[at]
        marked |= {at for at, ns in with_inside.items() if ns >= _LEAST_SHARE * total_ns}
        whole_ns += total_ns
        for at, ns in own_ns.items():
            by_name.setdefault((nodes[at].family, nodes[at].name), []).append(ns)
    waits = [Wait(*like, len(spent), sum(spent), sum(spent) / whole_ns) for like, spent in by_name.items()]
    worth = [wait for wait in waits if wait.share >= _LEAST_SHARE]
    return marked, sorted(worth, key=lambda wait: (-wait.ns, wait.family, wait.name))
