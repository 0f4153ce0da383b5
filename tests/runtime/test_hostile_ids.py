"""Ids and names that no database likes: what carries them is stored as it comes, and can be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

import agenttrace
from agenttrace import TraceStore, TraceViewer, agent_scope, conversation_scope, traced_tool

_HOSTILE = [
    "x\0y",
    "\0",
    "x\0",
    "lone \ud800",
    "new\nline",
    "x" * 5_000,
    "quote'\"; --",
    "\\u0000",
    "ä\u202e",
]


@traced_tool
def look(word: str) -> str:
    """Have what is open stored while it is."""
    assert agenttrace.flush(5).pending == 0, "nothing waits because of a name"
    return word


class TestHostileIds:
    """S1: an id of one's own may be any text."""

    @pytest.mark.parametrize("name", _HOSTILE, ids=[ascii(name)[:20] for name in _HOSTILE])
    def test_is_stored_while_open(self, clean_environment: Path, name: str) -> None:
        """Whatever the id, its events are stored before they end, go on counting, and come out again."""
        path = clean_environment / "traces.db"
        agenttrace.configure(path, install=())
        for _ in range(2):
            with conversation_scope(name), agent_scope(name, agent_id=name):
                look(name)
        assert agenttrace.shutdown().pending == 0
        with TraceStore(path) as store:
            viewer = TraceViewer(store)
            (row,) = viewer.conversations().items
            assert (row.status, row.total_events, row.tool_calls) == ("completed", 8, 2)
            assert sorted(event.seq for event in store.events(row.id)) == list(range(8))
            assert viewer.open_operations() == () and "\0" not in row.id
            assert "nothing wrong was found" in viewer.format_for_llm(row.id, 500)

    def test_told_by_hand(self, clean_environment: Path) -> None:
        """Events that a program writes itself are stored alike."""
        with TraceStore(clean_environment / "traces.db") as store:
            for kind in ("agent_start", "agent_end"):
                store.record(kind=kind, conversation_id="x\0y", agent_id="a\0b", span_id="0123456789abcdef")
                assert len(store.open_operations()) == (kind == "agent_start")
            (row,) = store.conversations().items
            assert row.id == "x\\x00y" and row.total_events == 2
