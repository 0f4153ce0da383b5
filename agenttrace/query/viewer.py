"""
``TraceViewer``: the questions that people ask of recorded conversations.

Invariant: it never writes. Every list comes as a ``Page``, so that no answer is
cut short without saying so; rows are frozen dataclasses; an unknown id raises
``NotFound`` with the nearest ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agenttrace import clock
from agenttrace.errors import ConfigError, NotFound
from agenttrace.query import formatting
from agenttrace.query.aliases import ViewerAliases
from agenttrace.query.diagnose import Diagnosis, build_diagnosis
from agenttrace.query.diff import RunDiff, build_diff
from agenttrace.query.fates import read_failures, read_fates
from agenttrace.query.liveness import OUT_OF_CONTACT, read_liveness
from agenttrace.query.loaded_run import load_run
from agenttrace.query.reading import Reader, build_page, parse_cursor
from agenttrace.query.searching import ViewerSearch
from agenttrace.query.select import Selection, no_conversation, select_conversation
from agenttrace.query.summary import Summary, build_summary
from agenttrace.query.thresholds import DEFAULTS, Thresholds
from agenttrace.query.timeline import (
    PAYLOADS_NO_TREE_NEEDS,
    Moment,
    event_conditions,
    iter_events,
    read_events,
)
from agenttrace.query.tree import Tree, build_tree
from agenttrace.store.rows import (
    AgentRow,
    ConversationRow,
    Event,
    Failure,
    OpenOperation,
    Page,
    ProcessRow,
)

if TYPE_CHECKING:
    from agenttrace.store.event_store import TraceStore

__all__ = ["TraceViewer"]


class TraceViewer(ViewerSearch, ViewerAliases):
    """
    Read conversations.

    Args:
        store: The store to read; None takes the database that this process would record to.
    """

    def __init__(self, store: TraceStore | None = None) -> None:
        if store is None:
            from agenttrace.store.event_store import TraceStore  # late, for the one who names none

            store = TraceStore()
        self.store = store
        self.reader = Reader(store)

    # Conversations

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
            ConversationRow, f"{tail}ORDER BY ts_ms DESC, id DESC LIMIT ?", [*params, _checked(limit) + 1]
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

    # Events

    def timeline(
        self,
        conversation_id: str,
        *,
        agent_id: str | None = None,
        turn: int | None = None,
        kinds: Sequence[str] = (),
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
            limit: How many at most.
            cursor: ``next_cursor`` of the page before.

        Raises:
            NotFound: There is no such conversation.
        """
        self.conversation(conversation_id)
        conditions, values = ["conversation_id = ?"], [conversation_id]
        extra, more = event_conditions(agent=agent_id, turn=turn, kinds=kinds)
        return read_events(self.reader, conditions + extra, [*values, *more], limit=limit, cursor=cursor)

    def tree(self, conversation_id: str, *, fates: Mapping[str, str] | None = None) -> Tree:
        """
        Put a conversation's agents, calls and turns together.

        Args:
            conversation_id: Its id.
            fates: What ``fates`` gave, when it was asked already.

        Raises:
            NotFound: There is no such conversation.
        """
        with self.reader.snapshot():
            self.conversation(conversation_id)
            if fates is None:
                fates = self.fates(conversation_id)
            events = list(
                iter_events(self.reader, conversation_id, without_payload_of=PAYLOADS_NO_TREE_NEEDS)
            )
        return build_tree(
            events,
            conversation_id=conversation_id,
            fates=fates,
            liveness=self._judge(),
            now_ns=clock.now_ns(),
        )

    def diff(self, a: str, b: str) -> RunDiff:
        """
        Compare two conversations: where they part, and in what they differ.

        Args:
            a: Id of the one, the good one say.
            b: Id of the other.

        Raises:
            NotFound: There is no such conversation.
        """
        trees = (self.tree(a), self.tree(b))
        statuses = (self.status(self.conversation(a)), self.status(self.conversation(b)))
        return build_diff(self.reader, trees, statuses)

    def diagnose(self, conversation_id: str, thresholds: Thresholds | None = None) -> Diagnosis:
        """
        Say what went wrong in a conversation, the first cause first.

        Args:
            conversation_id: Its id.
            thresholds: From where on something is a finding; the defaults when left out.

        Raises:
            NotFound: There is no such conversation.
        """
        with self.reader.snapshot():
            conversation = self.conversation(conversation_id)
            run = load_run(self.reader, conversation, self.status(conversation), self._judge())
            return build_diagnosis(run, thresholds or DEFAULTS)

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

    # Failures

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
            limit=_checked(limit),
            cursor=cursor,
        )

    def fates(self, conversation_id: str) -> dict[str, str]:
        """Give what became of each failure of a conversation, by ``error_id``."""
        return read_fates(self.reader, conversation_id)

    # What is going on

    def open_operations(self, limit: int = 1000) -> tuple[tuple[OpenOperation, str], ...]:
        """Give what has started and not ended, oldest first, each with ``running`` or ``out of contact``."""
        judge = self._judge()
        rows = self.reader.select(OpenOperation, "ORDER BY ts_ns, id LIMIT ?", [_checked(limit)])
        return tuple((row, judge(row.process_id or "")) for row in rows)

    def processes(self, limit: int = 100) -> tuple[ProcessRow, ...]:
        """Give the processes that recorded, newest first."""
        return tuple(self.store.processes()[: _checked(limit)])

    def _judge(self) -> Callable[[str], str]:
        target = self.store.target
        if target.is_memory:
            return read_liveness(self.reader)
        # Late: only where somebody asks what is running.
        from agenttrace.write.recovery import held_processes

        return read_liveness(self.reader, held_processes(target.path))

    # Lists of events, filtered and as text

    @staticmethod
    def filter_by_type(events: Iterable[Event], *kinds: str) -> list[Event]:
        """Keep the events of these kinds."""
        return [event for event in events if event.kind in kinds]

    @staticmethod
    def filter_errors(events: Iterable[Event]) -> list[Event]:
        """Keep ``error`` events and everything that ended in an error."""
        return [event for event in events if event.kind == "error" or event.status == "error"]

    @staticmethod
    def filter_by_duration(events: Iterable[Event], min_ms: float) -> list[Event]:
        """Keep events that took at least *min_ms*; those without a duration, or with 0, are dropped."""
        return [event for event in events if event.duration_ms and event.duration_ms >= min_ms]

    @staticmethod
    def format_timeline(events: Iterable[Event]) -> str:
        """Render events as a framed plain-text list in the order of time."""
        return formatting.format_timeline(events)

    @staticmethod
    def format_tree(events: Iterable[Event]) -> str:
        """Render events as a plain-text tree; orphans and cycles stand at the top level."""
        return formatting.format_tree(events)


def _checked(limit: int) -> int:
    if limit < 1:
        raise ConfigError(f"limit={limit}: give 1 or more.")
    return limit
