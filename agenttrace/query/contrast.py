"""
What is not the same in two values, small enough to be shown beside each other.

Pure. Invariant: two values that differ are still told apart by what is given, however much they share.
"""

from __future__ import annotations

from typing import Any

__all__ = ["contrast"]

_KEPT_CHARS = 12


def contrast(a: Any, b: Any, ellipsis: str = "…") -> tuple[Any, Any]:
    """
    Leave out what two JSON values share: equal members, and how texts and lists begin.

    Returns:
        Both, of one kind as before where they were; themselves where there is nothing to leave out.
    """
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return _contrast_leaves(a, b, ellipsis)
    of_a, of_b = {}, {}
    for key in [*a, *(key for key in b if key not in a)]:
        if key not in b:
            of_a[key] = a[key]
        elif key not in a:
            of_b[key] = b[key]
        elif a[key] != b[key]:
            of_a[key], of_b[key] = _contrast_leaves(a[key], b[key], ellipsis)
    return of_a, of_b


def _contrast_leaves(a: Any, b: Any, ellipsis: str) -> tuple[Any, Any]:
    if isinstance(a, str) and isinstance(b, str):
        cut = _common(a, b) - _KEPT_CHARS
        return (a, b) if cut < _KEPT_CHARS else (ellipsis + a[cut:], ellipsis + b[cut:])
    if isinstance(a, list) and isinstance(b, list):
        cut = _common(a, b)
        return (a, b) if cut < 2 else ([ellipsis, *a[cut:]], [ellipsis, *b[cut:]])
    return a, b


def _common(a: Any, b: Any) -> int:
    """Count how many items two sequences begin with alike."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # slices are compared at the speed of C
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
