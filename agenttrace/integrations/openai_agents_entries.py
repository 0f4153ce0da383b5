"""
The three ways to begin a run of the OpenAI Agents SDK, and how each of them ends.

Hooks of ours stand before the user's own and tell the run which agent is in control. Invariants:
the user's hooks are called as ever; a run ends once, as its caller sees it end; no frame of ours
holds what a run was given while an exception goes up, as the SDK's own frames do not.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Callable
from typing import Any

from agenttrace.capture.context import SWITCH
from agenttrace.errors import contained
from agenttrace.integrations.openai_agents_runs import AgentRun

__all__ = ["build_run", "build_run_streamed", "build_run_sync", "build_stream_events"]

_RUN = "_agenttrace_run"
"""On a streaming result: its run."""


# ------------------------------------------------------------------ hooks


def _make_hooks_class(base: Any) -> Any:
    """Make the hooks that tell a run who is in control, and hand everything on to the user's own."""

    def build(name: str) -> Callable[..., Any]:
        note = _NOTES.get(name)

        def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
            if note is not None:
                with contained("integrations.openai_agents.hook"):
                    note(self.run, *args, **kwargs)
            return getattr(self.hooks, name)(*args, **kwargs)

        return functools.wraps(getattr(base, name))(hook)

    def init(self: Any, run: AgentRun, hooks: Any) -> None:
        self.run, self.hooks = run, hooks

    members = {name: build(name) for name in dir(base) if name.startswith("on_")}
    return type("FollowedRunHooks", (base,), {**members, "__init__": init})


def _note_agent(run: AgentRun, context: Any, agent: Any, *rest: Any, **named: Any) -> None:
    run.enter(agent)


def _note_handoff(run: AgentRun, context: Any, from_agent: Any, to_agent: Any) -> None:
    run.hand_over(to_agent)


_NOTES: dict[str, Callable[..., None]] = {
    "on_agent_start": _note_agent,
    "on_llm_start": _note_agent,
    "on_handoff": _note_handoff,
}


# ------------------------------------------------------------------ runs


class _Entry:
    """One of the three ways to begin a run: how its arguments are read, and its hooks put among them."""

    def __init__(self, function: Any, hooks_base: Any, before: Callable[[], None]) -> None:
        self._before = before
        self._names = list(inspect.signature(function).parameters)
        self._place = self._names.index("hooks")
        self._hooks_base = hooks_base
        self._hooks_class = _make_hooks_class(hooks_base)

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[AgentRun | None, tuple[Any, ...]]:
        """Begin a run; gives *args* with our hooks among them, or puts those into *kwargs*."""
        if not SWITCH:
            return None, args
        with contained("integrations.openai_agents.run"):
            self._before()
            given = {**dict(zip(self._names, args, strict=False)), **kwargs}
            if "starting_agent" in given:
                run = AgentRun(given["starting_agent"], _input_of(given.get("input")), _metadata_of(given))
                try:
                    return run, self._put_hooks(run, given.get("hooks"), args, kwargs)
                except Exception:
                    run.end(None, None)
                    raise
        return None, args

    def _put_hooks(
        self, run: AgentRun, hooks: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, ...]:
        if hooks is not None and not isinstance(hooks, self._hooks_base):
            return args  # the SDK refuses it
        ours = self._hooks_class(run, self._hooks_base() if hooks is None else hooks)
        if self._place < len(args):
            return (*args[: self._place], ours, *args[self._place + 1 :])
        kwargs["hooks"] = ours
        return args


def _input_of(given: Any) -> Any:
    """Give what a run is asked; of a paused run that goes on, that it does."""
    return {"resumed": True} if type(given).__name__ == "RunState" else given


def _metadata_of(given: dict[str, Any]) -> dict[str, Any]:
    """Give what a run is told of the chat that it belongs to."""
    config = given.get("run_config")
    found = {
        "session_id": getattr(given.get("session"), "session_id", None),
        "group_id": config.get("group_id") if isinstance(config, dict) else getattr(config, "group_id", None),
        "conversation_id": given.get("conversation_id"),
    }
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _output_of(result: Any) -> Any:
    """Give what a run came to; of one that waits for approval, which calls it waits for."""
    waiting = getattr(result, "interruptions", None)
    if waiting:
        names = [getattr(one, "tool_name", None) or getattr(one, "name", None) for one in waiting]
        return {"waits_for_approval": names}
    return getattr(result, "final_output", None)


def _end_as_told(agent_run: AgentRun, result: Any, exc: BaseException | None = None) -> None:
    """End a run as its result tells, or with what left it."""
    output = None
    with contained("integrations.openai_agents.output"):
        output = _output_of(result)
    agent_run.end(output, exc)


def build_run(run: Any, hooks_base: Any, before: Callable[[], None]) -> Any:
    """Make a run of ``Runner.run``; *before* is called as one begins."""
    function = run.__func__
    entry = _Entry(run, hooks_base, before)

    @functools.wraps(function)
    async def run_traced(cls: Any, *args: Any, **kwargs: Any) -> Any:
        agent_run, args = entry.begin(args, kwargs)
        if agent_run is None:
            return await function(cls, *args, **kwargs)
        try:
            result = await function(cls, *args, **kwargs)
        except BaseException as exc:
            agent_run.end(None, exc)
            # The SDK lets no frame hold what a run was given while a redacted error goes up.
            del agent_run, args, kwargs
            raise
        _end_as_told(agent_run, result)
        return result

    return classmethod(run_traced)


def build_run_sync(run_sync: Any, hooks_base: Any, before: Callable[[], None]) -> Any:
    """Make a run of ``Runner.run_sync``."""
    function = run_sync.__func__
    entry = _Entry(run_sync, hooks_base, before)

    @functools.wraps(function)
    def run_sync_traced(cls: Any, *args: Any, **kwargs: Any) -> Any:
        agent_run, args = entry.begin(args, kwargs)
        if agent_run is None:
            return function(cls, *args, **kwargs)
        try:
            result = function(cls, *args, **kwargs)
        except BaseException as exc:
            agent_run.end(None, exc)
            del agent_run, args, kwargs
            raise
        _end_as_told(agent_run, result)
        return result

    return classmethod(run_sync_traced)


def build_run_streamed(run_streamed: Any, hooks_base: Any, before: Callable[[], None]) -> Any:
    """Make a run of ``Runner.run_streamed``, which goes on when that has returned."""
    function = run_streamed.__func__
    entry = _Entry(run_streamed, hooks_base, before)

    @functools.wraps(function)
    def run_streamed_traced(cls: Any, *args: Any, **kwargs: Any) -> Any:
        agent_run, args = entry.begin(args, kwargs)
        if agent_run is None:
            return function(cls, *args, **kwargs)
        try:
            result = function(cls, *args, **kwargs)
        except BaseException as exc:
            agent_run.end(None, exc)
            del agent_run, args, kwargs
            raise
        agent_run.step_out()
        with contained("integrations.openai_agents.stream"):
            vars(result)[_RUN] = agent_run
            result.run_loop_task.add_done_callback(functools.partial(_end_unwatched, agent_run, result))
        return result

    return classmethod(run_streamed_traced)


# ------------------------------------------------------------------ how a stream ends


def _end_unwatched(agent_run: AgentRun, result: Any, task: asyncio.Task[Any]) -> None:
    """End the run as its task has ended, where nobody consumes the stream and sees more."""
    if not agent_run.is_watched:
        _end_as_told(agent_run, result, _failure_of(task))


def _failure_of(task: Any) -> BaseException | None:
    """Give what left *task*; asked in the public way, asyncio would not tell of it any more."""
    if task.cancelled():
        return asyncio.CancelledError()
    found = getattr(task, "_exception", None)
    return found if isinstance(found, BaseException) else None


def build_stream_events(stream_events: Callable[..., Any]) -> Callable[..., Any]:
    """Let the consumer of a streamed run end it, as that one sees more than the run's task."""

    @functools.wraps(stream_events)
    def stream_events_traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        events = stream_events(self, *args, **kwargs)
        agent_run = vars(self).get(_RUN)
        return events if agent_run is None else _watch(events, agent_run, self)

    return stream_events_traced


async def _watch(events: Any, agent_run: AgentRun, result: Any) -> AsyncGenerator[Any, None]:
    """Pass the events on, and end the run as they end: a guardrail or a limit shows only here."""
    agent_run.is_watched = True
    try:
        async for event in events:
            yield event
    except GeneratorExit:
        await events.aclose()
        _end_left(agent_run, result)
        raise
    except BaseException as exc:
        agent_run.end(None, exc)
        raise
    _end_left(agent_run, result)


def _end_left(agent_run: AgentRun, result: Any) -> None:
    """End the run as its task has ended, or will."""
    agent_run.is_watched = False
    task = result.run_loop_task
    if task is None or task.done():
        _end_as_told(agent_run, result, None if task is None else _failure_of(task))
