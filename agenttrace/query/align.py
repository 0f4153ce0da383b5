"""
Which steps of two runs are the same step.

Pure. Invariants: pairs never cross (of two steps that are paired, the later one of A goes with the
later one of B); every step is in one pair or alone. Cost: about linear where the runs are much
alike; where they are not, stretches of more than 400 steps are paired by name and place alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import TypeVar

__all__ = ["align"]

Item = TypeVar("Item")
Pair = tuple[int | None, int | None]
Key = Callable[[Item], Hashable]

_EXACT_LIMIT_COUNT = 400


def align(a: Sequence[Item], b: Sequence[Item], keys: Sequence[Key[Item]]) -> list[Pair]:
    """
    Pair the items of two sequences.

    Args:
        a: In order.
        b: In order.
        keys: What makes two items the same, the strictest first; what one leaves alone is tried
            by the next, between the pairs that stand.

    Returns:
        Indexes of pairs, None where an item is alone; in an order that agrees with both sequences.
    """
    pairs: list[tuple[int, int]] = []
    for key in keys:
        keys_a, keys_b = [key(item) for item in a], [key(item) for item in b]
        found: list[tuple[int, int]] = []
        for start_a, end_a, start_b, end_b in _gaps(pairs, len(a), len(b)):
            found += _match(keys_a, keys_b, start_a, end_a, start_b, end_b)
        pairs = sorted([*pairs, *found])
    return _fill(pairs, len(a), len(b))


def _gaps(
    pairs: Sequence[tuple[int, int]], count_a: int, count_b: int
) -> Iterator[tuple[int, int, int, int]]:
    """Give the stretches between pairs where both sequences have something left."""
    last_a = last_b = -1
    for at_a, at_b in [*pairs, (count_a, count_b)]:
        if last_a + 1 < at_a and last_b + 1 < at_b:
            yield last_a + 1, at_a, last_b + 1, at_b
        last_a, last_b = at_a, at_b


def _match(
    a: Sequence[Hashable], b: Sequence[Hashable], start_a: int, end_a: int, start_b: int, end_b: int
) -> list[tuple[int, int]]:
    """Pair equal keys of one stretch: what it begins and ends with, then the longest runs between."""
    found: list[tuple[int, int]] = []
    while start_a < end_a and start_b < end_b and a[start_a] == b[start_b]:
        found.append((start_a, start_b))
        start_a, start_b = start_a + 1, start_b + 1
    while start_a < end_a and start_b < end_b and a[end_a - 1] == b[end_b - 1]:
        end_a, end_b = end_a - 1, end_b - 1
        found.append((end_a, end_b))
    for part_a, part_end_a, part_b, part_end_b in _anchored(a, b, start_a, end_a, start_b, end_b):
        if max(part_end_a - part_a, part_end_b - part_b) > _EXACT_LIMIT_COUNT:
            same = zip(range(part_a, part_end_a), range(part_b, part_end_b), strict=False)
            found += [(at_a, at_b) for at_a, at_b in same if a[at_a] == b[at_b]]
            continue
        matcher = SequenceMatcher(None, a[part_a:part_end_a], b[part_b:part_end_b], autojunk=False)
        for block in matcher.get_matching_blocks():
            found += [(part_a + block.a + step, part_b + block.b + step) for step in range(block.size)]
    return found


def _anchored(
    a: Sequence[Hashable], b: Sequence[Hashable], start_a: int, end_a: int, start_b: int, end_b: int
) -> Iterator[tuple[int, int, int, int]]:
    """Cut a stretch before each key that both sides have exactly once, as far as those keep their order."""
    once_a, once_b = _once(a, start_a, end_a), _once(b, start_b, end_b)
    common = [(at, once_b[key]) for key, at in once_a.items() if key in once_b]
    last_a, last_b = start_a, start_b
    for at_a, at_b in _longest_rise(common):
        yield last_a, at_a, last_b, at_b
        last_a, last_b = at_a, at_b
    yield last_a, end_a, last_b, end_b


def _once(keys: Sequence[Hashable], start: int, end: int) -> dict[Hashable, int]:
    places: dict[Hashable, int] = {}
    doubled: set[Hashable] = set()
    for at in range(start, end):
        if keys[at] in places:
            doubled.add(keys[at])
        places[keys[at]] = at
    return {key: at for key, at in places.items() if key not in doubled}


def _longest_rise(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Give the most points that rise in both coordinates; *points* are sorted by the first."""
    tails: list[int] = []
    before: list[int | None] = []
    for at, (_, value) in enumerate(points):
        low, high = 0, len(tails)
        while low < high:
            middle = (low + high) // 2
            if points[tails[middle]][1] < value:
                low = middle + 1
            else:
                high = middle
        before.append(tails[low - 1] if low else None)
        tails[low : low + 1] = [at]
    rise: list[tuple[int, int]] = []
    last: int | None = tails[-1] if tails else None
    while last is not None:
        rise.append(points[last])
        last = before[last]
    return rise[::-1]


def _fill(pairs: Sequence[tuple[int, int]], count_a: int, count_b: int) -> list[Pair]:
    filled: list[Pair] = []
    next_a = next_b = 0
    for at_a, at_b in [*pairs, (count_a, count_b)]:
        filled += [(alone, None) for alone in range(next_a, at_a)]
        filled += [(None, alone) for alone in range(next_b, at_b)]
        if at_a < count_a:
            filled.append((at_a, at_b))
        next_a, next_b = at_a + 1, at_b + 1
    return filled
