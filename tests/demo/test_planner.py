"""The planner without a model: the same interface, a plan from the messages alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agenttrace.demo.planner import Decision, Memory, RulePlanner, ToolSpec, count_words, read_memory
from agenttrace.demo.rules import RULES, SUBAGENTS

TASK = [{"role": "system", "content": "You are it."}, {"role": "user", "content": "Do it"}]
GREP = ToolSpec("grep", "Search lines.", {"type": "object", "properties": {}})


def tool_message(name: str, content: str, is_error: bool = False) -> dict[str, Any]:
    """A tool's answer as the dispatcher writes it."""
    return {"role": "tool", "name": name, "call_id": "c", "content": content, "is_error": is_error}


class TestRulePlanner:
    def test_plans_calls_with_ids_of_their_own(self) -> None:
        """Two equal calls in one answer are still two."""
        planner = RulePlanner(lambda _: Decision("go", [("grep", {}), ("grep", {})]))
        plan = planner.plan(TASK, [GREP])
        assert [call.call_id for call in plan.calls] == ["call_1_1", "call_1_2"]
        assert plan.finish_reason == "tool_calls"

    def test_counts_the_words_it_was_shown_and_said(self) -> None:
        """Its tokens are words: 5 of the messages, 3 of the tool; 2 of its answer."""
        plan = RulePlanner(lambda _: Decision("all done")).plan(TASK, [GREP])
        assert plan.usage == {"input_tokens": 8, "output_tokens": 2}
        assert plan.finish_reason == "stop"

    def test_plans_the_same_for_the_same_messages(self) -> None:
        """There is no state between two plans."""
        for rule in RULES.values():
            assert RulePlanner(rule).plan(TASK, []) == RulePlanner(rule).plan(TASK, [])

    @given(st.lists(st.sampled_from(["list_files", "survey_functions", "grep", "run_command"]), max_size=6))
    def test_answers_whatever_the_tools_said(self, names: list[str]) -> None:
        """Results that are errors, prose or empty never stop a rule; it reports what it knows."""
        said = [tool_message(name, "PermissionError: no", is_error=True) for name in names]
        messages = [*TASK, {"role": "assistant", "content": "", "calls": []}, *said]
        for rule in RULES.values():
            for _ in range(3):
                assert RulePlanner(rule).plan(messages, []).text
                messages = [*messages, {"role": "assistant", "content": "", "calls": []}]


class TestMemory:
    def test_decodes_results_and_counts_turns(self) -> None:
        """JSON becomes values, prose stays prose."""
        messages = [
            *TASK,
            {"role": "assistant", "content": "", "calls": []},
            tool_message("a", '{"n": 1}'),
            tool_message("b", "plain"),
        ]
        memory = read_memory(messages)
        assert (memory.task, memory.turns) == ("Do it", 1)
        assert [result.value for result in memory.results] == [{"n": 1}, "plain"]
        assert memory.value_of("a") == {"n": 1}
        assert memory.value_of("b") == {}

    def test_is_empty_without_messages(self) -> None:
        """Nothing said, nothing known."""
        assert read_memory([]) == Memory("", 0, [])

    def test_words_are_split_at_whitespace(self) -> None:
        """An empty text has none."""
        assert count_words(["one two", "", " three\n"]) == 3


def test_every_subagent_has_a_rule() -> None:
    """The lead delegates to nobody who does not exist."""
    assert set(SUBAGENTS) < set(RULES)
