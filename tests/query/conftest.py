"""Stores in memory, and viewers on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agenttrace.query.viewer import TraceViewer
from agenttrace.store import EventSink
from agenttrace.store.event_store import TraceStore
from tests.query.factory import audit

__all__: list[str] = []


@pytest.fixture
def sink() -> Iterator[EventSink]:
    """Give an empty database in memory."""
    sink = EventSink(":memory:")
    yield sink
    sink.close()


@pytest.fixture
def viewer(sink: EventSink) -> TraceViewer:
    """Give a viewer on the same database."""
    return TraceViewer(TraceStore(sink))


@pytest.fixture
def audited(sink: EventSink, viewer: TraceViewer) -> TraceViewer:
    """Give a viewer on a database that holds the story ``audit``."""
    audit().write(sink)
    return viewer
