"""Time and ids in a test's hand, and back out of it."""

from __future__ import annotations

import os

import pytest

from agenttrace import clock, events
from agenttrace.capture import context
from agenttrace.testing import CountingIds, StepClock, strict_mode


class TestStepClock:
    def test_steps_once_for_each_reading(self) -> None:
        """Two readings are one step apart, and the first is the start."""
        with StepClock(1_000, step_ns=7):
            assert [clock.now_ns() for _ in range(3)] == [1_000, 1_007, 1_014]

    def test_advances_by_milliseconds(self) -> None:
        """An hour passes without waiting."""
        with StepClock(0, step_ns=0) as stepping:
            stepping.advance(3_600_000)
            assert clock.now_ms() == 3_600_000

    def test_never_goes_back(self) -> None:
        """Recorded time is monotonic; a test cannot turn it round either."""
        with pytest.raises(ValueError, match="cannot go back: -1 ms"):
            StepClock().advance(-1)

    def test_puts_the_clock_back_also_when_nested(self) -> None:
        """Leaving a block gives the clock of the enclosing one, and in the end the system's."""
        system = clock.now_ns
        with StepClock(5, step_ns=0):
            with StepClock(9, step_ns=0):
                assert clock.now_ns() == 9
            assert clock.now_ns() == 5
        assert clock.now_ns is system

    def test_begins_in_2026_unless_told(self) -> None:
        """The default start is a readable date."""
        with StepClock():
            assert clock.render_utc(clock.now_ms()) == "2026-01-01 00:00:00.000"


class TestCountingIds:
    def test_count_up_in_every_module_that_makes_ids(self) -> None:
        """Conversations, agents and spans all count, from 1."""
        with CountingIds():
            assert context.new_conversation_id() == "0000000000000001"
            assert context.agent_id_for("The Lead") == "the-lead-000002"
            assert context.new_span_id() == "0000000000000001"

    def test_puts_random_ids_and_spans_back(self) -> None:
        """Afterwards nothing counts any more, and the span numbers go on where they were."""
        before = (events.new_id, context.new_id, context.PIPE.span_prefix, context.PIPE.span_numbers)
        with CountingIds():
            with CountingIds() as inner:
                assert context.new_id == inner.new_id
            assert context.new_conversation_id() == "0000000000000001"
        assert (events.new_id, context.new_id, context.PIPE.span_prefix, context.PIPE.span_numbers) == before


class TestStrictMode:
    def test_sets_the_environment_and_takes_it_back(self) -> None:
        """What the variable was before, it is after."""
        with strict_mode():
            assert os.environ["AGENTTRACE_STRICT"] == "1"
        assert "AGENTTRACE_STRICT" not in os.environ

    def test_restores_another_value(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also when the block raises."""
        monkeypatch.setenv("AGENTTRACE_STRICT", "no")
        with pytest.raises(KeyError), strict_mode():
            raise KeyError
        assert os.environ["AGENTTRACE_STRICT"] == "no"
