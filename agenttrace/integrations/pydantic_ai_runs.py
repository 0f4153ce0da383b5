"""
The runs of pydantic-ai's agents, and the turns of their models.

Every way to run an agent goes through ``Agent.iter``: what stands in that block is the run. Turns
are made at the abstract ``Model``, the library's and the program's own alike; a model that only
hands on to others (a wrapper, a fallback) makes none, those that it asks do. Invariants: what is
entered, given and raised is the library's; no frame of ours stands where it looks for the name
of an agent.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import Any

from agenttrace.capture.agents import AgentScope, agent_scope
from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Operation
from agenttrace.capture.emit import emit, object_of
from agenttrace.capture.failures import record_failure
from agenttrace.capture.substitution import RecordedTurn
from agenttrace.capture.turns import ModelTurn, model_turn
from agenttrace.capture.usage import read_usage
from agenttrace.errors import contained
from agenttrace.integrations.callers import lend_caller, mark_caller
from agenttrace.integrations.pydantic_ai_messages import build_answer, build_messages, build_params
from agenttrace.integrations.sdk_models import is_asked_through_sdk

__all__ = ["build_iter", "build_reject", "build_request", "build_request_stream"]


# ------------------------------------------------------------------ runs


def build_iter(iterate: Callable[..., Any], before: Callable[[], None]) -> Callable[..., Any]:
    """Make a run of what ``Agent.iter`` gives; *before* is called as one begins."""

    @functools.wraps(iterate)
    def iter_traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        block = iterate(self, *args, **kwargs)
        if not SWITCH:
            return block
        with contained("integrations.pydantic_ai.run"):
            before()
            prompt = args[0] if args else kwargs.get("user_prompt")
            if prompt is None and kwargs.get("deferred_tool_results") is not None:
                prompt = {"resumed": True}
            return _Run(block, self, prompt)
        return block

    return iter_traced


class _Run(AbstractAsyncContextManager[Any]):
    """The block of a run, with an agent's scope around it."""

    def __init__(self, block: Any, agent: Any, prompt: Any) -> None:
        self._block = block
        self._agent = agent
        self._prompt = prompt
        self._scope: AgentScope | None = None
        self._run: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._block, name)

    async def __aenter__(self) -> Any:
        name = getattr(self._agent, "name", None)
        self._scope = agent_scope(str(name or "agent"), input=self._prompt)
        self._scope.__enter__()
        with contained("integrations.pydantic_ai.run"):
            mark_caller()
        try:
            self._run = await self._block.__aenter__()
        except BaseException as exc:
            self._end(exc)
            raise
        return self._run

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        try:
            is_swallowed = await self._block.__aexit__(exc_type, exc, traceback)
        except BaseException as failure:
            self._end(failure)
            raise
        self._end(None if is_swallowed else exc)
        return is_swallowed

    def _end(self, exc: BaseException | None) -> None:
        scope, self._scope = self._scope, None
        if scope is None:
            return
        if exc is None:
            with contained("integrations.pydantic_ai.output"):
                scope.set_output(getattr(getattr(self._run, "result", None), "output", None))
        scope.__exit__(None if exc is None else type(exc), exc, None)


def build_reject(reject: Callable[..., Any]) -> Callable[..., Any]:
    """Record that an agent does not take an answer, seen at ``GraphAgentState.consume_output_retry``."""

    @functools.wraps(reject)
    def reject_seen(self: Any, limit: Any, *args: Any, **kwargs: Any) -> Any:
        error = args[0] if args else kwargs.get("error")
        if not SWITCH or not isinstance(error, Exception):
            return reject(self, limit, *args, **kwargs)
        operation, error_id = CURRENT.get(), None
        with contained("integrations.pydantic_ai.rejection"):
            if operation is not None and operation.agent is not None and operation.recorded:
                why = error.__cause__ if isinstance(error.__cause__, Exception) else error
                error_id = record_failure(operation, why, operation.agent)
        given = reject(self, limit, *args, **kwargs)  # raises, where it was the last time
        if operation is not None and operation.agent is not None and error_id is not None:
            with contained("integrations.pydantic_ai.rejection"):
                emit(
                    "retry",
                    operation.agent,
                    object_of(limit_count=b"%d" % (int(limit) + 1), by=b'"pydantic_ai"'),
                    span_id=operation.span_id,
                    parent_span_id=operation.parent_span_id,
                    error_id=error_id,
                )
        return given

    return reject_seen


# ------------------------------------------------------------------ turns


class _Request:
    """One request to a model, and the turn that it is."""

    def __init__(self, model: Any, given: dict[str, Any]) -> None:
        self._operation: Operation | None = None
        self._model = model
        self._given = given
        self.turn: ModelTurn = model_turn(
            str(model.model_name),
            provider=str(model.system),
            input=build_messages(given.get("messages") or ()),
            params=build_params(given.get("model_settings"), given.get("model_request_parameters")),
        )

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Stand in the turn; the first time, open it."""
        before = CURRENT.get()
        if self._operation is None:
            self.turn.open()
            self._operation = CURRENT.get()
            lend_caller()
            try:
                yield
            finally:
                self.turn.leave()
                CURRENT.set(before)
            return
        CURRENT.set(self._operation)
        try:
            yield
        finally:
            CURRENT.set(before)

    def ask(self) -> RecordedTurn | None:
        """
        Give what a replay answers in the place of the model; None where that is to be asked.

        Raises:
            ReplayError: Nothing like it was recorded, and nothing may be sent.
        """
        if PIPE.substitute is None or is_asked_through_sdk(self._model):
            return None
        replayed = self.turn.ask()
        return None if replayed is None else replayed.recorded

    @property
    def parameters(self) -> Any:
        """The library's own parameters of the request."""
        return self._given.get("model_request_parameters")

    def answer(self, response: Any) -> None:
        """Keep what the model answered."""
        with contained("integrations.pydantic_ai.answer"):
            reason = getattr(response, "finish_reason", None)
            self.turn.set_output(
                build_answer(response),
                finish_reason=None if reason is None else str(reason),
                response_id=getattr(response, "provider_response_id", None),
            )
            self.turn.set_answered(getattr(response, "model_name", None))
            usage = response.usage
            details = getattr(usage, "details", None) or {}
            reasoning = details.get("reasoning_tokens") if isinstance(details, dict) else None
            counts = read_usage(usage, {"reasoning_tokens": reasoning})
            if any(counts.values()):
                self.turn.set_usage(**counts)  # as counts: the provider's own object comes from below


def _open(model: Any, signature: inspect.Signature, args: Any, kwargs: Any) -> _Request | None:
    """Prepare the turn of a request; None while tracing is off."""
    if not SWITCH:
        return None
    with contained("integrations.pydantic_ai.model_call"):
        return _Request(model, signature.bind_partial(model, *args, **kwargs).arguments)
    return None


def build_request(signature: inspect.Signature, request: Callable[..., Any]) -> Callable[..., Any]:
    """Make a turn of an answer that comes at once; *signature* is that of the abstract method."""

    @functools.wraps(request)
    async def request_in_turn(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked = _open(self, signature, args, kwargs)
        if asked is None:
            return await request(self, *args, **kwargs)
        try:
            with asked.inside():
                recorded = asked.ask()
                if recorded is None:
                    response = await request(self, *args, **kwargs)
                else:
                    response = _replay().build_response(recorded)
        except BaseException as exc:
            asked.turn.close(exc)
            raise
        asked.answer(response)
        asked.turn.close()
        return response

    return request_in_turn


def build_request_stream(signature: inspect.Signature, request_stream: Callable[..., Any]) -> Any:
    """Make a turn of an answer that streams in, from the entry of the block to its exit."""

    @functools.wraps(request_stream)
    def request_stream_in_turn(self: Any, *args: Any, **kwargs: Any) -> Any:
        block = request_stream(self, *args, **kwargs)
        asked = _open(self, signature, args, kwargs) if hasattr(block, "__aenter__") else None
        return block if asked is None else _Stream(block, asked)

    return request_stream_in_turn


def _replay() -> Any:
    from agenttrace.integrations import pydantic_ai_replay  # late: a replay's alone

    return pydantic_ai_replay


class _Stream(AbstractAsyncContextManager[Any]):
    """The block of a streamed request, with its turn around it."""

    def __init__(self, block: Any, asked: _Request) -> None:
        self._block = block
        self._asked = asked
        self._stream: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._block, name)

    async def __aenter__(self) -> Any:
        try:
            with self._asked.inside():
                recorded = self._asked.ask()
                if recorded is not None:
                    self._block = _replay().open_stream(recorded, self._asked.parameters)
                self._stream = await self._block.__aenter__()
        except BaseException as exc:
            self._asked.turn.close(exc)
            raise
        return self._stream

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        try:
            with self._asked.inside():
                is_swallowed = await self._block.__aexit__(exc_type, exc, traceback)
        except BaseException as failure:
            self._end(failure)
            raise
        self._end(None if is_swallowed else exc)
        return is_swallowed

    def _end(self, exc: BaseException | None) -> None:
        with contained("integrations.pydantic_ai.stream"):
            self._asked.answer(self._stream.get())
        self._asked.turn.close(exc)
