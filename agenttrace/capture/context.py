"""
Where the program stands: the current operation, kept in one context variable.

Owns the switch that every traced function asks, the pipe that events leave
through, and the identities of conversations and agents. Invariant: an operation
knows its parent and its agent for life, so that a call which ends late, in
another task or another thread, still belongs to the agent that began it.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from agenttrace import clock
from agenttrace.capture.span_ids import span_id
from agenttrace.errors import count_loss
from agenttrace.events import new_id

if TYPE_CHECKING:
    from agenttrace.capture.asked import Ledger
    from agenttrace.capture.substitution import Substitute

__all__ = [
    "CURRENT",
    "PIPE",
    "SWITCH",
    "Agent",
    "Caught",
    "Operation",
    "Scope",
    "ToolCall",
    "agent_id_for",
    "current",
    "enclosing_agent",
    "implicit_roots",
    "leave_scope",
    "new_conversation_id",
    "new_span_id",
    "real_of",
    "standing",
]

SWITCH: list[bool] = []
"""Empty while tracing is off. wrapt asks its truth value in C, at each call."""


def _discard(body: bytes) -> None:
    """Stand in until a recorder is connected."""


def _undecided() -> None:
    """Stand in until the runtime is loaded."""


class Pipe:
    """Connect capture to whatever records; ``runtime`` and ``testing`` set its fields."""

    __slots__ = (
        "decide",
        "epoch",
        "keeps_whole",
        "limit_bytes",
        "prepare",
        "publish",
        "span_numbers",
        "span_prefix",
        "substitute",
    )

    def __init__(self) -> None:
        self.publish: Callable[[bytes], Any] = _discard
        """Takes one frame body; returns once the event is safe from a kill."""
        self.decide: Callable[[], None] = _undecided
        """Called as an outermost scope opens, to read settings that came late."""
        self.prepare: Callable[[], None] = _undecided
        """Called before a run begins, so that its time does not count the recorder's own start."""
        self.limit_bytes = 262_144
        """How long one payload may be when it leaves the caller's thread."""
        self.keeps_whole = False
        """Payloads name no others: whoever reads them has only them."""
        self.substitute: Substitute | None = None
        """Gives what was recorded in the place of tools and models, while a replay goes on."""
        self.epoch = 0
        """Which process this is, counted through forks: 0 the first, 1 its child."""
        self.span_prefix = new_id(8)
        self.span_numbers: Iterator[int] = itertools.count(1)

    def renew_identity(self, span_prefix: str) -> None:
        """Begin the span ids of another process (after a fork) with *span_prefix*, 8 hex digits."""
        self.span_prefix = span_prefix
        self.span_numbers = itertools.count(1)
        self.epoch += 1


PIPE = Pipe()


class Caught(Protocol):
    """Exceptions caught inside one operation that nobody has written yet."""

    def settle(self) -> None:
        """Write them; those that were raised again meanwhile are left out."""

    def close(self, payload: bytes) -> bytes:
        """Write them, and add what was only counted to the *payload* of the operation's end."""


class Agent:
    """One run of an agent: what its events carry, and what is counted for it."""

    __slots__ = (
        "agent_id",
        "asked",
        "closed",
        "conversation_id",
        "identity",
        "ledgers",
        "model",
        "name",
        "parent_agent_id",
        "provider",
        "turns",
        "unclaimed",
    )

    def __init__(self, conversation_id: str, agent_id: str, name: str, parent_agent_id: str | None) -> None:
        self.conversation_id = conversation_id
        self.agent_id = agent_id
        self.name = name
        self.parent_agent_id = parent_agent_id
        self.identity: str = ""
        """The header members that say whose event it is, as JSON; filled with the first event."""
        self.model: str | None = None
        self.provider: str | None = None
        self.turns = 0
        self.closed = False
        self.ledgers: list[Ledger] = []
        """The first is ``asked``; threads that begin at once each add theirs."""
        self.asked: Ledger | None = None
        """The calls that its model asked for, and has not been told the results of."""
        self.unclaimed: Ledger | None = None
        """The same, while one of them waits for a traced call to be it; then calls take the general way."""


class Operation:
    """Something that starts and ends: an agent run, a tool call, a model turn, or a conversation."""

    # No __slots__: most fields keep the default of the class, so that a call sets only eight.
    recorded = False
    """Its start was published; without that, no end is."""
    merges = False
    """A tool scope that the next traced tool of its name belongs to, or a series of attempts."""
    is_series = False
    """Only marks attempts, and stands for the operation around it."""
    stands_for: Operation | None = None
    """The operation whose rows tell of this one, where it has none of its own."""
    call_id: str | None = None
    error_id: str | None = None
    """Of a failure that left the traced tool merged into this scope."""
    error_type: str | None = None
    payload: bytes = b""
    """The arguments as bytes, kept while the call runs to know a repeated call."""
    attempt: int | None = None
    retry_of: str | None = None
    attempts_count = 1
    """Attempts that this one call was."""
    repeats: str | None = None
    """The failure of the attempt before this one."""
    failed_calls: dict[tuple[str, bytes], tuple[str, int, str | None]] | None = None
    """Calls right inside that failed last: (name, payload) to (first span, attempt, failure)."""
    live_calls = 0
    """Calls right inside that run now; a lost update only blurs retry numbers."""
    joined_arguments: bytes | None = None
    """Of the traced tool that joined this tool scope, where the scope was given none."""
    joined_output: bytes | None = None
    joined_failed = False
    caught: Caught | None = None
    """What was caught inside and is not yet written; it comes before the operation's next event."""
    implicit: Operation | None = None
    """The agent ``main`` of a conversation scope without an agent."""
    notes_count = 0
    """Log records kept as notes."""
    more_notes_count = 0
    """Log records inside an agent's run that were only counted."""

    def __init__(
        self, kind: str, name: str, conversation_id: str, agent: Agent | None, parent: Operation | None
    ) -> None:
        self.kind = kind
        self.name = name
        self.conversation_id = conversation_id
        self.agent = agent
        self.parent = parent
        self.span_id = span_id(PIPE.span_prefix, next(PIPE.span_numbers))
        self.started_ns = clock.now_ns()
        self.epoch = PIPE.epoch

    @property
    def parent_span_id(self) -> str | None:
        """The span it runs in; None at a root, also below a conversation scope."""
        parent = self.parent
        return None if parent is None or parent.kind == "conversation" else parent.span_id

    def span_chain(self, limit_count: int = 64) -> tuple[str, ...]:
        """Give the span ids from this operation outwards, itself first."""
        spans: list[str] = []
        operation: Operation | None = self
        while operation is not None and len(spans) < limit_count:
            if not operation.is_series:
                spans.append(operation.span_id)
            operation = operation.parent
        return tuple(spans)


class ToolCall(Operation):
    """A tool call; a class of its own so that making one sets as little as it can."""

    kind = "tool"
    recorded = True

    def __init__(self, name: str, agent: Agent, parent: Operation, arguments: bytes) -> None:
        self.name = name
        self.agent = agent
        self.parent = parent
        self.payload = arguments
        self.span_id = span_id(PIPE.span_prefix, next(PIPE.span_numbers))
        self.started_ns = clock.now_ns()
        self.epoch = PIPE.epoch

    @property
    def conversation_id(self) -> str:  # type: ignore[override]
        """The agent's conversation."""
        agent = self.agent
        assert agent is not None, "a call has an agent"
        return agent.conversation_id


def leave_scope(operation: Operation, previous: Operation | None) -> None:
    """
    Put *previous* back as *operation* ends, where the program still stands in it.

    A scope left inside out (an inner one still open) closes its inner ones too; one that is
    left in another context than it was entered in (a generator that somebody else closed)
    changes nothing there, and is counted.
    """
    current = CURRENT.get()
    if current is not operation:
        count_loss("scope_left_out_of_order")
        while current is not None and current is not operation:
            current = current.parent
    if current is operation:
        CURRENT.set(previous)


class Scope(NamedTuple):
    """Where the calling code stands: ids to log, or to hand to another process."""

    conversation_id: str
    agent_id: str | None
    agent_name: str | None
    parent_agent_id: str | None
    span_id: str


CURRENT: ContextVar[Operation | None] = ContextVar("agenttrace_operation", default=None)

implicit_roots: dict[int, Operation] = {}
"""The root agent ``main`` of each process epoch, for tools outside any scope."""

scopes_opened = False
"""Whether this process ever opened a scope; then a thread without one has lost it."""


def new_span_id() -> str:
    """Give the next span id: 8 hex of the process, 8 hex of a counter."""
    return span_id(PIPE.span_prefix, next(PIPE.span_numbers))


def new_conversation_id() -> str:
    """Give a new conversation id: 16 random hex digits."""
    return new_id(16)


_NOT_IN_SLUG = re.compile(r"[^a-z0-9]+")


def agent_id_for(name: str) -> str:
    """Give a new agent id: the slug of *name*, a hyphen, 6 hex. No letters give ``agent-…``."""
    slug = _NOT_IN_SLUG.sub("-", name[:64].lower()).strip("-")
    return f"{slug or 'agent'}-{new_id(6)}"


def standing() -> Operation | None:
    """Give the real operation that the program stands in, also amid attempts; None outside any scope."""
    return real_of(CURRENT.get())


def real_of(operation: Operation | None) -> Operation | None:
    """Give *operation*, or for a series of attempts the operation that they are made in."""
    while operation is not None and operation.is_series:
        operation = operation.parent
    return operation


def current() -> Scope | None:
    """
    Tell where the calling code stands; None outside any scope.

    ``agent_id`` is None inside a ``conversation_scope`` that holds no agent.
    """
    operation = standing()
    if operation is None:
        return None
    agent = operation.agent
    if agent is None:
        return Scope(operation.conversation_id, None, None, None, operation.span_id)
    return Scope(
        operation.conversation_id, agent.agent_id, agent.name, agent.parent_agent_id, operation.span_id
    )


def enclosing_agent(announce: Callable[[Operation], None]) -> Operation:
    """
    Give the operation that a new call stands in; it always has an agent.

    Args:
        announce: Publishes the start of an agent ``main`` that had to be made.
    """
    operation = CURRENT.get()
    if operation is not None and operation.agent is None:
        operation = standing()
    if operation is not None:
        if operation.agent is not None:
            return operation
        if operation.implicit is None:
            made = _main_agent(operation.conversation_id, operation)
            operation.implicit = made
            announce(made)
        return operation.implicit
    root = implicit_roots.get(PIPE.epoch)
    if root is None:
        made = _main_agent(new_conversation_id(), None)
        root = implicit_roots.setdefault(PIPE.epoch, made)
        if root is made:
            announce(made)
    if scopes_opened and threading.current_thread() is not threading.main_thread():
        count_loss("lost_parent")
    return root


def _main_agent(conversation_id: str, parent: Operation | None) -> Operation:
    PIPE.prepare()
    agent = Agent(conversation_id, agent_id_for("main"), "main", None)
    return Operation("agent", "main", conversation_id, agent, parent)


def note_scope_opened() -> None:
    """Remember that this program uses scopes."""
    global scopes_opened
    scopes_opened = True
