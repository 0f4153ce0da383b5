"""Real models as planners, against stand-ins for the two SDKs."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from agenttrace.demo.live import (
    AnthropicPlanner,
    OpenAIPlanner,
    build_anthropic_messages,
    build_openai_messages,
    connect,
)
from agenttrace.demo.planner import PlannedCall, ToolSpec
from agenttrace.errors import ConfigError

GREP = ToolSpec("grep", "Search lines.", {"type": "object", "properties": {"pattern": {"type": "string"}}})
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You audit."},
    {"role": "user", "content": "Audit it"},
    {
        "role": "assistant",
        "content": "Search.",
        "calls": [
            {"call_id": "c1", "name": "grep", "arguments": {"pattern": "TODO"}},
            {"call_id": "c2", "name": "grep", "arguments": {"pattern": "("}},
        ],
    },
    {"role": "tool", "name": "grep", "call_id": "c1", "content": "{}", "is_error": False},
    {"role": "tool", "name": "grep", "call_id": "c2", "content": "error: bad", "is_error": True},
]


class Recorder:
    """Answers like an SDK's method, and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: dict[str, Any] = {}

    def create(self, **asked: Any) -> Any:
        self.asked = asked
        return self.answer


class TestConnect:
    def test_without_a_key_says_which_keys_there_are(self) -> None:
        """The error names both variables and the way without."""
        with pytest.raises(ConfigError, match=r"ANTHROPIC_API_KEY or OPENAI_API_KEY.*Without --live"):
            connect({})

    def test_without_the_sdk_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key alone is not enough, and the error never quotes it."""
        monkeypatch.setitem(sys.modules, "openai", None)
        with pytest.raises(ConfigError, match="pip install openai") as caught:
            connect({"OPENAI_API_KEY": "sk-private"})
        assert "sk-private" not in str(caught.value)

    def test_takes_the_first_provider_that_is_complete(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key without its SDK is passed over for one that has both."""
        sdk = ModuleType("openai")
        sdk.OpenAI = lambda api_key: SimpleNamespace(key=api_key)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "anthropic", None)
        monkeypatch.setitem(sys.modules, "openai", sdk)
        planner = connect(
            {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "AGENTTRACE_DEMO_MODEL": "big-one"}
        )
        assert isinstance(planner, OpenAIPlanner)
        assert planner.model == "big-one"


class TestAnthropicPlanner:
    def test_joins_results_into_one_user_message(self) -> None:
        """The API wants all results of one answer together, right after it."""
        rendered = build_anthropic_messages(MESSAGES)
        assert [message["role"] for message in rendered] == ["user", "assistant", "user"]
        assert [block["tool_use_id"] for block in rendered[2]["content"]] == ["c1", "c2"]
        assert [block["is_error"] for block in rendered[2]["content"]] == [False, True]
        assert [block["type"] for block in rendered[1]["content"]] == ["text", "tool_use", "tool_use"]

    def test_reads_text_calls_and_usage(self) -> None:
        """Cached input counts as input."""
        answer = SimpleNamespace(
            id="msg_1",
            stop_reason="tool_use",
            content=[
                SimpleNamespace(type="text", text="Look."),
                SimpleNamespace(type="tool_use", id="c9", name="grep", input={"pattern": "x"}),
            ],
            usage=SimpleNamespace(
                input_tokens=10, output_tokens=4, cache_read_input_tokens=3, cache_creation_input_tokens=None
            ),
        )
        messages = Recorder(answer)
        plan = AnthropicPlanner(SimpleNamespace(messages=messages), "small").plan(MESSAGES, [GREP])
        assert plan.calls == (PlannedCall("c9", "grep", {"pattern": "x"}),)
        assert (plan.text, plan.usage) == ("Look.", {"input_tokens": 13, "output_tokens": 4})
        assert messages.asked["system"] == "You audit."
        assert messages.asked["tools"][0]["input_schema"]["type"] == "object"


class TestOpenAIPlanner:
    def test_renders_calls_with_arguments_as_text(self) -> None:
        """Each result is a message of its own."""
        rendered = build_openai_messages(MESSAGES)
        assert [message["role"] for message in rendered] == ["system", "user", "assistant", "tool", "tool"]
        assert rendered[2]["tool_calls"][0]["function"]["arguments"] == '{"pattern": "TODO"}'

    def test_reads_text_calls_and_usage(self) -> None:
        """Arguments come as text; no text at all becomes an empty one."""
        call = SimpleNamespace(id="c9", function=SimpleNamespace(name="grep", arguments='{"pattern": "x"}'))
        choice = SimpleNamespace(
            finish_reason="tool_calls", message=SimpleNamespace(content=None, tool_calls=[call])
        )
        answer = SimpleNamespace(
            id="r1", choices=[choice], usage=SimpleNamespace(prompt_tokens=7, completion_tokens=2)
        )
        completions = Recorder(answer)
        client = SimpleNamespace(chat=SimpleNamespace(completions=completions))
        plan = OpenAIPlanner(client, "small").plan(MESSAGES, [GREP])
        assert plan.calls == (PlannedCall("c9", "grep", {"pattern": "x"}),)
        assert (plan.text, plan.usage) == ("", {"input_tokens": 7, "output_tokens": 2})
        assert completions.asked["tools"][0]["function"]["name"] == "grep"
