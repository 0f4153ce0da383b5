"""
What was recorded in this test, given again: the seam that client integrations ask, made by hand.

Turns and calls are given in the order in which they were recorded; nothing is matched. ``asked`` says
what was asked for, so that a test sees that nothing else answered.
"""

from __future__ import annotations

import builtins
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agenttrace.capture.context import PIPE
from agenttrace.capture.substitution import Outcome, RecordedTurn
from agenttrace.errors import ReplayError
from tests.frameworks.conftest import Rows

__all__ = ["Recording", "replaying"]

_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


class Recording:
    """All turns, and all calls by their tools' names, of what is in a database now."""

    def __init__(self, rows: Rows) -> None:
        self.turns = deque(_iter_turns(rows))
        self.calls: dict[str, deque[Outcome]] = {}
        for name, outcome in _iter_calls(rows):
            self.calls.setdefault(name, deque()).append(outcome)
        self.asked: list[str] = []

    def tool(self, call: Any, wrapped: Callable[..., Any]) -> Callable[..., Any]:
        return wrapped

    def outer(self, call: Any, name: str, arguments: Any) -> Outcome | None:
        self.asked.append(name)
        if not self.calls.get(name):
            raise ReplayError(f"no call of {name} is left")
        return self.calls[name].popleft()

    def turn(self, operation: Any, model: str, provider: Any, input: Any, params: Any) -> RecordedTurn | None:
        self.asked.append(model)
        if not self.turns:
            raise ReplayError(f"no turn of {model} is left")
        return self.turns.popleft()

    def tool_names(self) -> list[str]:
        return list(self.calls)

    def agent(self, operation: Any, input_json: bytes) -> None:
        pass

    def scope(self, call: Any, arguments: bytes) -> None:
        pass


@contextmanager
def replaying(rows: Rows) -> Iterator[Recording]:
    """Give again what was recorded so far, in the block."""
    recording = Recording(rows)
    PIPE.substitute = recording
    try:
        yield recording
    finally:
        PIPE.substitute = None


def _errors(rows: Rows, span_id: str) -> list[dict[str, Any]]:
    found = rows(
        "SELECT payload FROM trajectory_events WHERE kind = 'error' AND span_id = ? ORDER BY ts_ns, id",
        span_id,
    )
    return [json.loads(payload)["error"] for (payload,) in found]


def _rebuild(error: dict[str, Any] | None) -> BaseException | None:
    if error is None or error["module"] is None:
        return None
    kind = getattr(builtins, error["type"], None)
    return kind(error["message"]) if kind else RuntimeError(f"{error['type']}: {error['message']}")


def _iter_turns(rows: Rows) -> Iterator[RecordedTurn]:
    columns = ", ".join(_COUNTS)
    for span_id, model, provider, status, payload, *counts in rows(
        f"SELECT span_id, model, provider, status, payload, {columns} FROM trajectory_events"
        " WHERE kind = 'model_turn' ORDER BY ts_ns, id"
    ):
        told = json.loads(payload)
        errors = _errors(rows, span_id)
        error = errors.pop() if status == "error" and errors else None
        yield RecordedTurn(
            model=model,
            output=told.get("output"),
            finish_reason=told.get("finish_reason"),
            response_id=told.get("response_id"),
            usage=told.get("usage"),
            counts={name: count for name, count in zip(_COUNTS, counts, strict=True) if count is not None},
            attempts=errors,
            error=error,
            exception=_rebuild(error),
            status=status,
            provider=provider,
            payload=told,
        )


def _iter_calls(rows: Rows) -> Iterator[tuple[str, Outcome]]:
    for span_id, name, status, payload in rows(
        "SELECT span_id, tool_name, status, payload FROM trajectory_events"
        " WHERE kind = 'tool_result' ORDER BY ts_ns, id"
    ):
        told = json.loads(payload)
        errors = _errors(rows, span_id)
        error = errors[-1] if status == "error" and errors else None
        yield (
            name,
            Outcome(told.get("output"), status == "error", _rebuild(error), error, told),
        )
