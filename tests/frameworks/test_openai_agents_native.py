"""The tools that the OpenAI Agents SDK runs itself, which are no functions: each is a call like any other."""

from __future__ import annotations

from typing import Any

import pytest
from agents import CustomTool, ShellTool
from openai.types.responses import ResponseCustomToolCall

from tests.frameworks.conftest import Rows
from tests.frameworks.openai_agents_scripts import WAYS, Way, agent

pytestmark = pytest.mark.parametrize("run", [WAYS["run"], WAYS["run_sync"]], ids=["run", "run_sync"])


class TestNativeTools:
    """The tools that the SDK runs itself, which are no functions."""

    def test_of_text_are_calls(self, rows: Rows, run: Way) -> None:
        """A custom tool is a call with the text that it was given; what it raises is its failure."""

        async def invoke(context: Any, text: str) -> str:
            if text == "break":
                raise ValueError("broken")
            return text.upper()

        tool = CustomTool(name="shout", description="Shout.", on_invoke_tool=invoke)
        wanted = [
            ResponseCustomToolCall(type="custom_tool_call", name="shout", input=text, call_id=f"c-{text}")
            for text in ("hello", "break")
        ]
        run(agent("A", wanted, "ok", tools=[tool]), "go")
        assert rows("SELECT tool_name, call_id, status, error_type FROM tool_traces ORDER BY call_id") == [
            ("shout", "c-break", "error", "ValueError"),
            ("shout", "c-hello", "ok", None),
        ]
        assert ("shout", {"input": "hello"}, "HELLO", "ok", None) in rows.calls()
        ((frames,),) = rows(
            "SELECT json_extract(payload, '$.error.frames') FROM trajectory_events WHERE kind = 'error'"
        )
        assert __file__ in frames
        assert rows.failures() == [("shout", "ValueError", "reported")]

    def test_of_the_shell_are_calls(self, rows: Rows, run: Way) -> None:
        """A shell tool is a call with its commands, and fails as its executor does."""

        def execute(request: Any) -> str:
            raise PermissionError(request.data.action.commands[0])

        action = {"commands": ["rm x"], "timeout_ms": 1, "max_output_length": 100}
        wanted = [
            {"type": "shell_call", "id": "s1", "call_id": "c1", "status": "completed", "action": action}
        ]
        run(agent("A", wanted, "ok", tools=[ShellTool(executor=execute)]), "go")
        ((name, given, _, status, error_type),) = rows.calls()
        assert (name, status, error_type) == ("shell", "error", "PermissionError")
        assert given["action"]["commands"] == ["rm x"]
