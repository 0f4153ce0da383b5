"""Stores for tests: in memory, and in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agenttrace.store.batch import EventSink
from agenttrace.store.event_store import TraceStore


@pytest.fixture
def sink() -> Iterator[EventSink]:
    """A sink whose database is in memory."""
    sink = EventSink(":memory:")
    yield sink
    sink.close()


@pytest.fixture
def store(sink: EventSink) -> TraceStore:
    """A store that reads what ``sink`` writes."""
    return TraceStore(sink)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a database may be made."""
    return str(tmp_path / "traces.db")
