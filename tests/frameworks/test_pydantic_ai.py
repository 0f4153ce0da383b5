"""pydantic-ai: what a run leaves, whichever way it is run, with models that are no HTTP."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    ApprovalRequired,
    DeferredToolRequests,
    ModelRetry,
    RunContext,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
    UsageLimits,
)
from pydantic_ai import Tool as PydanticTool
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    UserPromptPart,
)
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.instrumented import InstrumentedModel
from pydantic_ai.models.test import TestModel as ToyModel
from pydantic_ai.toolsets import FunctionToolset
from pydantic_ai.usage import RequestUsage

import agenttrace
from agenttrace import traced_tool
from agenttrace.integrations.pydantic_ai_messages import build_answer, build_messages
from tests.frameworks.conftest import Rows
from tests.frameworks.pydantic_ai_scripts import WAYS, Way, agent, ask, scripted

every_way = pytest.mark.parametrize("run", list(WAYS.values()), ids=list(WAYS))
unstreamed = pytest.mark.parametrize(
    "run",
    [way for name, way in WAYS.items() if name != "run_stream"],
    ids=[name for name in WAYS if name != "run_stream"],
)
"""A stream hands out what comes before anybody may reject it."""


def add(a: int, b: int) -> int:
    """Add a and b."""
    return a + b


async def fetch(url: str) -> str:
    """Fetch a page."""
    raise ModelRetry(f"no route to {url}")


def break_down(x: int) -> int:
    """Fail for good."""
    raise ZeroDivisionError(f"{x} by nothing")


class Point(BaseModel):
    """What an agent may be asked for."""

    x: int


def frames_of(rows: Rows, error_type: str) -> list[tuple[str, str]]:
    """Give file and function of each frame of the failure of this type."""
    ((payload,),) = rows(
        "SELECT payload FROM trajectory_events WHERE kind = 'error' AND error_type = ?", error_type
    )
    return [(frame["file"], frame["function"]) for frame in json.loads(payload)["error"]["frames"]]


@every_way
class TestRun:
    """One run of one agent."""

    def test_is_an_agent_with_its_turns_and_calls(self, rows: Rows, run: Way) -> None:
        """Agent, turns and calls stand in the order of causes, each with what went in and what came out."""
        assert run(agent("Adder", [ask("add", "c1", a=1, b=2)], "3", tools=[add]), "1 + 2?") == "3"
        events = rows.events(
            "agent_start", "model_call", "model_turn", "tool_call", "tool_result", "agent_end"
        )
        assert [(one["kind"], one["agent"], one["status"], one["turn"]) for one in events] == [
            ("agent_start", "Adder", None, None),
            ("model_call", "Adder", None, 1),
            ("model_turn", "Adder", "ok", 1),
            ("tool_call", "Adder", None, None),
            ("tool_result", "Adder", "ok", None),
            ("model_call", "Adder", None, 2),
            ("model_turn", "Adder", "ok", 2),
            ("agent_end", "Adder", "ok", None),
        ]
        assert events[0]["payload"] == {"input": "1 + 2?"}
        end = events[-1]["payload"]
        assert (end["output"], end["is_error"]) == ("3", False)
        assert rows("SELECT tool_name, call_id, tool_input, tool_output FROM tool_traces") == [
            ("add", "c1", '{"a":1,"b":2}', 3)
        ]

    def test_keeps_messages_and_tools_in_the_form_of_chats(self, rows: Rows, run: Way) -> None:
        """Instructions, prompt, calls, results and answer are a chat, the tools go with it."""
        starting = agent("A", [ask("add", "c1", a=1, b=2)], "3", tools=[add], instructions="Be brief.")
        run(starting, "1 + 2?", model_settings={"temperature": 0.5})
        _, call = rows.events("model_call")
        first, _ = rows.events("model_call")
        assert first["payload"]["input"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1 + 2?"},
        ]
        assert first["payload"]["params"]["temperature"] == 0.5
        (tool,) = first["payload"]["params"]["tools"]
        assert tool["function"]["name"] == "add" and "parameters" in tool["function"]
        assert call["payload"]["input"][-1] == {"role": "tool", "tool_call_id": "c1", "content": "3"}
        turn, last = rows.events("model_turn")
        (wanted,) = turn["payload"]["output"]["tool_calls"]
        assert (wanted["id"], wanted["function"]["name"]) == ("c1", "add")
        assert json.loads(wanted["function"]["arguments"]) == {"a": 1, "b": 2}
        assert last["payload"]["output"]["content"].strip() == "3"

    def test_of_calls_side_by_side_keeps_each_its_own(self, rows: Rows, run: Way) -> None:
        """Calls of one answer run together; each has its id, its arguments and its result."""
        wanted = [ask("add", f"c{number}", a=number, b=0) for number in range(5)]
        run(agent("A", wanted, "done", tools=[add]), "go")
        found = rows("SELECT call_id, tool_input, tool_output FROM tool_traces ORDER BY call_id")
        assert found == [(f"c{n}", f'{{"a":{n},"b":0}}', n) for n in range(5)]

    def test_inside_another_agent_is_its_child(self, rows: Rows, run: Way) -> None:
        """A run within an agent_scope belongs to that agent and its conversation."""
        with agenttrace.agent_scope("lead"):
            run(agent("A", "ok"), "hi")
        assert rows.agents() == [("lead", None, "ok"), ("A", "lead", "ok")]
        assert agenttrace.current() is None

    def test_that_fails_is_a_failed_agent(self, rows: Rows, run: Way) -> None:
        """What the model raises is the failure of its turn, and leaves the agent as the same failure."""
        with pytest.raises(ValueError, match="no such model"):
            run(agent("A", ValueError("no such model")), "hi")
        assert rows("SELECT error_type, fate FROM failures") == [("ValueError", "escaped")]
        assert rows.agents() == [("A", None, "error")]
        assert agenttrace.current() is None

    def test_that_reaches_a_limit_is_a_failure(self, rows: Rows, run: Way) -> None:
        """A usage limit ends the agent with the library's exception, called from the program's own line."""
        steps = [[ask("add", a=1, b=1)] for _ in range(5)]
        with pytest.raises(UsageLimitExceeded):
            run(agent("A", *steps, tools=[add]), "go", usage_limits=UsageLimits(request_limit=2))
        assert rows.agents() == [("A", None, "error")]
        assert [status for *_, status, _ in rows.calls()] == ["ok", "ok"]
        assert frames_of(rows, "UsageLimitExceeded")[0][0].endswith("pydantic_ai_scripts.py")

    def test_that_waits_for_approval_says_so(self, rows: Rows, run: Way) -> None:
        """A tool that asks for approval has stopped early, which is no failure."""

        def delete(path: str) -> str:
            raise ApprovalRequired()

        starting = agent(
            "A", [ask("delete", "c1", path="/")], tools=[delete], output_type=[str, DeferredToolRequests]
        )
        run(starting, "go")
        assert rows("SELECT tool_name, status FROM tool_traces") == [("delete", "stopped_early")]
        assert rows.failures() == []
        assert rows.agents() == [("A", None, "ok")]

    def test_without_a_name_gets_the_one_the_library_finds(self, rows: Rows, run: Way) -> None:
        """The library takes an agent's name from the variable that holds it; we do not stand in its way."""
        starting = Agent(scripted("ok"))
        run(starting, "hi")
        plain = Agent(scripted("ok"))
        agenttrace.uninstall()
        run(plain, "hi")
        assert plain.name == starting.name
        assert rows.agents() == [(starting.name or "agent", None, "ok")]


@every_way
class TestSubagent:
    """An agent that a tool of another one runs."""

    def test_stands_under_the_call(self, rows: Rows, run: Way) -> None:
        """The helper's run is a child of the caller, inside the call of the tool."""
        helper = agent("Helper", "because")

        async def ask_helper(question: str) -> str:
            return str((await helper.run(question)).output)

        assert (
            run(agent("Boss", [ask("ask_helper", question="why?")], "ok", tools=[ask_helper]), "go") == "ok"
        )
        assert rows.agents() == [("Boss", None, "ok"), ("Helper", "Boss", "ok")]
        (found,) = rows(
            "SELECT c.tool_name FROM trajectory_events a JOIN trajectory_events c"
            " ON c.span_id = a.parent_span_id AND c.kind = 'tool_call'"
            " WHERE a.kind = 'agent_start' AND a.agent_name = 'Helper'"
        )
        assert found == ("ask_helper",)


@every_way
class TestTool:
    """What a tool raises, and what never reaches it."""

    def test_that_asks_to_be_called_again_has_failed(self, rows: Rows, run: Way) -> None:
        """ModelRetry is told to the model; the call keeps the exception and the line that raised it."""
        wanted = [ask("fetch", "c1", url="u")]
        run(agent("A", wanted, "sorry", tools=[fetch]), "go")
        ((name, _, _, status, error_type),) = rows.calls()
        assert (name, status, error_type) == ("fetch", "error", "ModelRetry")
        assert rows.failures() == [("fetch", "ModelRetry", "reported")]
        assert frames_of(rows, "ModelRetry")[-1] == (__file__, "fetch")

    def test_that_asks_too_often_fails_the_run(self, rows: Rows, run: Way) -> None:
        """Each call is a failure of its own; the library's exception names the last one as its cause."""
        wanted = [[ask("fetch", f"c{number}", url="u")] for number in range(3)]
        with pytest.raises(UnexpectedModelBehavior):
            run(agent("A", *wanted, tools=[fetch]), "go")
        assert [(name, error) for name, error, _ in rows.failures()] == [
            ("fetch", "ModelRetry"),
            ("fetch", "ModelRetry"),
            (None, "UnexpectedModelBehavior"),
        ]
        ((cause, *_),) = rows(
            "SELECT t.call_id FROM trajectory_events e JOIN tool_traces t ON t.error_id = e.cause_error_id"
            " WHERE e.error_type = 'UnexpectedModelBehavior' AND e.kind = 'error'"
        )
        assert cause == "c1"

    def test_that_breaks_fails_the_run(self, rows: Rows, run: Way) -> None:
        """Any other exception leaves call and agent as one failure."""
        with pytest.raises(ZeroDivisionError):
            run(agent("A", [ask("break_down", x=1)], tools=[break_down]), "go")
        assert rows.failures() == [("break_down", "ZeroDivisionError", "escaped")]
        assert frames_of(rows, "ZeroDivisionError")[-1] == (__file__, "break_down")

    def test_with_wrong_arguments_is_a_failed_call(self, rows: Rows, run: Way) -> None:
        """Arguments that do not fit never reach the tool; what the model sent is kept with the refusal."""
        run(agent("A", [ask("add", "c1", a="x", b=1)], "sorry", tools=[add]), "go")
        assert rows.calls() == [("add", {"a": "x", "b": 1}, None, "error", "ValidationError")]
        assert rows.failures() == [("add", "ValidationError", "reported")]

    def test_that_does_not_exist_is_a_failed_call(self, rows: Rows, run: Way) -> None:
        """A hallucinated name is a call of its own, with what the library says and the program's line."""
        run(agent("A", [ask("nope", "c1", x=1), ask("add", "c2", a=1, b=1)], "sorry", tools=[add]), "go")
        assert sorted(rows.calls(), key=lambda call: str(call[0])) == [
            ("add", {"a": 1, "b": 1}, 2, "ok", None),
            ("nope", {"x": 1}, None, "error", "_UnknownTool"),
        ]
        assert [(name, fate) for name, _, fate in rows.failures()] == [("nope", "reported")]
        assert frames_of(rows, "_UnknownTool")[0][0].endswith("pydantic_ai_scripts.py")

    def test_that_does_not_exist_again_fails_the_run(self, rows: Rows, run: Way) -> None:
        """Each hallucinated call is there, the one that ends the run too."""
        with pytest.raises(UnexpectedModelBehavior, match="exceeded max retries"):
            run(agent("A", [ask("nope", "c1")], [ask("nope", "c2")], tools=[add]), "go")
        assert rows("SELECT call_id, status FROM tool_traces ORDER BY id") == [
            ("c1", "error"),
            ("c2", "error"),
        ]
        assert rows.agents() == [("A", None, "error")]

    @pytest.mark.parametrize("where", ["agent", "toolset"])
    @pytest.mark.parametrize("order", ["above", "below"])
    def test_that_is_decorated_is_one_call(self, rows: Rows, run: Way, order: str, where: str) -> None:
        """traced_tool inside or on the tool object leaves one pair, under its name and with the call id."""

        def double(x: int) -> int:
            return 2 * x

        options = traced_tool(name="twice")
        tool = options(PydanticTool(double)) if order == "above" else PydanticTool(options(double))
        given = {"tools": [tool]} if where == "agent" else {"toolsets": [FunctionToolset([tool])]}
        run(agent("A", [ask("double", "c1", x=2)], "4", **given), "go")
        assert rows("SELECT tool_name, call_id, tool_output, status FROM tool_traces") == [
            ("twice", "c1", 4, "ok")
        ]
        assert len(rows.events("tool_call", "tool_result")) == 2

    def test_may_call_traced_functions(self, rows: Rows, run: Way) -> None:
        """A traced function that a tool calls is a call inside that call, in its agent, also in a thread."""

        @traced_tool
        def inner(x: int) -> int:
            return x + 1

        def outer(context: RunContext[None], x: int) -> int:
            return inner(x)

        run(agent("A", [ask("outer", x=1)], "2", tools=[outer]), "go")
        found = rows(
            "SELECT c.agent_name, c.tool_name, p.tool_name FROM trajectory_events c"
            " LEFT JOIN trajectory_events p ON p.span_id = c.parent_span_id AND p.kind = 'tool_call'"
            " WHERE c.kind = 'tool_call' ORDER BY c.id"
        )
        assert found == [("A", "outer", None), ("A", "inner", "outer")]


@every_way
class TestOutput:
    """What an agent has to give."""

    def test_of_a_type_is_what_the_agent_ends_with(self, rows: Rows, run: Way) -> None:
        """The typed output is the agent's; where it is no stream, the call that gives it is a call."""
        assert run(agent("A", [ask("final_result", "c1", x=3)], output_type=Point), "go") == Point(x=3)
        calls = [] if run is WAYS["run_stream"] else [("final_result", "c1", "ok")]
        assert rows("SELECT tool_name, call_id, status FROM tool_traces") == calls
        (end,) = rows.events("agent_end")
        assert end["payload"]["output"] == {"x": 3}


@unstreamed
class TestRejectedOutput:
    """What a model gives, and the agent does not take."""

    def test_of_the_wrong_type_is_a_failed_call(self, rows: Rows, run: Way) -> None:
        """An output that does not fit is a failure of the call that gave it, told to the model."""
        wanted = [[ask("final_result", "c1", x="no number")], [ask("final_result", "c2", x=3)]]
        assert run(agent("A", *wanted, output_type=Point), "go") == Point(x=3)
        assert rows("SELECT call_id, status, error_type FROM tool_traces ORDER BY id") == [
            ("c1", "error", "ValidationError"),
            ("c2", "ok", None),
        ]
        assert rows.failures() == [("final_result", "ValidationError", "reported")]

    def test_that_a_validator_rejects_is_a_retried_failure(self, rows: Rows, run: Way) -> None:
        """ModelRetry of an output validator is a failure of the agent, with its line, and asked again."""
        starting = agent("A", "bad", "good")

        @starting.output_validator
        def check(output: str) -> str:
            if output == "bad":
                raise ModelRetry("not that one")
            return output

        assert run(starting, "go") == "good"
        assert rows.failures() == [(None, "ModelRetry", "retried")]
        assert frames_of(rows, "ModelRetry")[-1][0] == __file__
        (retry,) = rows.events("retry")
        assert retry["payload"] == {"limit_count": 2, "by": "pydantic_ai"}

    def test_that_never_fits_fails_the_run(self, rows: Rows, run: Way) -> None:
        """The last rejection is no retry; the library's exception names it as its cause."""
        starting = agent("A", "bad", "bad")

        @starting.output_validator
        def check(output: str) -> str:
            raise ModelRetry("never")

        with pytest.raises(UnexpectedModelBehavior):
            run(starting, "go")
        assert [(error, fate) for _, error, fate in rows.failures()] == [
            ("ModelRetry", "retried"),
            ("ModelRetry", "escaped"),
            ("UnexpectedModelBehavior", "escaped"),
        ]


@every_way
class TestModels:
    """Which models leave turns."""

    def test_of_the_library_for_tests_do(self, rows: Rows, run: Way) -> None:
        """TestModel calls every tool once; its turns and calls are there like any others."""
        run(Agent(ToyModel(), name="A", tools=[add]), "go")
        assert [one["model"] for one in rows.events("model_turn")] == ["test", "test"]
        assert rows("SELECT tool_name, status FROM tool_traces") == [("add", "ok")]

    def test_that_wrap_others_leave_one_turn(self, rows: Rows, run: Way) -> None:
        """An instrumented model is the model in it."""
        run(Agent(InstrumentedModel(ToyModel()), name="A"), "go")
        assert [one["model"] for one in rows.events("model_call")] == ["test"]
        assert len(rows.events("model_turn")) == 1

    def test_that_fall_back_leave_a_turn_for_each_they_ask(self, rows: Rows, run: Way) -> None:
        """The model that failed has its failed turn; the one that answered has its own, and is a switch."""
        from pydantic_ai.exceptions import ModelHTTPError

        broken = FunctionModel(
            lambda messages, info: _refuse(), stream_function=_refuse_later, model_name="broken"
        )
        run(Agent(FallbackModel(broken, ToyModel()), name="A"), "go")
        turns = rows.events("model_turn")
        assert [(one["model"], one["status"]) for one in turns] == [("broken", "error"), ("test", "ok")]
        assert turns[0]["error_type"] == ModelHTTPError.__name__
        assert [one["payload"]["to_model"] for one in rows.events("model_switched")] == ["test"]


@unstreamed
class TestUsage:
    """What a model counts."""

    def test_is_that_of_each_answer(self, rows: Rows, run: Way) -> None:
        """Usage of each answer stands in the columns of its turn."""
        usage = RequestUsage(
            input_tokens=100, output_tokens=20, cache_read_tokens=40, details={"reasoning_tokens": 5}
        )

        class Counting(ToyModel):
            async def request(self, *args: Any, **kwargs: Any) -> ModelResponse:
                return ModelResponse([TextPart("ok")], usage=usage)

        run(Agent(Counting(), name="A"), "hi")
        assert rows(
            "SELECT input_tokens, output_tokens, cache_read_tokens, reasoning_tokens"
            " FROM trajectory_events WHERE kind = 'model_turn'"
        ) == [(100, 20, 40, 5)]


def _refuse() -> Any:
    from pydantic_ai.exceptions import ModelHTTPError

    raise ModelHTTPError(503, "broken")


async def _refuse_later(messages: Any, info: Any) -> Any:
    _refuse()
    yield ""


class Torn:
    """A part of a message that its library cannot put in words."""

    part_kind = "tool-return"
    tool_call_id = "c1"
    content = "torn"

    def model_response_str(self) -> str:
        raise ValueError("no words")


class TestMessages:
    """Messages in the form of a chat, without an agent."""

    def test_keep_thoughts_beside_the_words(self) -> None:
        """What a model thought is in its message, and not in what it said."""
        answer = build_answer(ModelResponse([ThinkingPart("hm"), TextPart("yes")]))
        assert answer == {"role": "assistant", "content": "yes", "reasoning_content": "hm"}

    def test_never_hold_bytes(self) -> None:
        """Of a picture is said that it is one, and where it is."""
        picture = BinaryContent(b"\x00" * 100, media_type="image/png")
        asked = ModelRequest([UserPromptPart(["look:", picture, ImageUrl("http://x/y.png")])])
        (message,) = build_messages([asked])
        assert message["content"] == [
            {"type": "text", "text": "look:"},
            {"type": "BinaryContent", "url": None},
            {"type": "ImageUrl", "url": "http://x/y.png"},
        ]

    def test_survive_a_part_that_cannot_be_told(self) -> None:
        """A part that raises stands with its bare content; the others are as ever."""
        request = SimpleNamespace(kind="request", parts=[Torn(), UserPromptPart("go on")])
        assert build_messages([request]) == [
            {"role": "tool", "tool_call_id": "c1", "content": "torn"},
            {"role": "user", "content": "go on"},
        ]
