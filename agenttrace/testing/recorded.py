"""
Lists that know where in the tree their items stand, so that a failed comparison can show it.

Invariant: such a list is equal to, ordered as, printed as and pickled as the plain list of its
items; whatever is made from it (a slice, a sum, a copy) is a plain list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from agenttrace.testing.readings import Readings

__all__ = ["Recorded"]

Item = TypeVar("Item")


class Recorded(list[Item]):
    """
    What a trajectory gave.

    Args:
        items: The items.
        trajectory: Who gave them.
        rows: Of each item the ``row_id`` of its node.
    """

    __slots__ = ("rows", "trajectory")
    __hash__ = None  # as of every list

    def __init__(self, items: Iterable[Item], trajectory: Readings, rows: Sequence[int]) -> None:
        super().__init__(items)
        self.trajectory = trajectory
        self.rows = tuple(rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    __copy__ = list.copy

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Item]:
        from copy import deepcopy  # late: hardly ever asked for

        return deepcopy(list(self), memo)
