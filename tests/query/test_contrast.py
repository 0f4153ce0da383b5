"""What is not the same in two values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.query.contrast import contrast

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab", max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("xy", max_size=2), inner, max_size=3),
    max_leaves=8,
)


class TestContrast:
    """Values beside each other, without what they share."""

    @pytest.mark.parametrize(
        ("a", "b", "of_a", "of_b"),
        [
            (1, 2, 1, 2),
            ("fig", "fog", "fig", "fog"),
            ("x" * 50 + "1", "x" * 50 + "2", "…" + "x" * 12 + "1", "…" + "x" * 12 + "2"),
            ({"q": 1, "n": 5}, {"q": 2, "n": 5}, {"q": 1}, {"q": 2}),
            ({"q": 1}, {"q": 1, "n": 5}, {}, {"n": 5}),
            ([1, 2, 3], [1, 2, 4], ["…", 3], ["…", 4]),
        ],
    )
    def test_leaves_out_what_is_shared(self, a: Any, b: Any, of_a: Any, of_b: Any) -> None:
        """Equal members go, and how texts and lists begin."""
        assert contrast(a, b) == (of_a, of_b)

    @given(JSON, JSON)
    def test_still_tells_them_apart(self, a: Any, b: Any) -> None:
        """What differs before differs after."""
        of_a, of_b = contrast(a, b)
        if a != b:
            assert of_a != of_b
