"""
Follow the tools that Anthropic's SDK calls itself: functions decorated with ``@beta_tool``.

The SDK's runner hands the model an error text where a tool raises; here the exception is seen as it leaves
the tool. Invariant: a traced function inside is that same call. A tool of another kind (memory, bash, a
class of the program's own) is seen in the model's blocks alone.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from agenttrace.capture.context import SWITCH
from agenttrace.capture.outer_calls import OuterCall
from agenttrace.capture.substitution import Outcome
from agenttrace.integrations.patching import Library, Patch

__all__ = ["tool_library"]

_MAKING: ContextVar[tuple[Any, str] | None] = ContextVar("agenttrace_anthropic_call", default=None)
"""The tool that the runner is about to call, and the id of the call."""


def _build_call(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def call_tool(self: Any, input: Any) -> Any:
        if not SWITCH:
            return call(self, input)
        with _outer_call(self, input) as outer:
            outcome = outer.ask()
            result = call(self, input) if outcome is None else _give(outcome)
            outer.set_result(result)
            return result

    return call_tool


def _build_async_call(call: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(call)
    async def call_tool(self: Any, input: Any) -> Any:
        if not SWITCH:
            return await call(self, input)
        with _outer_call(self, input) as outer:
            outcome = outer.ask()
            result = (await call(self, input)) if outcome is None else _give(outcome)
            outer.set_result(result)
            return result

    return call_tool


def _give(outcome: Outcome) -> Any:
    """Give or raise what was recorded, in a replay."""
    if outcome.exception is not None:
        raise outcome.exception
    return outcome.output


def _outer_call(tool: Any, arguments: Any) -> OuterCall:
    making, call_id = _MAKING.get(), None
    if making is not None and making[0] is tool:
        call_id = making[1]
        _MAKING.set(None)  # a call that the tool makes of itself is another one
    function = getattr(tool, "func", None)
    return OuterCall(str(getattr(tool, "name", "")), arguments, call_id=call_id, function=function)


def _build_run(run: Callable[..., Any]) -> Callable[..., Any]:
    """Keep which call is made: nobody knows it yet, if the answer that asks for it still streams in."""

    @functools.wraps(run)
    def run_tool(self: Any, tool: Any, tool_use: Any) -> Any:
        _MAKING.set(_making(tool, tool_use))
        try:
            return run(self, tool, tool_use)
        finally:
            _MAKING.set(None)

    return run_tool


def _build_async_run(run: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(run)
    async def run_tool(self: Any, tool: Any, tool_use: Any) -> Any:
        _MAKING.set(_making(tool, tool_use))
        try:
            return await run(self, tool, tool_use)
        finally:
            _MAKING.set(None)

    return run_tool


def _making(tool: Any, tool_use: Any) -> tuple[Any, str] | None:
    call_id = getattr(tool_use, "id", None)
    return (tool, call_id) if SWITCH and isinstance(call_id, str) else None


def _describe_tools(module: ModuleType) -> Iterator[Patch]:
    yield Patch(module.BetaFunctionTool, "call", _build_call)
    yield Patch(module.BetaAsyncFunctionTool, "call", _build_async_call)


def _describe_runners(module: ModuleType) -> Iterator[Patch]:
    for name, build in (("BaseSyncToolRunner", _build_run), ("BaseAsyncToolRunner", _build_async_run)):
        runner = getattr(module, name, None)
        if hasattr(runner, "_run_tool"):  # before, no tool ran while its answer streamed in
            yield Patch(runner, "_run_tool", build)


def tool_library() -> Library:
    """Make the library that patches the SDK's own tools; in a version without any it finds nothing."""
    return Library(
        "anthropic",
        {
            "anthropic.lib.tools._beta_functions": _describe_tools,
            "anthropic.lib.tools._beta_runner": _describe_runners,
        },
    )
