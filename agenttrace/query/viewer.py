"""
``TraceViewer``: the questions that people ask of recorded conversations.

Invariant: it never writes. Every list comes as a ``Page``, so that no answer is
cut short without saying so; rows are frozen dataclasses; an unknown id raises
``NotFound`` with the nearest ones. What it can do stands in its halves, one module each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agenttrace.query.aliases import ViewerAliases
from agenttrace.query.reading import Reader
from agenttrace.query.searching import ViewerSearch
from agenttrace.query.viewer_lists import ViewerLists
from agenttrace.query.viewer_many import ViewerMany
from agenttrace.query.viewer_runs import ViewerRuns

if TYPE_CHECKING:
    from agenttrace.store.event_store import TraceStore

__all__ = ["TraceViewer"]


class TraceViewer(ViewerRuns, ViewerMany, ViewerSearch, ViewerLists, ViewerAliases):
    """
    Read conversations.

    Args:
        store: The store to read; None takes the database that this process would record to.
    """

    def __init__(self, store: TraceStore | None = None) -> None:
        if store is None:
            from agenttrace.store.event_store import TraceStore  # late, for the one who names none

            store = TraceStore()
        self.store = store
        self.reader = Reader(store)
