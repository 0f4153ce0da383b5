"""Which steps of two runs are the same: pairs never cross, and nothing is in two of them."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.query import align as align_module
from agenttrace.query.align import fill_gaps, match

WORDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=30)


Word = tuple[str, int]


def align(a: list[Word], b: list[Word]) -> list[tuple[int | None, int | None]]:
    """Pair by the whole item, then, between those pairs, by its word alone."""
    pairs = match(a, b)
    pairs = match([word for word, _ in a], [word for word, _ in b], pairs)
    return fill_gaps(pairs, len(a), len(b))


def longest(a: str, b: str) -> int:
    """Count the longest common subsequence the slow way."""
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for at_a, one in enumerate(a):
        for at_b, other in enumerate(b):
            rows[at_a + 1][at_b + 1] = (
                rows[at_a][at_b] + 1 if one == other else max(rows[at_a][at_b + 1], rows[at_a + 1][at_b])
            )
    return rows[-1][-1]


class TestAlign:
    """S0.22: runs are compared by what was done, in the order in which it was done."""

    @given(WORDS, WORDS)
    def test_pairs_each_once_and_in_order(self, a: list[tuple[str, int]], b: list[tuple[str, int]]) -> None:
        """Every item stands exactly once; both sides ascend; what is paired has an equal key."""
        pairs = align(a, b)
        assert [at for at, _ in pairs if at is not None] == list(range(len(a)))
        assert [at for _, at in pairs if at is not None] == list(range(len(b)))
        for at_a, at_b in pairs:
            if at_a is not None and at_b is not None:
                assert a[at_a][0] == b[at_b][0]

    @given(WORDS)
    def test_pairs_all_of_the_same(self, a: list[tuple[str, int]]) -> None:
        """A sequence beside itself has no item alone."""
        assert align(a, a) == [(at, at) for at in range(len(a))]

    @given(WORDS, st.integers(0, 30), st.tuples(st.just("new"), st.just(9)))
    def test_finds_the_one_that_was_put_in(
        self, a: list[tuple[str, int]], place: int, new: tuple[str, int]
    ) -> None:
        """What is only in one of them is what is alone."""
        place = min(place, len(a))
        pairs = align(a, [*a[:place], new, *a[place:]])
        assert [pair for pair in pairs if None in pair] == [(None, place)]

    @given(st.text("abc", max_size=40), st.text("abc", max_size=40))
    def test_pairs_as_many_as_can_be(self, a: str, b: str) -> None:
        """No alignment of equal items has more pairs."""
        assert len(match(a, b)) == longest(a, b)

    def test_takes_the_later_ones_of_a_loop_for_new(self) -> None:
        """Of rounds that are alike, those that one run has more of are its last."""
        assert fill_gaps(match("sxxxe", "sxxxxxe"), 5, 7)[-3:] == [(None, 4), (None, 5), (4, 6)]

    def test_prefers_equal_arguments(self) -> None:
        """A call with other arguments is paired only where no call has the same ones."""
        pairs = align([("a", 1), ("a", 2)], [("a", 2), ("a", 3)])
        assert pairs == [(0, None), (1, 0), (None, 1)]

    def test_stays_quick_where_nothing_is_alike(self) -> None:
        """10,000 beside 10,000 repeated, shuffled and foreign items end: a guard against squares of that."""
        draw = random.Random(20_261_121)
        a = [(draw.choice("ab"), draw.randrange(3)) for _ in range(10_000)]
        b = [(draw.choice("ab"), draw.randrange(3)) for _ in range(10_000)]
        began_s = time.process_time()
        pairs = align(a, b)
        print(f"{time.process_time() - began_s:.2f} s")
        assert sum(None not in pair for pair in pairs) > 5000

    def test_cuts_what_is_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beyond the bound, what both have once still holds the rest in place."""
        monkeypatch.setattr(align_module, "_CELLS_LIMIT", 100)
        a = [("a", at % 3) for at in range(40)] + [("once", 1)] + [("b", at) for at in range(5)]
        b = [("new", 0), *a[3:], ("new", 1)]
        pairs = match(a, b)
        assert (40, 38) in pairs and len(pairs) > 5
