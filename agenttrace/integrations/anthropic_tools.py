"""
Follow the tools that Anthropic's SDK calls itself: functions decorated with ``@beta_tool``.

The SDK's runner hands the model an error text where a tool raises; here the exception is seen as it leaves
the tool. Invariant: a traced function inside is that same call. A tool of another kind (memory, bash, a
class of the program's own) is seen in the model's blocks alone.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

from agenttrace.capture.context import SWITCH
from agenttrace.capture.outer_calls import OuterCall
from agenttrace.integrations.patching import Library, Patch

__all__ = ["tool_library"]


def _build_call(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def call_tool(self: Any, input: Any) -> Any:
        if not SWITCH:
            return call(self, input)
        with _outer_call(self, input) as outer:
            result = call(self, input)
            outer.set_result(result)
            return result

    return call_tool


def _build_async_call(call: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(call)
    async def call_tool(self: Any, input: Any) -> Any:
        if not SWITCH:
            return await call(self, input)
        with _outer_call(self, input) as outer:
            result = await call(self, input)
            outer.set_result(result)
            return result

    return call_tool


def _outer_call(tool: Any, arguments: Any) -> OuterCall:
    return OuterCall(str(getattr(tool, "name", "")), arguments, function=getattr(tool, "func", None))


def _describe(module: ModuleType) -> Iterator[Patch]:
    yield Patch(module.BetaFunctionTool, "call", _build_call)
    yield Patch(module.BetaAsyncFunctionTool, "call", _build_async_call)


def tool_library() -> Library:
    """Make the library that patches the SDK's own tools; in a version without any it finds nothing."""
    return Library("anthropic", {"anthropic.lib.tools._beta_functions": _describe})
