"""
From a recorded call to how it ends this time.

Invariant: each status has its answer: a value, the items of a stream, an exception, or a wait to be
cancelled again. What a generator had left when its consumer stopped was never kept, and is refused.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Mapping
from typing import Any

from agenttrace.cassette.cassette import is_rest
from agenttrace.cassette.recorded import RecordedCall
from agenttrace.cassette.stand_ins import Answer
from agenttrace.errors import ReplayError

__all__ = ["build_answer", "find_end"]

_SIGNALS: dict[str, type[BaseException]] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
}


def find_end(recorded: RecordedCall, number: int) -> tuple[Mapping[str, Any] | None, bool]:
    """Give the failure that attempt *number* (from 0) ended with, and whether it came back as data."""
    if number < len(recorded.attempts):
        return recorded.attempts[number], False
    return recorded.error, recorded.is_returned


def build_answer(
    recorded: RecordedCall,
    number: int,
    *,
    make_value: Callable[[Any], Any],
    make_item: Callable[[Any], Any],
    make_error: Callable[[Mapping[str, Any]], BaseException],
    refuse: Callable[[ReplayError], ReplayError],
    is_stream: bool,
) -> Answer:
    """
    Say how attempt *number* at a call ends.

    Args:
        recorded: The call.
        number: Which attempt, from 0.
        make_value: Makes the result of recorded data.
        make_item: Makes an item of a stream.
        make_error: Makes an exception of its description.
        refuse: Takes note of what cannot be given.
        is_stream: The tool is a generator.
    """
    answer = Answer()
    is_last = number >= len(recorded.attempts)
    error, is_returned = find_end(recorded, number)
    if is_stream and is_last:
        _add_items(answer, recorded, make_item, refuse)
    if error is not None and not is_returned:
        answer.exception = make_error(error)
    elif recorded.status == "cancelled":
        answer.exception = _build_signal(recorded.error_type)
        if isinstance(answer.exception, asyncio.CancelledError):
            answer.waits_s = (recorded.duration_ms or 0) / 1000
    elif recorded.status == "error" and not is_returned:
        answer.exception = make_error({"type": recorded.error_type or "Exception", "message": ""})
    elif recorded.status == "stopped_early":
        answer.exception = None
    else:
        answer.value = make_value(recorded.output)
    return answer


def _build_signal(name: str | None) -> BaseException:
    kind = _SIGNALS.get(name or "") or getattr(builtins, name or "", None)
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return kind()
    return asyncio.CancelledError()


def _add_items(
    answer: Answer,
    recorded: RecordedCall,
    make_item: Callable[[Any], Any],
    refuse: Callable[[ReplayError], ReplayError],
) -> None:
    stream = recorded.stream or {}
    found = stream.get("items")
    items: list[Any] = found if isinstance(found, list) else []
    count = stream.get("items_count") or 0
    kept = [one for one in items if not is_rest(one)]
    answer.items = [make_item(one) for one in kept]
    if count > len(kept):
        reason = f"it gave {count} items, of which {len(kept)} were kept"
    elif recorded.status == "stopped_early":
        reason = f"nobody asked for more than {len(kept)} items when it was recorded"
    else:
        return
    answer.beyond = lambda: refuse(ReplayError(f"{recorded.tool}: {reason}; now more are asked for."))
