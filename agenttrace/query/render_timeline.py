"""
A timeline as lines of a given width: one event per line, in the order of time.

Invariant: no line is wider than asked, and each names its row, so that
``show --event`` can follow. Cost: one line at a time, nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from agenttrace.query.describe import describe_event
from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line, line_width, mark_span
from agenttrace.query.text import cell_width, fit, render_clock, render_duration, sanitize

if TYPE_CHECKING:
    from agenttrace.store.rows import Event

__all__ = ["render_event_line", "render_timeline"]

_AGENT_WIDTH = 10
_KIND_WIDTH = 11
_NARROWEST = 60


def render_timeline(
    events: Iterable[Event],
    *,
    width: int = 80,
    glyphs: Glyphs = UNICODE,
    fates: Mapping[str, str] | None = None,
) -> Iterator[Line]:
    """
    Render *events* one by one, in the order given.

    Args:
        events: Rows of one conversation.
        width: Terminal cells per line, taken as 60 at least.
        glyphs: ``lines.UNICODE`` or ``lines.ASCII``.
        fates: What became of each failure, by ``error_id``.
    """
    for event in events:
        yield render_event_line(event, width=max(width, _NARROWEST), glyphs=glyphs, fates=fates)


def render_event_line(
    event: Event, *, width: int, glyphs: Glyphs = UNICODE, fates: Mapping[str, str] | None = None
) -> Line:
    """Render one event: row, time of day (UTC), agent, kind, status, duration, what it says, fate."""
    head: list[Span] = [
        Span(f"#{event.id:<5} ", "id"),
        Span(f"{render_clock(event.ts_ms)} ", "dim"),
        Span(_pad(sanitize(event.agent_name or event.agent_id), _AGENT_WIDTH, glyphs) + " ", "agent"),
        Span(_pad(sanitize(event.kind), _KIND_WIDTH, glyphs) + " ", _kind_style(event)),
    ]
    if event.status is not None:
        head += [mark_span(event.status, glyphs), Span(" ")]
    if event.duration_ms is not None:
        head.append(Span(f"{render_duration(event.duration_ms)} ", "dim"))
    if event.attempt is not None and event.attempt > 1 and event.kind == "tool_call":
        head.append(Span(f"attempt {event.attempt} ", "warn"))
    tail: tuple[Span, ...] = ()
    fate = (fates or {}).get(event.error_id) if event.error_id and event.kind == "error" else None
    if fate:
        tail = (Span(glyphs.dot, "dim"), Span(fate, "bad" if fate in ("swallowed", "escaped") else "warn"))
    room = width - line_width(head) - line_width(tail)
    said = Span(describe_event(event, max(room, 8), glyphs), "bad" if event.kind == "error" else "")
    return fit_line((*head, said, *tail), width, glyphs.ellipsis)


def _pad(text: str, width: int, glyphs: Glyphs) -> str:
    text = fit(text, width, glyphs.ellipsis)
    return text + " " * (width - cell_width(text))


def _kind_style(event: Event) -> str:
    if event.kind == "error" or event.status == "error":
        return "bad"
    return "turn" if event.kind.startswith("model_") else "tool"
