"""
How every reading command opens the database.

Invariants: what dead processes left is recovered first; the database is opened
read-only and never migrated here; without one, the message names the path that
was looked at and the two commands that make one.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agenttrace.cli.console import note
from agenttrace.cli.refusal import EXIT_NO_DATABASE, Refusal
from agenttrace.errors import AgentTraceError, StoreMissing

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer

__all__ = ["MAKE_ONE", "name_database", "open_viewer", "recover_quietly", "select"]

MAKE_ONE = "Two commands make one:\n  agenttrace demo\n  agenttrace run your_agent.py"


_COLLECT_AFTER = (200_000, 20, 20)
"""A run of 100,000 events is 500,000 objects and no garbage: with the usual 700 a fifth of the time went."""


def name_database(database: str | None) -> str:
    """Give the database that is meant: the option, else what the settings say."""
    if database is not None:
        return database
    from agenttrace.config import default_database  # late: it may read a pyproject.toml

    return default_database()


@contextmanager
def open_viewer(database: str | None, *, recover: bool = True) -> Iterator[TraceViewer]:
    """
    Recover what dead processes left, then open the database for reading.

    Raises:
        Refusal: There is no database; the message says what to do.
        StoreError: It cannot be read.
    """
    # Late: the database library is loaded by commands that read, not by `--help`.
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.event_store import TraceStore

    target = name_database(database)
    if recover:
        recover_quietly(target)
    store = TraceStore(target)
    usual = gc.get_threshold()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        try:
            store.open_reader()
        except StoreMissing as exc:
            what = str(exc).partition(";")[0].rstrip(".")
            raise Refusal(f"{what}.\n{MAKE_ONE}", EXIT_NO_DATABASE) from exc
        yield TraceViewer(store)
    finally:
        gc.set_threshold(*usual)
        store.close()


def recover_quietly(database: str | None) -> None:
    """Store what dead processes left; a failure of that is a note, because reading can go on."""
    from agenttrace.write.recovery import recover

    try:
        result = recover(name_database(database), timeout_s=2.0)
    except (AgentTraceError, OSError) as exc:
        note(f"what dead processes left could not be recovered now: {exc}")
        return
    for left in result.left:
        note(f"a ring was left for later: {left}")
    if result.events:
        note(f"recovered {result.events} events of {result.rings} processes that have died.")


def select(viewer: TraceViewer, selector: str) -> str:
    """Give the id of the conversation that *selector* means; says on stderr what it took."""
    selection = viewer.resolve(selector)
    if selection.note is not None:
        note(selection.note)
    return selection.conversation_id
