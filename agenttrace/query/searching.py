"""
The half of ``TraceViewer`` that looks for events: by a part of a text, and by words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agenttrace.query.timeline import Moment, event_conditions, read_events, search_condition
from agenttrace.query.viewer_conversations import ViewerConversations
from agenttrace.store.rows import Event, Page

if TYPE_CHECKING:
    from agenttrace.query.find import Hit

__all__ = ["ViewerSearch"]


class ViewerSearch(ViewerConversations):
    """What searches."""

    def search(
        self,
        query: str,
        conversation_id: str | None = None,
        *,
        agent_id: str | None = None,
        kinds: Sequence[str] = (),
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Event]:
        """
        Find events whose payload or names contain *query*; ASCII letters of either case match.

        Args:
            query: Plain text; ``%`` and ``_`` mean themselves.
            conversation_id: Only in this conversation.
            agent_id: Only of this agent: its id or its name.
            kinds: Only these kinds; all when empty.
            since: Not before this time.
            until: Not after this time.
            limit: How many at most, oldest first.
            cursor: ``next_cursor`` of the page before.

        Raises:
            NotFound: There is no such conversation.
        """
        conditions: list[str] = []
        values: list[Any] = []
        if conversation_id is not None:
            self.conversation(conversation_id)
            conditions.append("conversation_id = ?")
            values.append(conversation_id)
        extra, more = event_conditions(agent=agent_id, kinds=kinds, since=since, until=until)
        condition, patterns = search_condition(query)
        return read_events(
            self.reader,
            [*conditions, *extra, condition],
            [*values, *more, *patterns],
            limit=limit,
            cursor=cursor,
        )

    def find(
        self,
        query: str,
        conversation_id: str | None = None,
        *,
        agent_id: str | None = None,
        tool_name: str | None = None,
        kinds: Sequence[str] = (),
        status: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int = 20,
    ) -> tuple[Hit, ...]:
        """
        Find events by the words in their payloads and names.

        The best come first; the newest, where a word stands in more than 20,000 events.

        The index lies in a file beside the database and takes in first what is new: about 10 s for the
        first 1,000,000 events. ``search`` needs none, and finds parts of words.

        Args:
            query: Words (all must be there), ``"a phrase"``, ``begin*``, ``AND``, ``OR``, ``NOT``, ``()``.
            conversation_id: Only in this conversation.
            agent_id: Only of this agent: its id or its name.
            tool_name: Only of this tool.
            kinds: Only these kinds; all when empty.
            status: Only of operations that ended so; ``error`` has the rows of kind ``error`` too.
            since: Not before this time.
            until: Not after this time.
            limit: How many at most, up to 1,000.

        Raises:
            NotFound: There is no such conversation.
            ConfigError: The query has no word or makes no sense.
        """
        conditions, values = event_conditions(
            agent=agent_id, kinds=kinds, status=status, since=since, until=until
        )
        if conversation_id is not None:
            self.conversation(conversation_id)
        if tool_name is not None:
            conditions.append("tool_name = ?")
            values.append(tool_name)
        from agenttrace.query.find import find_events  # late: each question loads what it needs

        return find_events(self.reader, query, conditions, values, limit, conversation_id)
