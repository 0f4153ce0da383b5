"""A model turn without a block, its attempts, and a turn inside a turn."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import time
from typing import Any

import pytest

from agenttrace import agent_scope, clock, model_turn, traced_tool
from agenttrace.capture.context import CURRENT, PIPE
from tests.capture.conftest import Published


class RateLimited(Exception):
    pass


def turns(published: Published) -> list[Any]:
    return published("model_turn")


class TestATurnWithoutABlock:
    def test_leaves_the_rows_of_a_block(self, published: Published) -> None:
        """``open`` and ``close`` publish what entering and leaving the block does."""
        with agent_scope("a"):
            with model_turn("m", provider="p", input=["hi"]) as turn:
                turn.set_output("yes", finish_reason="stop", response_id="r1")
                turn.set_usage(input_tokens=3, output_tokens=4)
            by_hand = model_turn("m", provider="p", input=["hi"]).open()
            by_hand.set_output("yes", finish_reason="stop", response_id="r1")
            by_hand.set_usage(input_tokens=3, output_tokens=4)
            by_hand.close()
        with_block, without = turns(published)
        assert (with_block.payload, with_block.status) == (without.payload, without.status)
        assert (without.input_tokens, without.output_tokens) == (3, 4)
        assert [event.turn_in_run for event in turns(published)] == [1, 2]

    def test_lets_the_program_stand_outside_once_left(self, published: Published) -> None:
        """A tool called while the answer streams belongs to the agent, not to the turn."""

        @traced_tool
        def look() -> None:
            pass

        with agent_scope("a") as agent:
            turn = model_turn("m").open()
            look()
            turn.leave()
            turn.leave()
            look()
            turn.delta("late ")
            turn.close()
        inside, outside = published("tool_call")
        assert inside.parent_span_id == published("model_call")[0].span_id
        assert outside.parent_span_id == published.agent("a").span_id
        assert turns(published)[0].payload["output"] == "late "
        assert turns(published)[0].agent_id == agent.agent_id

    def test_ends_once(self, published: Published) -> None:
        """Whoever closes first says how it ended, in whichever thread; the others change nothing."""
        with agent_scope("a"):
            turn = model_turn("m").open()
            turn.leave()
            threads = [threading.Thread(target=turn.close) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            turn.close(ValueError("too late"))
        assert [event.status for event in turns(published)] == ["ok"]
        assert published("error") == []

    def test_that_ends_in_another_context_leaves_that_one_alone(self, published: Published) -> None:
        """A stream that is closed elsewhere does not move the closer to where it was opened."""
        with agent_scope("a"):
            turn = model_turn("m").open()
            turn.leave()
        context = contextvars.copy_context()
        with agent_scope("b"):
            before = CURRENT.get()
            context.run(turn.close)
            turn.close()
            assert CURRENT.get() is before

    def test_that_ends_after_its_agent_is_marked_late(self, published: Published) -> None:
        """It keeps its agent, and says that it came late."""
        with agent_scope("a") as agent:
            turn = model_turn("m").open()
            turn.leave()
        turn.close()
        (event,) = turns(published)
        assert (event.agent_id, event.payload["late"]) == (agent.agent_id, True)

    def test_is_ended_by_the_process_that_began_it(self, published: Published) -> None:
        """In a forked child it leaves a note, and no piece and no end of the parent's turn."""
        with agent_scope("a"):
            turn = model_turn("m").open()
            turn.leave()
            before = PIPE.epoch
            PIPE.epoch += 1  # what a fork does in the child
            try:
                turn.delta("x" * 600)
                turn.fail_attempt(RateLimited("slow down"))
                turn.close()
            finally:
                PIPE.epoch = before
        assert (turns(published), published("model_delta"), published("error")) == ([], [], [])
        assert "ended in a forked child" in published("note")[0].payload["text"]

    def test_that_nobody_wanted_to_the_end_keeps_what_had_come(self, published: Published) -> None:
        """``GeneratorExit`` is ``stopped_early``: no error, and the pieces are rows."""
        with agent_scope("a"):
            turn = model_turn("m").open()
            turn.delta("some")
            turn.set_output({"role": "assistant", "content": "some"})
            turn.close(GeneratorExit())
        (event,) = turns(published)
        assert (event.status, event.error_type) == ("stopped_early", None)
        assert event.payload["output"] == {"role": "assistant", "content": "some"}
        assert [delta.payload["text"] for delta in published("model_delta")] == ["some"]

    def test_does_nothing_while_tracing_is_off(self) -> None:
        """All of it may be called, and nothing comes of it."""
        before = CURRENT.get()
        turn = model_turn("m").open()
        turn.note_chunk()
        turn.delta("x")
        turn.set_answered("m-1")
        turn.fail_attempt(RateLimited())
        turn.begin_attempt()
        turn.leave()
        turn.close(ValueError())
        assert CURRENT.get() is before

    def test_in_a_task_ends_where_it_is_closed(self, published: Published) -> None:
        """Turns of tasks side by side keep their own agents."""

        async def ask(name: str) -> None:
            async with agent_scope(name):
                turn = model_turn("m").open()
                turn.leave()
                await asyncio.sleep(0)
                turn.close()

        async def main() -> None:
            await asyncio.gather(ask("one"), ask("two"))

        asyncio.run(main())
        assert {event.agent_name for event in turns(published)} == {"one", "two"}


class TestTheModelThatAnswered:
    def test_stands_beside_the_one_that_was_asked(self, published: Published) -> None:
        """``model_call`` has the requested name, ``model_turn`` the one that answered."""
        with agent_scope("a"), model_turn("gpt-x") as turn:
            turn.set_answered("gpt-x-2026-01-01")
        assert published("model_call")[0].model == "gpt-x"
        assert turns(published)[0].model == "gpt-x-2026-01-01"

    def test_is_no_switch(self, published: Published) -> None:
        """What was asked decides about a switch, and nothing else."""
        with agent_scope("a"):
            for _ in range(2):
                with model_turn("gpt-x") as turn:
                    turn.set_answered("gpt-x-2026-01-01")
            with model_turn("other"):
                pass
        assert [event.payload["to_model"] for event in published("model_switched")] == ["other"]


class TestAttempts:
    def test_that_failed_have_rows_of_their_own(self, published: Published) -> None:
        """An ``error`` for each, a ``retry`` before the next, and one turn."""
        with agent_scope("a", model="m"), model_turn("m") as turn:
            for number in (1, 2):
                turn.fail_attempt(
                    RateLimited(f"no {number}"), wait_ms=500 * number, limit_count=3, by="openai"
                )
                turn.begin_attempt()
            turn.set_output("yes")
        kinds = [kind for kind in published.kinds if not kind.startswith("agent")]
        assert kinds == ["model_call", "error", "retry", "error", "retry", "model_turn"]
        errors, retries = published("error"), published("retry")
        assert [event.attempt for event in errors] == [1, 2]
        assert [event.error_id for event in errors] == [event.error_id for event in retries]
        assert [event.payload for event in retries] == [
            {"wait_ms": 500.0, "limit_count": 3, "by": "openai"},
            {"wait_ms": 1000.0, "limit_count": 3, "by": "openai"},
        ]
        (end,) = turns(published)
        assert (end.status, end.attempt, end.error_id) == ("ok", 3, None)

    def test_are_told_as_the_next_one_begins(self, published: Published) -> None:
        """A process killed during the pause leaves no ``retry``."""
        with agent_scope("a"), model_turn("m") as turn:
            turn.fail_attempt(RateLimited(), wait_ms=1, by="openai")
            assert published("retry") == []
            turn.begin_attempt()
            assert len(published("retry")) == 1

    def test_interrupted_during_the_pause_are_not_followed_by_one(self, published: Published) -> None:
        """Ctrl-C while waiting: the failed attempt was the last."""
        with pytest.raises(KeyboardInterrupt), agent_scope("a"), model_turn("m") as turn:
            turn.fail_attempt(RateLimited(), wait_ms=1, by="openai")
            raise KeyboardInterrupt
        assert published("retry") == []
        assert (turns(published)[0].status, turns(published)[0].error_id) == ("cancelled", None)

    def test_the_last_of_which_fails_too_end_the_turn(self, published: Published) -> None:
        """What leaves the turn is the failure of its last attempt, with that number."""
        with pytest.raises(RateLimited), agent_scope("a"), model_turn("m") as turn:
            turn.fail_attempt(RateLimited("1"), wait_ms=0, limit_count=2, by="openai")
            turn.begin_attempt()
            raise RateLimited("2")
        errors = published("error")
        assert [(event.attempt, event.payload["error"]["message"]) for event in errors] == [
            (1, "1"),
            (2, "2"),
        ]
        assert turns(published)[0].error_id == errors[1].error_id
        assert len(published("retry")) == 1

    def test_may_fail_with_a_text(self, published: Published) -> None:
        """Where no exception is at hand, a text says what went wrong."""
        with agent_scope("a"), model_turn("m") as turn:
            turn.fail_attempt("503 from the gateway", by="gateway")
            turn.delta("yes")
        assert published("error")[0].payload["error"]["message"] == "503 from the gateway"
        assert published("retry")[0].payload["by"] == "gateway"

    def test_are_none_where_there_was_one(self, published: Published) -> None:
        """A turn that went well at once has no number."""
        with agent_scope("a"), model_turn("m"):
            pass
        assert turns(published)[0].attempt is None


class TestATurnInsideATurn:
    def test_is_the_same_turn(self, published: Published) -> None:
        """One pair of rows, with what the outer says, and the rest from the inner."""
        with agent_scope("a"), model_turn("chat-model") as outer:
            with model_turn("gpt-x", provider="openai", input=["hi"]) as inner:
                inner.set_answered("gpt-x-2026")
                inner.set_output("inner", finish_reason="stop", response_id="r1")
                inner.set_usage({"prompt_tokens": 5, "completion_tokens": 6})
            outer.set_output("outer")
        assert len(published("model_call")) == 1
        (end,) = turns(published)
        assert (end.model, end.provider, end.input_tokens, end.output_tokens) == (
            "gpt-x-2026",
            "openai",
            5,
            6,
        )
        assert end.payload["output"] == "outer"
        assert (end.payload["finish_reason"], end.payload["response_id"]) == ("stop", "r1")
        assert end.payload["usage"] == {"prompt_tokens": 5, "completion_tokens": 6}

    def test_counts_its_tokens_once(self, published: Published) -> None:
        """Usage that both report is one usage, and what the outer says of it stands."""
        with agent_scope("a"), model_turn("f") as outer:
            with model_turn("m") as inner:
                inner.set_usage({"prompt_tokens": 5, "completion_tokens": 6})
            outer.set_usage(input_tokens=5, output_tokens=7)
        (end,) = turns(published)
        assert (end.input_tokens, end.output_tokens) == (5, 7)

    def test_streams_once(self, published: Published) -> None:
        """Pieces that both report are recorded from the one that was first."""
        with agent_scope("a"), model_turn("f") as outer:
            with model_turn("m") as inner:
                for piece in ("a", "b", "c"):
                    inner.delta(piece)
                    outer.delta(piece)
        assert turns(published)[0].payload["output"] == "abc"

    def test_three_deep_is_one(self, published: Published) -> None:
        """However many stand around each other, there is one pair of rows."""
        with agent_scope("a"), model_turn("f"), model_turn("g"), model_turn("m") as inner:
            inner.set_answered("m-1")
            inner.set_usage(input_tokens=5)
        (end,) = turns(published)
        assert (end.model, end.input_tokens, len(published("model_call"))) == ("m-1", 5, 1)

    def test_that_is_tried_again_is_an_attempt(self, published: Published) -> None:
        """A framework that repeats the SDK's request leaves an error, a retry and one turn."""
        with agent_scope("a"), model_turn("f"):
            with pytest.raises(RateLimited), model_turn("m"):
                raise RateLimited
            with model_turn("m") as inner:
                inner.set_output("yes")
        (error,), (retry,) = published("error"), published("retry")
        assert error.error_id == retry.error_id
        assert (turns(published)[0].status, turns(published)[0].attempt) == ("ok", 2)
        assert turns(published)[0].payload["output"] == "yes"

    def test_that_failed_for_good_is_no_retry(self, published: Published) -> None:
        """Where the framework makes do without the answer, nobody tried again."""
        with agent_scope("a"), model_turn("f") as outer:
            with pytest.raises(RateLimited), model_turn("m"):
                raise RateLimited
            outer.set_output("canned")
        assert (len(published("error")), published("retry")) == (1, [])
        assert turns(published)[0].status == "ok"

    def test_whose_error_leaves_both_is_one_failure(self, published: Published) -> None:
        """One ``error`` row, and the turn ends with it."""
        with pytest.raises(RateLimited), agent_scope("a"), model_turn("f"), model_turn("m"):
            raise RateLimited
        (error,) = published("error")
        assert [event.error_id for event in turns(published)] == [error.error_id]

    def test_beside_another_one_is_a_turn_of_its_own(self, published: Published) -> None:
        """Two requests inside one block are two turns, and the tokens of each count once."""
        with agent_scope("a"), model_turn("both") as outer:
            for number in (1, 2):
                with model_turn("m") as inner:
                    inner.set_usage(input_tokens=number)
            outer.set_usage(input_tokens=3)
        assert sum(event.input_tokens for event in turns(published)) == 3
        assert len(published("model_call")) == len(turns(published)) == 2

    def test_behind_an_agent_is_a_turn_of_its_own(self, published: Published) -> None:
        """Only what opens right inside is the same."""
        with agent_scope("a"), model_turn("f"), agent_scope("b"), model_turn("m"):
            pass
        assert sorted(event.agent_name for event in turns(published)) == ["a", "b"]

    def test_that_streams_on_keeps_the_outer_open(self, published: Published) -> None:
        """A block that only asks for the stream ends as the stream does."""
        with agent_scope("a"), model_turn("f"):
            inner = model_turn("m").open()
            inner.leave()
        assert turns(published) == []
        inner.delta("all of it")
        inner.close()
        (end,) = turns(published)
        assert (end.payload["output"], end.status) == ("all of it", "ok")

    def test_of_a_task_that_outlives_it_is_a_turn_of_its_own(self, published: Published) -> None:
        """A context copied inside a turn that has ended is no place inside it any more."""
        with agent_scope("a"), model_turn("f"):
            context = contextvars.copy_context()
        context.run(lambda: model_turn("m").open().close())
        assert [event.model for event in turns(published)] == ["f", "m"]


class TestPieces:
    def test_are_bounded(self, published: Published) -> None:
        """A stream without end leaves 200 rows, and the head of its text."""
        with agent_scope("a"), model_turn("m") as turn:
            for _ in range(5_000):
                turn.delta("y" * 600)
        assert len(published("model_delta")) == 200
        assert len(str(turns(published)[0].payload["output"])) <= 270_000

    @pytest.mark.parametrize("pause_ms", [0, 20, 100])
    def test_are_all_rows_for_minutes(self, published: Published, pause_ms: int) -> None:
        """As much text as is kept, or five minutes of a slow one, but for what came last."""
        start_ns = time.time_ns()
        now_ns = itertools.count(start_ns, pause_ms * 1_000_000 + 1)
        clock.use(lambda: next(now_ns))
        with agent_scope("a"), model_turn("m") as turn:
            sent = 0
            while sent < 262_000 and next(now_ns) - start_ns < 300_000_000_000:
                turn.delta(f"word {sent:06} ")
                sent += 12
            had = "".join(event.payload["text"] for event in published("model_delta"))
        assert sent - len(had) < 16_000
        assert had == "".join(f"word {at:06} " for at in range(0, sent, 12))[: len(had)]

    def test_say_when_the_first_came_also_without_text(self, published: Published) -> None:
        """A stream that begins with a tool call has a first piece too."""
        with agent_scope("a"), model_turn("m") as turn:
            turn.note_chunk()
            turn.set_output({})
        assert turns(published)[0].payload["first_chunk_ms"] >= 0
        assert published("model_delta") == []


class TestAForkedProcess:
    def test_opens_turns_of_its_own(self, published: Published) -> None:
        """A turn that opens in a child, inside the parent's, is not the parent's."""
        with agent_scope("a"), model_turn("f"):
            PIPE.epoch += 1
            try:
                with model_turn("m"):
                    pass
            finally:
                PIPE.epoch -= 1
        assert [event.model for event in published("model_call")] == ["f", "m"]
        assert [event.model for event in turns(published)] == ["m", "f"]
