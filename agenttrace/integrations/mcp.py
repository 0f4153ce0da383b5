"""
Follow the MCP SDK: what clients call, what servers run, and the scope between the two.

A client's call sends its scope in ``_meta`` (``traceparent`` and our ids); a server that is traced
too goes on in it, so that what its tools do lies under the client's call, and gives back which
failure it has written, so that one failure stays one. Invariants: results reach the program as the
server sent them; a server gets no ids while tracing is off.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import Any
from weakref import WeakSet

from agenttrace.capture.agents import agent_scope
from agenttrace.capture.context import CURRENT, SWITCH, Operation
from agenttrace.capture.decorator import traced_form_of
from agenttrace.capture.outer_calls import OuterCall
from agenttrace.capture.propagation import extract, inject
from agenttrace.errors import contained
from agenttrace.integrations.patching import Library, Patch

__all__ = ["install", "uninstall"]

_FAILURE = "agenttrace/failure"
"""In ``_meta`` of a result: the failure that the server has written, ``error_id type``."""

_FRONTS: WeakSet[Any] = WeakSet()
"""Low-level servers whose tools are an ``MCPServer``'s, which is followed itself."""


# ------------------------------------------------------------------ the client


def _build_client_call(call_tool: Callable[..., Any]) -> Callable[..., Any]:
    takes_meta = "meta" in inspect.signature(call_tool).parameters

    @functools.wraps(call_tool)
    async def call_traced(self: Any, name: Any, arguments: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH:
            return await call_tool(self, name, arguments, *args, **kwargs)
        with OuterCall(str(name), arguments or {}) as call:
            if takes_meta:
                with contained("integrations.mcp.inject"):
                    # What the program says itself stands; ours only tells of the call around it.
                    kwargs["meta"] = {**inject(), **(kwargs.get("meta") or {})}
            result = await call_tool(self, name, arguments, *args, **kwargs)
            with contained("integrations.mcp.result"):
                _take_failure(result, call)
                _set_result(call, result)
            return result

    return call_traced


def _take_failure(result: Any, call: OuterCall) -> None:
    """Take what our server wrote into the result out again."""
    meta = getattr(result, "meta", None)
    if isinstance(meta, dict) and _FAILURE in meta:
        error_id, _, error_type = str(meta.pop(_FAILURE)).partition(" ")
        call.take_failure(error_id[:64], error_type[:200])
        if not meta:
            result.meta = None
            result.__pydantic_fields_set__.discard("meta")


def _set_result(call: OuterCall, result: Any) -> None:
    if _is_failed(result):
        call.set_result(result, is_error=True, detector="isError", failure=_text_of(result))
    else:
        call.set_result(result)


def _is_failed(result: Any) -> bool:
    if isinstance(result, Mapping):
        return bool(result.get("isError") or result.get("is_error"))
    return bool(getattr(result, "is_error", False) or getattr(result, "isError", False))


def _text_of(result: Any) -> str | None:
    """Give the text that the model gets to read."""
    content = result.get("content") if isinstance(result, Mapping) else getattr(result, "content", None)
    parts = [
        part.get("text") if isinstance(part, Mapping) else getattr(part, "text", None)
        for part in (content if isinstance(content, list) else [])[:64]
    ]
    return "\n".join(part for part in parts if isinstance(part, str)) or None


# ------------------------------------------------------------------ the server


def _unwrap(exc: BaseException) -> BaseException:
    """Give what the tool raised, for the error that the server makes of it."""
    cause = exc.__cause__
    if type(exc).__name__ in ("ToolError", "UnexpectedToolError") and isinstance(cause, Exception):
        return _unwrap(cause) if type(cause).__name__ != "ValidationError" else exc
    return exc


def _build_server_call(call_tool: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call_tool)
    async def call_traced(self: Any, name: Any, arguments: Any, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH:
            return await call_tool(self, name, arguments, *args, **kwargs)
        function = None
        with contained("integrations.mcp.tool"):
            tool = self._tool_manager.get_tool(name)
            if tool is not None:
                # A decorator above ``@server.tool()`` got the function back that the server has already.
                tool.fn = function = traced_form_of(tool.fn) or tool.fn
        with _ServerCall(str(name), arguments, function) as call:
            result = await call_tool(self, name, arguments, *args, **kwargs)
            _set_result(call, result)
            return result

    return call_traced


class _ServerCall(OuterCall):
    """A call as a server runs it; tells the middleware which failure it ended with."""

    def __init__(self, name: str, arguments: Any, function: Any = None) -> None:
        super().__init__(name, arguments, function=function, unwrap=_unwrap)

    def __exit__(self, *exc_info: Any) -> None:
        super().__exit__(*exc_info)
        request = CURRENT.get()
        if self.error_id is not None and request is not None and "mcp_request" in request.__dict__:
            request.__dict__["mcp_request"] = f"{self.error_id} {self.error_type or ''}".strip()


def _build_front_init(init: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(init)
    def init_traced(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        with contained("integrations.mcp.server"):
            _FRONTS.update(value for value in vars(self).values() if hasattr(value, "get_request_handler"))

    return init_traced


def _build_server_init(init: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(init)
    def init_traced(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        with contained("integrations.mcp.server"):
            self.middleware.append(_Middleware(self))

    return init_traced


class _Middleware:
    """Goes on in the client's scope, and records the calls of a low-level server."""

    def __init__(self, server: Any) -> None:
        self._is_front = functools.partial(_FRONTS.__contains__, server)
        self._name = str(getattr(server, "name", "") or "mcp")

    async def __call__(self, ctx: Any, call_next: Callable[[Any], Any]) -> Any:
        if not SWITCH or not _LIBRARY.is_installed or getattr(ctx, "method", None) != "tools/call":
            return await call_next(ctx)
        meta, params = getattr(ctx, "meta", None), getattr(ctx, "params", None)
        meta = meta if isinstance(meta, Mapping) else {}
        with _standing_in(meta, self._name) as request:
            if self._is_front() or not isinstance(params, Mapping):
                result = await call_next(ctx)
            else:
                with _ServerCall(str(params.get("name")), params.get("arguments") or {}) as call:
                    result = await call_next(ctx)
                    _set_result(call, result)
            with contained("integrations.mcp.failure"):
                return _with_failure(result, request)
        return result


@contextmanager
def _standing_in(meta: Mapping[str, Any], server_name: str) -> Iterator[Operation | None]:
    """Stand in the scope that *meta* carries; gives the operation that stands for it, or None."""
    scope: AbstractContextManager[Any] = nullcontext()
    carrier = {key: meta[key] for key in ("traceparent", "agenttrace") if isinstance(meta.get(key), str)}
    if "agenttrace" in carrier:
        scope = extract(carrier)
    elif "traceparent" in carrier and CURRENT.get() is None:
        trace_id = carrier["traceparent"].split("-")[1:2]
        scope = agent_scope(server_name, conversation_id=trace_id[0]) if trace_id else scope
    before = CURRENT.get()
    with scope:
        request = CURRENT.get()
        if request is before or "agenttrace" not in carrier or request is None:
            yield None
        else:
            request.__dict__["mcp_request"] = None
            yield request


def _with_failure(result: Any, request: Any) -> Any:
    failure = None if request is None else request.__dict__.get("mcp_request")
    if failure is not None and isinstance(result, dict):
        return {**result, "_meta": {**(result.get("_meta") or {}), _FAILURE: failure}}
    return result


# ------------------------------------------------------------------ the library


class _Mcp(Library):
    is_installed = False

    def install(self) -> None:
        """Patch what is imported, and what will be."""
        self.is_installed = True
        super().install()

    def uninstall(self) -> None:
        """Put back what stood there; middleware that servers have goes on as if it were not there."""
        self.is_installed = False
        super().uninstall()


def _describe_client(module: ModuleType) -> Iterable[Patch]:
    yield Patch(module.ClientSession, "call_tool", _build_client_call)


def _describe_front(module: ModuleType) -> Iterable[Patch]:
    yield Patch(module.MCPServer, "call_tool", _build_server_call)
    yield Patch(module.MCPServer, "__init__", _build_front_init)


def _describe_server(module: ModuleType) -> Iterable[Patch]:
    yield Patch(module.Server, "__init__", _build_server_init)


_LIBRARY = _Mcp(
    "mcp",
    {
        "mcp.client.session": _describe_client,
        "mcp.server.lowlevel.server": _describe_server,
        "mcp.server.mcpserver.server": _describe_front,
    },
)

install = _LIBRARY.install
uninstall = _LIBRARY.uninstall
