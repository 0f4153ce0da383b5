"""Which steps of two runs are the same: pairs never cross, and nothing is in two of them."""

from __future__ import annotations

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from agenttrace.query.align import align

WORDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=30)


def by_both(item: tuple[str, int]) -> tuple[str, int]:
    return item


def by_word(item: tuple[str, int]) -> str:
    return item[0]


class TestAlign:
    """S0.22: runs are compared by what was done, in the order in which it was done."""

    @given(WORDS, WORDS)
    def test_pairs_each_once_and_in_order(self, a: list[tuple[str, int]], b: list[tuple[str, int]]) -> None:
        """Every item stands exactly once; both sides ascend; what is paired has an equal key."""
        pairs = align(a, b, (by_both, by_word))
        assert [at for at, _ in pairs if at is not None] == list(range(len(a)))
        assert [at for _, at in pairs if at is not None] == list(range(len(b)))
        for at_a, at_b in pairs:
            if at_a is not None and at_b is not None:
                assert a[at_a][0] == b[at_b][0]

    @given(WORDS)
    def test_pairs_all_of_the_same(self, a: list[tuple[str, int]]) -> None:
        """A sequence beside itself has no item alone."""
        assert align(a, a, (by_both, by_word)) == [(at, at) for at in range(len(a))]

    @given(WORDS, st.integers(0, 30), st.tuples(st.just("new"), st.just(9)))
    def test_finds_the_one_that_was_put_in(
        self, a: list[tuple[str, int]], place: int, new: tuple[str, int]
    ) -> None:
        """What is only in one of them is what is alone."""
        place = min(place, len(a))
        pairs = align(a, [*a[:place], new, *a[place:]], (by_both, by_word))
        assert [pair for pair in pairs if None in pair] == [(None, place)]

    def test_prefers_equal_arguments(self) -> None:
        """A call with other arguments is paired only where no call has the same ones."""
        pairs = align([("a", 1), ("a", 2)], [("a", 2), ("a", 3)], (by_both, by_word))
        assert pairs == [(0, None), (1, 0), (None, 1)]

    def test_stays_quick_where_nothing_is_alike(self) -> None:
        """10,000 beside 10,000 repeated, shuffled and foreign items end: a guard against squares of that."""
        draw = random.Random(20_261_121)
        a = [(draw.choice("ab"), draw.randrange(3)) for _ in range(10_000)]
        b = [(draw.choice("ab"), draw.randrange(3)) for _ in range(10_000)]
        began_s = time.process_time()
        pairs = align(a, b, (by_both, by_word))
        print(f"{time.process_time() - began_s:.2f} s")
        assert sum(None not in pair for pair in pairs) > 1000
