"""
Nodes of a graph, and tasks of LangGraph's functional form: each run is one of an agent, child of
the graph's.

A ``ToolNode`` is none: what it runs are the calls of the agent that asked for them, and are recorded
as that agent's. Invariants: a node runs in LangGraph's own threads and tasks as ever; the attempts of
a retry policy are those that LangGraph makes; its hidden nodes stay hidden.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

from agenttrace.capture import context
from agenttrace.capture.attempts import enter_series, leave_series, open_series, stop_series
from agenttrace.capture.context import CURRENT, SWITCH, Agent, Operation, real_of
from agenttrace.capture.series import Series
from agenttrace.errors import contained
from agenttrace.integrations.langgraph_asked import find_asker, stand_for
from agenttrace.integrations.langgraph_messages import describe_output, describe_state, tool_calls_in
from agenttrace.integrations.langgraph_places import Place, begin_run, place_around
from agenttrace.integrations.langgraph_runs import failure_of, tell_handoff, tell_signal
from agenttrace.integrations.patching import Patch

__all__ = ["describe_runner"]

_HIDDEN = "langsmith:hidden"


class _NodeRun:
    """One run of a node, entered when it is made."""

    def __init__(self, task: Any, policies: Any, place: Place) -> None:
        self.task = task
        """What LangGraph is to run: the task, with its attempts looked at where it may have several."""
        self._place: Place | None = None
        self._writes = task.writes
        self._series: Series | None = None
        self._lent_to: Agent | None = None
        """The agent that does what another one's model asked for."""
        bound = _bound_of(task.proc)
        asker = _asker_of(task)
        operation = _stand_in(task, bound, asker)
        if operation is None:
            self._place = place.take(str(task.name))
            metadata = {"framework": "langgraph", "step": _step_of(task)}
            operation = begin_run(self._place, _describe_given(task.input), metadata)
            self._lend(asker, self._place.agent)
        operation.__dict__["node"] = True
        if hasattr(bound, "get_subgraphs") and hasattr(bound, "stream"):
            operation.__dict__["graph"] = bound
        self._operation = operation
        self._previous = CURRENT.get()
        CURRENT.set(operation)
        if policies:
            with contained("integrations.langgraph.attempts"):
                limits = [getattr(policy, "max_attempts", None) for policy in policies]
                limit_count = max((limit for limit in limits if isinstance(limit, int)), default=None)
                self._series = open_series("langgraph", limit_count)
                self.task = replace(task, proc=_Attempts(task.proc, self._series))

    def _lend(self, asker: Operation | None, agent: Agent) -> None:
        """Let what the node does by hand be what somebody asked for: the calls get their ids."""
        lender = None if asker is None else asker.agent
        if lender is not None and lender is not agent and lender.asked is not None and agent.asked is None:
            agent.asked, agent.unclaimed = lender.asked, lender.unclaimed
            self._lent_to = agent

    def finish(self, result: Any) -> None:
        """End it with what the node returned."""
        self._leave()
        with contained("integrations.langgraph.node"):
            for one in result if isinstance(result, list) else [result]:
                if type(one).__name__ == "Command":
                    tell_handoff(self._operation, one)
            self._end(describe_output(self._written() if result is None else result), None)

    def fail(self, exc: BaseException) -> None:
        """End it with what left it."""
        self._leave()
        with contained("integrations.langgraph.node"):
            tell_signal(self._operation, exc)
            self._end(None, exc)

    def _leave(self) -> None:
        with contained("integrations.langgraph.node"):
            if self._series is not None:
                stop_series(self._series)
            context.leave_scope(self._operation, self._previous)

    def _end(self, output: Any, exc: BaseException | None) -> None:
        if self._lent_to is not None:
            self._lent_to.asked = self._lent_to.unclaimed = None
        if self._place is not None:
            self._place.end_run(self._operation, output, failure_of(exc))

    def _written(self) -> dict[str, Any] | None:
        """Give what the node wrote to the state, where it is streamed and returns nothing."""
        found = {name: value for name, value in self._writes if not name.startswith(("branch:", "__"))}
        return found or None


def _step_of(task: Any) -> Any:
    metadata = task.config.get("metadata") if isinstance(task.config, Mapping) else None
    return metadata.get("langgraph_step") if isinstance(metadata, Mapping) else None


def _bound_of(proc: Any) -> Any:
    """Give what a node was made of, without what writes its result to the state."""
    steps = getattr(proc, "steps", None)
    bound = steps[0] if isinstance(steps, list) and steps else proc
    return getattr(bound, "bound", bound)


def _describe_given(given: Any) -> Any:
    """Give a node's state; of a task, which is called like a function, its arguments."""
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict)):
        return describe_state(given, is_known=True)
    args, kwargs = given
    described = {"args": [describe_state(one) for one in args]} if isinstance(args, tuple) else {"args": args}
    return {**described, **({"kwargs": describe_state(kwargs)} if kwargs else {})}


def _asker_of(task: Any) -> Operation | None:
    """Give the run whose model asked for the calls in a node's state; None where it was not one alone."""
    here = CURRENT.get()
    askers = [find_asker(here, call.get("id")) for call in tool_calls_in(task.input)]
    agents = {None if one is None else one.agent for one in askers}
    return askers[0] if len(agents) == 1 and None not in agents else None


def _stand_in(task: Any, bound: Any, asker: Operation | None) -> Operation | None:
    """
    Give what stands for a node that is no agent of its own; None for all others.

    That is an entrypoint, which is the graph itself, and a ``ToolNode`` whose calls one agent asked for.
    """
    here = CURRENT.get()
    graph_run = real_of(here)
    if graph_run is not None and graph_run.__dict__.get("entrypoint") == task.name:
        return stand_for(graph_run, here)
    is_tool_node = any(kind.__name__ == "ToolNode" for kind in type(bound).__mro__)
    return stand_for(asker, here) if is_tool_node and asker is not None else None


def _begin(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _NodeRun | None:
    """Begin a run of *task*'s node; None where it is hidden, or nothing is recorded."""
    if not SWITCH:
        return None
    with contained("integrations.langgraph.node"):
        place = place_around(CURRENT.get())
        tags = task.config.get("tags") if isinstance(task.config, Mapping) else None
        if place is not None and _HIDDEN not in (tags or ()):
            policies = task.retry_policy or (args[0] if args else kwargs.get("retry_policy"))
            return _NodeRun(task, policies, place)
    return None


# ------------------------------------------------------------------ attempts


class _Attempts:
    """What a task runs, with each attempt told to a series."""

    def __init__(self, proc: Any, series: Series) -> None:
        self._proc = proc
        self._series = series
        self._failed_s: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._proc, name)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        with self._attempt():
            return self._proc.invoke(*args, **kwargs)

    async def ainvoke(self, *args: Any, **kwargs: Any) -> Any:
        with self._attempt():
            return await self._proc.ainvoke(*args, **kwargs)

    async def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with self._attempt():
            async for item in self._proc.astream(*args, **kwargs):
                yield item

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        with contained("integrations.langgraph.attempts"):
            waited_ms = None if self._failed_s is None else (time.monotonic() - self._failed_s) * 1000
            self._series.begin(None, waited_ms)
            enter_series(self._series)
        try:
            yield
        except BaseException as exc:
            self._end(exc)
            raise
        self._end(None)

    def _end(self, exc: BaseException | None) -> None:
        with contained("integrations.langgraph.attempts"):
            leave_series(self._series)
            self._failed_s = time.monotonic()
            self._series.end(exc)


# ------------------------------------------------------------------ the table


def _build_run(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    def run_traced(task: Any, *args: Any, **kwargs: Any) -> Any:
        node = _begin(task, args, kwargs)
        if node is None:
            return run(task, *args, **kwargs)
        try:
            result = run(node.task, *args, **kwargs)
        except BaseException as exc:
            node.fail(exc)
            raise
        node.finish(result)
        return result

    return run_traced


def _build_async_run(run: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(run)
    async def run_traced(task: Any, *args: Any, **kwargs: Any) -> Any:
        node = _begin(task, args, kwargs)
        if node is None:
            return await run(task, *args, **kwargs)
        try:
            result = await run(node.task, *args, **kwargs)
        except BaseException as exc:
            node.fail(exc)
            raise
        node.finish(result)
        return result

    return run_traced


def describe_runner(module: ModuleType) -> Iterable[Patch]:
    """List the patches of ``langgraph.pregel._runner``."""
    yield Patch(module, "run_with_retry", _build_run)
    yield Patch(module, "arun_with_retry", _build_async_run)
