"""Shares of few and of many, and percentiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.query.shares import nearest_rank, wilson_interval


class TestWilsonInterval:
    """How far a share can be trusted."""

    @pytest.mark.parametrize(
        ("ok", "count", "low", "high"),
        [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634)],
    )
    def test_known_values(self, ok: int, count: int, low: float, high: float) -> None:
        """The values that tables of the interval give."""
        assert wilson_interval(ok, count) == pytest.approx((low, high), abs=1e-4)

    @given(st.integers(1, 10_000), st.data())
    def test_holds_what_was_seen(self, count: int, data: st.DataObject) -> None:
        """The share that was seen lies in it, and it lies between nothing and all."""
        ok = data.draw(st.integers(0, count))
        low, high = wilson_interval(ok, count)
        assert 0.0 <= low <= ok / count <= high <= 1.0

    @given(st.integers(1, 50), st.integers(2, 50))
    def test_narrows(self, count: int, times: int) -> None:
        """More of the same narrows it."""
        low, high = wilson_interval(count, 2 * count)
        lower, higher = wilson_interval(count * times, 2 * count * times)
        assert low < lower and higher < high


class TestNearestRank:
    """Percentiles that are one of the values."""

    @pytest.mark.parametrize(
        ("values", "share", "expected"),
        [
            ([], 0.5, None),
            ([7], 0.5, 7),
            ([2, 1], 0.5, 1),
            ([3, 1, 2], 0.5, 2),
            (list(range(1, 21)), 0.95, 19),
            (list(range(1, 20)), 0.95, 19),
            (list(range(1, 101)), 0.95, 95),
        ],
    )
    def test_values(self, values: list[float], share: float, expected: float | None) -> None:
        """The smallest that so many do not exceed."""
        assert nearest_rank(values, share) == expected
