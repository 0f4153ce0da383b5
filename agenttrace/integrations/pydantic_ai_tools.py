"""
The tool calls of pydantic-ai: one each, from the check of name and arguments to what the model is told.

A call is checked first and run later, in a task of its own; a call that is refused runs nothing.
Invariants: results and exceptions are the library's; the failure of a call is what the tool raised or
why it was refused, not the message that the library makes of it; a traced function inside is this
same call.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from agenttrace.capture.context import PIPE, SWITCH
from agenttrace.capture.decorator import traced_form_of
from agenttrace.capture.outer_calls import OuterCall
from agenttrace.capture.substitution import Outcome
from agenttrace.capture.tool_objects import parse_arguments
from agenttrace.errors import contained
from agenttrace.integrations.callers import lend_caller

__all__ = ["build_execute", "build_refuse", "build_validate"]

_REFUSED = "_agenttrace_refused"
"""On a checked call: why it was refused."""

_TOOLSETS_LIMIT_COUNT = 32

_MESSAGES = ("ToolRetryError", "ToolFailedError", "UnexpectedModelBehavior")
"""Exceptions that the library makes of another, which says what happened."""


def _open(call: Any, tool: Any) -> OuterCall:
    arguments = call.args if isinstance(call.args, dict) else parse_arguments(call.args)
    outer = OuterCall(
        str(call.tool_name), arguments, call_id=str(call.tool_call_id), function=_function_of(tool)
    )
    return outer.__enter__()


def _function_of(tool: Any) -> Any:
    """Give the function that a tool of any toolset calls; None where that is not known."""
    for _ in range(_TOOLSETS_LIMIT_COUNT):
        source = getattr(tool, "source_tool", None)  # in a toolset made of others
        if source is None:
            break
        tool = source
    schema: Any = getattr(getattr(tool, "call_func", None), "__self__", None)
    function = getattr(schema, "function", None)
    # A decorator above ``@agent.tool`` got the function back that the agent has already.
    traced = None if function is None else traced_form_of(function)
    if traced is not None:
        schema.function = traced
    return traced or function


def _close(outer: OuterCall, exc: BaseException | None) -> None:
    """End a call that *exc* leaves; what is made of a failure further up is a failure of its own."""
    if exc is not None and type(exc).__name__ in _MESSAGES and isinstance(exc.__cause__, Exception):
        outer.fail_inside(exc.__cause__)
        exc = None
    outer.__exit__(None if exc is None else type(exc), exc, None)


def build_refuse(refuse: Callable[..., Any]) -> Callable[..., Any]:
    """Keep why ``_make_validation_failure`` refuses a call; what it gives has only the message."""

    @functools.wraps(refuse)
    def refuse_seen(self: Any, *args: Any, **kwargs: Any) -> Any:
        validated = refuse(self, *args, **kwargs)
        if SWITCH:
            with contained("integrations.pydantic_ai.refusal"):
                error = kwargs["error"] if "error" in kwargs else args[-1]
                cause = error.__cause__ if type(error).__name__ in _MESSAGES else None
                vars(validated)[_REFUSED] = cause or error
        return validated

    return refuse_seen


def build_validate(validate: Callable[..., Any], *, records_refusal: bool) -> Callable[..., Any]:
    """
    Record the calls that end as they are checked.

    Args:
        validate: ``validate_tool_call``, or the same for the tools that give an agent's output.
        records_refusal: A refused call is not handed on to ``execute``.
    """

    @functools.wraps(validate)
    async def validate_seen(self: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
        is_told = SWITCH and kwargs.get("wrap_validation_errors", True) and not kwargs.get("allow_partial")
        if not is_told:
            return await validate(self, call, *args, **kwargs)
        try:
            validated = await validate(self, call, *args, **kwargs)
        except Exception as exc:
            with contained("integrations.pydantic_ai.validate"):
                outer = _open(call, None)
                lend_caller()
                _close(outer, exc)
            raise
        if records_refusal and not validated.args_valid:
            with contained("integrations.pydantic_ai.validate"):
                outer = _open(call, validated.tool)
                _tell_refusal(outer, validated)
                outer.__exit__(None, None, None)
        return validated

    return validate_seen


def _tell_refusal(outer: OuterCall, validated: Any) -> None:
    why = vars(validated).get(_REFUSED)
    lend_caller()
    if isinstance(why, Exception):
        outer.fail_inside(why)
        return
    error = validated.validation_error
    part = getattr(error, "tool_retry", None) or getattr(error, "tool_failed", None)
    outer.set_result(getattr(part, "content", str(error)), is_error=True, detector="refused")


class _Recorded:
    """In the place of the toolset of one call: gives or raises what was recorded."""

    def __init__(self, toolset: Any, outcome: Outcome) -> None:
        self._toolset = toolset
        self._outcome = outcome

    async def call_tool(self, *_: Any, **__: Any) -> Any:
        if self._outcome.exception is not None:
            raise self._outcome.exception
        return self._outcome.output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._toolset, name)


def _standing_for(manager: Any, outer: OuterCall) -> Any:
    """Give *manager* itself, or in a replay one like it whose toolset gives the recorded result."""
    outcome = outer.ask()
    if outcome is None:
        return manager
    made = copy.copy(manager)  # it counts in the same sets
    made.toolset = _Recorded(manager.toolset, outcome)
    return made


def build_execute(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Make a call of ``execute_tool_call``, and of the same for the tools that give an agent's output."""

    @functools.wraps(execute)
    async def execute_in_call(self: Any, validated: Any, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH or not kwargs.get("wrap_validation_errors", True):
            return await execute(self, validated, *args, **kwargs)
        outer = None
        with contained("integrations.pydantic_ai.tool_call"):
            outer = _open(validated.call, validated.tool)
            if not validated.args_valid:
                _tell_refusal(outer, validated)
        if outer is None:
            return await execute(self, validated, *args, **kwargs)
        try:
            if PIPE.substitute is not None and validated.args_valid:
                self = _standing_for(self, outer)
            result = await execute(self, validated, *args, **kwargs)
        except BaseException as exc:
            with contained("integrations.pydantic_ai.tool_result"):
                _close(outer, exc)
            raise
        with contained("integrations.pydantic_ai.tool_result"):
            outer.set_result(result.return_value if type(result).__name__ == "ToolReturn" else result)
            _close(outer, None)
        return result

    return execute_in_call
