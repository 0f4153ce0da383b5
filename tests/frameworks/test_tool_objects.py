"""A tool object is traced through the function inside it, above or below the framework's own decorator."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
from typing import Any

import pytest
from agents import Agent, FunctionTool, function_tool
from langchain_core.tools import BaseTool, StructuredTool
from pydantic_ai import Tool as PydanticTool

import agenttrace
from agenttrace import errors, traced_tool
from tests.frameworks.conftest import Rows
from tests.frameworks.tool_makers import MAKERS, REGISTERS, agents_context, copy_of, divide, divide_later


def call(maker: Any, tool: Any, **arguments: Any) -> Any:
    """Let the framework call *tool*; what it does with an error is its own affair."""
    with contextlib.suppress(Exception):
        return asyncio.run(maker.call(tool, arguments))
    return None


def use_integrations(wanted: bool) -> None:
    """Follow the frameworks themselves too, or nothing but what is decorated."""
    agenttrace.configure(install=("auto",) if wanted else ())
    if not wanted:
        agenttrace.uninstall()


@pytest.mark.parametrize("framework", list(MAKERS))
@pytest.mark.parametrize("function", [divide, divide_later], ids=["sync", "async"])
@pytest.mark.parametrize("followed", [False, True], ids=["alone", "with the integrations"])
class TestToolObject:
    """A table of frameworks, sync and async."""

    @pytest.mark.parametrize("order", ["above", "below"])
    def test_leaves_the_same_rows(
        self, rows: Rows, framework: str, function: Any, order: str, followed: bool
    ) -> None:
        """One call each, with the function's name, the arguments by name, and its own error."""
        use_integrations(followed)
        maker = MAKERS[framework]
        tool = traced_tool(maker.make(function)) if order == "above" else maker.make(traced_tool(function))
        call(maker, tool, a=1, b=4)
        call(maker, tool, a=1, b=0)
        name = function.__name__
        assert rows.calls() == [
            (name, {"a": 1, "b": 4}, 0.25, "ok", None),
            (name, {"a": 1, "b": 0}, None, "error", "ZeroDivisionError"),
        ]
        assert [error for _, error, _ in rows.failures()] == ["ZeroDivisionError"]

    def test_obeys_the_options(self, rows: Rows, framework: str, function: Any, followed: bool) -> None:
        """The name, the arguments to keep and what counts as an error are those that were given."""
        use_integrations(followed)
        maker = MAKERS[framework]
        options = traced_tool(name="ratio", redact=["b"], is_error=lambda value: value > 2)
        tool = options(maker.make(function))
        call(maker, tool, a=1, b=4)
        call(maker, tool, a=12, b=4)
        redacted = {"$agenttrace": "redacted", "rule": "argument"}
        assert rows.calls() == [
            ("ratio", {"a": 1, "b": redacted}, 0.25, "ok", None),
            ("ratio", {"a": 12, "b": redacted}, 3.0, "error", "ReturnedFailure"),
        ]

    def test_stays_the_object_it_is(self, rows: Rows, framework: str, function: Any, followed: bool) -> None:
        """The tool itself comes back, gives what it gave, and is traced once however often one asks."""
        use_integrations(followed)
        maker = MAKERS[framework]
        tool = maker.make(function)
        plain = repr(call(maker, maker.make(function), a=1, b=4))
        before = len(rows.calls())
        assert traced_tool(traced_tool(tool)) is tool
        assert repr(call(maker, tool, a=1, b=4)) == plain
        assert len(rows.calls()) == before + 1


ROWS = """
SELECT kind, tool_name, status, error_type, payload FROM trajectory_events
WHERE kind IN ('tool_call', 'tool_result', 'error') ORDER BY ts_ns, id
"""


def rows_of_calls(rows: Rows) -> list[tuple[Any, ...]]:
    """Give every row of the calls and their failures, but for how each framework got to the function."""
    found = []
    for kind, tool, status, error_type, payload in rows(ROWS):
        known = json.loads(payload)
        known.pop("caught", None)  # how many exceptions a framework caught itself; Python 3.12 counts them
        if "error" in known:
            frame = known["error"]["frames"][-1]
            known["error"] = {**known["error"], "frames": [frame["file"], frame["line"]]}
        found.append((kind, tool, status, error_type, known))
    return found


@pytest.mark.parametrize("function", [divide, divide_later], ids=["sync", "async"])
class TestTable:
    """All frameworks, above and below, side by side."""

    @pytest.mark.parametrize("followed", [False, True], ids=["alone", "with the integrations"])
    def test_has_equal_cells(self, rows: Rows, function: Any, followed: bool) -> None:
        """Row by row, payloads and the line that raised included, each cell has what a plain call leaves."""
        use_integrations(followed)
        plain = traced_tool(function)

        async def call_plain() -> None:
            for b in (4, 0):
                with contextlib.suppress(ZeroDivisionError):
                    made = plain(a=1, b=b)
                    if function is divide_later:
                        await made

        asyncio.run(call_plain())
        expected = rows_of_calls(rows)
        assert [row[0] for row in expected] == [
            "tool_call",
            "tool_result",
            "tool_call",
            "error",
            "tool_result",
        ]
        for framework, maker in MAKERS.items():
            for order in ("above", "below"):
                before = len(rows_of_calls(rows))
                if order == "above":
                    tool = traced_tool(maker.make(function))
                else:
                    tool = maker.make(traced_tool(function))
                call(maker, tool, a=1, b=4)
                call(maker, tool, a=1, b=0)
                assert rows_of_calls(rows)[before:] == expected, (framework, order)

    @pytest.mark.parametrize("order", ["above", "below"])
    @pytest.mark.parametrize("framework", list(REGISTERS))
    def test_has_cells_for_decorators_that_give_the_function_back(
        self, rows: Rows, function: Any, framework: str, order: str
    ) -> None:
        """``@server.tool()`` and ``@agent.tool_plain`` keep the plain function; the traced one is called."""
        use_integrations(True)
        traced = traced_tool(name="ratio", redact=["b"])
        run = REGISTERS[framework](traced, copy_of(function), order)
        for b in (4, 0):
            with contextlib.suppress(Exception):
                asyncio.run(run({"a": 1, "b": b}))
        redacted = {"$agenttrace": "redacted", "rule": "argument"}
        assert rows.calls() == [
            ("ratio", {"a": 1, "b": redacted}, 0.25, "ok", None),
            ("ratio", {"a": 1, "b": redacted}, None, "error", "ZeroDivisionError"),
        ]
        assert [error for _, error, _ in rows.failures()] == ["ZeroDivisionError"]


class Lookup(BaseTool):
    """A tool with methods of its own."""

    name: str = "lookup"
    description: str = "Look up a word."

    def _run(self, word: str, run_manager: Any = None) -> str:
        return word.upper()


class LookupLater(Lookup):
    """The same with an async method."""

    async def _arun(self, word: str, run_manager: Any = None) -> str:
        return word.title()


class TestLangchainClass:
    """A BaseTool of one's own has no function inside it, but methods."""

    @pytest.mark.parametrize("kind", [Lookup, LookupLater])
    def test_is_traced_through_its_methods(self, rows: Rows, kind: type[BaseTool]) -> None:
        """One call each, sync and async, with what the model sent and under the tool's name."""
        use_integrations(False)
        tool = traced_tool(kind())
        assert tool.invoke({"word": "a"}) == "A"
        assert asyncio.run(tool.ainvoke({"word": "b"})) == "B"
        assert [(name, given) for name, given, *_ in rows.calls()] == [
            ("lookup", {"word": "a"}),
            ("lookup", {"word": "b"}),
        ]

    def test_leaves_other_tools_of_the_class_alone(self, rows: Rows) -> None:
        """Another object of the same class is not traced, and the traced one is equal in its fields."""
        use_integrations(False)
        tool = traced_tool(Lookup())
        assert tool.model_dump() == Lookup().model_dump()
        Lookup().invoke({"word": "a"})
        tool.invoke({"word": "b"})
        assert len(rows.calls()) == 1

    def test_may_have_both_functions(self, rows: Rows) -> None:
        """A tool with a sync and an async function traces either."""
        use_integrations(False)
        tool = traced_tool(StructuredTool.from_function(divide, divide_later))
        tool.invoke({"a": 1, "b": 1})
        asyncio.run(tool.ainvoke({"a": 1, "b": 1}))
        assert [name for name, *_ in rows.calls()] == ["divide", "divide_later"]


class TestAgentsTool:
    """A FunctionTool that no decorator made."""

    def make(self) -> FunctionTool:
        async def invoke(context: Any, arguments: str) -> str:
            return arguments[:1]

        schema = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
        return FunctionTool("echo", "Echo.", schema, invoke, strict_json_schema=False)

    @pytest.mark.parametrize(
        ("text", "recorded"),
        [
            ('{"word": "a"}', {"word": "a"}),
            ('{"word": "a", "other": 1}', {"word": "a", "arguments": {"other": 1}}),
            ("", {}),
            ("no json", {"arguments": {"input": "no json"}}),
            ("[1]", {"arguments": {"input": "[1]"}}),
        ],
    )
    def test_is_recorded_with_what_the_model_sent(self, rows: Rows, text: str, recorded: Any) -> None:
        """Its JSON text is read; text that is no object stays text."""
        use_integrations(False)
        tool = traced_tool(self.make())
        asyncio.run(tool.on_invoke_tool(agents_context(tool, text), text))
        assert [(name, given) for name, given, *_ in rows.calls()] == [("echo", recorded)]

    def test_obeys_redaction(self, rows: Rows) -> None:
        """redact= names arguments of the JSON text."""
        use_integrations(False)
        tool = traced_tool(redact=["word"])(self.make())
        asyncio.run(tool.on_invoke_tool(agents_context(tool, ""), '{"word": "hidden"}'))
        (first,) = rows("SELECT payload FROM trajectory_events WHERE kind = 'tool_call'")
        assert "hidden" not in first[0] and "redacted" in first[0]

    def test_may_be_copied(self, rows: Rows) -> None:
        """A copy, as the SDK makes them, is traced once."""
        use_integrations(False)
        tool = copy.copy(traced_tool(function_tool(divide)))
        text = '{"a": 1, "b": 2}'
        assert asyncio.run(tool.on_invoke_tool(agents_context(tool, text), text)) == 0.5
        assert len(rows.calls()) == 1

    def test_may_be_an_agent(self, rows: Rows) -> None:
        """An agent as a tool has no function either, and is recorded with what it was asked."""
        use_integrations(False)
        tool = traced_tool(Agent("helper").as_tool("ask_helper", "Ask."))
        text = '{"input": "why?"}'
        with contextlib.suppress(Exception):
            asyncio.run(tool.on_invoke_tool(agents_context(tool, text), text))
        assert [(name, given) for name, given, *_ in rows.calls()] == [("ask_helper", {"input": "why?"})]


class Unknown:
    """An object that some decorator made of a function."""


class TestOtherObject:
    """What cannot be called and is no tool."""

    @pytest.mark.parametrize("target", [Unknown(), Unknown, 3, property(divide)])
    @pytest.mark.parametrize("decorator", [traced_tool, traced_tool(name="x")])
    def test_is_refused_at_decoration(self, target: Any, decorator: Any) -> None:
        """S0.2: the message names the object and shows the right order."""
        with pytest.raises(TypeError) as caught:
            decorator(target)
        message = str(caught.value)
        assert "@other_decorator\n    @traced_tool\n    def function" in message
        assert "traced_tool takes a callable" in message

    def test_is_taken_where_it_can_be_called(self, rows: Rows) -> None:
        """A ``__call__`` of its own makes it a tool like any other."""

        class Caller:
            def __call__(self, a: int) -> int:
                return a

        assert traced_tool(Caller())(3) == 3
        assert [name for name, *_ in rows.calls()] == ["Caller"]


class TestChangedLibrary:
    """A tool object that is not as it used to be."""

    def test_is_left_alone_and_named(self, rows: Rows, caplog: pytest.LogCaptureFixture) -> None:
        """The tool comes back as it was; the loss is counted and logged; nothing is raised."""
        tool = PydanticTool(divide)
        del tool.function_schema
        with caplog.at_level(logging.WARNING, "agenttrace"):
            assert traced_tool(tool) is tool
        assert errors.LOSSES["capture.tool_object"] == 1
        assert "pydantic_ai.tools.Tool" in caplog.text
