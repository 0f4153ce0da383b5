"""
Look for a key in a dict without asking any key.

Invariant: a key that is no plain str is neither hashed nor compared, because its class
may be anybody's. Cost: 10 ns a key in C, 40 in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from agenttrace import native

__all__ = ["has_key_of", "has_key_of_in_python"]


def has_key_of_in_python(members: dict[Any, Any], names: frozenset[str], limit_count: int) -> bool:
    """
    Tell whether one of the first keys is one of *names*.

    Args:
        members: A dict, and no subclass.
        names: Of str.
        limit_count: How many keys are looked at.
    """
    for key in islice(members, limit_count):  # noqa: SIM110, a generator costs 200 ns more
        if type(key) is str and key in names:
            return True
    return False


has_key_of: Callable[[dict[Any, Any], frozenset[str], int], bool] = (
    has_key_of_in_python if native.FUNCTIONS is None else native.FUNCTIONS.has_key_of
)
