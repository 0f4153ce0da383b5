"""
Which lines of a tree are shown, and which are counted: at most so many, whatever the run.

Invariants: every operation is either shown or counted in one fold; failures are shown before anything that
went well, the first of each kind before the second of any, and those for which there is no room are counted
by their types in the fold that holds them. Cost: three passes over the nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agenttrace.query.tree import Tree, TreeNode

__all__ = ["LINES_LIMIT", "Fold", "Folding"]

LINES_LIMIT = 250
"""Lines of a tree before its siblings are folded."""

_RUN_SHOWN = 2
_RUN_LIMIT = 4
_SHARE_OF_FAILURES = 0.7
"""Of the entries that are shown; what went well around them needs some room, too."""
_ROUNDS = (6, 20, 60, 150, 100_000_000)
_HIDDEN_EVENTS = frozenset({"handled", "model_delta", "model_selected", "message", "retry", "snapshot"})
_BAD = frozenset({"error", "interrupted"})


@dataclass(frozen=True, slots=True)
class Fold:
    """Stands for siblings, and all that is in them, that are counted instead of shown."""

    members: tuple[int, ...]
    is_run: bool
    """They are equal, and the ones before them say what they are like."""
    is_deeper: bool = False
    """They are below the depth that was asked for."""


class Folding:
    """
    What stands below each node of *tree*.

    Args:
        tree: What ``build_tree`` gave.
        is_open: Show every sibling and every kind of event.
        depth: How many levels are shown; None for all.
        limit: How many entries are shown, before siblings are folded.
    """

    def __init__(
        self, tree: Tree, *, is_open: bool = False, depth: int | None = None, limit: int = LINES_LIMIT
    ) -> None:
        self._nodes = tree.nodes
        self._is_open = is_open
        self._depth = depth
        self._sizes = _count_inside(tree)
        self._entries: dict[int | None, list[int | Fold]] = {None: self._list(tree.roots, 0)}
        for at, node in enumerate(tree.nodes):
            if node.children:
                self._entries[at] = self._list(node.children, node.depth + 1)
        if not is_open and sum(map(len, self._entries.values())) > limit:
            self._fold(limit)

    def below(self, at: int | None) -> Sequence[int | Fold]:
        """Give what stands below a node, or at the top for None."""
        return self._entries.get(at, ())

    def count(self, fold: Fold) -> tuple[Counter[str], Counter[str]]:
        """Give how many operations of each family a fold holds, and how many failures of each type."""
        families: Counter[str] = Counter()
        failures: Counter[str] = Counter()
        for node in self._inside(fold):
            if node.family == "event" and node.name in _HIDDEN_EVENTS:
                continue
            families[node.family] += 1
            for failure in node.failures:
                failures[failure.error_type] += 1
            if not node.failures and node.status == "interrupted":
                failures["interrupted"] += 1
        return families, failures

    def _inside(self, fold: Fold) -> Iterator[TreeNode]:
        for member in fold.members:
            yield from self._nodes[member : member + self._sizes[member]]

    # What would be shown if there were room

    def _list(self, children: Sequence[int], depth: int) -> list[int | Fold]:
        nodes = self._nodes
        if not self._is_open:
            children = [
                at for at in children if nodes[at].family != "event" or nodes[at].name not in _HIDDEN_EVENTS
            ]
        if self._depth is not None and depth >= self._depth:
            if depth > self._depth or not children:
                return []
            return [Fold(tuple(children), is_run=False, is_deeper=True)]
        if self._is_open:
            return list(children)
        entries: list[int | Fold] = []
        run: list[int] = []
        signature: tuple[Any, ...] | None = None
        for at in children:
            next_signature = _sign(nodes[at], at)
            if run and next_signature != signature:
                entries.extend(_collapse(run))
                run = []
            run.append(at)
            signature = next_signature
        entries.extend(_collapse(run))
        return entries

    # What is, where there is not

    def _fold(self, limit: int) -> None:
        parents: dict[int, int | None] = {}  # by an entry's key
        for parent, entries in self._entries.items():
            for entry in entries:
                parents[_key(entry)] = parent
        kept: set[int] = set()
        room = limit * _SHARE_OF_FAILURES
        for key in self._find_bad():
            path: list[int] = []
            at: int | None = key
            # Not longer than the room: in a chain of 10,000 that all failed, each way up would be 10,000.
            while at is not None and at not in kept and len(kept) + len(path) <= room:
                path.append(at)
                at = parents.get(at)
            if len(kept) + len(path) <= room:
                kept.update(path)
        for many in _ROUNDS:
            level: list[int | None] = [None]
            while level and len(kept) < limit:
                deeper: list[int | None] = []
                for parent in level:
                    entries = self._entries.get(parent, [])
                    head = many * 2 // 3
                    edge = entries if len(entries) <= many else [*entries[:head], *entries[head - many :]]
                    kept.update([_key(entry) for entry in edge][: max(0, limit - len(kept))])
                    deeper += [each for each in entries if isinstance(each, int) and each in kept]
                level = deeper
        for parent, entries in self._entries.items():
            self._entries[parent] = (
                list(_close_gaps(entries, kept)) if parent in kept or parent is None else []
            )

    def _find_bad(self) -> list[int]:
        """Give the keys of entries that failed: the first of each kind, then the second, and so on."""
        seen: Counter[Any] = Counter()
        ranked: list[tuple[int, int]] = []
        for entries in self._entries.values():
            for entry in entries:
                node = self._nodes[_key(entry)]
                if node.failures or node.status in _BAD:
                    kind = (
                        node.name,
                        node.error_type,
                        tuple((one.error_type, one.fate) for one in node.failures),
                    )
                    seen[kind] += 1
                    ranked.append((seen[kind], _key(entry)))
        return [key for _, key in sorted(ranked)]


def _key(entry: int | Fold) -> int:
    return entry.members[0] if isinstance(entry, Fold) else entry


def _collapse(run: list[int]) -> list[int | Fold]:
    if len(run) <= _RUN_LIMIT:
        return list(run)
    return [*run[:_RUN_SHOWN], Fold(tuple(run[_RUN_SHOWN:]), is_run=True)]


def _sign(node: TreeNode, at: int) -> tuple[Any, ...]:
    """Give what makes two siblings one run."""
    noted = any(note != "rebuilt" for note in node.notes)
    alone = node.children or noted or node.attempts > 1 or len(node.failures) > 1
    if alone or node.family == "agent":
        return (at,)
    failure = node.failures[0] if node.failures else None
    told = (failure.error_type, failure.fate) if failure else None
    return node.family, node.name, node.status, node.notes, told


def _close_gaps(entries: Sequence[int | Fold], kept: set[int]) -> Iterator[int | Fold]:
    gap: list[int] = []
    gap_entries: list[int | Fold] = []
    for entry in entries:
        if _key(entry) not in kept:
            gap_entries.append(entry)
            gap += entry.members if isinstance(entry, Fold) else (entry,)
            continue
        if gap:
            yield _gap(gap_entries, gap)
            gap, gap_entries = [], []
        yield entry
    if gap:
        yield _gap(gap_entries, gap)


def _gap(entries: Sequence[int | Fold], members: Sequence[int]) -> Fold:
    if len(entries) == 1 and isinstance(entries[0], Fold):
        return entries[0]
    return Fold(tuple(members), is_run=False)


def _count_inside(tree: Tree) -> list[int]:
    """Give how many nodes each is with all below it; they stand right behind it."""
    sizes = [1] * len(tree.nodes)
    for at in range(len(tree.nodes) - 1, -1, -1):
        parent = tree.nodes[at].parent
        if parent is not None:
            sizes[parent] += sizes[at]
    return sizes
