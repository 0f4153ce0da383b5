"""What a test can claim about a run, and what it reads when it is not so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agenttrace import agent_scope, traced_tool
from agenttrace.query.text import cell_width
from agenttrace.testing import Trajectory, memory_recorder


@traced_tool
def search(query: str, limit: int = 3) -> list[str]:
    if "weather" in query:
        raise TimeoutError("no answer within 5 s")
    return [query] * limit


@traced_tool
def fetch(page: int) -> int:
    return page


@pytest.fixture
def weekend() -> Iterator[Trajectory]:
    """A planner that searches, fetches twelve pages, and has a subagent that swallows an error."""
    with memory_recorder() as recorder, agent_scope("planner", input="Porto") as planner:
        search("museums", limit=2)
        for page in range(12):
            fetch(page)
        with agent_scope("weather") as weather:
            try:
                search("weather in Porto")
            except TimeoutError:
                weather.set_output("sunny")
        planner.set_output("walk")
    yield Trajectory(recorder)


def said_by(claim: pytest.ExceptionInfo[AssertionError]) -> list[str]:
    """Give the lines of a failed claim, without the durations."""
    lines = str(claim.value).split("\n")
    assert all(cell_width(line) <= 72 for line in lines[1:]), lines
    return lines


class TestNoSwallowed:
    def test_holds_when_nothing_was_swallowed(self) -> None:
        """What was not caught at all is no affair of this claim."""
        with memory_recorder() as recorder, pytest.raises(TimeoutError), agent_scope("lead"):
            search("weather")
        Trajectory(recorder).assert_no_swallowed()

    def test_shows_the_way_to_what_was(self, weekend: Trajectory) -> None:
        """The failure, its call, the agents above it, and nothing else but counts."""
        with pytest.raises(AssertionError) as claim:
            weekend.assert_no_swallowed()
        lines = said_by(claim)
        assert lines[0] == "1 failure swallowed: TimeoutError: no answer within 5 s"
        [marked] = [line for line in lines if line.startswith(">")]
        assert 'search(query="weather in Porto"' in marked and "nobody was told" in marked
        assert any("planner" in line for line in lines) and any("… 13 more" in line for line in lines)
        assert not any("fetch" in line for line in lines)

    def test_of_one_agent_looks_at_that_agent_alone(self, weekend: Trajectory) -> None:
        """And one that never ran is an error."""
        weekend.assert_no_swallowed(agent="planner")
        with pytest.raises(AssertionError, match="1 failure swallowed"):
            weekend.assert_no_swallowed(agent="weather")
        with pytest.raises(AssertionError, match="no agent 'wether' ran"):
            weekend.assert_no_swallowed(agent="wether")


class TestCalled:
    def test_gives_the_calls_that_fit(self, weekend: Trajectory) -> None:
        """By value, by predicate, by agent; parameters not named may be anything."""
        [call] = weekend.assert_called("search", query="museums", limit=2)
        assert call.result == ["museums", "museums"]
        assert len(weekend.assert_called("fetch", page=lambda page: page > 9)) == 2
        assert len(weekend.assert_called("search", agent="weather", query=...)) == 1
        assert len(weekend.assert_called("fetch", times=12)) == 12
        assert weekend.assert_called("search", arguments={"query": "museums"}) == [call]

    def test_of_a_tool_that_never_ran_names_those_that_did(self, weekend: Trajectory) -> None:
        """With the one that was probably meant."""
        with pytest.raises(AssertionError) as claim:
            weekend.assert_called("serach", query="x")
        assert said_by(claim)[0] == (
            "serach(query=\"x\") was not called; called were search, fetch; did you mean 'search'?"
        )

    def test_with_other_arguments_says_of_each_call_what_differs(self, weekend: Trajectory) -> None:
        """Each call of that tool is marked with its own reason."""
        with pytest.raises(AssertionError) as claim:
            weekend.assert_called("search", query="opera", limit=2)
        marked = [line for line in said_by(claim) if line.startswith(">")]
        assert len(marked) == 2
        assert 'query: "museums" instead of "opera"' in marked[0]
        assert 'query: "weather in Porto" instead of "' in marked[1]

    def test_counts(self, weekend: Trajectory) -> None:
        """Too few and too many, both with what is there."""
        with pytest.raises(AssertionError, match=r"search\(\) was not called 3 times, but 2 times"):
            weekend.assert_called("search", times=3)
        with pytest.raises(AssertionError) as claim:
            weekend.assert_called("fetch", times=1)
        assert said_by(claim)[0] == "fetch() was not called 1 time, but 12 times"
        assert sum(line.startswith(">") for line in said_by(claim)) >= 3

    def test_not_called_shows_the_call(self, weekend: Trajectory) -> None:
        """The claim that something was not done names where it was done."""
        weekend.assert_not_called("book")
        weekend.assert_not_called("fetch", page=99)
        with pytest.raises(AssertionError) as claim:
            weekend.assert_not_called("fetch", page=3)
        assert said_by(claim)[0] == "fetch(page=3) was called 1 time"
        [marked] = [line for line in said_by(claim) if line.startswith(">")]
        assert "fetch(page=3)" in marked


class TestOrder:
    def test_lets_others_stand_between(self, weekend: Trajectory) -> None:
        """The order is what is claimed, not that there was nothing else."""
        weekend.assert_order("search", "fetch", "search")
        weekend.assert_order(("search", {"query": "museums"}), ("fetch", {"page": 3}), ("fetch", {"page": 7}))
        weekend.assert_order()

    def test_says_which_step_is_missing_and_shows_where(self, weekend: Trajectory) -> None:
        """Up to where all was well, and what should have come then."""
        with pytest.raises(AssertionError) as claim:
            weekend.assert_order("search", "search", "fetch")
        lines = said_by(claim)
        assert lines[0] == "fetch was not called after search; the order was to be search, search, fetch"
        assert any("◀ fetch was not called after search" in line for line in lines)

    def test_of_a_first_step_that_never_was(self, weekend: Trajectory) -> None:
        """There is no place to point at, so that is said first."""
        with pytest.raises(AssertionError) as claim:
            weekend.assert_order(("search", {"query": "opera"}), "fetch")
        assert 'search({"query": "opera"}) was not called at all' in said_by(claim)[0]


class TestNothingRecorded:
    def test_no_claim_holds_of_nothing(self) -> None:
        """Not even that something was not done."""
        with memory_recorder() as recorder:
            empty = Trajectory(recorder)
        for claim in (
            empty.assert_no_swallowed,
            lambda: empty.assert_not_called("search"),
            lambda: empty.assert_order(),
        ):
            with pytest.raises(AssertionError, match="nothing was recorded"):
                claim()
