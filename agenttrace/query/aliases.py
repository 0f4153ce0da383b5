"""
Other names for what `TraceViewer` does: those that neighbouring tools have made familiar.

``ALIASES`` is the whole table. Nothing here can do more than the method beside it,
and an unknown id raises ``NotFound`` here, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agenttrace.query.summary import Summary
    from agenttrace.store.rows import ConversationRow, Event, Page

__all__ = ["ALIASES", "ViewerAliases"]

ALIASES = {
    "list_sessions": "conversations(limit).items",
    "get_session_timeline": "every page of timeline(conversation_id), joined",
    "get_session_summary": "summary(conversation_id)",
    "search_traces": "search(query, conversation_id).items",
    "get_trace_detail": "event(event_id)",
}
"""Alias, and what it stands for."""


class ViewerAliases:
    """The methods of ``ALIASES``; `TraceViewer` has them."""

    if TYPE_CHECKING:

        def conversations(self, limit: int = 50) -> Page[ConversationRow]: ...
        def iter_timeline(self, conversation_id: str) -> Iterator[Event]: ...
        def summary(self, conversation_id: str) -> Summary: ...
        def search(
            self, query: str, conversation_id: str | None = None, *, limit: int = 100
        ) -> Page[Event]: ...
        def event(self, event_id: int | str) -> Event: ...

    def list_sessions(self, limit: int = 20) -> tuple[ConversationRow, ...]:
        """Give the newest conversations."""
        return self.conversations(limit).items

    def get_session_timeline(self, session_id: str) -> list[Event]:
        """Give all events of a conversation in the order of time, however many there are."""
        return list(self.iter_timeline(session_id))

    def get_session_summary(self, session_id: str) -> Summary:
        """Count a conversation."""
        return self.summary(session_id)

    def search_traces(
        self, query: str, session_id: str | None = None, *, limit: int = 100
    ) -> tuple[Event, ...]:
        """Give events that contain *query*, oldest first."""
        return self.search(query, session_id, limit=limit).items

    def get_trace_detail(self, trace_id: int | str) -> Event:
        """Give one event, whole."""
        return self.event(trace_id)
