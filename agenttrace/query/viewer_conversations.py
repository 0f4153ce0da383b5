"""
The half of ``TraceViewer`` that finds conversations, and counts them.

Invariant: an unknown id raises ``NotFound`` with the nearest ones. Cost: rollups, never the events of more
than one conversation.
"""

from __future__ import annotations

from collections.abc import Sequence

from agenttrace.query.health import Health, read_health
from agenttrace.query.liveness import OUT_OF_CONTACT
from agenttrace.query.reading import build_page, check_limit, parse_cursor
from agenttrace.query.select import Selection, no_conversation, select_conversation
from agenttrace.query.summary import Summary, build_summary
from agenttrace.query.viewer_now import ViewerNow
from agenttrace.store.rows import AgentRow, ConversationRow, Page

__all__ = ["ViewerConversations"]


class ViewerConversations(ViewerNow):
    """Conversations, their agents and their numbers."""

    def conversations(
        self,
        limit: int = 50,
        cursor: str | None = None,
        *,
        status: str | None = None,
        cwd: str | None = None,
    ) -> Page[ConversationRow]:
        """
        List conversations, newest first.

        Args:
            limit: How many at most.
            cursor: ``next_cursor`` of the page before.
            status: Only those that stand so (``running completed failed cancelled interrupted``).
            cwd: Only those recorded by a process that was started in this folder.
        """
        where, params = [], []
        if cursor is not None:
            where.append("(ts_ms, id) < (?, ?)")
            params += parse_cursor(cursor, 2)
        if status is not None:
            where.append("status = ?")
            params.append(status)
        if cwd is not None:
            where.append("process_id IN (SELECT process_id FROM processes WHERE cwd = ?)")
            params.append(cwd)
        tail = f"WHERE {' AND '.join(where)} " if where else ""
        rows = self.reader.select(
            ConversationRow, f"{tail}ORDER BY ts_ms DESC, id DESC LIMIT ?", [*params, check_limit(limit) + 1]
        )
        return build_page(rows, limit, lambda row: (row.ts_ms, row.id))

    def conversation(self, conversation_id: str) -> ConversationRow:
        """
        Give one conversation.

        Raises:
            NotFound: There is none of that id; ``nearest`` has the nearest ids.
        """
        found = self.store.conversation(conversation_id)
        if found is None:
            raise no_conversation(self.reader, conversation_id)
        return found

    def resolve(self, selector: str) -> Selection:
        """
        Find the conversation that a selector means, such as ``last~2`` or the start of an id.

        Raises:
            NotFound: There is none, or the start fits several.
        """
        return select_conversation(self.reader, selector)

    def status(self, conversation: ConversationRow) -> str:
        """Tell how a conversation stands; ``out of contact`` when nobody who could run it is seen."""
        if conversation.status != "running":
            return conversation.status
        judge = self._judge()
        processes = self.reader.rows(
            "SELECT DISTINCT process_id FROM open_spans WHERE conversation_id = ?", [conversation.id]
        ) or [(conversation.process_id,)]
        states = {judge(process_id or "") for (process_id,) in processes}
        return "running" if "running" in states else OUT_OF_CONTACT

    def agents(self, conversation_id: str) -> tuple[AgentRow, ...]:
        """Give the agents of a conversation, in the order in which they started."""
        return tuple(self.store.agents(conversation_id))

    def summary(self, conversation_id: str) -> Summary:
        """
        Count one conversation.

        Raises:
            NotFound: There is none of that id.
        """
        with self.reader.snapshot():
            conversation = self.conversation(conversation_id)
            return build_summary(self.reader, conversation, self.status(conversation))

    def health(self, conversations: Sequence[ConversationRow]) -> list[Health]:
        """Tell how conversations are at a glance: status, swallowed failures, retries, losses."""
        with self.reader.snapshot():
            statuses = {row.id: self.status(row) for row in conversations}
            return read_health(self.reader, conversations, statuses)
