"""
One event whole: its columns and its payload, with what was cut put back where it was kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from agenttrace.clock import render_utc
from agenttrace.query.lines import Line, Span
from agenttrace.query.text import render_duration, sanitize, sanitize_block
from agenttrace.query.tree import parse_payload

if TYPE_CHECKING:
    from agenttrace.store.rows import Event, Failure

__all__ = ["render_event"]

_NAME_WIDTH = 18


def render_event(
    event: Event,
    payload: Any = None,
    *,
    failure: Failure | None = None,
    payload_only: bool = False,
) -> Iterator[Line]:
    """
    Render an event as ``column  value`` lines, then its payload, indented.

    Args:
        event: The event.
        payload: Shown instead of the event's own; None shows its own.
        failure: The one that the event tells of, for what became of it and where it was caught.
        payload_only: Leave the columns out.
    """
    if not payload_only:
        yield from _render_columns(event, failure)
    value = parse_payload(event.payload_json) if payload is None else payload
    if not value and not payload_only:
        return
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = event.payload_json
    if not payload_only:
        yield (Span("payload", "dim"),)
    for line in text.split("\n"):
        yield (Span("  " + sanitize_block(line), "value"),)


def _render_columns(event: Event, failure: Failure | None) -> Iterator[Line]:
    yield (Span(f"#{event.id} ", "id"), Span(sanitize(event.kind), "agent"))
    for field in fields(event):
        value = getattr(event, field.name)
        if value is None or field.name in ("id", "kind", "payload_json"):
            continue
        text = str(value)
        if field.name == "ts_ms":
            text = f"{value} ({render_utc(value)} UTC)"
        elif field.name == "duration_ms":
            text = f"{value} ({render_duration(value)})"
        yield (Span(f"{field.name:<{_NAME_WIDTH}}", "dim"), Span(sanitize(text)))
    if failure is not None:
        yield (Span(f"{'fate':<{_NAME_WIDTH}}", "dim"), Span(failure.fate, "warn"))
    if failure is not None and failure.handled_at is not None:
        yield (Span(f"{'handled_at':<{_NAME_WIDTH}}", "dim"), Span(sanitize(failure.handled_at)))
