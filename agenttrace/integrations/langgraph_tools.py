"""
LangChain's tools: each run of one as one call, also where a ``ToolNode`` runs it.

Invariants: what a tool gives or raises reaches the caller unchanged; a ``ToolNode`` and the tool that
it runs are one call, and so is a ``@traced_tool`` inside; an exception that a tool or a ``ToolNode``
makes a message of is the call's failure, with its own type and line. In a graph the call is the
agent's that asked for it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, Self

from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Operation, real_of
from agenttrace.capture.outer_calls import OuterCall, innermost_call
from agenttrace.capture.substitution import Outcome
from agenttrace.errors import contained
from agenttrace.integrations.langgraph_asked import agent_run_around, find_asker, stand_for
from agenttrace.integrations.langgraph_messages import describe_output, is_message
from agenttrace.integrations.patching import Patch, note_problem
from agenttrace.integrations.sdk_exchange import find_caller

__all__ = ["describe_tool_node", "describe_tools"]

_FUNCTIONS = (("func", "_run"), ("coroutine", "_arun"))


# ------------------------------------------------------------------ what is called, what came


def _function_of(tool: Any, is_async: bool) -> Any:
    """Give the function inside *tool* that will run; None where it has none of its own."""
    for names in reversed(_FUNCTIONS) if is_async else _FUNCTIONS:
        for name in names:
            function = vars(tool).get(name) if hasattr(tool, "__dict__") else None
            if callable(function):
                return function
    return None


def _arguments_of(tool: Any, given: Any) -> Any:
    """Give what the model sent, without what LangChain puts beside it (state, store, runtime)."""
    if not isinstance(given, Mapping):
        return {"input": given}
    try:
        kept: dict[str, Any] = tool._filter_injected_args(dict(given))
    except Exception:  # a private method, and the user's own schema: then by the names that the model is told
        names = tool.args
        kept = {name: value for name, value in given.items() if name in names}
    return kept


def _parent_of(call_id: Any) -> Operation | None:
    """Give what stands for the run whose call it is, where that is not the node that runs it."""
    here = real_of(CURRENT.get())
    run = agent_run_around(here)
    if run is None or run is not here or "node" not in run.__dict__:
        return None
    asker = find_asker(here, call_id)
    return None if asker is None or asker.agent is run.agent else stand_for(asker, here)


def _set_result(call: OuterCall, result: Any, call_id: Any) -> None:
    message = _message_in(result, call_id)
    value = describe_output(result) if message is None else getattr(message, "content", None)
    if message is not None and getattr(message, "status", None) == "error":
        call.set_result(value, is_error=True, detector="status")
    else:
        call.set_result(value)


def _message_in(result: Any, call_id: Any) -> Any:
    """Give the ``ToolMessage`` that a result is, or one in a list or ``Command`` that tells of failure."""
    if is_message(result):
        return result
    for one in result if isinstance(result, list) else [result]:
        update = getattr(one, "update", None)
        messages = update.get("messages") if isinstance(update, Mapping) else [one]
        for message in messages if isinstance(messages, list) else ():
            if (
                getattr(message, "tool_call_id", None) == call_id
                and getattr(message, "status", "") == "error"
            ):
                return message
    return None


# ------------------------------------------------------------------ a tool


def _open_run(tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any], is_async: bool) -> OuterCall:
    """Give the call that a run of *tool* is: that of the ``ToolNode`` around it, or a new one."""
    around = innermost_call()
    if isinstance(around, _NodeCall) and around.take(tool):
        return _Inside(around)
    call_id = kwargs.get("tool_call_id")
    return _Call(
        str(tool.name),
        _arguments_of(tool, args[0] if args else kwargs.get("tool_input")),
        call_id=call_id if isinstance(call_id, str) else None,
        function=_function_of(tool, is_async),
        parent=_parent_of(call_id),
    )


class _Call(OuterCall):
    """A call that knows which line of the program it goes back to."""

    def __enter__(self) -> Self:
        super().__enter__()
        operation = self.operation
        if operation is not None and "called_from" not in operation.__dict__:
            with contained("integrations.langgraph.caller"):
                # A ToolNode's threads have no line of the program's own; the graph's run has.
                operation.__dict__["called_from"] = find_caller() or _graph_caller(operation)
        return self


def _graph_caller(operation: Operation | None) -> dict[str, Any] | None:
    while operation is not None:
        found: dict[str, Any] | None = operation.__dict__.get("called_from")
        if found is not None:
            return found
        operation = operation.parent
    return None


class _Inside(OuterCall):
    """A run that is its ``ToolNode``'s call: tells it what went wrong, and no more."""

    def __init__(self, around: _NodeCall) -> None:
        super().__init__(around.name, None)
        self._node = around

    def __enter__(self) -> _Inside:
        return self

    def __exit__(self, exc_type: Any, exc: BaseException | None, traceback: Any) -> None:
        if isinstance(exc, Exception):
            self._node.fail_inside(exc)

    def ask(self) -> Outcome | None:
        """Ask for the call that this one is."""
        return self._node.ask()

    def set_result(self, *_: Any, **__: Any) -> None:
        """Say nothing: the ``ToolNode`` does."""


def _build_run(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    def run_traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _begin(_open_run, self, args, kwargs, False)
        if call is None:
            return run(self, *args, **kwargs)
        with call:
            result = run(_standing_for(self, call, kwargs), *args, **kwargs)
            with contained("integrations.langgraph.tool"):
                _set_result(call, result, kwargs.get("tool_call_id"))
            return result

    return run_traced


def _build_async_run(run: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(run)
    async def run_traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _begin(_open_run, self, args, kwargs, True)
        if call is None:
            return await run(self, *args, **kwargs)
        with call:
            result = await run(_standing_for(self, call, kwargs), *args, **kwargs)
            with contained("integrations.langgraph.tool"):
                _set_result(call, result, kwargs.get("tool_call_id"))
            return result

    return run_traced


def _standing_for(tool: Any, call: OuterCall, given: Mapping[str, Any]) -> Any:
    """Give *tool* itself, or in a replay what gives the recorded result in its place."""
    outcome = None if PIPE.substitute is None else call.ask()
    if outcome is None:
        return tool
    from agenttrace.integrations.langgraph_replay import answering_tool  # late: a replay's alone

    return answering_tool(tool, outcome, given.get("tool_call_id"))


def _begin(open_call: Callable[..., OuterCall], *given: Any) -> OuterCall | None:
    """Make the call, not yet entered; None where nothing is recorded."""
    if SWITCH:
        with contained("integrations.langgraph.tool"):
            return open_call(*given)
    return None


def _build_handler(handle: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handle)
    def handle_traced(e: Any, *args: Any, **kwargs: Any) -> Any:
        call = innermost_call() if SWITCH else None
        if call is not None and isinstance(e, Exception):
            call.fail_inside(e)
        return handle(e, *args, **kwargs)

    return handle_traced


def describe_tools(module: ModuleType) -> Iterable[Patch]:
    """List the patches of ``langchain_core.tools.base``."""
    yield Patch(module.BaseTool, "run", _build_run)
    yield Patch(module.BaseTool, "arun", _build_async_run)
    yield Patch(module, "_handle_tool_error", _build_handler)
    yield Patch(module, "_handle_validation_error", _build_handler)


# ------------------------------------------------------------------ ToolNode


class _NodeCall(_Call):
    """A call as a ``ToolNode`` makes it, around its checks and around the tool."""

    _is_run = False

    def take(self, tool: Any) -> bool:
        """Tell, once, that a run of *tool* is this call."""
        if self._is_run or str(getattr(tool, "name", "")) != self.name:
            return False
        self._is_run = True
        return True


def _asked_of(first: Any) -> Any:
    """Give the model's call in what a ``ToolNode`` runs: a request, or before 1.0.1 the call itself."""
    return getattr(first, "tool_call", first)


def _open_node_call(node: Any, first: Any, is_async: bool) -> OuterCall:
    """Make the call that a ``ToolNode`` is about to make."""
    asked = _asked_of(first)
    name, call_id = str(asked["name"]), asked.get("id")
    tool = getattr(first, "tool", None) or node.tools_by_name.get(name)
    return _NodeCall(
        name,
        asked.get("args") or {},
        call_id=call_id if isinstance(call_id, str) else None,
        function=None if tool is None else _function_of(tool, is_async),
        parent=_parent_of(call_id),
    )


def _build_execute(execute: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(execute)
    def execute_traced(self: Any, first: Any, *args: Any, **kwargs: Any) -> Any:
        call = _begin(_open_node_call, self, first, False)
        if call is None:
            return execute(self, first, *args, **kwargs)
        with call:
            result = execute(self, first, *args, **kwargs)
            with contained("integrations.langgraph.tool"):
                _set_result(call, result, _asked_of(first).get("id"))
            return result

    return execute_traced


def _build_async_execute(execute: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(execute)
    async def execute_traced(self: Any, first: Any, *args: Any, **kwargs: Any) -> Any:
        call = _begin(_open_node_call, self, first, True)
        if call is None:
            return await execute(self, first, *args, **kwargs)
        with call:
            result = await execute(self, first, *args, **kwargs)
            with contained("integrations.langgraph.tool"):
                _set_result(call, result, _asked_of(first).get("id"))
            return result

    return execute_traced


def describe_tool_node(module: ModuleType) -> Iterable[Patch]:
    """List the patches of ``langgraph.prebuilt.tool_node``."""
    node = module.ToolNode
    for plain, awaiting in (("_execute_tool_sync", "_execute_tool_async"), ("_run_one", "_arun_one")):
        if hasattr(node, plain):
            yield Patch(node, plain, _build_execute)
            yield Patch(node, awaiting, _build_async_execute)
            return
    note_problem(
        "langgraph", "this ToolNode makes its calls in no way that is known: unknown tools are missed"
    )
