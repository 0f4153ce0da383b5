"""
Scopes that are no agents: a conversation, and one tool call made by hand.

Invariant: with tracing off a scope gives the same handle, and its ids work.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agenttrace.capture import context
from agenttrace.capture.agents import close_agent
from agenttrace.capture.calls import close_call, open_call
from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Operation
from agenttrace.capture.detectors import detect_failure, type_of_returned
from agenttrace.capture.emit import announce_agent, emit_conversation, encode_value, object_of
from agenttrace.capture.failures import emit_returned_failure, record_failure, status_of
from agenttrace.capture.handles import ScopeHandle
from agenttrace.capture.lost import standing_in
from agenttrace.capture.marks import mark_of
from agenttrace.errors import contain, contained

if TYPE_CHECKING:
    from agenttrace.capture.run_budget import RunBudget

__all__ = ["ConversationScope", "ToolScope", "conversation_scope", "tool_scope"]


class ConversationScope(ScopeHandle):
    """The handle that ``with conversation_scope(…) as conversation`` gives."""

    def __init__(
        self, conversation_id: str | None, task: str | None, metadata: Any, budget: RunBudget | None = None
    ) -> None:
        self._given_id = conversation_id
        self._budget = budget
        self._task = task
        self._metadata = metadata
        self._operation: Operation | None = None
        self._previous: Operation | None = None

    @property
    def conversation_id(self) -> str:
        """The given id, or one made on first access."""
        if self._given_id is None:
            self._given_id = context.new_conversation_id()
        return self._given_id

    def __enter__(self) -> Self:
        if CURRENT.get() is None:
            with contained("capture.decide"):
                PIPE.decide()
        context.note_scope_opened()
        self._operation = Operation("conversation", self._task or "", self.conversation_id, None, None)
        if SWITCH:
            with contained("capture.conversation"):
                emit_conversation(self.conversation_id, self._task, self._metadata)
        self._previous = CURRENT.get()
        CURRENT.set(self._operation)
        if self._budget is not None:
            self._budget.open(self.conversation_id)
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
        if self._budget is not None:
            self._budget.close(self.conversation_id)
        context.leave_scope(operation, self._previous)
        with contained("capture.agent_end"):
            if exc is not None and SWITCH and _is_of_no_agent(exc):
                standing_in(operation)  # the agent main, which then ends with it
            if operation.implicit is not None:
                close_agent(operation.implicit, b"null", exc)


def _is_of_no_agent(exc: BaseException) -> bool:
    """Tell whether *exc* is an error that left no operation: nothing would tell of it."""
    mark = mark_of(exc)
    return status_of(exc) == "error" and (mark is None or not mark[1])


def conversation_scope(
    conversation_id: str | None = None,
    *,
    task: str | None = None,
    metadata: Any = None,
    budget_usd: float | None = None,
    max_turns: int | None = None,
) -> ConversationScope:
    """
    Make the block part of one conversation; for ``with`` and ``async with``.

    The limits stop nothing. A model turn that brings the cost to 80 % of *budget_usd* leaves a
    ``budget_warning``, one that brings it above a ``budget_exceeded``, and the first turn beyond
    *max_turns* an ``iteration_limit``, each once, in the agent whose turn it was. What counts is what
    ends in this process while the block is open, also when the conversation is an old one.

    Args:
        conversation_id: An id of your own, also one that exists; a new one unless given.
        task: What the conversation is about, in a line.
        metadata: Anything to keep with the conversation.
        budget_usd: What the model turns inside may cost, in US dollars.
        max_turns: How many model turns its agents may take in all.

    Raises:
        ConfigError: A limit is no such number, or negative; also while tracing is off, so that it does
            not first show where tracing is on.
    """
    if budget_usd is None and max_turns is None:
        return ConversationScope(conversation_id, task, metadata)
    from agenttrace.capture.run_budget import build_budget  # late: decimal costs a millisecond of import

    return ConversationScope(conversation_id, task, metadata, build_budget(budget_usd, max_turns))


_NOT_SET: Any = object()


class ToolScope(ScopeHandle):
    """The handle that ``with tool_scope(…) as call`` gives."""

    def __init__(self, name: str, call_id: str | None, arguments: Any) -> None:
        self._name = name
        self._call_id = call_id
        self._arguments = arguments
        self._call: Operation | None = None
        self._previous: Operation | None = None
        self._result: Any = _NOT_SET
        self._output = b"null"
        self._is_error: bool | None = None

    @property
    def call_id(self) -> str | None:
        """The provider's id of this call, as given."""
        return self._call_id

    @property
    def span_id(self) -> str | None:
        """The id that pairs the call with its result; None while tracing is off."""
        return None if self._call is None else self._call.span_id

    def __enter__(self) -> Self:
        self._previous = CURRENT.get()
        if not SWITCH:
            return self
        try:
            arguments = b"null" if self._arguments is None else encode_value(self._arguments)
            parent = context.enclosing_agent(announce_agent)
            name_json = encode_value(self._name).decode()
            call = open_call(parent, self._name, name_json, arguments, self._call_id)
            if self._arguments is None:
                call.payload = b""
            call.merges = True
            self._call = call
            CURRENT.set(call)
            if PIPE.substitute is not None:
                PIPE.substitute.scope(call, arguments)
        except Exception as exc:
            contain("capture.tool_call", exc)
        return self

    def set_result(self, value: Any, *, is_error: bool | None = None) -> None:
        """
        Keep *value* as what the call gave.

        Args:
            value: What the model gets to read, say.
            is_error: Whether it stands for a failure; None decides by whether the tool raised, and by
                what *value* says of itself (``{"error": …}`` and the like).
        """
        with contained("capture.set_result"):
            if self._call is not None:
                self._output = encode_value(value)
            self._result = value
            self._is_error = is_error

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        call = self._call
        if call is None:
            return
        context.leave_scope(call, self._previous)
        try:
            self._close(call, exc)
        except Exception as failure:
            contain("capture.tool_result", failure)

    def _close(self, call: Operation, exc: BaseException | None) -> None:
        agent = call.agent
        assert agent is not None, "a call has an agent"
        status, error_id, error_type = "ok", call.error_id, call.error_type
        output = self._output
        if exc is not None:
            status, error_type = status_of(exc), type(exc).__name__
            error_id = record_failure(call, exc, agent) if status == "error" else None
        else:
            if self._result is _NOT_SET and call.joined_output is not None:
                output = call.joined_output
            detected = "set_result" if self._is_error else None
            if self._is_error is None and not call.joined_failed and self._result is not _NOT_SET:
                detected = detect_failure(self._result)
            if detected is not None or (call.joined_failed and self._is_error is None):
                status = "error"
                if error_id is None:
                    value = None if self._result is _NOT_SET else self._result
                    error_id = emit_returned_failure(call, agent, value, detected or "set_result")
                    error_type = type_of_returned(value)
            else:
                error_id = error_type = None
        payload = object_of(
            is_error=b"true" if status == "error" else b"false",
            output=output,
            arguments=call.joined_arguments,
        )
        close_call(call, status, payload, error_id=error_id, error_type=error_type)


def tool_scope(name: str, *, call_id: str | None = None, arguments: Any = None) -> ToolScope:
    """
    Make the block one call of the tool *name*; for ``with`` and ``async with``.

    The first traced tool of that name that runs directly inside is this same call, so that a
    dispatcher may wrap ``TOOLS[name](**arguments)``: an unknown name or rejected arguments are
    then recorded as this call's error.

    Args:
        name: What the model called.
        call_id: The provider's id of the call, when there is one.
        arguments: What the model sent; those of the traced tool inside, unless given.
    """
    return ToolScope(name, call_id, arguments)
