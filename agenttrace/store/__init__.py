"""
Keep events in SQLite through peewee, and give them back as dataclasses.

The only package that imports peewee. It is loaded when the first batch is
written or the first question asked, never by ``import agenttrace``; and what
needs but the shape of a row (``store.rows``) does without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agenttrace.store.batch import EventSink, Finish, ProcessCounters, RingPosition, Written
    from agenttrace.store.database import SCHEMA_VERSION, StoreDatabase, open_database
    from agenttrace.store.event_store import TraceStore
    from agenttrace.store.plan import Record
    from agenttrace.store.rows import (
        AgentRow,
        ConversationRow,
        Event,
        Failure,
        OpenOperation,
        Page,
        ProcessRow,
        ToolTrace,
    )

__all__ = [
    "SCHEMA_VERSION",
    "AgentRow",
    "ConversationRow",
    "Event",
    "EventSink",
    "Failure",
    "Finish",
    "OpenOperation",
    "Page",
    "ProcessCounters",
    "ProcessRow",
    "Record",
    "RingPosition",
    "StoreDatabase",
    "ToolTrace",
    "TraceStore",
    "Written",
    "open_database",
]

_HOMES = {
    "batch": ("EventSink", "Finish", "ProcessCounters", "RingPosition", "Written"),
    "database": ("SCHEMA_VERSION", "StoreDatabase", "open_database"),
    "event_store": ("TraceStore",),
    "plan": ("Record",),
}


def __getattr__(name: str) -> Any:
    # Late: a command that completes a word, or prints its help, needs no database library.
    if name in __all__:
        home = next((module for module, names in _HOMES.items() if name in names), "rows")
        value = globals()[name] = getattr(import_module(f"agenttrace.store.{home}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
