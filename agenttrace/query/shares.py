"""
Numbers about many: a share with how far it can be trusted, and percentiles.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["nearest_rank", "wilson_interval"]

_Z95 = 1.959963984540054
"""Within how many standard deviations 95 of 100 lie."""


def wilson_interval(ok: int, count: int, z: float = _Z95) -> tuple[float, float]:
    """
    Give within what a share lies in 95 of 100 cases, when *ok* of *count* were seen.

    Returns:
        Lower and upper end, from 0 to 1; all of it when nothing was seen.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if count <= 0:
        return 0.0, 1.0
    share, weight = ok / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    reach = z * math.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    return (max(0.0, middle - reach) if ok else 0.0), (min(1.0, middle + reach) if ok < count else 1.0)


def nearest_rank(values: Sequence[float], share: float) -> float | None:
    """
    Give the smallest of *values* that at least *share* of them do not exceed.

    Returns:
        One of the values: with 0.5 the lower of two, with 0.95 the longest of up to 20; None of none.
    """
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(round(share * len(ordered), 9)) - 1)]
