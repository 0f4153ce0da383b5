"""
Runs of a compiled graph: each is one run of an agent, however the graph is called.

``invoke``, ``batch`` and their async forms go through ``stream`` and ``astream``, which alone are
followed. Invariants: a graph is as lazy as it was; a subgraph that is a node is that node's agent, and
not a second one; what interrupts a graph, or hands over to another one, is no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agenttrace.capture.agents import emit_custom
from agenttrace.capture.context import CURRENT, Operation, real_of
from agenttrace.errors import contain, contained
from agenttrace.integrations.langgraph_messages import describe_state
from agenttrace.integrations.langgraph_places import Place, begin_run, place_around, take_root
from agenttrace.integrations.sdk_exchange import find_caller

__all__ = ["GraphRun", "failure_of", "tell_handoff", "tell_signal"]

_SIGNALS_LIMIT_COUNT = 16


class GraphRun:
    """One run of a graph: what ``shapes`` calls around its generator."""

    keeps_items = False

    def __init__(self) -> None:
        self._place: Place | None = None
        self._output: Any = None

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
        """Begin the run as its first step is asked for; None where the node around it is this graph."""
        try:
            graph = args[0]
            given = args[1] if len(args) > 1 else kwargs.get("input")
            config = args[2] if len(args) > 2 else kwargs.get("config")
            here = real_of(CURRENT.get())
            if here is not None and here.__dict__.get("graph") is graph:
                return None
            config = config if isinstance(config, Mapping) else {}
            entrypoint = _entrypoint_of(graph)
            name = str(config.get("run_name") or entrypoint or graph.get_name())
            configurable = _configurable_of(graph, config)
            around = place_around(here)
            if around is None:
                self._place = take_root(name, graph.checkpointer, configurable)
            else:
                self._place = around.take(name)
            metadata = {"framework": "langgraph", "thread_id": configurable.get("thread_id")}
            operation = begin_run(self._place, describe_input(given), _without_none(metadata))
            operation.__dict__["entrypoint"] = entrypoint
            operation.__dict__["called_from"] = find_caller()
            return operation
        except Exception as exc:
            contain("integrations.langgraph.run", exc)
            return None

    def add(self, item: Any) -> None:
        """Look at what is streamed: the last state is the output."""
        mode, data = _mode_of(item)
        if mode in ("values", None):
            self._output = data
        elif mode == "updates" and isinstance(data, Mapping) and "__interrupt__" in data:
            return
        elif mode == "updates" and (self._output is None or type(self._output) is _Update):
            self._output = _Update(data) if isinstance(data, Mapping) else None

    def finish(self, call: Operation, value: Any, extra: bytes = b"") -> None:
        """Close the run with its last state."""
        self._end(call, None)

    def fail(self, call: Operation, exc: BaseException, extra: bytes = b"") -> None:
        """Close the run that *exc* leaves."""
        self._end(call, exc)

    def _end(self, call: Operation, exc: BaseException | None) -> None:
        with contained("integrations.langgraph.run"):
            output = self._output
            if type(output) is _Update:
                given: Any = {name: describe_state(one, is_known=True) for name, one in output.items()}
            else:
                given = describe_state(output, is_known=True)
            if self._place is not None:
                self._place.end_graph(call, given, failure_of(exc))


class _Update(dict[Any, Any]):
    """The last update, where a stream shows no states."""


def describe_input(given: Any) -> Any:
    """Give what a graph is called with: a state, or a ``Command`` that resumes it."""
    resume = getattr(given, "resume", None)
    if type(given).__name__ == "Command" and resume is not None:
        return {"resume": resume}
    return describe_state(given)


def _entrypoint_of(graph: Any) -> str | None:
    """Give the one node of a graph that ``@entrypoint`` made of a function; None for other graphs."""
    nodes = getattr(graph, "nodes", None)
    is_plain = type(graph).__module__.startswith("langgraph.pregel")
    return str(next(iter(nodes))) if is_plain and isinstance(nodes, Mapping) and len(nodes) == 1 else None


def _configurable_of(graph: Any, config: Mapping[str, Any]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for one in (getattr(graph, "config", None), config):
        inner = one.get("configurable") if isinstance(one, Mapping) else None
        if isinstance(inner, Mapping):
            found.update(inner)
    return found


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _mode_of(item: Any) -> tuple[str | None, Any]:
    """Give mode and data of what a stream gave; no mode for an item that names none."""
    if isinstance(item, dict) and isinstance(item.get("type"), str) and "ns" in item and "data" in item:
        return ("", None) if item["ns"] else (item["type"], item["data"])
    if isinstance(item, tuple) and len(item) in (2, 3):
        if isinstance(item[0], tuple):  # (namespace, …) of a stream with subgraphs
            return ("", None) if item[0] else _mode_of(item[1:] if len(item) == 3 else item[1])
        if isinstance(item[0], str) and len(item) == 2:
            return item
        return "", None  # a message with its metadata
    return None, item


# ------------------------------------------------------------------ signals


def failure_of(exc: BaseException | None) -> BaseException | None:
    """Give what a run ends with that *exc* leaves: a hand-over to the graph around ends it well."""
    return None if exc is not None and _signal_of(exc) == "handoff" else exc


def _signal_of(exc: BaseException) -> str | None:
    """Tell what an exception of LangGraph's says: ``interrupt`` or ``handoff``; None for all others."""
    names = {kind.__name__ for kind in type(exc).__mro__ if kind.__module__ == "langgraph.errors"}
    if "GraphInterrupt" in names:
        return "interrupt"
    return "handoff" if "ParentCommand" in names else None


def tell_signal(operation: Operation, exc: BaseException) -> None:
    """Record that a node asks to be resumed, or hands over; once, however much the signal passes."""
    signal = _signal_of(exc)
    if signal is None or operation.agent is None:
        return
    # An interrupt is raised anew on its way out, a hand-over is the same exception all the way.
    what = signal if signal == "interrupt" else f"{signal} {id(exc)}"
    is_told = what in operation.__dict__.get("passed", ())
    around = operation.parent
    while around is not None:
        if around.kind == "agent":
            around.__dict__["passed"] = {what, *around.__dict__.get("passed", ())}
        around = around.parent
    if is_told:
        return
    if signal == "handoff":
        tell_handoff(operation, exc.args[0])
        return
    for one in list(exc.args[0] if exc.args else ())[:_SIGNALS_LIMIT_COUNT]:
        payload = {"value": getattr(one, "value", None), "id": getattr(one, "id", None)}
        emit_custom("interrupt", operation.agent, payload, operation)


def tell_handoff(operation: Operation, command: Any) -> None:
    """Record where a ``Command`` goes on; nothing for one that goes nowhere."""
    goto = getattr(command, "goto", ())
    targets = [goto] if isinstance(goto, str) or not isinstance(goto, (list, tuple)) else list(goto)
    names = [str(getattr(one, "node", one)) for one in targets]
    names = [name for name in names if name and name != "__end__"]
    if names and operation.agent is not None:
        graph = getattr(command, "graph", None)
        payload = {"to": names} if graph is None else {"to": names, "graph": "parent"}
        emit_custom("handoff", operation.agent, payload, operation)
