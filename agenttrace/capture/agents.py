"""
One run of an agent: ``agent_scope`` with its handle, and the decorator's tracer.

Invariant: a child run keeps the conversation of its root and names its parent; its
end is published once, by the process that published its start.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from agenttrace import clock
from agenttrace.capture import context
from agenttrace.capture.arguments import ArgumentPlan
from agenttrace.capture.calls import end_in_child
from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Agent, Operation
from agenttrace.capture.detectors import type_of_returned
from agenttrace.capture.emit import announce_agent, emit, encode_value, object_of
from agenttrace.capture.failures import emit_returned_failure, record_failure, status_of
from agenttrace.capture.handles import ScopeHandle
from agenttrace.capture.lost import note_escape
from agenttrace.errors import contain, contained, is_strict

__all__ = ["AgentScope", "AgentTracer", "agent_scope", "close_agent", "open_agent"]


def open_agent(
    name: str,
    input_json: bytes,
    *,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    metadata: Any = None,
) -> Operation:
    """Begin a run of the agent *name* where the program stands; publish its start if tracing is on."""
    context.note_scope_opened()
    if SWITCH:
        PIPE.prepare()
    parent = CURRENT.get()
    if parent is not None and parent.caught is not None:
        parent.caught.settle()
    if parent is not None and conversation_id not in (None, parent.conversation_id):
        parent = None  # another conversation has a root of its own
    conversation = conversation_id or (parent and parent.conversation_id) or context.new_conversation_id()
    parent_agent = None if parent is None or parent.agent is None else parent.agent.agent_id
    agent = Agent(conversation, agent_id or context.agent_id_for(name), name, parent_agent)
    agent.model, agent.provider = model, provider
    operation = Operation("agent", name, conversation, agent, parent)
    if PIPE.substitute is not None:
        PIPE.substitute.agent(operation, input_json)
    if SWITCH:
        announce_agent(operation, input_json, None if metadata is None else encode_value(metadata))
    return operation


def close_agent(
    operation: Operation,
    output: bytes,
    exc: BaseException | None,
    returned_failure: Any = None,
    is_error: bool = False,
    extra: bytes = b"",
) -> None:
    """Publish the end of an agent's run, with what it gave or what left it."""
    agent = operation.agent
    if agent is None or not operation.recorded:
        return
    if operation.caught is not None:
        operation.caught.settle()
    agent.closed = True
    if agent.asked is not None:
        from agenttrace.capture.rebuilt import end_of_agent  # late: for agents that ask models

        end_of_agent(agent, operation)
    if operation.epoch != PIPE.epoch:
        end_in_child(operation)
        return
    status, error_id, error_type = "ok", None, None
    if exc is not None:
        status = status_of(exc)
        error_type = None if status == "stopped_early" else type(exc).__name__
        if status == "error":
            error_id = record_failure(operation, exc, agent)
            if operation.parent_span_id is None:
                note_escape(error_id)
    elif is_error:
        status, error_type = "error", type_of_returned(returned_failure)
        error_id = emit_returned_failure(operation, agent, returned_failure, "set_output")
    payload = object_of(output=output, is_error=b"true" if status == "error" else b"false")
    payload = payload[:-1] + extra + b"}"
    if operation.more_notes_count:
        payload = payload[:-1] + b',"notes":{"more_count":%d}}' % operation.more_notes_count
    if operation.caught is not None:
        payload = operation.caught.close(payload)
    now_ns = clock.now_ns()
    emit(
        "agent_end",
        agent,
        payload,
        span_id=operation.span_id,
        parent_span_id=operation.parent_span_id,
        status=status,
        duration_ms=(now_ns - operation.started_ns) / 1_000_000,
        error_id=error_id,
        error_type=error_type,
        ts_ns=now_ns,
    )


class AgentScope(ScopeHandle):
    """The handle that ``with agent_scope(…) as agent`` gives."""

    def __init__(self, name: str, input: Any, given: dict[str, Any]) -> None:
        self._name = name
        self._input = input
        self._given = given
        self._operation: Operation | None = None
        self._previous: Operation | None = None
        self._output = b"null"
        self._failure: Any = None
        self._is_error = False

    @property
    def agent_id(self) -> str:
        """The agent's id; made on first access where none was given."""
        return self._agent().agent_id

    @property
    def conversation_id(self) -> str:
        """The conversation this run belongs to."""
        return self._agent().conversation_id

    @property
    def parent_agent_id(self) -> str | None:
        """The agent that this one runs under; None for a root."""
        return self._agent().parent_agent_id

    @property
    def agent_name(self) -> str:
        """The name that the scope was given."""
        return self._name

    def _agent(self) -> Agent:
        agent = None if self._operation is None else self._operation.agent
        if agent is None:
            raise RuntimeError(
                "an agent scope has ids once it is entered: use `with agent_scope(...) as agent:`"
            )
        return agent

    def __enter__(self) -> Self:
        if CURRENT.get() is None:
            with contained("capture.decide"):
                PIPE.decide()
        try:
            input_json = encode_value(self._input) if SWITCH else b"null"
            self._operation = open_agent(self._name, input_json, **self._given)
        except Exception as exc:
            contain("capture.agent_start", exc)
            if self._operation is None:
                self._operation = _unrecorded_agent(self._name, self._given)
        self._previous = CURRENT.get()
        CURRENT.set(self._operation)
        if is_strict():
            _warn_of_leak(self._name)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        operation = self._operation
        if operation is None:
            return
        context.leave_scope(operation, self._previous)
        try:
            close_agent(operation, self._output, exc, self._failure, self._is_error)
        except Exception as failure:
            contain("capture.agent_end", failure)

    def set_output(self, value: Any, *, is_error: bool = False) -> None:
        """Keep *value* as what the agent gave; with *is_error* the run counts as failed."""
        with contained("capture.set_output"):
            self._is_error = is_error
            if is_error:
                self._failure = value
            if self._is_recorded():
                self._output = encode_value(value)

    def set_model(self, model: str, *, provider: str | None = None, reason: str | None = None) -> None:
        """Say which model the agent asks now; a change is recorded as ``model_switched``."""
        with contained("capture.set_model"):
            select_model(self._operation, model, provider, reason)

    def record(self, kind: str, payload: Any = None) -> None:
        """Record an event of this agent, of any kind `[a-z][a-z0-9_.]*`."""
        with contained("capture.record"):
            if self._is_recorded():
                operation = self._operation
                assert operation is not None and operation.agent is not None
                emit_custom(kind, operation.agent, payload, operation)

    def snapshot(self, state: Any) -> None:
        """Record the agent's state as a ``snapshot`` event."""
        self.record("snapshot", {"state": state})

    def _is_recorded(self) -> bool:
        return bool(SWITCH) and self._operation is not None and self._operation.recorded


def _warn_of_leak(name: str) -> None:
    """In strict mode, say when a scope will stay open while a generator is suspended."""
    frame = sys._getframe(2)
    if frame.f_code.co_name == "__aenter__" and frame.f_back is not None:
        frame = frame.f_back
    caller = frame.f_back
    lazy = frame.f_code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR)
    if lazy and caller is not None and not caller.f_code.co_filename.endswith("contextlib.py"):
        logging.getLogger("agenttrace").warning(
            "agent_scope(%r) is held open in the generator %s (%s:%d): what its consumer does between "
            "two items will belong to this agent; put @traced_agent on the generator instead",
            name,
            frame.f_code.co_qualname,
            frame.f_code.co_filename,
            frame.f_lineno,
        )


def _unrecorded_agent(name: str, given: dict[str, Any]) -> Operation:
    conversation = given.get("conversation_id") or context.new_conversation_id()
    agent = Agent(conversation, given.get("agent_id") or context.agent_id_for("agent"), name, None)
    return Operation("agent", name, conversation, agent, None)


def agent_scope(
    name: str,
    *,
    input: Any = None,
    agent_id: str | None = None,
    conversation_id: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    metadata: Any = None,
) -> AgentScope:
    """
    Make the block one run of the agent *name*; for ``with`` and ``async with``.

    Args:
        name: What the agent is called; its place in the tree is the names from the root.
        input: What it was asked.
        agent_id: An id that exists in the conversation is continued; a new one unless given.
        conversation_id: The current conversation, or a new one, unless given.
        model: The model it asks, when that is known.
        provider: Who serves that model.
        metadata: Anything to keep with the start of the run.
    """
    given = {
        "agent_id": agent_id,
        "conversation_id": conversation_id,
        "model": model,
        "provider": provider,
        "metadata": metadata,
    }
    return AgentScope(name, input, given)


def select_model(operation: Operation | None, model: str, provider: str | None, reason: str | None) -> None:
    """
    Note which model the agent asks: ``model_selected`` the first time, ``model_switched`` on a change.

    Only what is asked counts: that an alias is answered by a dated model is no switch. A model that
    the agent began with stands in its ``agent_start``, and is not selected again.
    """
    agent = None if operation is None else operation.agent
    if operation is None or agent is None:
        return
    if agent.model == model:
        agent.provider = provider or agent.provider
        return
    before, agent.model = agent.model, model
    agent.provider = provider or (agent.provider if before is None else None)
    if not SWITCH:
        return
    if before is None:
        payload = object_of(reason=encode_value(reason))
    else:
        payload = object_of(
            from_model=encode_value(before), to_model=encode_value(model), reason=encode_value(reason)
        )
    emit(
        "model_selected" if before is None else "model_switched",
        agent,
        payload,
        span_id=operation.span_id,
        extra={"model": model, "provider": agent.provider},
    )


def emit_custom(kind: str, agent: Agent, payload: Any, operation: Operation) -> None:
    """Publish an event of the open vocabulary; a payload that is no object goes under ``value``."""
    if not _is_kind(kind):
        raise ValueError(f"{kind!r:.60} is no event kind: those match [a-z][a-z0-9_.]*, `budget.warning` say")
    encoded = b"{}" if payload is None else encode_value(payload)
    if not encoded.startswith(b"{"):
        encoded = b'{"value":' + encoded + b"}"
    emit(kind, agent, encoded, parent_span_id=operation.span_id)


def _is_kind(kind: object) -> bool:
    if type(kind) is not str or not 0 < len(kind) <= 100 or not ("a" <= kind[0] <= "z"):
        return False
    return all("a" <= letter <= "z" or "0" <= letter <= "9" or letter in "_." for letter in kind)


class AgentTracer:
    """What ``traced_agent`` does around the calls of one function."""

    __slots__ = ("_given", "_plan", "name")
    keeps_items = True

    def __init__(self, function: Callable[..., Any], name: str, **given: Any) -> None:
        self.name = name
        self._plan = ArgumentPlan(function)
        self._given = given

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
        """Open a run with the arguments as its input; None when that failed."""
        try:
            return open_agent(self.name, self._plan.encode(args, kwargs, PIPE.limit_bytes), **self._given)
        except Exception as exc:
            contain("capture.agent_start", exc)
            return None

    def finish(self, call: Operation, value: Any, extra: bytes = b"") -> None:
        """Close the run with what the function returned."""
        try:
            close_agent(call, encode_value(value), None, extra=extra)
        except Exception as exc:
            contain("capture.agent_end", exc)

    def fail(self, call: Operation, exc: BaseException, extra: bytes = b"") -> None:
        """Close the run that *exc* leaves."""
        try:
            close_agent(call, b"null", exc, extra=extra)
        except Exception as failure:
            contain("capture.agent_end", failure)
