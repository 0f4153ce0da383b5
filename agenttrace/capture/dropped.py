"""
Results that the model was not told: which model input should have held them, and does not.

A result is dropped when the input that goes on after its answer lacks it. An input goes on after an
answer when it speaks of one of that answer's calls, or else holds more behind the message that was
answered, in the same thread and task, and no other answer waits. One that does neither (a title is
made, a guard is asked) decides nothing by itself; only what no later input holds either is dropped, as
the agent's run ends. Invariants: calls that still run are not dropped, nor those that no input came
after, nor any twice; an input from inside a tool's call says nothing about calls around it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agenttrace.capture.asked import AskedCall, Ledger, strand
from agenttrace.capture.context import Agent, Operation
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.capture.message_parts import is_instruction
from agenttrace.encode import codec

__all__ = ["note_missing", "print_of", "write_missed"]

_REASON = "not in the next model input"
_ENDED = ("ok", "error")
_PRINT_BYTES = 16_384
_LOOKED_AT_COUNT = 16
_PASSED_LIMIT_COUNT = 8
"""After so many inputs without it, a call that nobody traced is no longer waited for."""
_SEARCHED_COUNT = 32
_SEARCHED_BYTES = 262_144


def print_of(message: Any) -> int:
    """Give a fingerprint of a message, for this process; 0 of an instruction, which many inputs may share."""
    return 0 if is_instruction(message) else hash(codec.encode(message, _PRINT_BYTES))


def note_missing(
    agent: Agent,
    parent: Operation,
    ledger: Ledger,
    messages: list[Any],
    told: Collection[str],
    requested: Collection[str],
) -> None:
    """
    Look at the calls that an input has no result of.

    Args:
        parent: The operation that the input's turn runs in.
        told: Spans of the answers that the input speaks of.
        requested: Keys of the calls that it asks for again.
    """
    calls = list(ledger.calls.values())
    if not calls:
        return
    here = (strand(), parent.span_id)
    is_sole = not told and len({call.answer.span_id for call in calls}) == 1
    for call in calls:
        is_here = (call.answer.strand, call.answer.parent_span_id) == here
        is_after = call.answer.span_id in told or (is_sole and is_here and _goes_on(call, messages))
        if call.span_id is None:
            call.passed_count += is_after or is_here
            if call.passed_count >= _PASSED_LIMIT_COUNT:
                ledger.remove(call)
        elif call.status is None:
            continue
        elif is_after:
            _drop(agent, parent, ledger, call, [] if call.key in requested else messages)
        elif not told and is_here and not _mentions(messages, call):
            call.is_missed = True


def _goes_on(call: AskedCall, messages: list[Any]) -> bool:
    """Tell whether the input holds more behind the message that was answered."""
    sought = call.answer.answered
    return sought != 0 and any(print_of(one) == sought for one in messages[-_LOOKED_AT_COUNT:-1])


def _mentions(messages: list[Any], call: AskedCall) -> bool:
    """Tell whether the call's id stands anywhere in the last messages, in a form that we do not know."""
    if call.call_id is None or not messages:
        return False
    return call.call_id.encode("utf-8", "replace") in codec.encode(
        messages[-_SEARCHED_COUNT:], _SEARCHED_BYTES
    )


def _drop(agent: Agent, parent: Operation, ledger: Ledger, call: AskedCall, messages: list[Any]) -> None:
    if ledger.remove(call) and call.status in _ENDED and not _mentions(messages, call):
        _write(agent, parent, call)


def write_missed(agent: Agent, parent: Operation, ledger: Ledger) -> None:
    """Write the results that inputs passed over and none held, as the agent's run ends."""
    for call in list(ledger.calls.values()):
        if call.is_missed and ledger.remove(call) and call.status in _ENDED:
            _write(agent, parent, call)


def _write(agent: Agent, parent: Operation, call: AskedCall) -> None:
    if call.call_id is None or call.is_dropped:
        return  # without an id nobody can tell which result it was
    emit(
        "result_dropped",
        agent,
        object_of(reason=encode_value(_REASON)),
        parent_span_id=parent.span_id,
        call_id=call.call_id,
        tool_name=call.name,
    )
