"""
The reading half of ``TraceStore``.

Invariant: reading never makes, migrates or writes a database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agenttrace.store import views
from agenttrace.store.blobs import read_blob
from agenttrace.store.connection import StoreDatabase
from agenttrace.store.references import References
from agenttrace.store.rollups import Difference, verify_rollups
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
from agenttrace.store.space import Space, measure_space

__all__ = ["StoreReader"]


class StoreReader:
    """What can be asked of a database; who inherits says where the connection comes from."""

    def open_reader(self) -> StoreDatabase:
        """Give the connection that reads."""
        raise NotImplementedError

    def space(self, limit: int = 10) -> Space:
        """Measure what takes the room, by at most *limit* kinds, tools and conversations; reads it all."""
        return measure_space(self.open_reader(), limit)

    def query(
        self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """
        Run one SELECT.

        Returns:
            The names of its columns, and its rows.

        Raises:
            StoreError: SQLite refuses it; a statement that writes is refused for a file.
        """
        reader = self.open_reader()
        with reader.reading():
            cursor = reader.connection.execute(sql, params)
            return [column[0] for column in cursor.description or ()], cursor.fetchall()

    def events(
        self,
        conversation_id: str,
        agent_id: str | None = None,
        *,
        kinds: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[Event]:
        """
        Read the events of a conversation, or of one agent in it.

        Returns:
            One agent's by ``seq``; a conversation's by time, then process and frame. [] when there are none.
        """
        return views.read_events(self.open_reader(), conversation_id, agent_id, kinds=kinds, limit=limit)

    def events_page(
        self,
        conversation_id: str,
        agent_id: str | None = None,
        *,
        kinds: Sequence[str] | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Event]:
        """Read one page of ``events``, in the same order, however many there are."""
        return views.read_events_page(
            self.open_reader(), conversation_id, agent_id, kinds=kinds, limit=limit, cursor=cursor
        )

    def event(self, row_id: int) -> Event | None:
        """Read one event by its row id; None when there is none."""
        return views.read_event(self.open_reader(), row_id)

    def conversations(
        self, limit: int = 50, cursor: str | None = None, **filters: Any
    ) -> Page[ConversationRow]:
        """
        Read conversations with their counts and sums, newest first.

        Args:
            limit: How many a page holds at most.
            cursor: ``next_cursor`` of the page before; None begins.
            filters: ``status``, ``id_prefix``, ``since_ms``.
        """
        return views.read_conversations(self.open_reader(), limit=limit, cursor=cursor, **filters)

    def conversation(self, conversation_id: str) -> ConversationRow | None:
        """Read one conversation with its counts and sums; None when there is none."""
        return views.read_conversation(self.open_reader(), conversation_id)

    def agents(self, conversation_id: str) -> list[AgentRow]:
        """Read the agents of a conversation, in the order of their first events."""
        return views.read_agents(self.open_reader(), conversation_id)

    def tool_traces(self, **filters: Any) -> list[ToolTrace]:
        """Read tool calls, one row each; filters are those of ``views.read_tool_traces``."""
        return views.read_tool_traces(self.open_reader(), **filters)

    def failures(self, **filters: Any) -> list[Failure]:
        """Read failures with their fates; filters are those of ``views.read_failures``."""
        return views.read_failures(self.open_reader(), **filters)

    def open_operations(self, **filters: Any) -> list[OpenOperation]:
        """Read what has started and not ended; filters are those of ``views.read_open_operations``."""
        return views.read_open_operations(self.open_reader(), **filters)

    def processes(self) -> list[ProcessRow]:
        """Read the processes that recorded here, newest first."""
        return views.read_processes(self.open_reader())

    def blob(self, sha256: str) -> bytes | None:
        """Read the whole payload that a ``cut`` mark names; None when it was not kept."""
        return read_blob(self.open_reader(), sha256)

    def payload_reader(self, conversation_id: str) -> Callable[[Event], Any]:
        """
        Give what reads the payloads of one conversation whole: uncut, with what their references name.

        What leads nowhere stays as it is in the row. The values are for reading only: two payloads
        may share them.
        """
        database = self.open_reader()
        references = References(database, conversation_id)

        def read(event: Event) -> Any:
            with database.lock:
                return references.read_whole(event.payload)

        return read

    def verify(self) -> list[Difference]:
        """Count everything anew and compare it with the rollups; [] when all is well."""
        return verify_rollups(self.open_reader())
