"""The OpenAI Agents SDK: what a run leaves, whichever way it is run, with models that are no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from agents import (
    Agent,
    FunctionTool,
    GuardrailFunctionOutput,
    MaxTurnsExceeded,
    ModelBehaviorError,
    ModelSettings,
    RunConfig,
    Runner,
    function_tool,
    handoff,
    input_guardrail,
    output_guardrail,
)
from agents.exceptions import InputGuardrailTripwireTriggered, OutputGuardrailTripwireTriggered, UserError
from agents.testing import ModelStep, ScriptedModel
from agents.usage import Usage

import agenttrace
from agenttrace import traced_tool
from tests.frameworks.conftest import Rows
from tests.frameworks.openai_agents_scripts import WAYS, Way, agent, ask, say

pytestmark = pytest.mark.parametrize("run", list(WAYS.values()), ids=list(WAYS))


@function_tool
def add(a: int, b: int) -> int:
    """Add a and b."""
    return a + b


@function_tool
async def fetch(url: str) -> str:
    """Fetch a page."""
    raise ConnectionError(f"no route to {url}")


def line_of(rows: Rows, error_type: str) -> tuple[str, str]:
    """Give file and function of the frame that raised the failure of this type."""
    (payload,) = rows(
        "SELECT payload FROM trajectory_events WHERE kind = 'error' AND error_type = ?", error_type
    )
    frame = json.loads(payload[0])["error"]["frames"][-1]
    return frame["file"], frame["function"]


class TestRun:
    """One run of one agent."""

    def test_is_an_agent_with_its_turns_and_calls(self, rows: Rows, run: Way) -> None:
        """Agent, turns and calls stand in the order of causes, each with what went in and what came out."""
        result = run(agent("Adder", [ask("add", "c1", a=1, b=2)], "3", tools=[add]), "1 + 2?")
        assert result.final_output == "3"
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
        assert [(one["tool"], one["call_id"]) for one in events[3:5]] == [("add", "c1")] * 2
        assert rows.calls() == [("add", {"a": 1, "b": 2}, 3, "ok", None)]

    def test_keeps_messages_and_tools_in_the_form_of_responses(self, rows: Rows, run: Way) -> None:
        """Input, instructions, tools, settings and answer are what a Responses API gets and gives."""
        settings = ModelSettings(temperature=0.5)
        run(agent("A", "yes", tools=[add], instructions="Be brief.", model_settings=settings), "sure?")
        call, turn = rows.events("model_call", "model_turn")
        assert call["payload"]["input"] == [{"role": "user", "content": "sure?"}]
        params = call["payload"]["params"]
        assert params["instructions"] == "Be brief." and params["temperature"] == 0.5
        assert [(tool["type"], tool["name"]) for tool in params["tools"]] == [("function", "add")]
        assert set(params["tools"][0]["parameters"]["properties"]) == {"a", "b"}
        (item,) = turn["payload"]["output"]
        assert item["role"] == "assistant" and item["content"][0]["text"] == "yes"

    def test_counts_the_tokens_that_the_model_tells(self, rows: Rows, run: Way) -> None:
        """Usage of each answer stands in the columns of its turn."""
        from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

        usage = Usage(
            requests=1,
            input_tokens=100,
            output_tokens=20,
            total_tokens=120,
            input_tokens_details=InputTokensDetails(cached_tokens=40, cache_write_tokens=0),
            output_tokens_details=OutputTokensDetails(reasoning_tokens=5),
        )
        model = ScriptedModel([ModelStep(output=[say("ok")], usage=usage)])
        run(Agent(name="A", model=model), "hi")
        assert rows(
            "SELECT input_tokens, output_tokens, cache_read_tokens, reasoning_tokens"
            " FROM trajectory_events WHERE kind = 'model_turn'"
        ) == [(100, 20, 40, 5)]

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
        assert rows("SELECT count(*) FROM conversations") == [(1,)]

    def test_leaves_the_program_where_it_stood(self, rows: Rows, run: Way) -> None:
        """After a run, and after one that failed, the program stands outside again."""
        run(agent("A", "ok"), "hi")
        with pytest.raises(ModelBehaviorError):
            run(agent("B", [ask("nope")]), "hi")
        assert agenttrace.current() is None

    def test_that_fails_is_a_failed_agent(self, rows: Rows, run: Way) -> None:
        """What the model raises is the failure of its turn, and leaves the agent as the same failure."""
        model = ScriptedModel([ValueError("no such model")])
        with pytest.raises(ValueError, match="no such model"):
            run(Agent(name="A", model=model), "hi")
        assert rows("SELECT error_type, fate FROM failures") == [("ValueError", "escaped")]
        ends = rows.events("model_turn", "agent_end")
        assert [(one["kind"], one["status"]) for one in ends] == [
            ("model_turn", "error"),
            ("agent_end", "error"),
        ]

    def test_that_takes_too_many_turns_is_a_failure(self, rows: Rows, run: Way) -> None:
        """MaxTurnsExceeded ends the agent; its turns and calls stay as they were."""
        steps = [[ask("add", a=1, b=1)] for _ in range(5)]
        with pytest.raises(MaxTurnsExceeded):
            run(agent("A", *steps, tools=[add]), "go", max_turns=2)
        assert rows.agents() == [("A", None, "error")]
        assert [status for *_, status, _ in rows.calls()] == ["ok", "ok"]
        assert rows("SELECT error_type, fate FROM failures") == [("MaxTurnsExceeded", "escaped")]

    def test_that_waits_for_approval_says_so(self, rows: Rows, run: Way) -> None:
        """A call that needs approval is not made; the run ends well and names what it waits for."""
        careful = function_tool(lambda: "done", name_override="delete", needs_approval=True)
        careful.params_json_schema.setdefault("properties", {})
        result = run(agent("A", [ask("delete")], "ok", tools=[careful]), "go")
        assert result.interruptions
        (end,) = rows.events("agent_end")
        assert end["payload"]["output"] == {"waits_for_approval": ["delete"]}


class TestHandoff:
    """Control goes from one agent to another."""

    def test_makes_the_other_agent_a_child_of_the_first(self, rows: Rows, run: Way) -> None:
        """The call that hands over stands in the agent that made it, all else in the agent in control."""
        refunds = agent("Refunds", [ask("add", "c2", a=1, b=1)], "paid", tools=[add])
        triage = agent("Triage", [ask("transfer_to_refunds", "c1")], handoffs=[refunds])
        assert run(triage, "money back").final_output == "paid"
        assert rows.agents() == [("Triage", None, "ok"), ("Refunds", "Triage", "ok")]
        turns = rows.events("model_turn")
        assert [(one["agent"], one["turn"]) for one in turns] == [
            ("Triage", 1),
            ("Refunds", 1),
            ("Refunds", 2),
        ]
        assert rows("SELECT agent_name, tool_name, call_id, status FROM tool_traces ORDER BY id") == [
            ("Triage", "transfer_to_refunds", "c1", "ok"),
            ("Refunds", "add", "c2", "ok"),
        ]
        (event,) = rows.events("handoff")
        assert (event["agent"], event["payload"]) == ("Triage", {"to": "Refunds"})

    def test_back_to_the_first_agent_goes_on_in_it(self, rows: Rows, run: Way) -> None:
        """There is one run of the first agent; another agent's second time is another run beside it."""
        first = agent("First", [ask("transfer_to_second")], [ask("transfer_to_second")], "end")
        second = agent("Second", [ask("transfer_to_first")], [ask("transfer_to_first")], handoffs=[first])
        first.handoffs = [second]
        run(first, "go")
        assert rows.agents() == [("First", None, "ok"), ("Second", "First", "ok"), ("Second", "First", "ok")]
        turns = rows.events("model_turn")
        assert [(one["agent"], one["turn"]) for one in turns] == [
            ("First", 1),
            ("Second", 1),
            ("First", 2),
            ("Second", 1),
            ("First", 3),
        ]

    def test_tells_the_other_agent_of_failures(self, rows: Rows, run: Way) -> None:
        """What failed beside the call that hands over is reported: the other agent's model reads it."""
        other = agent("Other", "sorry")
        wanted = [ask("fetch", "c1", url="u"), ask("transfer_to_other", "c2")]
        run(agent("First", wanted, tools=[fetch], handoffs=[other]), "go")
        assert rows.failures() == [("fetch", "ConnectionError", "reported")]
        assert rows.events("result_dropped") == []

    def test_that_fails_is_the_failure_of_its_call(self, rows: Rows, run: Way) -> None:
        """What the program's own on_handoff raises is the failure of the call that hands over."""

        def refuse(context: Any) -> None:
            raise PermissionError("closed")

        other = agent("Other", "ok")
        first = agent("First", [ask("transfer_to_other", "c1")], handoffs=[handoff(other, on_handoff=refuse)])
        with pytest.raises(PermissionError):
            run(first, "go")
        assert rows.agents() == [("First", None, "error")]
        assert rows("SELECT tool_name, call_id, status, error_type FROM tool_traces") == [
            ("transfer_to_other", "c1", "error", "PermissionError")
        ]
        assert rows.failures() == [("transfer_to_other", "PermissionError", "escaped")]

    def test_then_failure_ends_both(self, rows: Rows, run: Way) -> None:
        """A failure that ends the run leaves the agent in control first, and is one failure."""
        other = Agent(name="Other", model=ScriptedModel([ValueError("broken")]))
        with pytest.raises(ValueError, match="broken"):
            run(agent("First", [ask("transfer_to_other")], handoffs=[other]), "go")
        ends = rows.events("agent_end")
        assert [(one["agent"], one["status"]) for one in ends] == [("Other", "error"), ("First", "error")]
        assert len(rows.failures()) == 1


class TestAgentAsTool:
    """An agent that another one calls like a tool."""

    def test_stands_under_the_call(self, rows: Rows, run: Way) -> None:
        """The helper's run is a child of the caller, inside the call that asked for it."""
        helper = agent("Helper", "because").as_tool("ask_helper", "Ask.")
        run(agent("Boss", [ask("ask_helper", "c1", input="why?")], "ok", tools=[helper]), "go")
        assert rows.agents() == [("Boss", None, "ok"), ("Helper", "Boss", "ok")]
        assert rows.calls() == [("ask_helper", {"input": "why?"}, "because", "ok", None)]
        (found,) = rows(
            "SELECT c.tool_name FROM trajectory_events a JOIN trajectory_events c"
            " ON c.span_id = a.parent_span_id AND c.kind = 'tool_call'"
            " WHERE a.kind = 'agent_start' AND a.agent_name = 'Helper'"
        )
        assert found == ("ask_helper",)

    def test_that_fails_is_one_failure_told_to_the_model(self, rows: Rows, run: Way) -> None:
        """The exception of the helper's model is the failure of turn, agent and call, with one row."""
        helper = Agent(name="Helper", model=ScriptedModel([ValueError("lost")])).as_tool("ask_helper", "Ask.")
        run(agent("Boss", [ask("ask_helper", input="why?")], "sorry", tools=[helper]), "go")
        assert rows.agents() == [("Boss", None, "ok"), ("Helper", "Boss", "error")]
        assert rows("SELECT error_type, fate FROM failures") == [("ValueError", "reported")]
        ((status, error_type),) = rows("SELECT status, error_type FROM tool_traces")
        assert (status, error_type) == ("error", "ValueError")


class TestFunctionTool:
    """What a tool raises, and what never reaches it."""

    def test_that_raises_keeps_the_exception_that_the_sdk_hides(self, rows: Rows, run: Way) -> None:
        """The model is told a text; the call has the true exception, and the line that raised it."""
        run(agent("A", [ask("fetch", "c1", url="http://x")], "sorry", tools=[fetch]), "go")
        ((name, _, output, status, error_type),) = rows.calls()
        assert (name, status, error_type) == ("fetch", "error", "ConnectionError")
        assert output == "An error occurred while running the tool. Please try again."
        assert rows.failures() == [("fetch", "ConnectionError", "reported")]
        assert line_of(rows, "ConnectionError") == (__file__, "fetch")

    def test_that_explains_its_failures_is_failed_all_the_same(self, rows: Rows, run: Way) -> None:
        """A failure_error_function of the program's own changes the text, and not what happened."""

        def explain(context: Any, error: Exception) -> str:
            return f"sorry: {error}"

        tool = function_tool(failure_error_function=explain)(fetch.__wrapped__)
        run(agent("A", [ask("fetch", url="u")], "sorry", tools=[tool]), "go")
        ((_, _, output, status, error_type),) = rows.calls()
        assert (output, status, error_type) == ("sorry: no route to u", "error", "ConnectionError")

    def test_that_may_fail_the_run_does(self, rows: Rows, run: Way) -> None:
        """Without such a function the SDK raises an error of its own; that names the tool's as its cause."""
        tool = function_tool(failure_error_function=None)(fetch.__wrapped__)
        with pytest.raises(UserError):
            run(agent("A", [ask("fetch", url="u")], tools=[tool]), "go")
        assert rows.failures() == [("fetch", "ConnectionError", "escaped"), (None, "UserError", "escaped")]
        ((cause, error_id),) = rows(
            "SELECT e.cause_error_id, t.error_id FROM trajectory_events e JOIN trajectory_events t"
            " ON t.kind = 'error' AND t.error_type = 'ConnectionError'"
            " WHERE e.kind = 'error' AND e.error_type = 'UserError'"
        )
        assert cause == error_id

    @pytest.mark.parametrize("arguments", [{"a": "x", "b": 1}, {"_text": "{no json"}], ids=["schema", "json"])
    def test_with_wrong_arguments_is_a_failed_call(
        self, rows: Rows, run: Way, arguments: dict[str, Any]
    ) -> None:
        """Arguments that do not fit never reach the tool; what the model sent is kept with the refusal."""
        run(agent("A", [ask("add", "c1", **arguments)], "sorry", tools=[add]), "go")
        ((name, given, _, status, error_type),) = rows.calls()
        assert (name, status, error_type) == ("add", "error", "ModelBehaviorError")
        assert given == ({"input": "{no json"} if "_text" in arguments else arguments)
        assert rows.failures() == [("add", "ModelBehaviorError", "reported")]

    def test_that_does_not_exist_fails_call_and_run(self, rows: Rows, run: Way) -> None:
        """A hallucinated name is a call of its own, with the SDK's exception; so does the run end."""
        with pytest.raises(ModelBehaviorError, match="nope not found"):
            run(agent("A", [ask("nope", "c1", x=1), ask("add", "c2", a=1, b=1)], tools=[add]), "go")
        assert ("nope", {"x": 1}, None, "error", "ModelBehaviorError") in rows.calls()
        assert rows("SELECT call_id FROM tool_traces WHERE tool_name = 'nope'") == [("c1",)]
        assert rows.failures() == [("nope", "ModelBehaviorError", "escaped")]
        assert rows.agents() == [("A", None, "error")]

    def test_that_does_not_exist_may_be_told_to_the_model(self, rows: Rows, run: Way) -> None:
        """Where the run goes on, the call is a failed one all the same."""
        config = RunConfig(tool_not_found_behavior="return_error_to_model")
        run(agent("A", [ask("nope", "c1", x=1)], "sorry", tools=[add]), "go", run_config=config)
        ((name, given, _, status, _),) = rows.calls()
        assert (name, given, status) == ("nope", {"x": 1}, "error")
        assert [(tool, fate) for tool, _, fate in rows.failures()] == [("nope", "reported")]
        assert rows.agents() == [("A", None, "ok")]

    @pytest.mark.parametrize("decorated", [False, True], ids=["plain", "decorated"])
    def test_that_takes_too_long_is_a_failed_call(self, rows: Rows, run: Way, decorated: bool) -> None:
        """At a timeout the model gets a text; the call failed, of the timeout, and not of being cancelled."""

        async def wait() -> str:
            await asyncio.Event().wait()
            return "never"

        tool = function_tool(timeout=0.01)(traced_tool(wait) if decorated else wait)
        run(agent("A", [ask("wait")], "sorry", tools=[tool]), "go")
        ((name, _, output, status, error_type),) = rows.calls()
        assert (name, status, error_type) == ("wait", "error", "ToolTimeoutError")
        assert "timed out after 0.01 seconds" in output
        assert rows.failures() == [("wait", "ToolTimeoutError", "reported")]

    def test_that_was_made_by_hand_is_a_call_too(self, rows: Rows, run: Way) -> None:
        """A FunctionTool around any coroutine function is seen like one of the decorator."""

        async def invoke(context: Any, arguments: str) -> str:
            return f"got {arguments}"

        tool = FunctionTool("shout", "Shout.", {"type": "object", "properties": {}}, invoke, False)
        run(agent("A", [ask("shout", word="a")], "ok", tools=[tool]), "go")
        assert rows.calls() == [("shout", {"word": "a"}, 'got {"word": "a"}', "ok", None)]

    @pytest.mark.parametrize("order", ["above", "below"])
    def test_that_is_decorated_is_one_call(self, rows: Rows, run: Way, order: str) -> None:
        """traced_tool inside or on the tool object leaves one pair, under its name and with the call id."""

        def double(x: int) -> int:
            return 2 * x

        options = traced_tool(name="twice")
        tool = options(function_tool(double)) if order == "above" else function_tool(options(double))
        run(agent("A", [ask("double", "c1", x=2)], "4", tools=[tool]), "go")
        assert rows("SELECT tool_name, call_id, tool_output, status FROM tool_traces") == [
            ("twice", "c1", 4, "ok")
        ]
        assert len(rows.events("tool_call", "tool_result")) == 2

    def test_may_call_traced_functions(self, rows: Rows, run: Way) -> None:
        """A traced function that a tool calls is a call inside that call, in its agent, also in a thread."""

        @traced_tool
        def inner(x: int) -> int:
            return x + 1

        @function_tool
        def outer(x: int) -> int:
            return inner(x)

        run(agent("A", [ask("outer", x=1)], "2", tools=[outer]), "go")
        found = rows(
            "SELECT c.agent_name, c.tool_name, p.tool_name FROM trajectory_events c"
            " LEFT JOIN trajectory_events p ON p.span_id = c.parent_span_id AND p.kind = 'tool_call'"
            " WHERE c.kind = 'tool_call' ORDER BY c.id"
        )
        assert found == [("A", "outer", None), ("A", "inner", "outer")]


class TestGuardrail:
    """What stops a run."""

    def test_of_the_input_says_which_one_it_was(self, rows: Rows, run: Way) -> None:
        """The tripped guardrail is named with what it found, and the run ends as the SDK's exception."""

        @input_guardrail
        async def polite(context: Any, agent: Any, asked: Any) -> GuardrailFunctionOutput:
            return GuardrailFunctionOutput(output_info={"word": "damn"}, tripwire_triggered=True)

        with pytest.raises(InputGuardrailTripwireTriggered):
            run(agent("A", "ok", input_guardrails=[polite]), "damn")
        (tripped,) = rows.events("guardrail_tripped")
        assert tripped["payload"] == {"name": "polite", "output_info": {"word": "damn"}}
        assert rows.agents() == [("A", None, "error")]
        assert rows("SELECT error_type, fate FROM failures") == [
            ("InputGuardrailTripwireTriggered", "escaped")
        ]

    def test_of_the_output_says_so_too(self, rows: Rows, run: Way) -> None:
        """An output guardrail stops a run whose turns have all gone well."""

        @output_guardrail
        def short(context: Any, agent: Any, output: Any) -> GuardrailFunctionOutput:
            return GuardrailFunctionOutput(output_info=len(output), tripwire_triggered=True)

        with contextlib.suppress(OutputGuardrailTripwireTriggered):
            run(agent("A", "far too long", output_guardrails=[short]), "go")
        (tripped,) = rows.events("guardrail_tripped")
        assert tripped["payload"] == {"name": "short", "output_info": 12}
        assert rows.agents() == [("A", None, "error")]

    def test_may_ask_an_agent_of_its_own(self, rows: Rows, run: Way) -> None:
        """The agent that a guardrail runs is a child of the run."""
        judge = agent("Judge", "fine")

        @input_guardrail
        async def judged(context: Any, agent: Any, asked: Any) -> GuardrailFunctionOutput:
            await Runner.run(judge, asked)
            return GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)

        run(agent("A", "ok", input_guardrails=[judged]), "hi")
        assert sorted(rows.agents()) == [("A", None, "ok"), ("Judge", "A", "ok")]
