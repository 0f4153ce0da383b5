"""Results that the next model input lacks: ``result_dropped``, once, and only where it is so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agenttrace import agent_scope, drop_result, model_turn, tool_scope, traced_tool
from agenttrace.testing import MemoryRecorder, memory_recorder
from tests.capture.loops import FORMS, Chat, Form, Request, Result, ask


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
def look(at: str) -> str:
    return f"seen {at}"


def dropped(recorder: MemoryRecorder) -> list[str | None]:
    return [event.call_id for event in recorder.events() if event.kind == "result_dropped"]


class TestADroppedResult:
    def test_is_one_that_the_next_input_lacks(self, form: Form, recorder: MemoryRecorder) -> None:
        """It is said before the input that lacks it, with the tool and the reason."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look", {"at": "x"}), Request("c2", "look", {"at": "y"}))
            look("x")
            chat.tell(Result("c2", look("y")))
            chat.ask()
        events = recorder.events()
        (drop,) = [event for event in events if event.kind == "result_dropped"]
        assert (drop.call_id, drop.tool_name, drop.payload) == (
            "c1",
            "look",
            {"reason": "not in the next model input"},
        )
        kinds = [event.kind for event in events]
        assert kinds.index("result_dropped") < len(kinds) - 1 - kinds[::-1].index("model_call")

    def test_is_one_of_a_history_without_the_answer(self, form: Form, recorder: MemoryRecorder) -> None:
        """The program forgot both the answer and the result, and goes on with the same messages."""
        with agent_scope("a"):
            messages: list[Any] = [{"role": "user", "content": "go"}]
            ask(model_turn, form, messages, [Request("c1", "look", {"at": "x"})])
            look("x")
            ask(model_turn, form, [*messages, {"role": "user", "content": "go on"}], [])
            assert dropped(recorder) == ["c1"]

    def test_is_one_of_a_history_that_was_made_anew(self, form: Form, recorder: MemoryRecorder) -> None:
        """Nothing of the old messages is left: it is said as the agent ends, for no later input held it."""
        with agent_scope("a"):
            ask(model_turn, form, [{"role": "user", "content": "go"}], [Request("c1", "look", {"at": "x"})])
            look("x")
            ask(model_turn, form, [{"role": "user", "content": "a summary"}], [])
            assert dropped(recorder) == []
        assert dropped(recorder) == ["c1"]

    def test_may_have_its_id_from_the_program(self, form: Form, recorder: MemoryRecorder) -> None:
        """``tool_scope(call_id=…)`` without a model's answer that we have seen."""
        with agent_scope("a"):
            with tool_scope("look", call_id="c1"):
                pass
            ask(model_turn, form, [{"role": "user", "content": "go"}], [])
        assert dropped(recorder) == ["c1"]

    def test_may_be_a_failed_one(self, form: Form, recorder: MemoryRecorder) -> None:
        """Then nobody was told of the failure."""

        @traced_tool
        def fail(at: str) -> None:
            raise ValueError("the printer is out of paper")

        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "fail", {"at": "x"}), Request("c2", "look", {"at": "y"}))
            with pytest.raises(ValueError, match="printer"):
                fail("x")
            chat.tell(Result("c2", look("y")))
            chat.ask()
        assert dropped(recorder) == ["c1"]
        assert [failure.fate for failure in recorder.failures()] == ["swallowed"]

    def test_is_said_once(self, form: Form, recorder: MemoryRecorder) -> None:
        """Later inputs lack it too; nor again where the program said it, nor in parallel turns."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(*(Request(f"c{n}", "look", {"at": f"{n}"}) for n in range(3)))
            for number in range(3):
                look(f"{number}")
            drop_result("c1", "too long")
            chat.tell(Result("c2", "seen"))
            with ThreadPoolExecutor(4) as pool:
                for future in [pool.submit(ask, model_turn, form, chat.messages, []) for _ in range(8)]:
                    future.result()
            chat.ask()
            chat.ask()
        assert sorted(filter(None, dropped(recorder))) == ["c0", "c1"]
        reasons = {
            event.call_id: event.payload["reason"]
            for event in recorder.events()
            if event.kind == "result_dropped"
        }
        assert reasons == {"c0": "not in the next model input", "c1": "too long"}


class TestNoDrop:
    def test_is_a_result_that_was_handed_over(self, form: Form, recorder: MemoryRecorder) -> None:
        """Over and over, with the whole history."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            for number in range(5):
                chat.ask(Request(f"c{number}", "look", {"at": f"{number}"}))
                chat.tell(Result(f"c{number}", look(f"{number}")))
            chat.ask()
        assert dropped(recorder) == []

    def test_is_an_old_result_that_compaction_takes(self, form: Form, recorder: MemoryRecorder) -> None:
        """The model was told of it once."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            for number in range(4):
                chat.ask(Request(f"c{number}", "look", {"at": f"{number}"}))
                chat.messages = chat.messages[-1:]
                chat.tell(Result(f"c{number}", look(f"{number}")))
            chat.messages = [{"role": "user", "content": "a summary"}]
            chat.messages += form.results([Result("c3", "seen 3")])
            chat.ask()
        assert dropped(recorder) == []

    def test_is_a_call_that_still_runs(self, form: Form, recorder: MemoryRecorder) -> None:
        """Its result comes with a later input."""
        started, finish = threading.Event(), threading.Event()

        @traced_tool
        def slow(at: str) -> str:
            started.set()
            assert finish.wait(10)
            return at

        with agent_scope("a"), ThreadPoolExecutor(1) as pool:
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "slow", {"at": "x"}), Request("c2", "look", {"at": "y"}))
            future = pool.submit(slow, "x")
            assert started.wait(10)
            chat.tell(Result("c2", look("y")))
            chat.ask()
            finish.set()
            chat.tell(Result("c1", future.result()))
            chat.ask()
        assert dropped(recorder) == []

    def test_is_a_call_that_no_input_came_after(self, form: Form, recorder: MemoryRecorder) -> None:
        """The last answer's calls, in a loop that ends there."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look", {"at": "x"}))
            look("x")
        assert dropped(recorder) == []

    def test_is_another_conversation_with_the_model_in_between(
        self, form: Form, recorder: MemoryRecorder
    ) -> None:
        """A title, a guard: one more request that has nothing to do with it."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look", {"at": "x"}))
            result = look("x")
            ask(model_turn, form, [{"role": "user", "content": "Is this harmless?"}], [])
            chat.tell(Result("c1", result))
            chat.ask()
        assert dropped(recorder) == []

    def test_is_a_request_from_inside_a_tool(self, form: Form, recorder: MemoryRecorder) -> None:
        """A tool that asks a model itself, beside a call that has ended and never was handed over."""

        @traced_tool
        def summarise(at: str) -> str:
            ask(model_turn, form, [{"role": "user", "content": at}], [])
            return "short"

        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look", {"at": "x"}), Request("c2", "summarise", {"at": "y"}))
            look("x")
            summarise("y")
        assert dropped(recorder) == []

    def test_is_a_branch_that_goes_on_beside(self, form: Form, recorder: MemoryRecorder) -> None:
        """Loops of one agent in threads, from the same first message: each input speaks of its own."""
        barrier = threading.Barrier(4)

        def branch(number: int) -> None:
            chat = Chat(model_turn, form)
            for step in range(3):
                barrier.wait(10)
                call_id = f"c{number}-{step}"
                chat.ask(Request(call_id, "look", {"at": call_id}))
                barrier.wait(10)
                chat.tell(Result(call_id, look(call_id)))
            chat.ask()

        with agent_scope("a"), ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(branch, number) for number in range(4)]:
                future.result()
        assert dropped(recorder) == []
        ids = [event.call_id for event in recorder.events() if event.kind == "tool_call"]
        assert sorted(map(str, ids)) == sorted(f"c{n}-{step}" for n in range(4) for step in range(3))

    def test_is_an_id_in_a_form_that_we_do_not_know(self, recorder: MemoryRecorder) -> None:
        """The input holds it, wherever."""
        with agent_scope("a"):
            with tool_scope("look", call_id="call-17"):
                pass
            messages = [{"role": "user", "parts": [{"functionResponse": {"id": "call-17", "response": 3}}]}]
            with model_turn("m", input=messages):
                pass
        assert dropped(recorder) == []

    @pytest.mark.parametrize("given", [None, "go on", [], 3])
    def test_is_an_input_that_is_no_list_of_messages(self, given: Any, recorder: MemoryRecorder) -> None:
        """Nothing can be said of it."""
        with agent_scope("a"):
            ask(
                model_turn,
                FORMS["chat"],
                [{"role": "user", "content": "go"}],
                [Request("c1", "look", {"at": "x"})],
            )
            look("x")
            with model_turn("m", input=given):
                pass
        assert dropped(recorder) == []

    def test_is_a_call_that_was_cancelled(self, form: Form, recorder: MemoryRecorder) -> None:
        """It has no result."""
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look", {"at": "x"}), Request("c2", "look", {"at": "y"}))
            with pytest.raises(KeyboardInterrupt), tool_scope("look", call_id="c1"):
                raise KeyboardInterrupt
            chat.tell(Result("c2", look("y")))
            chat.ask()
        assert dropped(recorder) == []
