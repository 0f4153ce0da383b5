"""
Other names for what `TraceStore` does: those that neighbouring tools have made familiar.

``ALIASES`` is the whole table. Nothing here can do more than the method beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from agenttrace.events import new_id
from agenttrace.store.retention import parse_retention_days
from agenttrace.store.rows import ConversationRow, Event
from agenttrace.store.settings import DEFAULT_RETENTION_DAYS, RETENTION_DAYS, StoreSettings

__all__ = ["ALIASES", "StoreAliases"]

ALIASES = {
    "list": "events(conversation_id, agent_id)",
    "list_for_conversation": "events(conversation_id), ordered by agent and seq",
    "next_seq_for": "the seq that the agent's next event gets; 0 for an unknown agent",
    "start_session": "begin a conversation with one root agent, `main`; gives its id",
    "end_session": "end that agent, and so the conversation; an unknown id does nothing",
    "get_session": "conversation(conversation_id)",
    "get_sessions": "conversations(limit), with an offset instead of a cursor",
    "get_traces": "events by conversation, kind, time and text, oldest first",
    "save_trace": "record(kind, payload, conversation_id=…, agent_id=…)",
    "cleanup_old_traces": "cleanup(retention_days)",
    "get_retention_days": "settings['retention_days']",
    "set_retention_days": "settings['retention_days'] = days",
}
"""Alias, and what it stands for."""

_STATUS_OF = {"completed": "ok", "failed": "error", "cancelled": "cancelled", "interrupted": "interrupted"}
_ROOT = "main"


class _Store(Protocol):
    """What the aliases are made of."""

    settings: StoreSettings

    def record(
        self, kind: str, payload: Any = None, *, conversation_id: str, agent_id: str, **columns: Any
    ) -> Event: ...

    def describe(self, conversation_id: str, *, task: str | None = None, metadata: Any = None) -> None: ...

    def events(self, conversation_id: str, agent_id: str | None = None) -> Sequence[Event]: ...

    def conversation(self, conversation_id: str) -> ConversationRow | None: ...

    def cleanup(self, retention_days: float | None = None) -> int: ...

    def query(self, sql: str, params: Any = ()) -> Any: ...


class StoreAliases:
    """The methods of ``ALIASES``; `TraceStore` has them."""

    def list(self: _Store, conversation_id: str, agent_id: str) -> Sequence[Event]:
        """Read one agent's events by ``seq``; empty when there are none."""
        return self.events(conversation_id, agent_id)

    def list_for_conversation(self: _Store, conversation_id: str) -> Sequence[Event]:
        """Read a conversation's events by agent and ``seq``."""
        return sorted(self.events(conversation_id), key=lambda event: (event.agent_id, event.seq))

    def next_seq_for(self: _Store, conversation_id: str, agent_id: str) -> int:
        """Tell which ``seq`` the agent's next event gets; 0 for an unknown agent."""
        _, rows = self.query(
            "SELECT next_seq FROM agent_rollups WHERE conversation_id = ? AND agent_id = ?",
            (conversation_id, agent_id),
        )
        return int(rows[0][0]) if rows else 0

    def start_session(self: _Store, task: str, metadata: Any = None) -> str:
        """Begin a conversation with one root agent, ``main``; gives its id."""
        conversation_id = new_id()
        self.describe(conversation_id, task=task, metadata=metadata)
        self.record(
            "agent_start",
            {"input": task},
            conversation_id=conversation_id,
            agent_id=_ROOT,
            agent_name=_ROOT,
            span_id=new_id(),
        )
        return conversation_id

    def end_session(self: _Store, conversation_id: str, status: str = "completed") -> None:
        """
        End the root agent that ``start_session`` began; an unknown or ended one stays as it is.

        Args:
            status: ``completed failed cancelled interrupted``; another word counts as completed.
        """
        _, rows = self.query(
            "SELECT span_id FROM open_spans"
            " WHERE conversation_id = ? AND agent_id = ? AND kind = 'agent_start'",
            (conversation_id, _ROOT),
        )
        for (span_id,) in rows:
            self.record(
                "agent_end",
                {"output": None, "is_error": status == "failed"},
                conversation_id=conversation_id,
                agent_id=_ROOT,
                agent_name=_ROOT,
                span_id=span_id,
                status=_STATUS_OF.get(status, "ok"),
            )

    def get_session(self: _Store, conversation_id: str) -> ConversationRow | None:
        """Read one conversation; None when there is none."""
        return self.conversation(conversation_id)

    def get_sessions(self: _Store, limit: int = 50, offset: int = 0) -> Sequence[ConversationRow]:
        """Read conversations, newest first."""
        _, rows = self.query(
            "SELECT * FROM agent_sessions ORDER BY ts_ms DESC, id DESC LIMIT ? OFFSET ?", (limit, offset)
        )
        return [ConversationRow(*row) for row in rows]

    def get_traces(
        self: _Store,
        session_id: str | None = None,
        event_type: str | None = None,
        start_time_ms: int | None = None,
        end_time_ms: int | None = None,
        search_text: str | None = None,
        limit: int = 100,
    ) -> Sequence[Event]:
        """
        Read events by conversation, kind, time (both ends included) and text, oldest first.

        Args:
            search_text: Must stand in the payload, in any case; ``%`` and ``_`` mean themselves.
        """
        wanted = {
            "conversation_id = :session_id": session_id,
            "kind = :event_type": event_type,
            "ts_ms >= :start": start_time_ms,
            "ts_ms <= :end": end_time_ms,
            "(payload LIKE :text ESCAPE '\\' OR payload LIKE :escaped ESCAPE '\\')": search_text,
        }
        conditions = [condition for condition, value in wanted.items() if value is not None] or ["1"]
        _, rows = self.query(
            f"SELECT * FROM trajectory_events WHERE {' AND '.join(conditions)}"
            " ORDER BY ts_ns, id LIMIT :limit",
            {
                "session_id": session_id,
                "event_type": event_type,
                "start": start_time_ms,
                "end": end_time_ms,
                "text": _like(search_text or ""),
                "escaped": _like(search_text or "", is_ascii=True),
                "limit": limit,
            },
        )
        return [Event(*row) for row in rows]

    def save_trace(
        self: _Store,
        kind: str,
        payload: Any = None,
        *,
        session_id: str,
        agent_id: str = _ROOT,
        **columns: Any,
    ) -> Event:
        """Store one event."""
        return self.record(kind, payload, conversation_id=session_id, agent_id=agent_id, **columns)

    def cleanup_old_traces(self: _Store, retention_days: float | None = None) -> int:
        """Delete old events; gives how many."""
        return self.cleanup(retention_days)

    def get_retention_days(self: _Store) -> int:
        """Read how many days events are kept."""
        return int(parse_retention_days(self.settings.get(RETENTION_DAYS, DEFAULT_RETENTION_DAYS)))

    def set_retention_days(self: _Store, days: int) -> None:
        """
        Set how many days events are kept.

        Raises:
            ConfigError: It is no number of days.
        """
        self.settings[RETENTION_DAYS] = f"{parse_retention_days(days):g}"


def _like(text: str, *, is_ascii: bool = False) -> str:
    """Give the LIKE pattern for *text* as it stands inside a JSON string, *is_ascii* as ``\\uXXXX``."""
    inside = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
    for special in ("\\", "%", "_"):
        inside = inside.replace(special, "\\" + special)
    return f"%{inside}%"
