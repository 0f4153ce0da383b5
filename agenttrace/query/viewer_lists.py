"""
The half of ``TraceViewer`` that needs no database: lists of events, filtered and as text.
"""

from __future__ import annotations

from collections.abc import Iterable

from agenttrace.store.rows import Event

__all__ = ["ViewerLists"]


class ViewerLists:
    """Functions of a list of events."""

    @staticmethod
    def filter_by_type(events: Iterable[Event], *kinds: str) -> list[Event]:
        """Keep the events of these kinds."""
        return [event for event in events if event.kind in kinds]

    @staticmethod
    def filter_errors(events: Iterable[Event]) -> list[Event]:
        """Keep ``error`` events and everything that ended in an error."""
        return [event for event in events if event.kind == "error" or event.status == "error"]

    @staticmethod
    def filter_by_duration(events: Iterable[Event], min_ms: float) -> list[Event]:
        """Keep events that took at least *min_ms*; those without a duration, or with 0, are dropped."""
        return [event for event in events if event.duration_ms and event.duration_ms >= min_ms]

    @staticmethod
    def format_timeline(events: Iterable[Event], form: str = "text") -> str:
        """Render events in the order of time, as ``text`` (a framed list), ``json`` or ``markdown``."""
        from agenttrace.query import formatting  # late: each question loads what it needs

        return formatting.format_timeline(events, form)

    @staticmethod
    def format_tree(events: Iterable[Event], form: str = "text") -> str:
        """Render events as a tree, in a form as above; orphans and cycles stand at the top level."""
        from agenttrace.query import formatting  # late: as above

        return formatting.format_tree(events, form)
