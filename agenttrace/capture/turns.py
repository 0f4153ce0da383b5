"""
One turn of a model: the request, what streams in, the answer and its usage.

Invariant: a ``model_call`` is published before the request and closed by exactly
one ``model_turn``; what had streamed in before an abort is kept.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from agenttrace import clock
from agenttrace.capture import context
from agenttrace.capture.agents import select_model
from agenttrace.capture.calls import end_in_child
from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Operation
from agenttrace.capture.emit import announce_agent, emit, encode_value, object_of
from agenttrace.capture.failures import record_failure, status_of
from agenttrace.capture.handles import ScopeHandle
from agenttrace.capture.run_budget import note_turn
from agenttrace.capture.usage import read_usage
from agenttrace.errors import contain, contained

__all__ = ["ModelTurn", "model_turn"]

_DELTA_ROWS_LIMIT_COUNT = 200
_DELTA_ROW_CHARS = 512
_DELTA_ROW_NS = 250_000_000
_KEPT_TEXT_CHARS = 262_144


class ModelTurn(ScopeHandle):
    """The handle that ``with model_turn(…) as turn`` gives."""

    def __init__(self, model: str, provider: str | None, input: Any, turn: int | None, params: Any) -> None:
        self._model = model
        self._provider = provider
        self._input = input
        self._given_turn = turn
        self._params = params
        self._operation: Operation | None = None
        self._previous: Operation | None = None
        self._turn_column: dict[str, int] = {}
        self._output: bytes | None = None
        self._ending: dict[str, bytes | None] = {}
        self._usage: dict[str, Any] = {}
        self._first_chunk_ns: int | None = None
        self._text: list[str] = []
        self._text_chars = 0
        self._waiting: list[str] = []
        self._waiting_chars = 0
        self._rows = 0
        self._last_row_ns = 0

    def __enter__(self) -> Self:
        if CURRENT.get() is None:
            with contained("capture.decide"):
                PIPE.decide()
        self._previous = CURRENT.get()
        if SWITCH:
            try:
                self._open()
            except Exception as exc:
                contain("capture.model_call", exc)
        return self

    def _open(self) -> None:
        parent = context.enclosing_agent(announce_agent)
        agent = parent.agent
        assert agent is not None, "an enclosing agent has an agent"
        if parent.caught is not None:
            parent.caught.settle()
        if parent.failed_calls:
            parent.failed_calls.clear()  # the model chose again: no longer a retry
        select_model(parent, self._model, self._provider, None, announce=False)
        agent.turns += 1
        given = self._given_turn
        self._turn_column = {"turn_in_run": agent.turns} if given is None else {"turn": given}
        operation = Operation("model", self._model, parent.conversation_id, agent, parent)
        emit(
            "model_call",
            agent,
            object_of(
                input=encode_value(self._input),
                params=None if self._params is None else encode_value(self._params),
            ),
            span_id=operation.span_id,
            parent_span_id=parent.span_id,
            extra={**self._turn_column, "model": self._model, "provider": self._provider},
            ts_ns=operation.started_ns,
        )
        operation.recorded = True
        self._operation = operation
        CURRENT.set(operation)

    def delta(self, text: str) -> None:
        """Record a piece of a streamed answer; pieces are kept in rows of about 500 characters."""
        operation = self._operation
        if operation is None:
            return
        with contained("capture.model_delta"):
            now_ns = clock.now_ns()
            if self._first_chunk_ns is None:
                self._first_chunk_ns = self._last_row_ns = now_ns
            if self._text_chars < _KEPT_TEXT_CHARS:
                self._text.append(text)
                self._text_chars += len(text)
            self._waiting.append(text)
            self._waiting_chars += len(text)
            if self._waiting_chars >= _DELTA_ROW_CHARS or now_ns - self._last_row_ns >= _DELTA_ROW_NS:
                self._write_delta(operation, now_ns)

    def _write_delta(self, operation: Operation, now_ns: int) -> None:
        if self._rows >= _DELTA_ROWS_LIMIT_COUNT:
            return  # the whole text still comes with the turn's end
        agent = operation.agent
        assert agent is not None, "a model turn has an agent"
        emit(
            "model_delta",
            agent,
            object_of(index=b"%d" % self._rows, text=encode_value("".join(self._waiting))),
            span_id=operation.span_id,
            parent_span_id=operation.parent_span_id,
            extra={**self._turn_column, "model": self._model},
            ts_ns=now_ns,
        )
        self._rows += 1
        self._waiting.clear()
        self._waiting_chars = 0
        self._last_row_ns = now_ns

    def set_output(
        self, value: Any, *, finish_reason: str | None = None, response_id: str | None = None
    ) -> None:
        """Keep the model's answer, why it stopped, and the provider's id of it."""
        if self._operation is None:
            return
        with contained("capture.set_output"):
            self._output = encode_value(value)
            self._ending["finish_reason"] = None if finish_reason is None else encode_value(finish_reason)
            self._ending["response_id"] = None if response_id is None else encode_value(response_id)

    def set_usage(self, usage: Any = None, /, **counts: Any) -> None:
        """
        Keep the token counts of this turn.

        Args:
            usage: The SDK's own usage object or mapping (OpenAI or Anthropic); kept as it is.
            **counts: ``input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
                reasoning_tokens`` (counts) and ``cost_usd``; they win over *usage*.
        """
        if self._operation is None:
            return
        with contained("capture.set_usage"):
            self._usage.update(read_usage(usage, counts))
            if usage is not None:
                self._ending["usage"] = encode_value(usage)

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
            self._close(operation, exc)
        except Exception as failure:
            contain("capture.model_turn", failure)

    def _close(self, operation: Operation, exc: BaseException | None) -> None:
        if operation.epoch != PIPE.epoch:
            end_in_child(operation)
            return
        agent = operation.agent
        assert agent is not None, "a model turn has an agent"
        if operation.caught is not None:
            operation.caught.settle()
        status, error_id, error_type = "ok", None, None
        if exc is not None:
            status, error_type = status_of(exc), type(exc).__name__
            if status == "error":
                error_id = record_failure(operation, exc, agent)
        output = self._output
        if output is None:
            if self._waiting:
                self._write_delta(operation, clock.now_ns())
            output = encode_value("".join(self._text)) if self._text else b"null"
        first_chunk_ms = None
        if self._first_chunk_ns is not None:
            first_chunk_ms = b"%.3f" % ((self._first_chunk_ns - operation.started_ns) / 1_000_000)
        payload = object_of(output=output, first_chunk_ms=first_chunk_ms, **self._ending)
        if operation.caught is not None:
            payload = operation.caught.close(payload)
        now_ns = clock.now_ns()
        emit(
            "model_turn",
            agent,
            payload,
            span_id=operation.span_id,
            parent_span_id=operation.parent_span_id,
            status=status,
            duration_ms=(now_ns - operation.started_ns) / 1_000_000,
            error_id=error_id,
            error_type=error_type,
            extra={**self._turn_column, "model": self._model, "provider": self._provider, **self._usage},
            ts_ns=now_ns,
        )
        note_turn(operation, self._usage.get("cost_usd"))


def model_turn(
    model: str,
    *,
    provider: str | None = None,
    input: Any = None,
    turn: int | None = None,
    params: Any = None,
) -> ModelTurn:
    """
    Make the block one request to a model and its answer; for ``with`` and ``async with``.

    Args:
        model: The model that is asked. Another one than the agent's last is recorded as a switch.
        provider: Who serves it.
        input: The messages that are sent.
        turn: The turn's number; counted per agent from 1, unless given.
        params: Temperature and the like.
    """
    return ModelTurn(model, provider, input, turn, params)
