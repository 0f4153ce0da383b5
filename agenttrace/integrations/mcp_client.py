"""
Calls that an MCP client makes.

A call sends its scope in ``_meta``: ``traceparent``, and our ids under ``agenttrace``. Invariants:
what a program sends along itself stands; what comes back reaches it as the server sent it; a server
gets no ids while tracing is off.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from agenttrace.capture.context import CURRENT, PIPE, SWITCH
from agenttrace.capture.outer_calls import OuterCall
from agenttrace.capture.propagation import inject
from agenttrace.capture.substitution import Outcome
from agenttrace.errors import contained
from agenttrace.integrations.mcp_results import name_of, take_failure, tell_result
from agenttrace.integrations.patching import note_problem

__all__ = ["build_client_call", "build_connect", "build_session_call"]


def build_session_call(call_tool: Callable[..., Any]) -> Callable[..., Any]:
    """Follow ``ClientSession.call_tool``: one request."""
    parameters = list(inspect.signature(call_tool).parameters)
    takes_meta = "meta" in parameters
    if not takes_meta:
        note_problem("mcp", "this mcp's ClientSession.call_tool takes no meta: servers go on without scope")
    place = parameters.index("progress_callback") - 3 if "progress_callback" in parameters else None

    @functools.wraps(call_tool)
    async def call_traced(self: Any, name: Any, arguments: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH:
            return await call_tool(self, name, arguments, *args, **kwargs)
        with OuterCall(name_of(name), {} if arguments is None else arguments) as call:
            outcome = call.ask()
            if outcome is not None:
                return _give_recorded(call, outcome)
            with contained("integrations.mcp.request"):
                if takes_meta:
                    kwargs["meta"] = {**inject(), **(kwargs.get("meta") or {})}
                if place is not None:
                    args = _follow_progress(args, kwargs, place, call)
            result = await call_tool(self, name, arguments, *args, **kwargs)
            with contained("integrations.mcp.result"):
                take_failure(result, call)
                tell_result(call, result)
            return result

    return call_traced


def build_client_call(call_tool: Callable[..., Any]) -> Callable[..., Any]:
    """Follow ``Client.call_tool``: one call, of as many requests as the server asks for."""

    @functools.wraps(call_tool)
    async def call_traced(self: Any, name: Any, arguments: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH:
            return await call_tool(self, name, arguments, *args, **kwargs)
        with OuterCall(name_of(name), {} if arguments is None else arguments, joins_often=True) as call:
            outcome = call.ask()
            if outcome is not None:
                return _give_recorded(call, outcome)
            result = await call_tool(self, name, arguments, *args, **kwargs)
            with contained("integrations.mcp.result"):
                tell_result(call, result)
            return result

    return call_traced


def build_connect(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Let a strict replay stand in for the server that ``stdio_client`` and the like connect to."""

    @functools.wraps(connect)
    def connect_or_stand_in(*args: Any, **kwargs: Any) -> Any:
        tools = None if PIPE.substitute is None else PIPE.substitute.tool_names()
        if tools is None:
            return connect(*args, **kwargs)
        from agenttrace.integrations.mcp_replay import stand_in_for_server  # late: a replay's alone

        is_old = find_spec("mcp.server.runner") is None
        return stand_in_for_server(tools, with_session_id=is_old and "http" in connect.__name__)

    return connect_or_stand_in


def _give_recorded(call: OuterCall, outcome: Outcome) -> Any:
    from agenttrace.integrations.mcp_replay import build_result  # late: a replay's alone

    result = build_result(call.name, outcome)
    with contained("integrations.mcp.result"):
        tell_result(call, result)
    return result


def _follow_progress(
    args: tuple[Any, ...], kwargs: dict[str, Any], place: int, call: OuterCall
) -> tuple[Any, ...]:
    """Put ours around the program's callback, in *kwargs* or else at *place* of the given *args*."""
    if kwargs.get("progress_callback") is not None:
        kwargs["progress_callback"] = _within(call, kwargs["progress_callback"])
    elif len(args) > place and args[place] is not None:
        args = (*args[:place], _within(call, args[place]), *args[place + 1 :])
    return args


def _within(call: OuterCall, callback: Callable[..., Any]) -> Callable[..., Any]:
    """Let *callback*, which the SDK runs in a task of its own, stand in *call*, and keep what came last."""
    count = 0

    async def on_progress(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        with contained("integrations.mcp.progress"):
            progress, total, message = (*args, None, None, None)[:3]
            call.add_member(
                "progress", {"count": count, "progress": progress, "total": total, "message": message}
            )
        previous = CURRENT.get()
        CURRENT.set(call.operation or previous)
        try:
            return await callback(*args, **kwargs)
        finally:
            CURRENT.set(previous)

    return on_progress
