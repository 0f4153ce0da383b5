"""
The function inside a framework's tool object, and how to put a traced one in its place.

Known are LangChain's ``BaseTool``, ``FunctionTool`` of the OpenAI Agents SDK, the ``Tool`` of MCP
servers and that of pydantic-ai, and what Anthropic's ``@beta_tool`` makes: by the names of their
classes, because no framework is imported here. Invariants: the object stays the one that it was, and
so do its name, schema and settings; where a library has changed so that the function is not found, the
tool is left as it is, which is counted and said.
"""

from __future__ import annotations

import inspect
import json
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from agenttrace.capture.arguments import ArgumentPlan
from agenttrace.errors import count_loss

__all__ = [
    "ReadPlan",
    "Reading",
    "describe_tool_object",
    "is_tool_object",
    "parse_arguments",
    "trace_tool_object",
]


class _Kind(NamedTuple):
    """A class of tool objects."""

    package: str
    class_name: str
    replace: Callable[[Any, Callable[..., Any]], bool]
    """Puts traced functions in place; False where there is none to be found."""


_RUN_PARAMETERS = ("run_manager", "config", "callbacks")
"""What LangChain hands to a method that asks for it; nothing the model sent."""


class Reading(NamedTuple):
    """How the model's arguments are read from a call that is not made with them alone."""

    signature: inspect.Signature
    """Of the arguments alone."""
    read: Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]
    """Gives them by name, from what the function is called with."""


class ReadPlan(ArgumentPlan):
    """An ``ArgumentPlan`` behind a `Reading`; its calls go the general way."""

    __slots__ = ("_plan", "_reading")

    def __init__(self, plan: ArgumentPlan, reading: Reading) -> None:
        """Read the arguments with *reading*, and keep of them what *plan* keeps."""
        self._plan = plan
        self._reading = reading

    @property
    def keeps_all(self) -> bool:
        """False, whatever is kept: a call's own arguments are others."""
        return False

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any], limit_bytes: int) -> bytes:
        """Give the arguments as JSON bytes."""
        return self._plan.encode((), self._reading.read(args, kwargs), limit_bytes)


def parse_arguments(text: Any) -> dict[str, Any]:
    """Give the JSON object in *text*; {} for no text, and ``{"input": text}`` for anything else."""
    try:
        found = json.loads(text) if text else {}
    except (ValueError, TypeError, RecursionError):
        found = text
    return found if type(found) is dict else {"input": text}


def _read_json(tool: Any) -> Reading:
    """Read a call of ``(context, arguments as JSON text)``, as the Agents SDK makes it."""
    schema = getattr(tool, "params_json_schema", None)
    names = schema.get("properties", ()) if isinstance(schema, dict) else ()

    def read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return parse_arguments(args[1] if len(args) > 1 else kwargs.get("input"))

    return Reading(_signature_of(names), read)


def _read_run(method: Any) -> Reading:
    """Read a call of LangChain's ``_run`` or ``_arun``."""
    parameters = [
        one for one in inspect.signature(method).parameters.values() if one.name not in _RUN_PARAMETERS
    ]
    names = [one.name for one in parameters if one.kind is not one.VAR_KEYWORD]

    def read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        sent = {name: value for name, value in kwargs.items() if name not in _RUN_PARAMETERS}
        return {**dict(zip(names, args, strict=False)), **sent}

    return Reading(_signature_of(names), read)


def _signature_of(names: Iterable[str]) -> inspect.Signature:
    kind = inspect.Parameter
    known = [kind(name, kind.KEYWORD_ONLY, default=None) for name in names if str(name).isidentifier()]
    return inspect.Signature([*known, kind("arguments", kind.VAR_KEYWORD)])


def _replace_attribute(tool: Any, name: str, trace: Callable[..., Any]) -> bool:
    function = getattr(tool, name, None)
    if not callable(function):
        return False
    setattr(tool, name, trace(function))
    return True


def _replace_in_langchain(tool: Any, trace: Callable[..., Any]) -> bool:
    found = [_replace_attribute(tool, name, trace) for name in ("func", "coroutine")]
    if any(found):
        return True
    for name in ("_run", "_arun"):
        method = getattr(tool, name, None)
        if callable(method) and getattr(type(tool), name, None) is not _inherited(tool, name):
            # Into its own dict, past the model's __setattr__, which knows fields only.
            vars(tool)[name] = trace(method, tool.name, _read_run(method))
            found.append(True)
    return any(found)


def _inherited(tool: Any, name: str) -> Any:
    """Give what the library's own ``BaseTool`` has under *name*."""
    for base in type(tool).__mro__:
        if base.__name__ == "BaseTool" and base.__module__.partition(".")[0] == "langchain_core":
            return getattr(base, name, None)
    return None


def _replace_in_agents(tool: Any, trace: Callable[..., Any]) -> bool:
    invoker = getattr(tool, "on_invoke_tool", None)
    if not callable(invoker):
        return False
    inner = getattr(invoker, "_invoke_tool_impl", None)
    cell = _cell_of(inner, "the_func")
    if cell is not None:
        # Where ``function_tool`` keeps it; the invoker calls what stands there.
        cell.cell_contents = trace(cell.cell_contents)
        return True
    holder, name = (tool, "on_invoke_tool") if inner is None else (invoker, "_invoke_tool_impl")
    setattr(holder, name, trace(getattr(holder, name), tool.name, _read_json(tool)))
    return True


def _cell_of(function: Any, name: str) -> Any:
    """Give the closure cell that *function* reads *name* from, if a callable stands in it; else None."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    cells = getattr(function, "__closure__", None) or ()
    cell = dict(zip(names, cells, strict=False)).get(name)
    try:
        return cell if cell is not None and callable(cell.cell_contents) else None
    except ValueError:  # empty
        return None


def _replace_in_mcp(tool: Any, trace: Callable[..., Any]) -> bool:
    return _replace_attribute(tool, "fn", trace)


def _replace_in_pydantic_ai(tool: Any, trace: Callable[..., Any]) -> bool:
    schema: Any = getattr(tool, "function_schema", None)
    if not callable(getattr(schema, "function", None)):
        return False
    schema.function = trace(schema.function)
    if hasattr(tool, "function"):
        tool.function = schema.function
    return True


def _replace_in_anthropic(tool: Any, trace: Callable[..., Any]) -> bool:
    if not callable(getattr(tool, "func", None)) or not hasattr(tool, "_func_with_validate"):
        return False
    # Its own library has imported pydantic, whose checks stand around the function.
    validate_call = sys.modules["pydantic"].validate_call
    traced = trace(tool.func)
    tool._func_with_validate, tool.func = validate_call(traced), traced
    return True


_KINDS = (
    _Kind("langchain_core", "BaseTool", _replace_in_langchain),
    _Kind("agents", "FunctionTool", _replace_in_agents),
    _Kind("mcp", "Tool", _replace_in_mcp),
    _Kind("pydantic_ai", "Tool", _replace_in_pydantic_ai),
    _Kind("anthropic", "BaseFunctionTool", _replace_in_anthropic),
)


def _kind_of(target: Any) -> _Kind | None:
    for base in type(target).__mro__:
        package = str(getattr(base, "__module__", "")).partition(".")[0]
        for kind in _KINDS:
            if base.__name__ == kind.class_name and package == kind.package:
                return kind
    return None


def is_tool_object(target: Any) -> bool:
    """Tell whether *target* is a tool object of a framework that is known here."""
    return _kind_of(target) is not None


def trace_tool_object(tool: Any, trace: Callable[..., Any]) -> Any:
    """
    Put a traced function in the place of the one inside *tool*.

    Args:
        tool: An object for which `is_tool_object` holds.
        trace: Makes the traced function from the plain one, and leaves a traced one alone; takes a name
            too, and a `Reading`, where the function's own name and parameters say nothing.

    Returns:
        *tool* itself.
    """
    kind = _kind_of(tool)
    try:
        is_found = kind is not None and kind.replace(tool, trace)
    except Exception as exc:  # a frozen object, or a library that has changed
        _say_unknown(tool, f"{type(exc).__name__}: {exc}")
    else:
        if not is_found:
            _say_unknown(tool, "the function inside it was not found")
    return tool


def _say_unknown(tool: Any, reason: str) -> None:
    count_loss("capture.tool_object")
    logging.getLogger("agenttrace").warning(
        "traced_tool leaves %s as it is (%.200s); put it directly above `def`, below the decorator "
        "that makes the object",
        describe_tool_object(tool),
        reason,
    )


def describe_tool_object(target: Any) -> str:
    """Name the class of *target* with its module."""
    kind = type(target)
    return f"{kind.__module__}.{kind.__qualname__}"
