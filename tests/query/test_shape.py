"""The shape of a run: what repeats is one step, what ran at the same time has no order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.query.shape import Step, Timed, collapse, iter_path, order_steps, render_shape

WORDS = st.text("abc", max_size=40)
MS = 1_000_000


def calls(words: str) -> tuple[Step, ...]:
    return tuple(Step(word) for word in words)


def shown(words: str) -> str:
    return render_shape(collapse(calls(words)), arrow=" ")


class TestCollapse:
    """``a*n``."""

    @pytest.mark.parametrize(
        ("words", "shape"),
        [
            ("", "(nothing)"),
            ("a", "a"),
            ("aa", "a*n"),
            ("abba", "a b*n a"),
            ("abab", "(a b)*n"),
            ("aabab", "(a*n b)*n"),
            ("abababc", "(a b)*n c"),
            ("xabcabcabcy", "x (a b c)*n y"),
            ("ababcababc", "((a b)*n c)*n"),
            ("abcdefghijabcdefghij", "(a b c d e f g h i j)*n"),
            ("abcdefghijkabcdefghijk", "a b c d e f g h i j k a b c d e f g h i j k"),
        ],
    )
    def test_shapes(self, words: str, shape: str) -> None:
        """One step for each that repeats, and for each round of up to ten steps."""
        assert shown(words) == shape

    @given(WORDS)
    def test_keeps_what_there_is(self, words: str) -> None:
        """No kind of step comes or goes, and a shape has at most as many steps as there were."""
        shape = collapse(calls(words))
        assert set(render_shape(shape)) & set("abc") == set(words)
        assert sum(1 for _ in iter_path(shape)) <= len(words)

    @given(st.text("abc", min_size=1, max_size=4), st.integers(2, 9), st.integers(2, 9))
    def test_forgets_how_often(self, words: str, few: int, many: int) -> None:
        """Two rounds and nine have one shape."""
        assert collapse(calls(words * few)) == collapse(calls(words * many))


class TestOrder:
    """``order_steps``."""

    @given(st.permutations("abcde"))
    def test_of_what_ran_at_the_same_time(self, words: list[str]) -> None:
        """Whichever began or ended first, the order is that of the names."""
        steps = [Timed((20 + at) * MS, at * MS, Step(word), Step(word)) for at, word in enumerate(words)]
        assert "".join(timed.step.name for timed in order_steps(steps)) == "abcde"

    @given(WORDS, st.randoms())
    def test_of_what_ran_one_after_another(self, words: str, draw: object) -> None:
        """The order in which it was done, however the rows came."""
        steps = [
            Timed((10 * at + 9) * MS, 10 * at * MS, Step(word), Step(word)) for at, word in enumerate(words)
        ]
        draw.shuffle(steps)  # type: ignore[attr-defined]
        assert "".join(timed.step.name for timed in order_steps(steps)) == words


class TestPath:
    """``iter_path``."""

    def test_tells_failures_where_they_show(self) -> None:
        """That something failed in which others were done is told behind those."""
        inner = (Step("look"), Step("parse", is_failed=True))
        told = list(iter_path([Step("lead", (Step("search", inner, is_failed=True),))]))
        assert [(around, step.name, step.is_failed) for around, step in told] == [
            ("", "lead", False),
            ("lead", "search", False),
            ("lead/search", "look", False),
            ("lead/search", "parse", True),
            ("lead/search", "", True),
        ]

    def test_has_a_bound(self) -> None:
        """A shape without end ends."""
        assert len(list(iter_path(calls("ab" * 5000), limit=100))) == 100
