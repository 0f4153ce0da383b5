"""Calls that a model asked for: the ids of traced ones, and those that nobody traced."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agenttrace import agent_scope, model_turn, tool_scope, traced_tool
from agenttrace.capture import asked as asked_module
from agenttrace.errors import LOSSES
from agenttrace.testing import MemoryRecorder, memory_recorder
from tests.capture.loops import FORMS, Chat, Form, Request, Result


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryRecorder]:
    """Record in memory, in strict mode."""
    monkeypatch.setenv("AGENTTRACE_STRICT", "1")
    with memory_recorder() as found:
        yield found


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return FORMS[request.param]


@traced_tool
def look(at: str, depth: int = 1) -> str:
    return f"seen {at}"


def rows(recorder: MemoryRecorder, kind: str) -> list[Any]:
    return [event for event in recorder.events() if event.kind == kind]


def calls(recorder: MemoryRecorder) -> list[tuple[str | None, str | None, bool]]:
    """Give name, id and whether it was rebuilt, of each call."""
    return [
        (event.tool_name, event.call_id, event.payload.get("rebuilt", False))
        for event in rows(recorder, "tool_call")
    ]


class TestIds:
    """The id of an asked call goes to the traced call that it is."""

    def test_go_to_the_call_of_equal_name_and_arguments(self, form: Form, recorder: MemoryRecorder) -> None:
        """Whatever the order they are made in."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look", {"at": "x"}), Request("c2", "look", {"at": "y"}))
            look("y")
            look(at="x")
        assert calls(recorder) == [("look", "c2", False), ("look", "c1", False)]
        assert [event.call_id for event in rows(recorder, "tool_result")] == ["c2", "c1"]

    @pytest.mark.parametrize("made", [lambda: look("x", 3), lambda: look(depth=3, at="x")])
    def test_do_not_mind_order_and_what_the_function_adds(self, made: Any, recorder: MemoryRecorder) -> None:
        """A default that the program fills in makes it no other call; an exact one goes first."""
        with agent_scope("a"):
            chat = Chat(model_turn, FORMS["anthropic"])
            chat.ask(
                Request("c1", "look", {"at": "x"}),
                Request("c2", "look", {"depth": 3, "at": "x"}),
                Request("c3", "look", {"depth": 4, "at": "x"}),
            )
            made()
            made()
            made()
        assert [call[1] for call in calls(recorder)] == ["c2", "c1", None]

    def test_are_not_for_other_arguments(self, recorder: MemoryRecorder) -> None:
        """True is no 1, and a missing argument no default."""
        with agent_scope("a"):
            Chat(model_turn, FORMS["anthropic"]).ask(Request("c1", "look", {"at": 1, "depth": 2}))
            look(True, 2)  # type: ignore[arg-type]
            look(1)  # type: ignore[arg-type]
            look(1.0, 2)  # type: ignore[arg-type]
        assert [call[1] for call in calls(recorder)] == [None, None, "c1"]

    def test_reach_arguments_in_one_mapping(self, recorder: MemoryRecorder) -> None:
        """``**kwargs``, and a tool that takes its arguments as one object."""

        @traced_tool
        def loose(**options: Any) -> None:
            pass

        @traced_tool
        def boxed(box: dict[str, Any], context: str) -> None:
            pass

        with agent_scope("a"):
            Chat(model_turn, FORMS["chat"]).ask(
                Request("c1", "loose", {"at": "x"}), Request("c2", "boxed", {"at": "y"})
            )
            loose(at="x")
            boxed({"at": "y"}, "session")
        assert [call[1] for call in calls(recorder)] == ["c1", "c2"]

    def test_reach_arguments_that_are_not_recorded(self, recorder: MemoryRecorder) -> None:
        """What is redacted stands for anything."""

        @traced_tool(redact=["token"])
        def some(at: str, token: str) -> None:
            pass

        @traced_tool(capture_arguments=False)
        def none(at: str) -> None:
            pass

        with agent_scope("a"):
            Chat(model_turn, FORMS["chat"]).ask(
                Request("c1", "some", {"at": "x", "token": "t"}), Request("c2", "none", {"at": "y"})
            )
            some("z", "t")
            some("x", "u")
            none("y")
        assert [call[1] for call in calls(recorder)] == [None, "c1", "c2"]

    def test_reach_tool_scopes(self, form: Form, recorder: MemoryRecorder) -> None:
        """With arguments, parsed or as sent, and without; one that has an id keeps it."""
        with agent_scope("a"):
            Chat(model_turn, form).ask(*(Request(f"c{n}", "run", {"n": n}) for n in range(4)))
            for arguments in ({"n": 2}, '{"n": 1}', None):
                with tool_scope("run", arguments=arguments):
                    pass
            with tool_scope("run", call_id="c3", arguments={"n": 3}):
                pass
        assert [call[1] for call in calls(recorder)] == ["c2", "c1", "c0", "c3"]

    def test_are_one_with_the_tool_inside_the_scope(self, recorder: MemoryRecorder) -> None:
        """A dispatcher's scope and the traced tool in it are one call, with one id."""
        with agent_scope("a"):
            Chat(model_turn, FORMS["chat"]).ask(Request("c1", "look", {"at": "x"}))
            with tool_scope("look"):
                look("x")
        assert calls(recorder) == [("look", "c1", False)]

    def test_are_given_once(self, recorder: MemoryRecorder) -> None:
        """In sixteen threads that make the same two calls, two have an id."""
        with agent_scope("a"):
            Chat(model_turn, FORMS["chat"]).ask(
                Request("c1", "look", {"at": "x"}), Request("c2", "look", {"at": "x"})
            )
            start = threading.Barrier(16)

            def make() -> None:
                start.wait(10)
                look("x")

            with ThreadPoolExecutor(16) as pool:
                for future in [pool.submit(make) for _ in range(16)]:
                    future.result()
        ids = [call[1] for call in calls(recorder)]
        assert sorted(filter(None, ids)) == ["c1", "c2"]
        assert len(ids) == 16

    def test_go_along_with_tasks_and_contexts(self, recorder: MemoryRecorder) -> None:
        """A task, a thread and a copy of the context are the same agent."""

        @traced_tool
        async def wait(at: str) -> str:
            return at

        async def main() -> None:
            Chat(model_turn, FORMS["responses"]).ask(
                *(Request(f"c{n}", "wait", {"at": f"{n}"}) for n in range(3)),
                Request("c3", "look", {"at": "x"}),
                Request("c4", "look", {"at": "y"}),
            )
            await asyncio.gather(*(wait(f"{n}") for n in (2, 0, 1)))
            await asyncio.to_thread(look, "x")
            contextvars.copy_context().run(look, "y")

        with agent_scope("a"):
            asyncio.run(main())
        assert [call[1] for call in calls(recorder)] == ["c2", "c0", "c1", "c3", "c4"]

    def test_are_not_taken_by_other_agents(self, recorder: MemoryRecorder) -> None:
        """A subagent that happens to make the call leaves the id where it is."""
        with agent_scope("a"):
            Chat(model_turn, FORMS["chat"]).ask(Request("c1", "look", {"at": "x"}))
            with agent_scope("sub"):
                look("x")
            look("x")
        assert [(event.agent_name, event.call_id) for event in rows(recorder, "tool_call")] == [
            ("sub", None),
            ("a", "c1"),
        ]

    def test_stay_with_further_attempts(self, recorder: MemoryRecorder) -> None:
        """A call that is made again after its error is the same asked call."""
        failures = iter([True, True, False])

        @traced_tool
        def shaky(at: str) -> str:
            if next(failures):
                raise OSError("shaky")
            return at

        with agent_scope("a"):
            Chat(model_turn, FORMS["chat"]).ask(Request("c1", "shaky", {"at": "x"}))
            for _ in range(3):
                try:
                    shaky("x")
                except OSError:
                    continue
        assert [(event.call_id, event.attempt) for event in rows(recorder, "tool_call")] == [
            ("c1", None),
            ("c1", 2),
            ("c1", 3),
        ]

    def test_tell_two_equal_calls_from_two_attempts(self, recorder: MemoryRecorder) -> None:
        """What the model asked for twice is two calls, also where the first failed."""

        @traced_tool
        def fail(at: str) -> None:
            raise OSError(at)

        with agent_scope("a"):
            Chat(model_turn, FORMS["chat"]).ask(
                Request("c1", "fail", {"at": "x"}), Request("c2", "fail", {"at": "x"})
            )
            for _ in range(2):
                with pytest.raises(OSError):
                    fail("x")
        assert [(event.call_id, event.attempt) for event in rows(recorder, "tool_call")] == [
            ("c1", None),
            ("c2", None),
        ]

    def test_are_there_within_the_turn_and_while_an_answer_streams(self, recorder: MemoryRecorder) -> None:
        """As soon as the answer is set, a call in the block of the turn finds its id."""
        with agent_scope("a"), model_turn("m", input=[]) as turn:
            turn.set_output(FORMS["chat"].answer([Request("c1", "look", {"at": "x"})]))
            look("x")
        assert calls(recorder) == [("look", "c1", False)]

    def test_given_before_the_answer_is_complete_are_kept(self, form: Form, recorder: MemoryRecorder) -> None:
        """A call that is made while the answer still comes in, and an old one of the same id."""
        with agent_scope("a"):
            messages: list[Any] = [{"role": "user", "content": "go"}]
            with tool_scope("look", call_id="c1", arguments={"at": "old"}):
                pass
            with model_turn("m", input=messages) as turn:
                with tool_scope("send", call_id="c2", arguments={"to": "ann"}):
                    pass
                answer = form.answer(
                    [Request("c1", "look", {"at": "x"}), Request("c2", "send", {"to": "ann"})]
                )
                turn.set_output(answer)
            messages += form.kept(answer) + form.results([Result("c1", "seen"), Result("c2", "sent")])
            with model_turn("m", input=messages):
                pass
        assert calls(recorder) == [("look", "c1", False), ("send", "c2", False), ("look", "c1", True)]

    def test_cost_nothing_once_all_are_given(self, recorder: MemoryRecorder) -> None:
        """Calls take the short way again; so they do while none was asked for."""
        with agent_scope("a") as agent:
            operation = agent._operation
            assert operation is not None and operation.agent is not None
            assert operation.agent.unclaimed is None
            Chat(model_turn, FORMS["chat"]).ask(Request("c1", "look", {"at": "x"}))
            assert operation.agent.unclaimed is not None
            look("x")
            assert operation.agent.unclaimed is None


class TestRebuilt:
    """A call that nobody traced, from the answer and the next input."""

    def test_has_both_rows(self, form: Form, recorder: MemoryRecorder) -> None:
        """Name, id, arguments and output as they were sent; its times are the answer's end and the input."""
        with agent_scope("a") as agent:
            chat = Chat(model_turn, form, ["look", "send"])
            chat.ask(Request("c1", "look", {"at": "x"}))
            chat.tell(Result("c1", "seen"))
            chat.ask()
        call, result = rows(recorder, "tool_call") + rows(recorder, "tool_result")
        assert (call.tool_name, call.call_id, call.payload) == (
            "look",
            "c1",
            {"arguments": {"at": "x"}, "rebuilt": True},
        )
        assert (result.tool_name, result.call_id, result.status, result.payload) == (
            "look",
            "c1",
            "ok",
            {"is_error": False, "output": "seen", "rebuilt": True},
        )
        assert call.span_id == result.span_id
        assert {call.agent_id, result.agent_id} == {agent.agent_id}
        assert call.parent_span_id == result.parent_span_id == rows(recorder, "agent_start")[0].span_id
        (first, second), (answer, _) = rows(recorder, "model_call"), rows(recorder, "model_turn")
        assert first.ts_ns < answer.ts_ns == call.ts_ns <= result.ts_ns <= second.ts_ns
        assert result.duration_ms is None

    def test_comes_once_however_often_the_history_is_sent(self, form: Form, recorder: MemoryRecorder) -> None:
        """Later turns send the old results again, and a failed turn the last ones."""
        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            for number in range(4):
                chat.ask(Request(f"c{number}", "look", {"at": "x"}))
                chat.tell(Result(f"c{number}", "seen"))
                with pytest.raises(OSError), model_turn("m", input=list(chat.messages)):
                    raise OSError("503")
            chat.ask()
        assert calls(recorder) == [("look", f"c{number}", True) for number in range(4)]
        assert len(rows(recorder, "tool_result")) == 4

    def test_comes_once_under_parallel_turns(self, recorder: MemoryRecorder) -> None:
        """Sixteen threads send the same results at once."""
        form = FORMS["chat"]
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(*(Request(f"c{n}", "look", {"n": n}) for n in range(8)))
            chat.tell(*(Result(f"c{n}", "seen") for n in range(8)))
            start = threading.Barrier(16)

            def send() -> None:
                start.wait(10)
                with model_turn("m", input=list(chat.messages)):
                    pass

            with ThreadPoolExecutor(16) as pool:
                for future in [pool.submit(send) for _ in range(16)]:
                    future.result()
        assert sorted(call[1] or "" for call in calls(recorder)) == [f"c{n}" for n in range(8)]
        assert len(rows(recorder, "tool_result")) == 8

    def test_is_none_for_calls_of_an_earlier_process(self, form: Form, recorder: MemoryRecorder) -> None:
        """A history that was restored holds results of calls that this process never saw asked for."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.messages += form.kept(form.answer([Request("old", "look", {"at": "x"})]))
            chat.tell(Result("old", "seen"))
            chat.ask(Request("new", "look", {"at": "x"}))
            chat.tell(Result("new", "seen"))
            chat.ask()
        assert calls(recorder) == [("look", "new", True)]

    def test_is_none_without_a_next_input(self, form: Form, recorder: MemoryRecorder) -> None:
        """Nobody knows whether the calls of the last answer were made: nothing is written of them."""
        with agent_scope("a"):
            Chat(model_turn, form).ask(Request("c1", "look", {"at": "x"}))
        kinds = {event.kind for event in recorder.events()}
        assert kinds.isdisjoint({"tool_call", "tool_result", "error", "result_dropped"})
        assert "model_turn" in kinds

    def test_is_none_for_a_call_that_was_traced(self, form: Form, recorder: MemoryRecorder) -> None:
        """Beside one that was not, in the same answer."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look", {"at": "x"}), Request("c2", "other", {"at": "y"}))
            chat.tell(Result("c1", look("x")), Result("c2", "2"))
            chat.ask()
        assert sorted(calls(recorder)) == [("look", "c1", False), ("other", "c2", True)]

    def test_is_none_for_a_traced_call_with_changed_arguments(
        self, form: Form, recorder: MemoryRecorder
    ) -> None:
        """A program that puts the arguments in another form makes one call, not two; the id is unknown."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look", {"at": 5}))
            chat.tell(Result("c1", look("5")))
            chat.ask()
        assert calls(recorder) == [("look", None, False)]

    def test_is_for_calls_without_an_id_as_well(self, recorder: MemoryRecorder) -> None:
        """OpenAI's oldest form names the function alone; an old result of that name is none of the new."""
        messages: list[Any] = [{"role": "user", "content": "go"}]
        with agent_scope("a"):
            for number in range(3):
                with model_turn("m", input=list(messages)) as turn:
                    answer = {
                        "role": "assistant",
                        "function_call": {"name": "look", "arguments": json.dumps({"at": number})},
                    }
                    turn.set_output(answer)
                messages.append(answer)
                if number != 1:
                    messages.append({"role": "function", "name": "look", "content": f"seen {number}"})
            with model_turn("m", input=list(messages)):
                pass
        assert [event.payload["arguments"] for event in rows(recorder, "tool_call")] == [{"at": 0}, {"at": 2}]
        outputs = [event.payload["output"] for event in rows(recorder, "tool_result")]
        assert outputs == ["seen 0", "seen 2"]

    def test_knows_an_id_that_is_used_again(self, form: Form, recorder: MemoryRecorder) -> None:
        """A provider that counts from 0 in each answer: the old result is not the new one's."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            for number in range(3):
                chat.ask(Request("call_0", "look", {"at": number}))
                chat.tell(Result("call_0", f"seen {number}"))
            chat.ask()
        outputs = [event.payload["output"] for event in rows(recorder, "tool_result")]
        assert outputs == ["seen 0", "seen 1", "seen 2"]

    def test_waits_for_a_result_that_comes_later(self, form: Form, recorder: MemoryRecorder) -> None:
        """One result in the next input, the other in the one after."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look", {"at": "x"}), Request("c2", "look", {"at": "y"}))
            chat.tell(Result("c1", "seen x"))
            chat.ask()
            chat.tell(Result("c2", "seen y"))
            chat.ask()
        outputs = [(event.call_id, event.payload["output"]) for event in rows(recorder, "tool_result")]
        assert outputs == [("c1", "seen x"), ("c2", "seen y")]

    def test_survives_compaction(self, form: Form, recorder: MemoryRecorder) -> None:
        """A history cut down to a summary and the last results."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            for number in range(3):
                chat.ask(Request(f"c{number}", "look", {"at": number}))
                chat.messages = [{"role": "user", "content": f"So far: {number}"}]
                chat.tell(Result(f"c{number}", "seen"))
            chat.ask()
        assert [call[1] for call in calls(recorder)] == ["c0", "c1", "c2"]
        assert not rows(recorder, "result_dropped")

    def test_is_made_for_a_turn_inside_a_turn(self, recorder: MemoryRecorder) -> None:
        """A framework's turn around the SDK's, each in its own form: one pair of rows per call."""
        outer, inner = FORMS["langchain"], FORMS["anthropic"]
        asked = [Request("c1", "look", {"at": "x"})]
        told = [Result("c1", "seen")]
        histories: list[tuple[list[Any], list[Any]]] = [([], []), (outer.results(told), inner.results(told))]
        with agent_scope("a"):
            for around, inside in histories:
                with (
                    model_turn("m", input=[{"type": "human", "content": "go"}, *around]) as framework,
                    model_turn("m", input=[{"role": "user", "content": "go"}, *inside]) as sdk,
                ):
                    sdk.set_output(inner.answer(asked) if not inside else "done")
                    framework.set_output(outer.answer(asked) if not inside else "done")
        assert calls(recorder) == [("look", "c1", True)]
        assert len(rows(recorder, "model_call")) == 2

    def test_is_bounded(self, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of calls that nobody ever answers, the oldest are given up, and counted."""
        monkeypatch.setitem(LOSSES, "capture.asked_call_given_up", 0)
        with agent_scope("a") as agent:
            for number in range(600):
                with model_turn("m") as turn:
                    turn.set_output(FORMS["chat"].answer([Request(f"c{number}", "look", {"at": number})]))
            operation = agent._operation
            assert operation is not None and operation.agent is not None
            ledger = operation.agent.asked
            assert ledger is not None
            assert len(ledger.calls) == len(ledger.unclaimed) == 512
            with model_turn("m") as turn:
                turn.set_output(FORMS["chat"].answer([Request("big", "look", {"at": "x" * 200_000})]))
                turn.set_output(FORMS["chat"].answer([Request("more", "look", {"at": "x" * 200_000})]))
            assert ledger.size_bytes < 1_000_000
            monkeypatch.setattr(asked_module, "_BYTES_LIMIT", 300_000)
            with model_turn("m") as turn:
                turn.set_output(FORMS["chat"].answer([Request("huge", "look", {"at": "x" * 250_000})]))
            assert set(ledger.calls) == {"huge"}
        assert LOSSES["capture.asked_call_given_up"] == 603 - 1
        assert operation.agent.asked is None

    def test_leaves_the_program_alone(self, recorder: MemoryRecorder) -> None:
        """The input may be anything; it is neither changed nor consumed."""

        def generate() -> Iterator[Any]:
            yield {"role": "tool", "tool_call_id": "c1", "content": "seen"}

        stream = generate()
        with agent_scope("a"):
            Chat(model_turn, FORMS["chat"]).ask(Request("c1", "look"))
            for given in (stream, 3, "text", object(), [None, 3, [[]]], {"messages": 3}):
                with model_turn("m", input=given, params=object()):
                    pass
        assert list(stream) == [{"role": "tool", "tool_call_id": "c1", "content": "seen"}]
        assert calls(recorder) == []
