"""Failures that a model is handed as the result of a call: which they are, once each, and reported."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from agenttrace import agent_scope, model_turn, record_exception, tool_scope, traced_tool
from agenttrace.testing import MemoryRecorder, memory_recorder
from tests.capture.loops import FORMS, Chat, Form, Request, Result

WATCHED = sys.version_info >= (3, 12)
"""Python tells of exceptions that were caught."""


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryRecorder]:
    """Record in memory, in strict mode."""
    monkeypatch.setenv("AGENTTRACE_STRICT", "1")
    with memory_recorder() as found:
        yield found


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return FORMS[request.param]


def result_of(recorder: MemoryRecorder, call_id: str) -> Any:
    (found,) = [
        event for event in recorder.events() if event.kind == "tool_result" and event.call_id == call_id
    ]
    return found


def exchange(
    form: Form, request: Request, text: str, *, is_error: bool = False, tools: tuple[str, ...] = ("look",)
) -> None:
    """Have a call asked for that nobody traces, hand *text* back, and ask again."""
    with agent_scope("a"):
        chat = Chat(model_turn, form, tools)
        chat.ask(request)
        chat.tell(Result(request.call_id, text, is_error))
        chat.ask()


class TestAFailureHandedBack:
    """One ``error`` row, in the rebuilt call's span, with fate ``reported``."""

    def test_is_a_name_that_no_tool_has(self, form: Form, recorder: MemoryRecorder) -> None:
        """Whatever the program made of it."""
        exchange(form, Request("c1", "frobnicate", {"at": "x"}), "I do not know that one.")
        (failure,) = recorder.failures()
        result = result_of(recorder, "c1")
        assert (failure.error_type, failure.returned, failure.fate) == (
            "UnknownTool",
            "unknown_tool",
            "reported",
        )
        assert (failure.tool_name, failure.call_id, failure.span_id) == ("frobnicate", "c1", result.span_id)
        assert failure.message == "frobnicate is no tool of the request: I do not know that one."
        assert (result.status, result.error_id, result.error_type) == (
            "error",
            failure.error_id,
            "UnknownTool",
        )
        assert result.payload["is_error"] is True

    @pytest.mark.parametrize("is_inner_first", [True, False])
    def test_is_a_name_that_the_sdk_inside_a_framework_does_not_offer(
        self, is_inner_first: bool, recorder: MemoryRecorder
    ) -> None:
        """Two turns are one; either may know the tools, and tell of the answer first."""
        form = FORMS["chat"]
        answer = form.answer([Request("c1", "frobnicate")])
        with agent_scope("a"):
            with model_turn("m") as outer, model_turn("m", params=form.offer(["look"])) as inner:
                for turn in (inner, outer) if is_inner_first else (outer, inner):
                    turn.set_output(answer)
            with model_turn("m", input=[answer, *form.results([Result("c1", "what?")])]):
                pass
        assert [failure.error_type for failure in recorder.failures()] == ["UnknownTool"]

    def test_is_no_unknown_name_where_nobody_knows_the_names(
        self, form: Form, recorder: MemoryRecorder
    ) -> None:
        """Without an offer of tools every name is as good."""
        exchange(form, Request("c1", "frobnicate", {"at": "x"}), "done", tools=())
        assert recorder.failures() == []
        assert result_of(recorder, "c1").status == "ok"

    @pytest.mark.parametrize(
        "form", [FORMS["chat"], FORMS["responses"], FORMS["langchain"]], ids=lambda f: f.name
    )
    def test_is_arguments_that_are_no_json(self, form: Form, recorder: MemoryRecorder) -> None:
        """Their text is kept as the arguments."""
        exchange(form, Request("c1", "look", '{"at": '), "Please send JSON.")
        (failure,) = recorder.failures()
        assert (failure.error_type, failure.returned, failure.fate) == (
            "InvalidArguments",
            "invalid_json",
            "reported",
        )
        (call,) = [event for event in recorder.events() if event.kind == "tool_call"]
        assert call.payload["arguments"] == '{"at": '

    @pytest.mark.parametrize("form", [f for f in FORMS.values() if f.says_errors], ids=lambda f: f.name)
    @pytest.mark.parametrize("text", ["out of paper", ""])
    def test_is_marked_in_the_message(self, form: Form, text: str, recorder: MemoryRecorder) -> None:
        """``is_error`` and ``status: error``, also without a word."""
        exchange(form, Request("c1", "look", {"at": "x"}), text, is_error=True)
        (failure,) = recorder.failures()
        assert (failure.error_type, failure.returned, failure.fate) == (
            "ReturnedFailure",
            "is_error",
            "reported",
        )
        assert failure.message == (text or "the result is marked as an error, and says nothing")

    @pytest.mark.parametrize(
        ("text", "detector"),
        [
            (json.dumps({"error": "out of paper"}), "error"),
            (json.dumps({"isError": True}), "isError"),
            ("Error: out of paper", "error_text"),
            ("Error executing tool look: out of paper", "error_text"),
            ("An error occurred while running the tool. Please try again. Error: x", "error_text"),
            ("ValueError: out of paper", "error_text"),
            ("requests.exceptions.HTTPError: 503", "error_text"),
            ("Traceback (most recent call last):\n  File …", "error_text"),
            ("<tool_use_error>out of paper</tool_use_error>", "error_text"),
            ("Tool look not found", "error_text"),
            ("Error: frob is not a valid tool, try one of [look].", "error_text"),
        ],
    )
    def test_is_a_text_that_says_so(
        self, form: Form, text: str, detector: str, recorder: MemoryRecorder
    ) -> None:
        """Where the message does not say that it is none."""
        exchange(form, Request("c1", "look", {"at": "x"}), text)
        (failure,) = recorder.failures()
        assert (failure.returned, failure.fate) == (detector, "reported")

    @pytest.mark.parametrize(
        "text",
        [
            "no errors",
            "The error log is empty.",
            "errors: 0",
            "12:01 ERROR disk full",
            "Errors are values.",
            json.dumps({"error": None, "rows": 3}),
            "def f():\n    raise ValueError('x')",
            "Tools: look, send",
        ],
    )
    def test_is_not_a_text_about_errors(self, form: Form, text: str, recorder: MemoryRecorder) -> None:
        """In doubt a result is innocent."""
        exchange(form, Request("c1", "look", {"at": "x"}), text)
        assert recorder.failures() == []

    def test_is_not_what_the_message_calls_good(self, recorder: MemoryRecorder) -> None:
        """``is_error: false`` has the last word."""
        form = FORMS["anthropic"]
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look"))
            chat.tell(Result("c1", "Error: this is the log's first line"))
            chat.messages[-1]["content"][0]["is_error"] = False
            chat.ask()
        assert recorder.failures() == []

    def test_names_the_line_that_hands_it_over(self, recorder: MemoryRecorder) -> None:
        """In the user's own file: where the next request is made."""
        exchange(FORMS["anthropic"], Request("c1", "look"), "no", is_error=True)
        (failure,) = recorder.failures()
        assert failure.handled_at is not None
        assert "loops.py:" in failure.handled_at
        assert failure.handled_at.endswith(" ask")
        assert failure.handled == 0

    def test_is_reported_where_the_input_was_cut(self, recorder: MemoryRecorder) -> None:
        """It was found in what the model was handed; nothing need be found again."""
        form = FORMS["anthropic"]
        with agent_scope("a"):
            chat = Chat(model_turn, form)
            chat.ask(Request("c1", "look"))
            chat.tell(Result("c1", "", True))
            chat.ask()
        assert [failure.fate for failure in recorder.failures()] == ["reported"]


def break_down(text: str) -> None:
    raise ValueError(text)


class TestAnExceptionBehindIt:
    """What was raised, caught, and handed back in words is one failure."""

    @pytest.mark.parametrize("words", ["{}", "Error: {}", "ValueError('{}')", "It said:\n {} !"])
    def test_is_that_failure(self, form: Form, words: str, recorder: MemoryRecorder) -> None:
        """Where Python tells of it, with the line that raised it; in the call's span."""
        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": "x"}))
            try:
                break_down("the printer is out of paper")
            except ValueError as exc:
                text = words.format(exc)
            chat.tell(Result("c1", text, True))
            chat.ask()
        failures = recorder.failures()
        result = result_of(recorder, "c1")
        said = form.says_errors or words == "Error: {}" or words.startswith("ValueError")
        if WATCHED and not said:
            # No word of failure: it was caught and told, and the call went well.
            assert [(one.error_type, one.fate) for one in failures] == [("ValueError", "reported")]
            assert result.status == "ok"
        elif WATCHED:
            (failure,) = failures
            assert (failure.error_type, failure.fate, failure.handled) == ("ValueError", "reported", 1)
            assert (failure.span_id, failure.tool_name, failure.call_id) == (result.span_id, "look", "c1")
            assert failure.raised_at is not None and failure.raised_at.endswith(" break_down")
            assert (result.error_id, result.error_type) == (failure.error_id, "ValueError")
        else:
            assert [(one.error_type, one.fate) for one in failures] == (
                [("ReturnedFailure", "reported")] if said else []
            )

    def test_is_that_failure_where_it_is_recorded_by_hand(self, form: Form, recorder: MemoryRecorder) -> None:
        """``record_exception`` has written its row: the call names it."""
        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": "x"}))
            try:
                break_down("the printer is out of paper")
            except ValueError as exc:
                record_exception(exc)
                chat.tell(Result("c1", f"Error: {exc}", True))
            chat.ask()
        (failure,) = recorder.failures()
        assert (failure.error_type, failure.fate) == ("ValueError", "reported")
        result = result_of(recorder, "c1")
        assert (result.status, result.error_id, result.error_type) == (
            "error",
            failure.error_id,
            "ValueError",
        )

    def test_is_that_failure_where_a_traced_helper_raised_it(
        self, form: Form, recorder: MemoryRecorder
    ) -> None:
        """A tool that nobody traced calls one that somebody did."""

        @traced_tool
        def helper() -> None:
            raise ValueError("the printer is out of paper")

        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": "x"}))
            try:
                helper()
            except ValueError as exc:
                chat.tell(Result("c1", f"Error: {exc}", True))
            chat.ask()
        (failure,) = recorder.failures()
        assert (failure.tool_name, failure.fate) == ("helper", "reported")
        assert result_of(recorder, "c1").error_id == failure.error_id

    def test_is_that_failure_where_a_subagent_raised_it(self, form: Form, recorder: MemoryRecorder) -> None:
        """The tool is an agent of its own."""
        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": "x"}))
            try:
                with agent_scope("sub"):
                    break_down("the printer is out of paper")
            except ValueError as exc:
                chat.tell(Result("c1", f"Error: {exc}", True))
            chat.ask()
        (failure,) = recorder.failures()
        assert (failure.agent_name, failure.error_type, failure.fate) == ("sub", "ValueError", "reported")
        assert result_of(recorder, "c1").error_id == failure.error_id

    def test_of_several_calls_goes_to_each_its_own(self, form: Form, recorder: MemoryRecorder) -> None:
        """Two that fail with other words, and two with the same."""
        words = ["the disk is full", "the net is down", "the net is down"]
        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(*(Request(f"c{n}", "look", {"at": n}) for n in range(3)))
            results = []
            for number, text in enumerate(words):
                try:
                    break_down(text)
                except ValueError as exc:
                    record_exception(exc)
                    results.append(Result(f"c{number}", f"Error: {exc}", True))
            chat.tell(*reversed(results))
            chat.ask()
        failures = {failure.error_id: failure.message for failure in recorder.failures()}
        assert len(failures) == 3
        assert [failures[result_of(recorder, f"c{n}").error_id] for n in range(3)] == words

    def test_of_an_unknown_name_is_its_cause(self, form: Form, recorder: MemoryRecorder) -> None:
        """A look-up that fails for a hallucinated name is one failure with it."""
        tools: dict[str, Any] = {}

        def dispatch(name: str) -> Any:
            if name not in tools:
                raise LookupError(f"no tool {name}")

        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "frobnicate", {"at": "x"}))
            try:
                dispatch("frobnicate")
            except LookupError as exc:
                chat.tell(Result("c1", str(exc), True))
            chat.ask()
        (failure,) = recorder.failures()
        assert (failure.error_type, failure.returned, failure.fate) == (
            "UnknownTool",
            "unknown_tool",
            "reported",
        )
        if WATCHED:
            assert failure.raised_at is not None and failure.raised_at.endswith("dispatch")
            (error,) = [event for event in recorder.events() if event.kind == "error"]
            assert error.payload["error"]["cause"]["type"] == "LookupError"


class TestATracedCall:
    """A failure that a traced call told already has no second one."""

    def test_that_failed_tells_it_alone(self, form: Form, recorder: MemoryRecorder) -> None:
        """Also where the model reads other words than the exception's: the id says which it was."""

        @traced_tool
        def look(at: str) -> None:
            raise ValueError("secret path /srv/data")

        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": "x"}))
            with pytest.raises(ValueError, match="secret"):
                look("x")
            chat.tell(Result("c1", "Error: the tool failed", True))
            chat.ask()
        (failure,) = recorder.failures()
        assert (failure.error_type, failure.fate) == ("ValueError", "reported")
        assert result_of(recorder, "c1").error_id == failure.error_id

    @pytest.mark.parametrize("form", [f for f in FORMS.values() if f.says_errors], ids=lambda f: f.name)
    def test_that_failed_is_reported_by_the_mark_alone(self, form: Form, recorder: MemoryRecorder) -> None:
        """The model reads nothing of what went wrong, but that it did."""

        @traced_tool
        def look(at: str) -> None:
            raise ValueError("secret path /srv/data")

        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": "x"}))
            with pytest.raises(ValueError, match="secret"):
                look("x")
            chat.tell(Result("c1", "try another way", True))
            chat.ask()
        assert [failure.fate for failure in recorder.failures()] == ["reported"]

    def test_that_failed_is_not_reported_by_what_another_gave(
        self, form: Form, recorder: MemoryRecorder
    ) -> None:
        """The model reads of this call that all is well, and of another one's error."""

        @traced_tool
        def look(at: str) -> None:
            raise ValueError("secret path /srv/data")

        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look", "send"])
            chat.ask(Request("c1", "look", {"at": "x"}), Request("c2", "send", {"at": "x"}))
            with pytest.raises(ValueError, match="secret"):
                look("x")
            chat.tell(Result("c1", "fine"), Result("c2", "Error: no route", True))
            chat.ask()
        assert {failure.tool_name: failure.fate for failure in recorder.failures()} == {
            "look": "swallowed",
            "send": "reported",
        }

    @pytest.mark.parametrize("form", [f for f in FORMS.values() if f.says_errors], ids=lambda f: f.name)
    def test_that_went_well_can_be_handed_over_as_an_error(
        self, form: Form, recorder: MemoryRecorder
    ) -> None:
        """The program did not like what came back: a failure of that call."""
        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": "x"}))
            with tool_scope("look", call_id="c1") as call:
                call.set_result("nothing")
            chat.tell(Result("c1", "that is not enough", True))
            chat.ask()
        (failure,) = recorder.failures()
        result = result_of(recorder, "c1")
        assert (failure.span_id, failure.call_id, failure.fate) == (result.span_id, "c1", "reported")
        assert (failure.message, failure.returned) == ("that is not enough", "is_error")
        assert (result.status, len([e for e in recorder.events() if e.kind == "tool_call"])) == ("ok", 1)

    @pytest.mark.parametrize("form", [f for f in FORMS.values() if f.says_errors], ids=lambda f: f.name)
    def test_that_hid_its_exception_tells_it_once(self, form: Form, recorder: MemoryRecorder) -> None:
        """A tool that catches, says so, and is handed over as an error: one failure."""

        @traced_tool
        def look(at: str) -> str:
            try:
                break_down("the printer is out of paper")
            except ValueError as exc:
                record_exception(exc)
                return "could not print"
            return ""

        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": "x"}))
            chat.tell(Result("c1", look("x"), True))
            chat.ask()
        assert [(one.error_type, one.fate) for one in recorder.failures()] == [("ValueError", "reported")]

    def test_that_returned_a_failure_tells_it_once(self, form: Form, recorder: MemoryRecorder) -> None:
        """``{"error": …}`` is known as it is returned, and not again as it is handed over."""

        @traced_tool
        def look(at: str) -> dict[str, Any]:
            return {"error": "out of paper"}

        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": "x"}))
            chat.tell(Result("c1", json.dumps(look("x")), True))
            chat.ask()
        assert [(one.returned, one.fate) for one in recorder.failures()] == [("error", "reported")]

    def test_in_other_arguments_tells_its_failure_once(self, form: Form, recorder: MemoryRecorder) -> None:
        """The program made the call in another form; its error is that call's."""

        @traced_tool
        def look(at: str) -> None:
            raise ValueError("the printer is out of paper")

        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": 5}))
            with pytest.raises(ValueError, match="printer"):
                look("5")
            chat.tell(Result("c1", "Error: the printer is out of paper", True))
            chat.ask()
        assert [(one.error_type, one.fate) for one in recorder.failures()] == [("ValueError", "reported")]
        assert len([event for event in recorder.events() if event.kind == "tool_call"]) == 1

    def test_that_was_refused_before_it_was_made_is_rebuilt(
        self, form: Form, recorder: MemoryRecorder
    ) -> None:
        """Rejected arguments: the function was never called with them, only otherwise."""

        @traced_tool
        def look(at: str) -> str:
            return at

        with agent_scope("a"):
            chat = Chat(model_turn, form, ["look"])
            chat.ask(Request("c1", "look", {"at": 5}))
            look("of the program's own")
            chat.tell(Result("c1", "Error: at must be text", True))
            chat.ask()
        (failure,) = recorder.failures()
        assert (failure.call_id, failure.message, failure.fate) == (
            "c1",
            "Error: at must be text",
            "reported",
        )
        assert len([event for event in recorder.events() if event.kind == "tool_call"]) == 2
