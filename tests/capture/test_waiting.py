"""What was caught and waits: who is told of by whom, decided by several threads at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agenttrace.capture import waiting
from agenttrace.capture.context import Agent, Operation
from agenttrace.capture.marks import remember
from agenttrace.capture.waiting import UNWRITTEN, Inside, Place, Waiting, forget_all, retell

HERE = Place(0, __file__, 1, "f", True)


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    forget_all()
    yield
    forget_all()


def add(inside: Inside, error_id: str, absorbed: frozenset[str] = frozenset()) -> Waiting:
    """Let a failure wait that was raised from the *absorbed*, without deciding who is told of."""
    exc = ValueError(error_id)
    mark = remember(exc, error_id, ())
    assert mark is not None
    one = Waiting(inside, exc, mark, HERE)
    one.absorbed = absorbed
    inside.row_count += 1
    inside.waiting[one.number] = UNWRITTEN[one.number] = one
    return one


def operation() -> Inside:
    return Inside(Operation("agent", "sub", "c", Agent("c", "a", "sub", None), None))


class TestRetell:
    """Whether a failure is told of by a later one."""

    def test_leaves_another_threads_decision_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A thread that looks at all that waits undoes nothing that another decided meanwhile."""
        mine, others = operation(), operation()
        my_first, their_first = add(mine, "mine-1"), add(others, "theirs-1")
        add(mine, "mine-2", frozenset({"mine-1"}))
        number_of = waiting._number_of
        turns = iter((True,))

        def switch_threads(one: Waiting) -> int:
            if next(turns, False):  # amid looking, with what waits read already
                add(others, "theirs-2", frozenset({"theirs-1"}))
                retell(frozenset({"theirs-1"}))
                assert their_first.is_told
            return number_of(one)

        monkeypatch.setattr(waiting, "_number_of", switch_threads)
        retell(frozenset({"mine-1"}))
        assert my_first.is_told and their_first.is_told
        assert (mine.row_count, others.row_count) == (1, 1)

    def test_follows_what_a_change_changes(self) -> None:
        """What a failure told of is a failure of its own again once that one is told of itself."""
        inside = operation()
        first, second, third = (
            add(inside, "1"),
            add(inside, "2", frozenset({"1"})),
            add(inside, "3", frozenset({"2"})),
        )
        retell(frozenset({"1"}))
        assert first.is_told
        retell(frozenset({"2"}))
        assert [one.is_told for one in (first, second, third)] == [False, True, False]
        assert inside.row_count == 2
