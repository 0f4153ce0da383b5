"""Programs that are recorded into memory, and replayed from there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import agenttrace
from agenttrace.cassette import Cassette
from agenttrace.testing import memory_recorder

__all__ = ["EXECUTED", "executed", "record", "record_to_file"]

EXECUTED: Counter[str] = Counter()
"""How often each tool's own code ran."""


def executed(name: str) -> None:
    """Note that a tool's own code runs."""
    EXECUTED[name] += 1


def record(program: Callable[[], Any]) -> tuple[Cassette, Any]:
    """Run *program* recorded; give its cassette, and what it returned or raised."""
    with memory_recorder() as recorder:
        try:
            outcome = program()
        except Exception as exc:
            outcome = exc
    (conversation_id,) = recorder.conversation_ids()
    cassette = Cassette.of(recorder.store, conversation_id)
    EXECUTED.clear()
    assert agenttrace.current() is None
    return cassette, outcome


def record_to_file(database: Path, program: Callable[[], Any], **settings: Any) -> tuple[str, Any]:
    """Run *program* recorded to a database; give its conversation's id, and as above."""
    agenttrace.configure(database, **settings)
    try:
        outcome = program()
    except BaseException as exc:
        outcome = exc
    agenttrace.shutdown()
    agenttrace.disable()
    with agenttrace.TraceStore(database) as store:
        (conversation,) = store.conversations().items
    EXECUTED.clear()
    return conversation.id, outcome
