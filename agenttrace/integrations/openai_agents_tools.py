"""
The tools of the OpenAI Agents SDK: one call each, around what the SDK makes of a failure.

Function tools, and those that the SDK runs itself: shell, patch, computer and custom tools. The SDK
turns most of what a tool raises into a text for the model; the call keeps the exception itself.
Invariants: the tool gets what the SDK gives it, and the SDK what the tool gives; a traced function
inside is this same call.
"""

from __future__ import annotations

import copy
import functools
import sys
import time
from collections.abc import Callable
from typing import Any

from agenttrace.capture.context import PIPE, SWITCH
from agenttrace.capture.decorator import tracer_of
from agenttrace.capture.outer_calls import OuterCall, innermost_call
from agenttrace.capture.tool_objects import parse_arguments
from agenttrace.errors import ReplayError, contained
from agenttrace.integrations.openai_agents_messages import build_plain
from agenttrace.integrations.openai_agents_runs import run_here

__all__ = ["NATIVE_ACTIONS", "build_explain_failure", "build_invoke", "build_log_failure", "build_native"]

NATIVE_ACTIONS = ("ComputerAction", "LocalShellAction", "ShellAction", "CustomToolAction", "ApplyPatchAction")
"""The classes that run the tools which are no functions."""

_TOOL_FIELDS = ("custom_tool", "shell_tool", "apply_patch_tool", "computer_tool", "local_shell_tool")
_NO_ARGUMENTS = ("type", "id", "call_id", "status", "name", "caller")


def build_invoke(invoke: Callable[..., Any]) -> Callable[..., Any]:
    """Make a call of ``_invoke_function_tool_with_metadata``, which has the tool run."""

    @functools.wraps(invoke)
    async def invoke_in_call(*args: Any, **kwargs: Any) -> Any:
        call = _open(kwargs) if SWITCH else None
        if call is None:
            return await invoke(*args, **kwargs)
        started_s = time.monotonic()
        with call:
            if PIPE.substitute is not None:
                kwargs["function_tool"] = _standing_for(kwargs["function_tool"], call)
            result = await invoke(*args, **kwargs)
            with contained("integrations.openai_agents.result"):
                _set_result(call, kwargs["function_tool"], result, time.monotonic() - started_s)
            return result

    return invoke_in_call


def _open(given: dict[str, Any]) -> OuterCall | None:
    with contained("integrations.openai_agents.tool_call"):
        tool, context = given["function_tool"], given["context"]
        call_id = str(context.tool_call_id)
        run = run_here()
        if run is not None:
            run.take(call_id)
        return OuterCall(
            str(tool.name),
            parse_arguments(given["arguments"]),
            call_id=call_id,
            function=_traced_function_of(tool),
            parent=None if run is None else run.standing,
        )
    return None


def _standing_for(tool: Any, call: OuterCall) -> Any:
    """Give *tool* itself, or in a replay what gives the recorded result in its place."""
    outcome = call.ask()
    if outcome is None:
        return tool

    async def give(*_: Any) -> Any:
        if outcome.exception is not None:
            if outcome.output is None or not isinstance(outcome.exception, Exception):
                raise outcome.exception
            call.fail_inside(outcome.exception)  # the SDK, or the program, had made the output of it
        return outcome.output

    made = copy.copy(tool)
    made.on_invoke_tool = give
    return made


def _set_result(call: OuterCall, tool: Any, result: Any, took_s: float) -> None:
    output, limit_s = result.output, getattr(tool, "timeout_seconds", None)
    if limit_s is not None and took_s >= limit_s:
        make = getattr(sys.modules.get("agents"), "ToolTimeoutError", None)
        call.fail_inside(make(tool.name, limit_s) if make else TimeoutError(f"{tool.name}: {limit_s:g} s"))
    call.set_result(output)


def _traced_function_of(tool: Any) -> Any:
    """Give the traced function inside *tool*; None where what it calls is not traced."""
    invoker = tool.on_invoke_tool
    inner = getattr(invoker, "_invoke_tool_impl", None)
    names = getattr(getattr(inner, "__code__", None), "co_freevars", ())
    cells = dict(zip(names, getattr(inner, "__closure__", None) or (), strict=False))
    candidates = [inner, invoker]
    if "the_func" in cells:  # where ``function_tool`` keeps it
        candidates.insert(0, cells["the_func"].cell_contents)
    return next((one for one in candidates if one is not None and tracer_of(one) is not None), None)


def build_explain_failure(explain: Callable[..., Any]) -> Callable[..., Any]:
    """See the exception that ``maybe_invoke_function_tool_failure_error_function`` makes a text of."""

    @functools.wraps(explain)
    async def explain_seen(*args: Any, **kwargs: Any) -> Any:
        call = innermost_call() if SWITCH else None
        if call is not None and isinstance(kwargs.get("error"), Exception):
            call.fail_inside(kwargs["error"])
        return await explain(*args, **kwargs)

    return explain_seen


# ------------------------------------------------------------------ tools that are no functions


def build_native(execute: Any) -> Any:
    """Make a call of ``execute`` of one of the `NATIVE_ACTIONS`."""
    function = execute.__func__

    @functools.wraps(function)
    async def execute_in_call(cls: Any, *args: Any, **kwargs: Any) -> Any:
        call = _open_native(kwargs.get("call") or kwargs.get("action")) if SWITCH else None
        if call is None:
            return await function(cls, *args, **kwargs)
        with call:
            if PIPE.substitute is not None:
                _refuse_native(call)
            item = await function(cls, *args, **kwargs)
            with contained("integrations.openai_agents.result"):
                call.set_result(getattr(item, "output", None))
            return item

    return classmethod(execute_in_call)


def _open_native(asked: Any) -> OuterCall | None:
    if asked is None:
        return None
    with contained("integrations.openai_agents.tool_call"):
        item = build_plain(asked.tool_call)
        tool = next(getattr(asked, name) for name in _TOOL_FIELDS if hasattr(asked, name))
        arguments = {name: value for name, value in item.items() if name not in _NO_ARGUMENTS}
        call_id = str(item.get("call_id") or item.get("id"))
        run = run_here()
        if run is not None:
            run.take(call_id)
        parent = None if run is None else run.standing
        return OuterCall(str(tool.name), arguments, call_id=call_id, parent=parent)
    return None


def _refuse_native(call: OuterCall) -> None:
    """Let such a tool run only where a replay has nothing of it: its result is an object of the SDK's."""
    if call.ask() is not None:
        raise ReplayError(
            f"{call.name} is a tool that the OpenAI Agents SDK runs itself; its calls cannot be given again"
        )


def build_log_failure(log: Callable[..., Any]) -> Callable[..., Any]:
    """See the exception that such a tool's failure is made a text of, where the SDK logs it."""

    @functools.wraps(log)
    def log_seen(message: Any, exc: Any, *args: Any, **kwargs: Any) -> Any:
        call = innermost_call() if SWITCH else None
        if call is not None and isinstance(exc, Exception):
            call.fail_inside(exc)
        return log(message, exc, *args, **kwargs)

    return log_seen
