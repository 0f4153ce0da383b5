"""The model turns that were recorded, read from the table as a user would."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tests.clients.provider_replies import Usage
from tests.frameworks.conftest import Rows

__all__ = ["Turn", "read_turns"]

_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


class Turn(NamedTuple):
    """One ``model_call`` with its ``model_turn``, and what lies between the two."""

    asked: str
    answered: str
    provider: str
    number: int
    status: str
    error_type: str | None
    attempt: int | None
    usage: Usage
    """Where a column is NULL: 0."""
    call: dict[str, Any]
    payload: dict[str, Any]
    errors: list[dict[str, Any]]
    """Payloads, with ``type``, ``attempt`` and ``error_id``."""
    retries: list[dict[str, Any]]
    deltas: list[str]


def read_turns(rows: Rows) -> list[Turn]:
    """Give the turns in the order in which they began; every one of them has exactly one end."""
    columns = (
        "kind",
        "span_id",
        "model",
        "provider",
        "turn",
        "status",
        "error_type",
        "attempt",
        "error_id",
        *_COUNTS,
        "payload",
    )
    found = [
        dict(zip(columns, row, strict=True))
        for row in rows(f"SELECT {', '.join(columns)} FROM trajectory_events ORDER BY ts_ns, id")
    ]
    for event in found:
        event["payload"] = json.loads(event["payload"])
    turns = []
    for call in (event for event in found if event["kind"] == "model_call"):
        inside = [event for event in found if event["span_id"] == call["span_id"]]
        (end,) = (event for event in inside if event["kind"] == "model_turn")
        assert inside[0] is call and inside[-1] is end, [event["kind"] for event in inside]
        turns.append(_build_turn(call, inside, end))
    ends = sum(event["kind"] == "model_turn" for event in found)
    assert ends == len(turns), "a turn ended that never began"
    return turns


def _build_turn(call: dict[str, Any], inside: list[dict[str, Any]], end: dict[str, Any]) -> Turn:
    def of_kind(kind: str) -> list[dict[str, Any]]:
        return [event for event in inside if event["kind"] == kind]

    return Turn(
        asked=call["model"],
        answered=end["model"],
        provider=end["provider"],
        number=end["turn"],
        status=end["status"],
        error_type=end["error_type"],
        attempt=end["attempt"],
        usage=Usage(**{name: end[name] or 0 for name in _COUNTS}),
        call=call["payload"],
        payload=end["payload"],
        errors=[
            {
                **event["payload"]["error"],
                "type": event["error_type"],
                "attempt": event["attempt"],
                "error_id": event["error_id"],
            }
            for event in of_kind("error")
        ],
        retries=[{**event["payload"], "error_id": event["error_id"]} for event in of_kind("retry")],
        deltas=[event["payload"]["text"] for event in of_kind("model_delta")],
    )
