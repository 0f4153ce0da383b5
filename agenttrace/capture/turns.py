"""
One turn of a model: the request, its attempts, what streams in, the answer and its usage.

Invariants: a ``model_call`` is published before the request and closed by exactly one
``model_turn``; what had streamed in before an abort is kept. A turn that is opened right inside
another one (an SDK's inside a framework's) is that same turn: it fills in what the outer lacks,
and the outer ends once both have ended.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from agenttrace.capture import context
from agenttrace.capture.agents import select_model
from agenttrace.capture.calls import end_in_child
from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Operation
from agenttrace.capture.deltas import Deltas
from agenttrace.capture.emit import announce_agent
from agenttrace.capture.failures import status_of
from agenttrace.capture.handles import ScopeHandle
from agenttrace.capture.rebuilt import TurnCalls
from agenttrace.capture.turn_attempts import TurnAttempts
from agenttrace.capture.turn_facts import TurnFacts
from agenttrace.capture.turn_replay import Replayed, TurnReplay
from agenttrace.capture.turn_rows import write_call, write_turn
from agenttrace.errors import contain, contained

__all__ = ["ModelTurn", "model_turn"]

_MODEL_LIMIT_CHARS = 500


class ModelTurn(ScopeHandle):
    """
    The handle that ``with model_turn(…) as turn`` gives.

    Where no block fits: ``open()``, then ``leave()`` as the program goes on elsewhere while the answer
    is still to come, then ``close()``, which may happen in any thread and more than once.
    """

    def __init__(self, model: str, provider: str | None, input: Any, turn: int | None, params: Any) -> None:
        self._model = model
        self._facts = TurnFacts(provider)
        self._input = input
        self._given_turn = turn
        self._params = params
        self._operation: Operation | None = None
        self._previous: Operation | None = None
        self._is_entered = False
        self._to_end = [True]
        """Empty once somebody ends the turn: taking it out is one step, in whichever thread."""
        self._to_write = [True]
        """The same of its ``model_turn``."""
        self._turn_column: dict[str, int] = {}
        self._deltas: Deltas | None = None
        self._streams: ModelTurn | None = None
        """Which of the turns that are this one tells what streams in: the first that did."""
        self._attempts: TurnAttempts | None = None
        self._outer: ModelTurn | None = None
        """The turn that this one is a part of."""
        self._inner: ModelTurn | None = None
        """The open turn that is a part of this one."""
        self._is_answered = False
        """A turn inside has answered for this one; the next one is a turn of its own."""
        self._calls: TurnCalls | None = None
        self._replay: TurnReplay | None = None
        """Of the outermost of the turns that are this one, while a replay goes on."""

    # ------------------------------------------------------------- open, leave, close

    def __enter__(self) -> Self:
        self.open()
        if PIPE.substitute is not None:
            try:
                self.ask()
            except BaseException as exc:
                self.close(exc)
                raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(exc)

    def open(self) -> Self:
        """Begin the turn where the program stands; nothing is recorded while tracing is off."""
        if CURRENT.get() is None:
            with contained("capture.decide"):
                PIPE.decide()
        self._previous = CURRENT.get()
        if SWITCH:
            try:
                outer = _turn_around(self._previous)
                if outer is None or not outer._join(self):
                    self._open()
                CURRENT.set(self._operation)
                self._is_entered = True
            except Exception as exc:
                contain("capture.model_call", exc)
        return self

    def leave(self) -> None:
        """Let the program stand outside again, while the turn goes on; more than once does nothing."""
        operation = self._operation
        if operation is not None and self._is_entered:
            self._is_entered = False
            context.leave_scope(operation, self._previous)

    def close(self, exc: BaseException | None = None) -> None:
        """
        End the turn; a second time does nothing.

        Args:
            exc: What ended it: an error, a cancellation, or GeneratorExit where nobody wanted the rest.
        """
        if self._operation is None:
            return
        self.leave()
        try:
            self._to_end.pop()
        except IndexError:
            return
        try:
            if self._outer is not None:
                self._outer._take(self, exc)
            elif self._inner is None or exc is not None:
                self._close(exc)  # else with the turn inside, which still goes on
        except Exception as failure:
            contain("capture.model_turn", failure)

    def _open(self) -> None:
        parent = context.enclosing_agent(announce_agent)
        agent = parent.agent
        assert agent is not None, "an enclosing agent has an agent"
        calls = TurnCalls(parent, self._params)
        calls.open(self._input)  # before what was caught is written: it may be what a call gave
        if parent.caught is not None:
            parent.caught.settle()
        if parent.failed_calls:
            parent.failed_calls.clear()  # the model chose again: no longer a retry
        select_model(parent, self._model, self._facts.provider, None)
        agent.turns += 1
        given = self._given_turn
        self._turn_column = {"turn_in_run": agent.turns} if given is None else {"turn": given}
        operation = write_call(
            parent, self._model, self._facts.provider, self._turn_column, self._input, self._params
        )
        calls.begin(operation.span_id)
        self._calls = calls
        self._begin(operation)

    def _begin(self, operation: Operation) -> None:
        operation.__dict__["turn"] = self
        self._operation = operation
        if PIPE.substitute is not None and self._outer is None:
            self._replay = TurnReplay(operation, self._model, self._input, self._params)
        self._input = None  # contexts may keep the operation for long
        self._deltas = Deltas(operation, {**self._turn_column, "model": self._model})
        self._attempts = TurnAttempts(operation)

    # ------------------------------------------------------------- a turn inside a turn

    def _join(self, inner: ModelTurn) -> bool:
        """Take *inner*, which opens, for this same turn; False where it is one of its own."""
        operation = self._operation
        if operation is None or not self._to_end or operation.epoch != PIPE.epoch:
            return False
        if self._inner is not None or self._is_answered:
            self._facts.has_others = True
            return False
        part = Operation("model", inner._model, operation.conversation_id, operation.agent, operation)
        part.span_id, part.stands_for = operation.span_id, operation
        inner._outer, self._inner = self, inner
        if operation.parent is not None and operation.parent.agent is not None:
            inner._calls = TurnCalls(operation.parent, inner._params)
            inner._calls.open(inner._input)
            inner._calls.begin(operation.span_id)
        inner._begin(part)
        root = self._root()
        if root._attempts is not None:
            root._attempts.begin(is_another=True)
        return True

    def _take(self, inner: ModelTurn, exc: BaseException | None) -> None:
        """Take over what *inner* says, which has ended with *exc*."""
        self._inner = None
        self._facts.take(inner._facts)
        if exc is None or status_of(exc) != "error":
            self._is_answered = True
        else:
            self._root()._fail_part(exc)
        if not self._to_end:  # it has ended before, but for this
            if self._outer is not None:
                self._outer._take(self, exc)
            else:
                self._close(exc)

    def _fail_part(self, exc: BaseException) -> None:
        """Keep that a turn inside failed; it is tried again if another one opens."""
        if self._attempts is not None and self._is_told():
            self._attempts.fail(exc, is_sure=False)

    def _root(self) -> ModelTurn:
        turn = self
        while turn._outer is not None:
            turn = turn._outer
        return turn

    # ------------------------------------------------------------- a replay

    def ask(self) -> Replayed | None:
        """
        Give what a replay has in the place of the answer; None where the request is to be sent.

        Raises:
            ReplayError: Nothing like it was recorded, and nothing may be sent.
        """
        root = self._root()
        return None if root._replay is None else root._replay.ask(root._facts.provider)

    @property
    def recorded(self) -> Any:
        """
        The answer that was recorded for this turn, in a replay; None while none goes on.

        Raises:
            Exception: What the recorded turn ended with, if it failed.
        """
        replayed = self.ask()
        return None if replayed is None else replayed.tell(self._facts)

    # ------------------------------------------------------------- what is known meanwhile

    def fail_attempt(
        self,
        failure: Any,
        *,
        wait_ms: float | None = None,
        limit_count: int | None = None,
        by: str | None = None,
    ) -> None:
        """
        Record that an attempt at this turn has failed, and that another one will be made.

        ``begin_attempt()`` says when; without it, the next thing that the turn tells does.

        Args:
            failure: The exception, or a text that stands for it.
            wait_ms: The pause before the next attempt; measured, unless given.
            limit_count: How many attempts there are at most, the first included.
            by: Who tries again: the SDK's name.
        """
        root = self._root()
        if root._attempts is not None and root._is_told():
            with contained("capture.fail_attempt"):
                root._attempts.fail(failure, wait_ms, limit_count, by)

    def begin_attempt(self) -> None:
        """Record that the next attempt begins, if one has failed."""
        root = self._root()
        if root._is_told():
            with contained("capture.begin_attempt"):
                root._begin_attempt()

    def _begin_attempt(self) -> None:
        if self._attempts is not None:
            self._attempts.begin()

    def _is_told(self) -> bool:
        """Tell whether the turn still goes on in this process."""
        operation = self._operation
        return operation is not None and bool(self._to_write) and operation.epoch == PIPE.epoch

    def note_chunk(self) -> None:
        """Note that the answer begins to stream in, whatever the piece holds."""
        root = self._root()
        if root._deltas is not None and root._is_told():
            with contained("capture.model_delta"):
                root._begin_attempt()
                root._deltas.note_chunk()

    def delta(self, text: str) -> None:
        """Record a piece of a streamed answer; pieces are kept in rows of about 500 characters."""
        root = self._root()
        if root._deltas is None or not root._is_told():
            return
        with contained("capture.model_delta"):
            root._begin_attempt()
            if root._streams is None:
                root._streams = self
            if root._streams is self:
                root._deltas.add(text)

    def set_answered(self, model: str | None, *, service_tier: str | None = None) -> None:
        """Keep which model answered, and at which tier; the one that was asked stands in ``model_call``."""
        if isinstance(model, str) and model:
            self._facts.answered = model[:_MODEL_LIMIT_CHARS]
        if isinstance(service_tier, str) and service_tier:
            self._facts.set_service_tier(service_tier[:_MODEL_LIMIT_CHARS])

    def set_output(
        self, value: Any, *, finish_reason: str | None = None, response_id: str | None = None
    ) -> None:
        """Keep the model's answer, why it stopped, and the provider's id of it."""
        if self._operation is None:
            return
        with contained("capture.set_output"):
            self._facts.set_output(value, finish_reason, response_id)
            if self._calls is not None and self._root()._is_told():
                self._calls.answer(value)

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
            self._facts.set_usage(usage, counts)

    def fail(self, failure: Any) -> None:
        """Let the turn end as failed, unless an exception ends it: the answer itself says so."""
        if self._operation is not None:
            with contained("capture.turn_fail"):
                self._facts.set_failure(failure)

    def note_caller(self, place: dict[str, Any] | None) -> None:
        """Keep which line of the program asked, for the failures that leave only a library's own lines."""
        operation = self._root()._operation
        if operation is not None and place is not None:
            operation.__dict__["called_from"] = place

    # ------------------------------------------------------------- the end

    def _close(self, exc: BaseException | None) -> None:
        operation, deltas, attempts = self._operation, self._deltas, self._attempts
        assert operation is not None and deltas is not None and attempts is not None, "it was opened"
        try:
            self._to_write.pop()
        except IndexError:
            return
        if operation.epoch != PIPE.epoch:
            end_in_child(operation)
            return
        attempts.end(exc)
        now_ns = write_turn(operation, self._model, self._turn_column, self._facts, deltas, exc)
        if self._calls is not None:
            self._calls.close(now_ns)


def _turn_around(operation: Operation | None) -> ModelTurn | None:
    """Give the turn that *operation* is, right inside which another would open; None for another place."""
    operation = context.real_of(operation)
    found = None if operation is None else operation.__dict__.get("turn")
    return found if isinstance(found, ModelTurn) else None


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
