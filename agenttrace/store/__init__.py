"""
Keep events in SQLite through peewee, and give them back as dataclasses.

The only package that imports peewee. It is loaded when the first batch is
written or the first question asked, never by ``import agenttrace``.
"""

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
