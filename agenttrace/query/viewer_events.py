"""
The half of ``TraceViewer`` that reads events and failures, page by page.

Invariant: no list is cut short without a ``next_cursor``, at any size of a conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agenttrace.errors import NotFound
from agenttrace.query.fates import read_failures, read_fates
from agenttrace.query.reading import check_limit
from agenttrace.query.timeline import Moment, event_conditions, read_events
from agenttrace.query.viewer_conversations import ViewerConversations
from agenttrace.store.rows import Event, Failure, Page

__all__ = ["ViewerEvents"]


class ViewerEvents(ViewerConversations):
    """Events in the order of time, one event whole, and failures."""

    def timeline(
        self,
        conversation_id: str,
        *,
        agent_id: str | None = None,
        turn: int | None = None,
        kinds: Sequence[str] = (),
        status: str | None = None,
        min_ms: float | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Event]:
        """
        Read a page of a conversation's events in the order of time.

        Args:
            conversation_id: Its id.
            agent_id: Only this agent's: its id or its name.
            turn: Only events of this turn.
            kinds: Only these kinds; all when empty.
            status: Only of operations that ended so; ``error`` has the rows of kind ``error`` too.
            min_ms: Only what took at least so long; what has no duration is left out.
            since: Not before this time.
            until: Not after this time.
            limit: How many at most.
            cursor: ``next_cursor`` of the page before.

        Raises:
            NotFound: There is no such conversation.
        """
        self.conversation(conversation_id)
        conditions, values = ["conversation_id = ?"], [conversation_id]
        extra, more = event_conditions(
            agent=agent_id, turn=turn, kinds=kinds, status=status, min_ms=min_ms, since=since, until=until
        )
        return read_events(self.reader, conditions + extra, [*values, *more], limit=limit, cursor=cursor)

    def iter_timeline(
        self, conversation_id: str, *, page_rows: int = 1000, **filters: Any
    ) -> Iterator[Event]:
        """
        Read all of a timeline, page by page, so that only one page is held however long it is.

        Args:
            conversation_id: Its id.
            page_rows: Rows of a page.
            filters: Those of ``timeline``.

        Raises:
            NotFound: There is no such conversation.
        """
        cursor: str | None = None
        while True:
            page = self.timeline(conversation_id, limit=page_rows, cursor=cursor, **filters)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def event(self, event_id: int | str) -> Event:
        """
        Give one event, whole.

        Args:
            event_id: Its row id, or its ``event_id``.

        Raises:
            NotFound: There is none.
        """
        text = str(event_id).removeprefix("#")
        found: Event | None = None
        if text.isdecimal() and len(text) < 19:
            found = self.store.event(int(text))
        elif "-" in text:
            found = next(iter(self.reader.select(Event, "WHERE event_id = ? LIMIT 1", [text])), None)
        if found is not None:
            return found
        newest = self.reader.value("SELECT max(id) FROM trajectory_events")
        hint = f" Row ids go from 1 to {newest}." if newest else " No event is recorded yet."
        raise NotFound(f"no event {text!r}.{hint}", () if newest is None else (str(newest),))

    def blob(self, sha256: str) -> bytes | None:
        """Give the whole payload that a ``cut`` mark names; None when it was not kept."""
        return self.store.blob(sha256)

    def payload_reader(self, conversation_id: str) -> Callable[[Event], Any]:
        """Give what reads the payloads of one conversation whole: uncut, with what they refer to."""
        return self.store.payload_reader(conversation_id)

    def failures(
        self,
        conversation_id: str | None = None,
        *,
        agent_id: str | None = None,
        fate: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Failure]:
        """
        List failures, newest first, each once, with what became of it.

        Args:
            conversation_id: Only in this conversation.
            agent_id: Only of this agent: its id or its name.
            fate: Only with this fate: ``retried reported swallowed escaped open``.
            since: Not before this time.
            until: Not after this time.
            limit: How many at most.
            cursor: ``next_cursor`` of the page before.
        """
        return read_failures(
            self.reader,
            conversation_id=conversation_id,
            agent=agent_id,
            fate=fate,
            since=since,
            until=until,
            limit=check_limit(limit),
            cursor=cursor,
        )

    def failure_of(self, event: Event) -> Failure | None:
        """Give the failure that an event tells of, raises, ends with or handles; None where there is none."""
        if event.error_id is None:
            return None
        where = "WHERE conversation_id = ? AND error_id = ? LIMIT 1"
        return next(iter(self.reader.select(Failure, where, [event.conversation_id, event.error_id])), None)

    def fates(self, conversation_id: str) -> dict[str, str]:
        """Give what became of each failure of a conversation, by ``error_id``."""
        return read_fates(self.reader, conversation_id)
