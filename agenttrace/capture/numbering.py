"""
Is this call another attempt at one that just failed?

Invariant: only what the operation around it remembers decides; of 64 failed calls, all are forgotten.
"""

from __future__ import annotations

from typing import Any

from agenttrace.capture.context import Operation
from agenttrace.capture.series import Series

__all__ = ["note_outcome", "number_attempt"]

_FAILED_LIMIT_COUNT = 64


def number_attempt(parent: Operation, call: Operation) -> dict[str, Any] | None:
    """
    Tell whether *call* repeats one that just failed, and number it.

    A call is an attempt again when the same operation makes it with equal name and
    arguments after its error, with no other call of its own begun in between.

    Returns:
        The columns ``attempt`` and ``retry_of``, or None for a first attempt.
    """
    if isinstance(parent, Series):
        return parent.number_call(call)
    failed = parent.failed_calls
    if not failed:
        return None
    known = failed.get((call.name, call.payload))
    if known is None:
        if parent.live_calls <= 1:  # no other call runs beside this one
            failed.clear()
        return None
    call.retry_of, call.attempt, call.repeats = known[0], known[1] + 1, known[2]
    return {"attempt": call.attempt, "retry_of": call.retry_of}


def note_outcome(parent: Operation, call: Operation, failed: bool, error_id: str | None) -> None:
    """Remember a failed call at its parent, or forget it once it went well."""
    if failed:
        if parent.failed_calls is None:
            parent.failed_calls = {}
        elif len(parent.failed_calls) >= _FAILED_LIMIT_COUNT:
            parent.failed_calls.clear()
        first = call.retry_of or call.span_id
        attempt = (call.attempt or 1) + call.attempts_count - 1
        parent.failed_calls[(call.name, call.payload)] = (first, attempt, error_id)
    elif isinstance(parent, Series):
        parent.forget_call(call)
    elif parent.failed_calls:
        parent.failed_calls.pop((call.name, call.payload), None)
