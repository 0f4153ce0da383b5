"""Limits of what a run uses."""

from __future__ import annotations

import pytest

from agenttrace import agent_scope, model_turn, traced_tool
from agenttrace.testing import Trajectory, memory_recorder


@traced_tool
def step(number: int) -> int:
    return number


def record(
    turns: int = 2,
    calls: int = 3,
    *,
    model: str = "gpt-4o",
    usage: bool = True,
    cost_usd: float | None = None,
) -> Trajectory:
    """Record turns of 1,000 tokens in and 100 out, and calls."""
    with memory_recorder() as recorder, agent_scope("lead"):
        for _ in range(turns):
            with model_turn(model, provider="openai") as turn:
                turn.set_output("done")
                if usage:
                    turn.set_usage(input_tokens=1_000, output_tokens=100)
                if cost_usd is not None:
                    turn.set_usage(cost_usd=cost_usd)
        for number in range(calls):
            step(number)
    return Trajectory(recorder)


class TestLimits:
    def test_hold_up_to_the_last_token_dollar_and_call(self) -> None:
        """A limit is what may be used, not what may not."""
        trajectory = record(cost_usd=0.1)
        trajectory.budget(max_tokens=2_200, max_cost_usd=0.2, max_calls=3)
        trajectory.check_budget()

    @pytest.mark.parametrize(
        ("limit", "said", "marked"),
        [
            ({"max_tokens": 2_199}, "2,200 tokens used, and max_tokens is 2,199", "at 2,200"),
            ({"max_tokens": 0}, "2,200 tokens used, and max_tokens is 0", "at 1,100"),
            ({"max_cost_usd": 0.15}, "$0.2000 used, and max_cost_usd is $0.1500", "at $0.2000"),
            ({"max_calls": 1}, "3 tool calls, and max_calls is 1", "call 2"),
        ],
    )
    def test_name_what_went_beyond_them(self, limit: dict[str, float], said: str, marked: str) -> None:
        """And the path to where that happened."""
        with pytest.raises(AssertionError) as claim:
            record(cost_usd=0.1).budget(**limit)  # type: ignore[arg-type]
        lines = str(claim.value).split("\n")
        assert lines[0] == said
        assert [line for line in lines if line.startswith(">") and marked in line]

    def test_set_before_the_run_are_checked_when_asked(self) -> None:
        """Nothing has been used yet, so nothing can be wrong yet; the lower of two limits counts."""
        with memory_recorder() as recorder:
            trajectory = Trajectory(recorder)
            trajectory.budget(max_calls=1)
            trajectory.budget(max_calls=5, max_tokens=None)
            with agent_scope("lead"):
                step(1)
                trajectory.check_budget()
                step(2)
                with pytest.raises(AssertionError, match="2 tool calls, and max_calls is 1"):
                    trajectory.check_budget()

    def test_use_the_table_of_prices(self) -> None:
        """A turn of a known model costs what the table says."""
        pytest.importorskip("genai_prices")
        trajectory = record()
        trajectory.budget(max_cost_usd=0.02)
        with pytest.raises(AssertionError, match=r"\$0\.0070 used, and max_cost_usd is \$0\.0010"):
            trajectory.budget(max_cost_usd=0.001)


class TestUnmeasured:
    def test_tokens_nobody_counted_hold_no_limit(self) -> None:
        """A limit that nothing could exceed would be no limit."""
        with pytest.raises(AssertionError, match="the number of tokens of 2 turns is not known"):
            record(usage=False).budget(max_tokens=10)

    def test_nor_does_a_price_that_is_not_known(self) -> None:
        """It says what makes it known."""
        with pytest.raises(AssertionError, match=r"the cost of 2 turns is not known.*prices.*cost_usd"):
            record(model="no-such-model").budget(max_cost_usd=1)

    def test_nor_a_run_without_turns(self) -> None:
        """Unless an empty run is allowed."""
        trajectory = record(turns=0)
        with pytest.raises(AssertionError, match="no model turn was recorded"):
            trajectory.budget(max_tokens=10)
        trajectory.allow_empty()
        trajectory.check_budget()

    def test_a_turn_that_failed_is_not_paid_for(self) -> None:
        """No usage comes with an error, and none is asked for."""
        with memory_recorder() as recorder, pytest.raises(ConnectionError), agent_scope("lead"):
            with model_turn("gpt-4o") as turn:
                turn.set_output("done")
                turn.set_usage(input_tokens=10, output_tokens=1)
            with model_turn("gpt-4o"):
                raise ConnectionError
        Trajectory(recorder).budget(max_tokens=11)

    @pytest.mark.parametrize("value", [-1, float("nan"), "many", True])
    def test_what_is_no_limit_is_refused(self, value: object) -> None:
        """A typing error must not pass as a limit."""
        with pytest.raises(ValueError, match="max_calls is a number from 0 on"):
            record().budget(max_calls=value)  # type: ignore[arg-type]
