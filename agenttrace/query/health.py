"""
How a run is, at a glance: its status, and what lies beneath one that looks well.

Invariant: what is worse stands first, and each has a glyph and a word of its own. Cost: the failures of the
runs that have any, at most ``_LOOKED_AT`` of each, and their processes: about 50 µs for a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, mark_span
from agenttrace.query.reading import Reader
from agenttrace.query.text import pluralize, render_count
from agenttrace.store.rows import ConversationRow, ProcessRow

__all__ = ["Health", "read_health", "render_health"]

_LOOKED_AT = 100
_FATES = f"""
SELECT f.fate, count(*) FROM (SELECT fate FROM failures WHERE conversation_id = ? LIMIT {_LOOKED_AT}) f
GROUP BY 1
"""
_NO_LOSS = frozenset({"lost_parent"})
"""Counted by a process, but nothing is missing for it."""


@dataclass(frozen=True, slots=True)
class Health:
    """How one conversation is."""

    status: str
    """``running completed failed cancelled interrupted``, or ``out of contact``."""
    swallowed: int
    """Failures that nobody was told of."""
    is_at_least: bool
    """There may be more swallowed ones: only so many failures were looked at."""
    retries: int
    lost: int
    """Events that its process could not record."""


def read_health(reader: Reader, rows: Sequence[ConversationRow], statuses: Mapping[str, str]) -> list[Health]:
    """
    Look at conversations.

    Args:
        reader: Where to read.
        rows: The conversations.
        statuses: How each stands, liveness considered, by id.
    """
    lost = _read_lost(reader, [row.process_id for row in rows if row.process_id is not None])
    found = []
    for row in rows:
        errors = row.errors or 0
        fates: dict[str, int] = dict(reader.rows(_FATES, [row.id])) if errors else {}
        found.append(
            Health(
                status=statuses[row.id],
                swallowed=fates.get("swallowed", 0),
                is_at_least=sum(fates.values()) >= _LOOKED_AT,
                retries=row.retries or 0,
                lost=lost.get(row.process_id or "", 0),
            )
        )
    return found


def _read_lost(reader: Reader, process_ids: Sequence[str]) -> dict[str, int]:
    wanted: list[Any] = sorted(set(process_ids))
    marks = ", ".join("?" for _ in wanted)
    rows = reader.select(
        ProcessRow,
        f"WHERE process_id IN ({marks}) AND (dropped IS NOT NULL OR failed IS NOT NULL)",
        wanted,
    )
    lost = {}
    for row in rows:
        counts = Counter(row.dropped) + Counter(row.failed)
        lost[row.process_id] = sum(count for reason, count in counts.items() if reason not in _NO_LOSS)
    return lost


def render_health(health: Health, glyphs: Glyphs = UNICODE, *, is_whole: bool = False) -> Line:
    """
    Render a health as a mark and a word: the worst that there is, or all.

    Args:
        health: What ``read_health`` gave.
        glyphs: ``lines.UNICODE`` or ``lines.ASCII``.
        is_whole: Everything, the worst first, instead of the worst alone.
    """
    beneath: list[Span] = []
    if health.swallowed:
        count = render_count(health.swallowed) + ("+" if health.is_at_least else "")
        beneath.append(Span(f"{glyphs.swallowed} {count} swallowed", "bad"))
    if health.lost:
        beneath.append(Span(f"{glyphs.lost} {render_count(health.lost)} lost", "bad"))
    if health.retries:
        noun = pluralize(health.retries, "retry").replace("retrys", "retries")
        beneath.append(Span(f"{glyphs.retried} {noun}", "warn"))
    mark = mark_span(health.status, glyphs)
    if health.status == "completed":
        mark = Span(f"{glyphs.marks['ok']} ok" if glyphs.marks["ok"] != "ok" else "ok", "ok")
    spans = beneath if health.status == "completed" and beneath else [mark, *beneath]
    if not is_whole:
        return (spans[0],)
    joined: list[Span] = []
    for at, span in enumerate(spans):
        joined += [Span(glyphs.dot, "dim"), span] if at else [span]
    return tuple(joined)
