"""
The models of the OpenAI Agents SDK: each answer is a turn of the agent in control.

The seam is the SDK's abstract ``Model``: what its own models do, and what a program's do, is a turn
alike; the turn of an SDK inside is that same turn. Invariant: what the run gets is what the model
gave, event by event.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from agenttrace.capture.context import SWITCH
from agenttrace.errors import contained
from agenttrace.integrations.openai_agents_requests import Request, Retrying
from agenttrace.integrations.openai_agents_runs import AgentRun, run_here

__all__ = [
    "build_get_response",
    "build_get_response_with_retry",
    "build_stream_response",
    "build_stream_response_with_retry",
]


# ------------------------------------------------------------------ the two methods


def _open(model: Any, signature: inspect.Signature, args: Any, kwargs: Any) -> Request | None:
    """Prepare the turn of a call, or go on with the one that is tried again; None while tracing is off."""
    if not SWITCH:
        return None
    with contained("integrations.openai_agents.model_call"):
        run = run_here()
        retrying: Retrying | None = None if run is None else run.retrying
        if retrying is not None and retrying.failure is not None and retrying.request is not None:
            retrying.request.try_again(retrying)
            return retrying.request
        request = Request(model, signature.bind_partial(model, *args, **kwargs).arguments)
        if retrying is not None and retrying.request is None:
            retrying.request, request.retrying = request, retrying
        return request
    return None


def build_get_response(signature: inspect.Signature, get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Make a turn of an answer that comes at once; *signature* is that of the abstract method."""

    @functools.wraps(get_response)
    async def get_response_in_turn(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = _open(self, signature, args, kwargs)
        if request is None:
            return await get_response(self, *args, **kwargs)
        try:
            with request.inside():
                recorded = request.ask(self)
                if recorded is None:
                    response = await get_response(self, *args, **kwargs)
                else:
                    response = _replay().build_response(recorded)
        except BaseException as exc:
            request.fail(exc)
            raise
        request.answer(
            getattr(response, "output", None),
            getattr(response, "response_id", None),
            getattr(response, "usage", None),
        )
        request.turn.close()
        return response

    return get_response_in_turn


def build_stream_response(signature: inspect.Signature, stream_response: Callable[..., Any]) -> Any:
    """Make a turn of an answer that streams in, from the first wish for an event to the last one."""

    @functools.wraps(stream_response)
    def stream_response_in_turn(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = _open(self, signature, args, kwargs)
        stream = stream_response(self, *args, **kwargs)
        if request is None or not hasattr(stream, "__anext__"):
            return stream
        return _follow(stream, request, self)

    return stream_response_in_turn


async def _follow(stream: AsyncIterator[Any], request: Request, model: Any) -> AsyncGenerator[Any, None]:
    """Pass the events on; the program stands in the turn only while the model runs."""
    turn, is_begun = request.turn, False
    try:
        while True:
            try:
                with request.inside():
                    if not is_begun:
                        is_begun, recorded = True, request.ask(model)
                        stream = stream if recorded is None else _replay().iter_response(recorded)
                    event = await anext(stream)
            except StopAsyncIteration:
                break
            with contained("integrations.openai_agents.event"):
                request.look_at(event)
            yield event
    except GeneratorExit as exc:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
        turn.close(None if request.is_answered else exc)
        raise
    except BaseException as exc:
        request.fail(exc)
        raise
    turn.close()


def _replay() -> Any:
    from agenttrace.integrations import openai_agents_replay  # late: a replay's alone

    return openai_agents_replay


# ------------------------------------------------------------------ what the SDK tries again itself


def _begin_retrying(kwargs: dict[str, Any]) -> AgentRun | None:
    run = run_here() if SWITCH else None
    if run is not None:
        most = getattr(kwargs.get("retry_settings"), "max_retries", None)
        run.retrying = Retrying(most + 1 if isinstance(most, int) else None)
    return run


def _end_retrying(run: AgentRun, exc: BaseException | None) -> None:
    retrying, run.retrying = run.retrying, None
    if retrying is not None:
        retrying.end(exc)


def build_get_response_with_retry(with_retry: Callable[..., Any]) -> Callable[..., Any]:
    """Make one turn of all attempts that the SDK's policy makes at an answer."""

    @functools.wraps(with_retry)
    async def get_response_seen(*args: Any, **kwargs: Any) -> Any:
        run = _begin_retrying(kwargs)
        if run is None:
            return await with_retry(*args, **kwargs)
        try:
            response = await with_retry(*args, **kwargs)
        except BaseException as exc:
            _end_retrying(run, exc)
            raise
        _end_retrying(run, None)
        return response

    return get_response_seen


def build_stream_response_with_retry(with_retry: Callable[..., Any]) -> Callable[..., Any]:
    """Make one turn of all attempts that the SDK's policy makes at a streamed answer."""

    @functools.wraps(with_retry)
    def stream_response_seen(*args: Any, **kwargs: Any) -> Any:
        run = _begin_retrying(kwargs)
        events = with_retry(*args, **kwargs)
        return events if run is None else _follow_attempts(events, run)

    return stream_response_seen


async def _follow_attempts(events: AsyncGenerator[Any, None], run: AgentRun) -> AsyncGenerator[Any, None]:
    try:
        async for event in events:
            yield event
    except GeneratorExit:
        await events.aclose()
        _end_retrying(run, None)
        raise
    except BaseException as exc:
        _end_retrying(run, exc)
        raise
    _end_retrying(run, None)
