"""
What one model turn tells of tool calls: results in its input, and calls in its answer.

A call that nobody traced is rebuilt from the two: a ``tool_call`` at the answer's end and a
``tool_result`` as the next input opens, both marked ``rebuilt``. Invariants: a call is written once,
however often its result is sent again, and only if this process saw it asked for; a call that was
traced is never written again, and a failure that has its row gets no second one. Nothing is raised
into the program. Cost: nothing for a turn of an agent that was asked for no call; else one look at
the messages since then, from the end of the input.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agenttrace import clock
from agenttrace.capture.asked import Answer, AskedCall, Ledger, Noted, ledger_of
from agenttrace.capture.context import PIPE, Agent, Operation, ToolCall
from agenttrace.capture.dropped import note_missing, print_of, write_missed
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.capture.handed_back import (
    HandedBack,
    build_returned,
    find_told,
    is_told_in,
    judge,
    judge_text,
)
from agenttrace.capture.message_parts import messages_of
from agenttrace.capture.messages import ReturnedResult, read_history, read_offer, read_requests
from agenttrace.capture.waiting import Waiting
from agenttrace.errors import contained
from agenttrace.events import new_id

__all__ = ["TurnCalls", "end_of_agent"]

_REBUILT = b"true"


class TurnCalls:
    """
    What a model turn has to do with tool calls.

    Args:
        parent: The operation that the turn runs in; it has an agent.
        params: Of the request; its ``tools`` (or ``functions``) in the provider's form.
    """

    __slots__ = ("_agent", "_answered", "_opened_ns", "_params", "_parent", "_span_id")

    def __init__(self, parent: Operation, params: Any) -> None:
        agent = parent.agent
        assert agent is not None, "the caller chose an operation with an agent"
        self._agent = agent
        self._parent = parent
        self._span_id = ""
        self._opened_ns = 0
        self._params = params
        self._answered = 0

    def open(self, value: Any) -> None:
        """Read what the input *value* says that calls gave; as the turn opens, before its own rows."""
        with contained("capture.rebuilt"):
            messages = messages_of(value)
            if not messages:
                return
            self._answered = print_of(messages[-1])
            ledger = self._agent.asked
            if ledger is None or not ledger.calls or ledger.epoch != PIPE.epoch:
                return
            calls = dict(ledger.calls)
            history = read_history(messages, calls.keys())
            answered = []
            for key, result in history.results.items():
                call = calls[key]
                if ledger.remove(call):
                    answered.append((call, result))
            answered.sort(key=lambda pair: pair[0].number)
            told = {call.answer.span_id for call, _ in answered}
            told |= {calls[key].answer.span_id for key in history.requested}
            if answered:
                _tell(self._agent, self._parent, ledger, answered, clock.now_ns())
            note_missing(self._agent, self._parent, ledger, messages, told, history.requested)
            ledger.note_claimed(self._agent)

    def begin(self, span_id: str) -> None:
        """Say which span the turn has."""
        self._span_id = span_id
        self._opened_ns = clock.now_ns()

    def answer(self, value: Any) -> None:
        """Read which calls the answer *value* asks for; they may be made from now on."""
        with contained("capture.asked"):
            requests = read_requests(value)
            if requests:
                answer = Answer(self._span_id, self._parent.span_id, self._answered)
                offer = read_offer(self._params)
                ledger_of(self._agent).ask(self._agent, answer, requests, offer, self._opened_ns)

    def close(self, now_ns: int) -> None:
        """Note when the answer was complete."""
        ledger = self._agent.asked
        if ledger is not None:
            for call in list(ledger.calls.values()):
                if call.answer.span_id == self._span_id:
                    call.answer.given_ns = now_ns


class _Rebuilt(NamedTuple):
    """A call that nobody traced."""

    operation: ToolCall
    asked: AskedCall
    result: ReturnedResult


def _tell(
    agent: Agent,
    parent: Operation,
    ledger: Ledger,
    answered: list[tuple[AskedCall, ReturnedResult]],
    now_ns: int,
) -> None:
    """Write what the input says of calls: those that nobody traced, and failures that nobody knew."""
    _find_lookalikes(ledger, answered)
    rebuilt: list[_Rebuilt] = []
    for asked, result in answered:
        if asked.span_id is None:
            rebuilt.append(_open(agent, parent, asked, result, now_ns))
        elif asked.status != "error" and not asked.is_elsewhere:
            _tell_of_traced(agent, parent, ledger, asked, result, now_ns)
    for one in rebuilt:
        _close(agent, parent, ledger, one, now_ns)


def _find_lookalikes(ledger: Ledger, answered: list[tuple[AskedCall, ReturnedResult]]) -> None:
    """
    Find the traced calls of an asked name whose arguments the program has changed: they are the asked ones.

    A call that failed is the one whose words are handed back; one that did not goes to what is left.
    """
    if not ledger.lookalikes:
        return
    open_ones = [(asked, judge_text(result)) for asked, result in answered if asked.span_id is None]
    for fits in (_fits_well, _fits_in_part):
        for asked, failure in open_ones:
            for name, span_id, started_ns in list(ledger.lookalikes):
                if asked.span_id is not None:
                    break
                if name != asked.name or started_ns < asked.answer.opened_ns:
                    continue
                noted = [one for one in list(ledger.noted) if span_id in one.spans]
                if fits(asked, failure, noted):
                    ledger.lookalikes.remove((name, span_id, started_ns))
                    asked.span_id, asked.status = span_id, "error" if noted else "ok"


def _fits_well(asked: AskedCall, failure: HandedBack | None, noted: list[Noted]) -> bool:
    if failure is None:
        return not noted
    return any(is_told_in(one, failure.text, asked) for one in noted)


def _fits_in_part(asked: AskedCall, failure: HandedBack | None, noted: list[Noted]) -> bool:
    """Tell whether the call may have been made, and the model was told something else of it."""
    return failure is None or (bool(noted) and asked.is_json_valid and asked.is_known)


def _open(agent: Agent, parent: Operation, asked: AskedCall, result: ReturnedResult, now_ns: int) -> _Rebuilt:
    given_ns = min(asked.answer.given_ns, now_ns)
    operation = ToolCall(asked.name, agent, parent, asked.arguments)
    emit(
        "tool_call",
        agent,
        object_of(arguments=asked.arguments, rebuilt=_REBUILT),
        span_id=operation.span_id,
        parent_span_id=asked.answer.parent_span_id or None,
        tool_name=asked.name,
        call_id=asked.call_id,
        ts_ns=given_ns,
    )
    return _Rebuilt(operation, asked, result)


def _close(agent: Agent, parent: Operation, ledger: Ledger, one: _Rebuilt, now_ns: int) -> None:
    asked, result = one.asked, one.result
    failure = judge(asked, result)
    error_id = error_type = None
    if failure is not None:
        error_type = failure.error_type
        told = find_told(ledger, parent, asked, failure)
        if isinstance(told, Noted):
            error_id = told.error_id  # it has its row
            error_type = told.error_type if asked.is_known else error_type
        else:
            error_id = _write_failure(agent, one.operation.span_id, asked, failure, told, now_ns)
            if told is not None and asked.is_known:
                error_type = told.type_name
    emit(
        "tool_result",
        agent,
        object_of(
            is_error=b"false" if failure is None else b"true",
            output=encode_value(result.content),
            rebuilt=_REBUILT,
        ),
        span_id=one.operation.span_id,
        parent_span_id=asked.answer.parent_span_id or None,
        tool_name=asked.name,
        status="ok" if failure is None else "error",
        call_id=asked.call_id,
        error_id=error_id,
        error_type=error_type,
        ts_ns=now_ns,
    )


def _tell_of_traced(
    agent: Agent, parent: Operation, ledger: Ledger, asked: AskedCall, result: ReturnedResult, now_ns: int
) -> None:
    """Write the failure that the model is told of, where the traced call itself ended well."""
    if result.is_error is not True or asked.span_id is None:
        return
    failure = judge(asked, result)
    if failure is None or find_told(ledger, parent, asked, failure, asked.span_id) is not None:
        return
    _write_failure(agent, asked.span_id, asked, failure, None, now_ns)


def _write_failure(
    agent: Agent,
    span_id: str,
    asked: AskedCall,
    failure: HandedBack,
    waiting: Waiting | None,
    now_ns: int,
) -> str:
    """Write the ``error`` row of a failure; of one that was caught, with all that is known of it."""
    error_id = new_id() if waiting is None else waiting.mark[0]
    payload, error_type = build_returned(asked, failure, waiting)
    emit(
        "error",
        agent,
        payload,
        span_id=span_id,
        parent_span_id=asked.answer.parent_span_id or None,
        tool_name=asked.name,
        call_id=asked.call_id,
        error_id=error_id,
        error_type=error_type,
        extra=None if waiting is None else waiting.extra or None,
        ts_ns=now_ns if waiting is None else min(waiting.ts_ns, now_ns),
    )
    return error_id


def end_of_agent(agent: Agent, parent: Operation) -> None:
    """Write the results that no model input held, as the agent's run ends, and forget its calls."""
    ledger = agent.asked
    if ledger is None:
        return
    agent.asked = agent.unclaimed = None
    agent.ledgers.clear()
    if ledger.epoch == PIPE.epoch:
        with contained("capture.rebuilt"):
            write_missed(agent, parent, ledger)
