"""Tools of frameworks in a replay: what they gave or raised, in the forms that are not plain values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool, ToolException, tool
from langgraph.types import Command

from agenttrace import agent_scope, traced_tool
from agenttrace.capture.context import PIPE
from agenttrace.capture.substitution import Outcome
from agenttrace.errors import ReplayError
from tests.clients.replaying import Recording, replaying
from tests.frameworks.conftest import Rows

CALL = {"name": "act", "args": {"word": "x"}, "id": "call-1", "type": "tool_call"}


def _twice(rows: Rows, made: Any, given: Any) -> tuple[Any, Any]:
    """Invoke *made* as it is, and then in a replay; what it raises counts as given."""

    def invoke() -> Any:
        try:
            with agent_scope("agent"):
                return made.invoke(given)
        except Exception as exc:
            return exc

    before = invoke()
    with replaying(rows):
        return before, invoke()


class TestAToolOfLangChain:
    """One that counts its runs: once as it is recorded, and no more."""

    @pytest.mark.parametrize("given", [CALL, {"word": "x"}], ids=["by the model", "by the program"])
    @pytest.mark.parametrize(
        "value", ["text", {"a": [1, None]}, 4.5, None, ["x", {"type": "text", "text": "y"}]]
    )
    def test_gives_what_it_gave(self, rows: Rows, value: Any, given: Any) -> None:
        """As a message where a model asked, else as the value itself."""
        ran = []

        @tool
        def act(word: str) -> Any:
            """Act."""
            ran.append(word)
            return value

        before, again = _twice(rows, act, given)
        assert again == before
        assert type(again) is type(before)
        assert ran == ["x"]

    def test_gives_commands_again(self, rows: Rows) -> None:
        """With the messages in them as messages."""

        @tool
        def act(word: str) -> Command[Any]:
            """Act."""
            return Command(
                goto="other", update={"messages": [ToolMessage("done", tool_call_id="call-1")], "n": 1}
            )

        before, again = _twice(rows, act, CALL)
        assert isinstance(again, Command)
        assert (again.goto, again.update["n"]) == (before.goto, 1)
        assert [one.content for one in again.update["messages"]] == ["done"]
        assert isinstance(again.update["messages"][0], ToolMessage)

    def test_raises_what_it_raised(self, rows: Rows) -> None:
        """Where nobody makes a message of it."""
        ran = []

        @tool
        def act(word: str) -> str:
            """Act."""
            ran.append(word)
            raise ValueError(f"no {word}")

        before, again = _twice(rows, act, CALL)
        assert (type(again), str(again)) == (type(before), str(before)) == (ValueError, "no x")
        assert ran == ["x"]

    def test_has_the_message_that_was_made_of_a_failure(self, rows: Rows) -> None:
        """``handle_tool_error`` says it again, of the exception that is raised again."""

        def act(word: str) -> str:
            raise ToolException(f"no {word}")

        made = StructuredTool.from_function(act, description="Act.", handle_tool_error=True)
        before = made.invoke(CALL)
        with replaying(rows) as recording:
            recording.calls["act"] = _outcomes(ToolException("no x"))
            again = made.invoke(CALL)
        assert (again.content, again.status) == (before.content, before.status) == ("no x", "error")

    def test_with_content_and_artifact_has_the_content(self, rows: Rows) -> None:
        """The artifact was never recorded."""

        @tool(response_format="content_and_artifact")
        def act(word: str) -> tuple[str, Any]:
            """Act."""
            return "text", object()

        before, again = _twice(rows, act, CALL)
        assert (again.content, again.artifact) == (before.content, None)

    def test_checks_its_arguments_as_ever(self, rows: Rows) -> None:
        """What the model sent wrongly is refused by LangChain itself."""

        @tool
        def act(word: str) -> str:
            """Act."""
            return word

        before, again = _twice(rows, act, {**CALL, "args": {"other": 1}})
        assert type(again) is type(before)
        assert "validation error" in str(again)

    def test_of_ours_inside_is_asked_for_where_it_would_run(self, rows: Rows) -> None:
        """A ``@traced_tool`` within is substituted itself; the tool around it is not asked for."""

        @traced_tool
        def act(word: str) -> str:
            """Act."""
            return f"{word}!"

        made = tool(act)
        with replaying(rows) as recording:
            message = made.invoke(CALL)
        assert message.content == "x!"  # the substitute of this test gives tools back as they are
        assert recording.asked == []


class TestACallWithoutAnEnd:
    @pytest.fixture
    def stopped(self, rows: Rows) -> Iterator[Recording]:
        recording = Recording(rows)
        PIPE.substitute = recording
        yield recording
        PIPE.substitute = None

    @pytest.mark.parametrize("status", ["cancelled", "stopped_early"])
    def test_is_refused(self, stopped: Recording, status: str) -> None:
        """Nothing is made up for it, and the refusal says what to do."""
        stopped.calls["act"] = _outcomes(status=status)

        @tool
        def act(word: str) -> str:
            """Act."""
            raise AssertionError("it ran")

        with pytest.raises(ReplayError, match=r"the recorded call of act .* \(--run act\)"):
            act.invoke(CALL)


def _outcomes(exception: BaseException | None = None, *, status: str = "error") -> Any:
    from collections import deque

    return deque([Outcome(None, exception is not None, exception, status=status)])
