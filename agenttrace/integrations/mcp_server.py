"""
Calls that an MCP server runs, of both levels: those of version 2 as its runner handles them, those
of version 1 as its ``Server`` does.

A call whose client is traced lies under the client's, as that agent's; one that only brings W3C's
``traceparent`` is a run of an agent named after the server, in a conversation named after the trace.
Invariants: what a tool raised is the call's failure, whatever the SDK makes of it; answers are
those of the server's code, but for the failure's id that goes back to a client that is traced.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from agenttrace.capture.agents import agent_scope
from agenttrace.capture.context import CURRENT, SWITCH
from agenttrace.capture.decorator import traced_form_of
from agenttrace.capture.outer_calls import OuterCall, innermost_call
from agenttrace.capture.propagation import extract
from agenttrace.errors import contained
from agenttrace.integrations.mcp_results import add_failure, name_of, tell_result

__all__ = ["build_compose", "build_error_result", "build_handle_request", "build_manager_call"]

_NAME_LIMIT = 256
_LOOKED_AT_LIMIT_COUNT = 32


# ------------------------------------------------------------------ one request


class _Request:
    """A client's request to call a tool, for ``with``."""

    def __init__(self, server: Any, handler: Any, name: Any, arguments: Any, meta: Any) -> None:
        self._stack = ExitStack()
        self._server_name = str(getattr(server, "name", "") or "mcp")[:_NAME_LIMIT]
        self._carrier = _carrier_in(meta)
        function = None
        with contained("integrations.mcp.tool"):
            manager = _find_manager(handler)
            function = None if manager is None else _function_of(manager, name)
        given = {} if arguments is None else arguments
        self.call = OuterCall(name_of(name), given, function=function, unwrap=_unwrap)
        self._is_open = False

    def __enter__(self) -> Self:
        with contained("integrations.mcp.scope"):
            self._stand_in_scope()
        self._stack.enter_context(self.call)
        self._is_open = True
        return self

    def _stand_in_scope(self) -> None:
        if not self._carrier or ("agenttrace" not in self._carrier and CURRENT.get() is not None):
            return
        before = CURRENT.get()
        self._stack.enter_context(extract(self._carrier))
        operation = CURRENT.get()
        if operation is not before and operation is not None and operation.agent is None:
            self._stack.enter_context(agent_scope(self._server_name))

    def finish(self, result: Any) -> None:
        """Close the call with what goes to the client."""
        with contained("integrations.mcp.result"):
            tell_result(self.call, result)
        self.__exit__(None, None, None)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_open:
            self._is_open = False
            self._stack.__exit__(exc_type, exc, traceback)

    def meta_of_answer(self, meta: Any) -> dict[str, Any] | None:
        """Give ``_meta`` of the answer with the failure; None where it goes as it is."""
        if "agenttrace" not in self._carrier or not (meta is None or isinstance(meta, Mapping)):
            return None
        return add_failure(meta, self.call)


def _carrier_in(meta: Any) -> dict[str, str]:
    """Give what stands in ``_meta`` of a request that tells of its scope."""
    if not isinstance(meta, Mapping):
        meta = getattr(meta, "__pydantic_extra__", None) or {}  # version 1
    found = {name: meta.get(name) for name in ("traceparent", "agenttrace")}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _find_manager(handler: Any) -> Any:
    """Find the tools that *handler* serves, behind what it is wrapped in; None at the low level."""
    waiting, seen = [handler], 0
    while waiting and seen < _LOOKED_AT_LIMIT_COUNT:
        one = waiting.pop(0)
        seen += 1
        owner = getattr(one, "__self__", None)
        manager = getattr(owner, "_tool_manager", None)
        if any(base.__module__.startswith("mcp.server.") for base in type(manager).__mro__):
            return manager
        waiting += [one.func] if isinstance(one, functools.partial) else []
        for cell in getattr(one, "__closure__", None) or ():
            try:
                if callable(cell.cell_contents):
                    waiting.append(cell.cell_contents)
            except ValueError:  # empty
                continue
    return None


def _function_of(manager: Any, name: Any) -> Any:
    """Give the function of the tool *name*, traced if it was decorated after it was registered."""
    tool = manager.get_tool(name) if isinstance(name, str) else None
    if tool is None:
        return None
    # A decorator above ``@server.tool()`` got the function back that the server has already.
    traced = traced_form_of(tool.fn)
    if traced is not None:
        tool.fn = traced
    return tool.fn


def _unwrap(exc: BaseException) -> BaseException:
    """Give what the tool raised, for the error that the SDK makes of it."""
    cause = exc.__cause__
    is_wrapper = type(exc).__name__ in ("ToolError", "UnexpectedToolError") and isinstance(cause, Exception)
    return cause if is_wrapper and str(exc).startswith("Error executing tool ") else exc  # type: ignore[return-value]


# ------------------------------------------------------------------ version 2


def build_compose(compose: Callable[..., Any]) -> Callable[..., Any]:
    """Follow ``ServerRunner._compose_server_middleware``: its result handles one message."""

    @functools.wraps(compose)
    def compose_traced(self: Any, inner: Any) -> Any:
        handle = compose(self, inner)

        async def handle_traced(ctx: Any) -> Any:
            params = getattr(ctx, "params", None)
            if not SWITCH or getattr(ctx, "method", None) != "tools/call" or not isinstance(params, Mapping):
                return await handle(ctx)
            request = None
            with contained("integrations.mcp.request"):
                handler = getattr(self.server.get_request_handler("tools/call"), "handler", None)
                meta = getattr(ctx, "meta", None)
                request = _Request(self.server, handler, params.get("name"), params.get("arguments"), meta)
            if request is None:
                return await handle(ctx)
            with request:
                result = await handle(ctx)
                request.finish(result)
            with contained("integrations.mcp.failure"):
                if isinstance(result, dict):
                    meta = request.meta_of_answer(result.get("_meta"))
                    return result if meta is None else {**result, "_meta": meta}
            return result

        return handle_traced

    return compose_traced


# ------------------------------------------------------------------ version 1


def build_handle_request(handle: Callable[..., Any]) -> Callable[..., Any]:
    """Follow ``Server._handle_request`` of version 1, which answers by itself."""

    @functools.wraps(handle)
    async def handle_traced(self: Any, message: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH or type(req).__name__ != "CallToolRequest":
            return await handle(self, message, req, *args, **kwargs)
        request = None
        with contained("integrations.mcp.request"):
            params, handler = req.params, self.request_handlers.get(type(req))
            meta = getattr(message, "request_meta", None)
            made = _Request(self, handler, params.name, params.arguments, meta)
            _listen(message, made)
            request = made
        if request is None:
            return await handle(self, message, req, *args, **kwargs)
        with request:
            result = await handle(self, message, req, *args, **kwargs)
            # Not answered: the client has taken the request back, and the SDK told it so.
            request.__exit__(asyncio.CancelledError, asyncio.CancelledError(), None)
            return result

    return handle_traced


def _listen(message: Any, request: _Request) -> None:
    """Have *request* closed with the answer to *message*, before that goes out."""
    respond = message.respond

    async def respond_traced(response: Any) -> Any:
        with contained("integrations.mcp.failure"):
            response = _answer(request, response)
        return await respond(response)

    message.respond = respond_traced


def _answer(request: _Request, response: Any) -> Any:
    """Close the call with *response*; gives it with what goes back to a traced client."""
    result = getattr(response, "root", None)
    if result is None:  # an error of the protocol
        text = str(getattr(response, "message", response))
        request.call.set_result(None, is_error=True, detector="isError", failure=text)
        request.__exit__(None, None, None)
        return response
    request.finish(result)
    meta = request.meta_of_answer(getattr(result, "meta", None))
    if meta is None:
        return response
    return type(response)(result.model_copy(update={"meta": meta}))


def build_error_result(make: Callable[..., Any]) -> Callable[..., Any]:
    """Follow ``Server._make_error_result`` of version 1: there an exception becomes a text."""

    @functools.wraps(make)
    def make_traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        exc, call = sys.exception(), innermost_call()
        if SWITCH and exc is not None and call is not None:
            call.fail_inside(exc)
        return make(self, *args, **kwargs)

    return make_traced


# ------------------------------------------------------------------ the high level, of both


def build_manager_call(call_tool: Callable[..., Any]) -> Callable[..., Any]:
    """Follow ``ToolManager.call_tool``: what leaves it is what the tool raised, not yet a text."""

    @functools.wraps(call_tool)
    async def call_traced(self: Any, name: Any, arguments: Any, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH:
            return await call_tool(self, name, arguments, *args, **kwargs)
        function = None
        with contained("integrations.mcp.tool"):
            function = _function_of(self, name)
        given = {} if arguments is None else arguments
        with OuterCall(name_of(name), given, function=function, unwrap=_unwrap) as call:
            result = await call_tool(self, name, arguments, *args, **kwargs)
            if not call.is_joined:
                with contained("integrations.mcp.result"):
                    tell_result(call, result)
            return result

    return call_traced
