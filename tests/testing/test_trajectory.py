"""What a test can ask of a run, and what it is told when there was none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agenttrace import agent_scope, disable, model_turn, tool_scope, traced_tool
from agenttrace.testing import StepClock, Trajectory, memory_recorder


@traced_tool
def search(query: str, limit: int = 3) -> list[str]:
    if not query:
        raise ValueError("an empty query")
    return [query] * limit


@traced_tool
def summarise(query: str) -> str:
    return search(query)[0]


@pytest.fixture
def recorded() -> Iterator[Trajectory]:
    """A trajectory, made without the plugin."""
    with memory_recorder() as recorder:
        yield Trajectory(recorder)


@pytest.fixture
def weekend(recorded: Trajectory) -> Trajectory:
    """A planner that searches, and a scout that swallows an error."""
    with agent_scope("planner", input={"city": "Porto"}) as planner:
        search("museums", limit=1)
        with agent_scope("scout", input="weather") as scout:
            try:
                search("")
            except ValueError:
                pass
            scout.set_output("sunny")
        planner.set_output(["walk"])
    return recorded


class TestReads:
    def test_tools_are_named_in_the_order_they_were_called(self, weekend: Trajectory) -> None:
        """Of all agents, or of one by name or id."""
        assert weekend.tools() == ["search", "search"]
        assert weekend.tools(agent="scout") == ["search"]
        assert weekend.tools(agent=weekend.agent("planner").agent_id) == ["search"]

    def test_a_call_has_arguments_and_result_by_name(self, weekend: Trajectory) -> None:
        """As JSON has them, uncut."""
        call = weekend.calls("search")[0]
        assert call.arguments == {"query": "museums", "limit": 1}
        assert call.result == ["museums"]
        assert (call.status, call.error, call.attempts, call.agent) == ("ok", None, 1, "planner")

    def test_a_failed_call_has_its_error(self, weekend: Trajectory) -> None:
        """Message and type, and no result."""
        call = weekend.calls("search")[1]
        assert (call.status, call.error_type, call.error) == ("error", "ValueError", "an empty query")
        assert (call.result, call.failed_attempts, call.agent) == (None, 1, "scout")

    def test_a_call_that_was_never_made_is_absent(self, weekend: Trajectory) -> None:
        """A run that happened may well have left a tool out."""
        assert weekend.calls("book") == []

    def test_an_agent_has_parent_input_and_output(self, weekend: Trajectory) -> None:
        """The root has no parent."""
        scout, planner = weekend.agent("scout"), weekend.agent("planner")
        assert (scout.parent, scout.input, scout.output) == ("planner", "weather", "sunny")
        assert (planner.parent, planner.input, planner.output) == (None, {"city": "Porto"}, ["walk"])
        assert scout.status == planner.status == "ok"
        assert scout.tools() == ["search"]
        assert scout.calls("search")[0].status == "error"

    def test_agents_are_named_in_the_order_they_started(self, weekend: Trajectory) -> None:
        """Each run once."""
        assert weekend.agents == ["planner", "scout"]

    def test_failures_have_their_fate(self, weekend: Trajectory) -> None:
        """The scout ended ok and nobody was told."""
        assert [failure.error_type for failure in weekend.failures(fate="swallowed")] == ["ValueError"]
        assert weekend.failures(fate="escaped") == []
        assert len(weekend.failures()) == 1

    def test_a_fate_that_does_not_exist_is_refused(self, weekend: Trajectory) -> None:
        """A typing error must not pass as "no such failure"."""
        with pytest.raises(ValueError, match=r"'swalowed' is no fate; they are retried, reported"):
            weekend.failures(fate="swalowed")

    def test_the_tree_is_text(self, weekend: Trajectory) -> None:
        """For the message of an assertion."""
        assert "planner" in weekend.tree
        assert "swallowed" in weekend.tree

    def test_an_open_call_is_running(self, recorded: Trajectory) -> None:
        """Reading from within a tool shows the tool itself."""

        @traced_tool
        def look() -> str:
            return recorded.calls("look")[0].status

        assert look() == "running"
        assert recorded.calls("look")[0].result == "running"

    def test_a_failure_further_in_is_the_outer_calls_error_too(self, recorded: Trajectory) -> None:
        """One failure, two calls that it left, and each says so."""
        with pytest.raises(ValueError):
            summarise("")
        outer, inner = recorded.calls()
        assert (outer.name, inner.name) == ("summarise", "search")
        assert outer.error == inner.error == "an empty query"
        assert len(recorded.failures()) == 1

    def test_attempts_by_hand_are_one_call(self, recorded: Trajectory) -> None:
        """Its result is the last attempt's, its error the last failure's."""
        busy = [True, True, False]

        @traced_tool
        def book(guests: int) -> str:
            if busy.pop(0):
                raise ConnectionError(f"busy, {len(busy)} to go")
            return "booked"

        with agent_scope("booker"):
            for _ in range(3):
                try:
                    book(4)
                except ConnectionError:
                    continue
        [call] = recorded.calls("book")
        assert (call.attempts, call.failed_attempts, call.status) == (3, 2, "ok")
        assert (call.result, call.error) == ("booked", "busy, 1 to go")
        assert recorded.tools() == ["book"]
        assert [failure.fate for failure in recorded.failures()] == ["retried", "retried"]

    def test_durations_come_from_the_clock_in_force(self, recorded: Trajectory) -> None:
        """With a stepping clock they are exact."""
        with StepClock(step_ns=0) as stepping:

            @traced_tool
            def wait() -> None:
                stepping.advance(250)

            wait()
        assert recorded.calls("wait")[0].duration_ms == 250

    def test_an_unknown_tool_name_is_a_call_too(self, recorded: Trajectory) -> None:
        """A dispatcher that looks a made-up name up leaves a failed call of that name."""
        tools: dict[str, Any] = {"search": search}
        with agent_scope("lead"):
            for name in ("search", "serch"):
                try:
                    with tool_scope(name, arguments={"query": "x"}):
                        tools[name](query="x")
                except KeyError:
                    continue
        assert recorded.tools() == ["search", "serch"]
        assert recorded.calls("serch")[0].error_type == "KeyError"

    def test_model_turns_are_no_tools(self, recorded: Trajectory) -> None:
        """They stand among the events."""
        with agent_scope("lead"), model_turn("m-1") as turn:
            turn.set_usage(input_tokens=3, output_tokens=1)
        assert recorded.tools() == []
        assert [event.input_tokens for event in recorded.events if event.kind == "model_turn"] == [3]


class TestConcurrency:
    def test_threads_keep_their_agents(self, recorded: Trajectory) -> None:
        """Three agents in a pool, with one call each."""

        def work(name: str) -> None:
            with agent_scope(name):
                search(name)

        with agent_scope("lead"), ThreadPoolExecutor(3) as pool:
            list(pool.map(work, "abc"))
        assert {name: recorded.agent(name).parent for name in "abc"} == dict.fromkeys("abc", "lead")
        for name in "abc":
            assert recorded.agent(name).calls("search")[0].arguments == {"query": name}

    def test_tasks_keep_their_agents(self, recorded: Trajectory) -> None:
        """The same under asyncio.gather."""

        async def work(name: str) -> None:
            async with agent_scope(name):
                await asyncio.sleep(0)
                search(name)

        async def main() -> None:
            async with agent_scope("lead"):
                await asyncio.gather(*(work(name) for name in "abc"))

        asyncio.run(main())
        assert sorted(recorded.agents) == ["a", "b", "c", "lead"]
        for name in "abc":
            assert recorded.tools(agent=name) == ["search"]


class TestEmptyRun:
    @pytest.mark.parametrize(
        "read",
        [
            lambda trajectory: trajectory.tools(),
            lambda trajectory: trajectory.calls("search"),
            lambda trajectory: trajectory.failures(fate="swallowed"),
            lambda trajectory: trajectory.agents,
            lambda trajectory: trajectory.agent("lead"),
            lambda trajectory: trajectory.events,
            lambda trajectory: trajectory.tree,
        ],
    )
    def test_fails_every_read_and_says_what_to_do(self, recorded: Trajectory, read: Any) -> None:
        """Nothing recorded proves nothing."""
        with pytest.raises(
            AssertionError, match=r"nothing was recorded.*@agenttrace\.traced_tool.*allow_empty"
        ):
            read(recorded)

    def test_may_be_allowed(self, recorded: Trajectory) -> None:
        """Then lists are empty, while an agent that must exist still has to."""
        recorded.allow_empty()
        assert recorded.tools() == recorded.calls() == recorded.failures() == recorded.events == []
        assert recorded.agents == []
        assert recorded.tree == ""
        with pytest.raises(AssertionError, match="no agent 'lead' ran; these did: none"):
            recorded.agent("lead")

    def test_of_a_program_that_switched_tracing_off_says_so(self, recorded: Trajectory) -> None:
        """The message names the likely reason."""
        disable()
        search("x")
        with pytest.raises(AssertionError, match="switched off while it ran"):
            recorded.tools()


class TestNames:
    def test_an_agent_that_never_ran_is_an_error_with_a_hint(self, weekend: Trajectory) -> None:
        """Reading the tools of a misspelt agent must not pass as "no tools"."""
        with pytest.raises(
            AssertionError, match=r"no agent 'scuot' ran; these did: planner, scout; .* 'scout'\?"
        ):
            weekend.tools(agent="scuot")
        with pytest.raises(AssertionError, match="no agent 'scuot' ran"):
            weekend.agent("scuot")

    def test_one_of_several_agents_is_asked_for_by_index(self, recorded: Trajectory) -> None:
        """A name alone is refused as soon as it is ambiguous."""
        with agent_scope("lead"):
            for text in ("first", "second"):
                with agent_scope("reader", input=text):
                    search(text)
        assert recorded.agent("reader", 1).input == "second"
        assert recorded.agent("reader", 1).calls()[0].arguments == {"query": "second"}
        with pytest.raises(AssertionError, match="2 agents are named 'reader'; say which"):
            recorded.agent("reader")
        with pytest.raises(AssertionError, match="only 2 agents are named 'reader', index 2"):
            recorded.agent("reader", 2)
        assert recorded.tools(agent="reader") == ["search", "search"]
