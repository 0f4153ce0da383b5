"""
``traced_tool`` and ``traced_agent``: the decorators, for every shape of callable.

Invariant: while tracing is off, wrapt's C code calls the function directly, and a
method asks the switch at call time, so that a bound method stored earlier is
recorded once tracing is on.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Collection
from typing import Any, TypeVar, overload
from weakref import WeakKeyDictionary

import wrapt

from agenttrace.capture.agents import AgentTracer
from agenttrace.capture.calls import ToolTracer
from agenttrace.capture.context import CURRENT, PIPE, SWITCH
from agenttrace.capture.fastpath import wrap_plain_tool
from agenttrace.capture.shapes import Tracer, Wrapper, build_wrapper
from agenttrace.capture.tool_objects import (
    Reading,
    ReadPlan,
    describe_tool_object,
    is_tool_object,
    trace_tool_object,
)
from agenttrace.errors import contained

__all__ = [
    "METHOD_TRACERS",
    "TracedFunction",
    "traced_agent",
    "traced_form_of",
    "traced_tool",
    "tracer_of",
]

F = TypeVar("F")

METHOD_TRACERS: WeakKeyDictionary[Any, Tracer] = WeakKeyDictionary()
"""The functions that stand in classes for decorated methods, to what traces them."""

_OPTIONS: WeakKeyDictionary[Any, _ToolOptions] = WeakKeyDictionary()
"""Plain functions to how `traced_tool` was put on them."""

_HINT = """{name} takes a callable, and {what} is none. \
Put it directly above `def`, below decorators that turn the function into something else:
    @other_decorator
    @{name}
    def function(...): ..."""


class TracedFunction(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """A callable with tracing around it; in all else it is the wrapped one."""

    def __init__(
        self, wrapped: Any, wrapper: Wrapper, rebuild: Callable[[Any], Any], enabled: Any, tracer: Tracer
    ) -> None:
        super().__init__(wrapped, wrapper, enabled=enabled)
        self._self_tracer = tracer
        self._self_rebuild = rebuild
        self._self_is_function = type(wrapped) is types.FunctionType

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        # A plain function binds to us, not to itself: measured 205 ns against 850 for wrapt's own.
        if self._self_is_function:
            return self if instance is None else types.MethodType(self, instance)
        return super().__get__(instance, owner)

    def __set_name__(self, owner: type, name: str) -> None:
        """
        Leave a real function in the class, where an ordinary method is decorated.

        A function is bound by the interpreter itself, any other object through a call of
        ``__get__``: 90 ns a call against 240, also while tracing is off.
        """
        wrapped = self.__wrapped__
        if not self._self_is_function or wrapped.__code__.co_flags & _LAZY_FLAGS:
            return
        if owner.__dict__.get(name) is self:
            with contained("capture.method"):
                method = _as_method(wrapped, self._self_wrapper, self._self_enabled)
                METHOD_TRACERS[method] = self._self_tracer
                setattr(owner, name, method)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if isinstance(self.__wrapped__, types.FunctionType):
            return str(self.__wrapped__.__qualname__)  # by reference, as functions do
        return (self._self_rebuild, (self.__wrapped__,))

    def __reduce__(self) -> Any:
        return self.__reduce_ex__(2)

    def __copy__(self) -> Any:
        return self if self._self_is_function else self._self_rebuild(self.__wrapped__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        import copy

        if self._self_is_function:
            return self
        return self._self_rebuild(copy.deepcopy(self.__wrapped__, memo))


class _AgentSwitch:
    """The switch, which first lets an undecided program read its settings: an agent opens a scope."""

    def __bool__(self) -> bool:
        if not SWITCH and CURRENT.get() is None:
            with contained("capture.decide"):
                PIPE.decide()
        return bool(SWITCH)


_AGENT_SWITCH = _AgentSwitch()


_LAZY_FLAGS = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
"""Of code whose function must keep saying so; those stay behind the wrapper."""


def _as_method(wrapped: Any, wrapper: Wrapper, switch: Any) -> Any:
    @functools.wraps(wrapped)
    def method(*args: Any, **kwargs: Any) -> Any:
        if switch:
            return wrapper(wrapped, None, args, kwargs)
        return wrapped(*args, **kwargs)

    return method


def _decorate(
    target: Any,
    decorator_name: str,
    make_tracer: Callable[[Any], Tracer],
    rebuild: Callable[[Any], Any],
    enabled: Any,
    plain: Callable[[Any], Wrapper] | None = None,
) -> Any:
    if isinstance(target, (classmethod, staticmethod)):
        return type(target)(_decorate(target.__func__, decorator_name, make_tracer, rebuild, enabled, plain))
    if not callable(target) or isinstance(target, type):
        what = f"class {target.__name__}" if isinstance(target, type) else describe_tool_object(target)
        raise TypeError(_HINT.format(name=decorator_name, what=what))
    tracer = make_tracer(target)
    if plain is not None and not getattr(tracer, "is_plain", False):
        plain = None
    return TracedFunction(target, build_wrapper(target, tracer, plain), rebuild, enabled, tracer)


def tracer_of(function: Any) -> Tracer | None:
    """Give what traces *function*, also a method or a partial; None for one that is not traced."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, wrapt.BoundFunctionWrapper):
        function = function._self_parent
    if type(function) is TracedFunction:
        tracer: Tracer = function._self_tracer
        return tracer
    try:
        return METHOD_TRACERS.get(getattr(function, "__func__", function))
    except TypeError:  # nothing refers to it weakly, and so it is no function
        return None


def traced_form_of(function: Any) -> Any:
    """
    Give *function* traced as `traced_tool` was told to, if it was put on that very function; else None.

    For the decorators that register a function and give it back: one above them sees the plain one.
    """
    options = _OPTIONS.get(function) if type(function) is types.FunctionType else None
    return None if options is None else options(function)


def _name_of(target: Any) -> str:
    inner = target
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__name__", None)
    return name if isinstance(name, str) else type(inner).__name__


@overload
def traced_tool(function: F, /) -> F: ...


@overload
def traced_tool(
    *,
    name: str | None = None,
    capture_arguments: bool | Collection[str] = True,
    capture_result: bool = True,
    redact: Collection[str] = (),
    max_payload_bytes: int | None = None,
    is_error: Callable[[Any], Any] | None = None,
) -> Callable[[F], F]: ...


def traced_tool(function: Any = None, /, **options: Any) -> Any:
    """
    Record every call of a tool: arguments, result, error, duration.

    Use it bare or called. Functions, coroutines, generators, async generators, methods,
    classmethods, staticmethods (either order), partials and callable objects behave exactly as
    undecorated, whether tracing is on or off.

    Args:
        function: The tool.
        name: How the tool is called in the record; the function's name, unless given.
        capture_arguments: False keeps none; a collection of names keeps those.
        capture_result: False keeps no result.
        redact: Names of arguments whose values never leave the caller's thread.
        max_payload_bytes: Room for one payload of this tool, in bytes; None takes the setting.
        is_error: Tells from a result whether it stands for a failure.

    Raises:
        TypeError: *function* is no callable, or is a class, or an option is unknown.
    """
    settings = _ToolOptions(**options)
    return settings if function is None else settings(function)


class _ToolOptions:
    """The options of one ``@traced_tool(…)``; a class, so that it pickles with partials."""

    def __init__(
        self,
        *,
        name: str | None = None,
        capture_arguments: bool | Collection[str] = True,
        capture_result: bool = True,
        redact: Collection[str] = (),
        max_payload_bytes: int | None = None,
        is_error: Callable[[Any], Any] | None = None,
    ) -> None:
        if isinstance(redact, str) or isinstance(capture_arguments, str):
            raise TypeError("redact and capture_arguments take a list of argument names, not one string")
        self.name = name
        self.options: dict[str, Any] = {
            "capture_arguments": capture_arguments,
            "capture_result": capture_result,
            "redact": redact,
            "max_payload_bytes": max_payload_bytes,
            "is_error": is_error,
        }

    def __call__(self, function: Any) -> Any:
        if is_tool_object(function):
            return trace_tool_object(function, self._trace_inside)
        made = _decorate(function, "traced_tool", self._make_tracer, self, SWITCH, wrap_plain_tool)
        if type(function) is types.FunctionType:
            _OPTIONS[function] = self
        return made

    def _make_tracer(self, target: Any) -> Tracer:
        return ToolTracer(target, self.name or _name_of(target), **self.options)

    def _trace_inside(self, function: Any, name: str | None = None, reading: Reading | None = None) -> Any:
        """Trace the function of a tool object, unless it is traced."""
        if tracer_of(function) is not None:
            return function

        def make_tracer(target: Any) -> Tracer:
            if reading is None:
                return self._make_tracer(target)
            tracer = ToolTracer(_having(reading.signature), self.name or name or "", **self.options)
            if tracer.plan is not None:
                tracer.plan = ReadPlan(tracer.plan, reading)
            return tracer

        return _decorate(function, "traced_tool", make_tracer, self, SWITCH, wrap_plain_tool)


def _having(signature: inspect.Signature) -> Any:
    def function() -> None:
        """Stand for a function of that signature."""

    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


@overload
def traced_agent(function: F, /) -> F: ...


@overload
def traced_agent(
    *,
    name: str | None = None,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    metadata: Any = None,
) -> Callable[[F], F]: ...


def traced_agent(function: Any = None, /, **options: Any) -> Any:
    """
    Make each call of a function one run of an agent: ``agent_scope`` as a decorator.

    The arguments become the agent's input, the return value its output.

    Args:
        function: A function, coroutine, generator or async generator function.
        name: The agent's name; the function's name, unless given.
        agent_id: A fixed id, continued at each call; a new one each time, unless given.
        conversation_id: The conversation to run in; the current one, unless given.
        model: The model the agent asks, when it is known.
        provider: Who serves that model.
        metadata: Anything to keep with the start of the run.

    Raises:
        TypeError: *function* is no callable, or is a class, or an option is unknown.
    """
    settings = _AgentOptions(**options)
    return settings if function is None else settings(function)


class _AgentOptions:
    """The options of one ``@traced_agent(…)``."""

    def __init__(
        self,
        *,
        name: str | None = None,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        metadata: Any = None,
    ) -> None:
        self.name = name
        self.options: dict[str, Any] = {
            "agent_id": agent_id,
            "conversation_id": conversation_id,
            "model": model,
            "provider": provider,
            "metadata": metadata,
        }

    def __call__(self, function: Any) -> Any:
        return _decorate(function, "traced_agent", self._make_tracer, self, _AGENT_SWITCH)

    def _make_tracer(self, target: Any) -> Tracer:
        return AgentTracer(target, self.name or _name_of(target), **self.options)
