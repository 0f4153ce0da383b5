"""
A recorder in memory: what capture publishes, read back through the real store.

Owns the pipe while it is open. Invariants: nothing reaches a disk or another
thread; nothing is cut or redacted; and when the block ends, tracing is on or off
as before, with the patches, the implicit root and the scope that stood there.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agenttrace import integrations
from agenttrace.capture import context, monitoring
from agenttrace.capture.agents import close_agent
from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Pipe
from agenttrace.capture.settling import settle_all
from agenttrace.encode import codec
from agenttrace.errors import StoreError
from agenttrace.events import H_CONVERSATION_ID, new_id
from agenttrace.query.lines import render_plain
from agenttrace.query.render_tree import render_tree
from agenttrace.query.tree import Tree, build_tree
from agenttrace.store.batch import EventSink, Record
from agenttrace.store.event_store import TraceStore
from agenttrace.store.rows import Event, Failure

__all__ = ["MemoryRecorder", "memory_recorder"]

_LIMIT_BYTES = 1 << 28
"""Room for one payload: as good as uncut, while a runaway value still has an end."""
_BATCH_ROWS = 4_000


class MemoryRecorder:
    """What was recorded, kept in memory; every read sees all that was published before it."""

    def __init__(self) -> None:
        self._bodies: deque[bytes] = deque()  # append is atomic, so that no caller ever waits
        self._frames = itertools.count(1)
        self._process_id = PIPE.span_prefix + new_id(8)
        self._conversation_ids: dict[str, None] = {}
        self._was_on = True
        self._lock = threading.RLock()  # protects what stands between the bodies and the rows
        self._sink = EventSink(":memory:")
        self._store = TraceStore(self._sink)
        weakref.finalize(self, self._sink.close)  # Python 3.13 warns of a connection that is not closed

    def publish(self, body: bytes) -> bool:
        """Take one frame body."""
        self._bodies.append(body)
        return True

    def was_on(self) -> bool:
        """Tell whether tracing is on, or still was when the block ended; False after ``disable``."""
        return bool(SWITCH) if self in _holders else self._was_on

    def flush(self) -> None:
        """
        Put everything published so far into the store.

        Raises:
            StoreError: An event could not be stored; the message says why.
        """
        settle_all()
        with self._lock:
            while records := [self._take() for _ in range(min(len(self._bodies), _BATCH_ROWS))]:
                failed = self._sink.write(records).failed
                if failed:
                    raise StoreError(f"memory: events could not be stored: {failed}")

    @property
    def store(self) -> TraceStore:
        """The store in memory, flushed; it reads like every other."""
        self.flush()
        return self._store

    def conversation_ids(self) -> list[str]:
        """Give the conversations in the order they began; [] when nothing was recorded."""
        self.flush()
        return list(self._conversation_ids)

    def events(self) -> list[Event]:
        """Give all events, conversation by conversation, each in the order of time."""
        store = self.store
        return [
            event for conversation_id in self._conversation_ids for event in store.events(conversation_id)
        ]

    def failures(self) -> list[Failure]:
        """Give the failures with their fates, in the order they happened."""
        return self.store.failures()

    def trees(self) -> list[Tree]:
        """Give the tree of each conversation."""
        fates = {row.error_id: row.fate for row in self.failures() if row.error_id is not None}
        return [
            build_tree(self._store.events(conversation_id), conversation_id=conversation_id, fates=fates)
            for conversation_id in self._conversation_ids
        ]

    def format_tree(self, width: int = 100) -> str:
        """Render the trees as ``agenttrace show`` prints them, at *width* characters a line."""
        return "\n\n".join(
            render_plain(render_tree(tree, width=width)) for tree in self.trees() if tree.nodes
        )

    def _take(self) -> Record:
        header, payload = codec.decode_body(self._bodies.popleft())
        self._conversation_ids.setdefault(header[H_CONVERSATION_ID])
        return Record(header, payload, f"{self._process_id}-{next(self._frames):x}", None)


_holders: list[MemoryRecorder] = []
"""The recorders that are open, the innermost last."""


class _HeldPipe(Pipe):
    """
    The pipe while a memory recorder holds it.

    What the program under test sets meanwhile (``configure``, ``enable``) goes into the slots
    beneath and counts once the recorder has closed; until then nothing leaves another way.
    """

    __slots__ = ()

    @property
    def publish(self) -> Callable[[bytes], Any]:
        return _holders[-1].publish

    @publish.setter
    def publish(self, value: Callable[[bytes], Any]) -> None:
        _beneath("publish").__set__(self, value)

    @property
    def limit_bytes(self) -> int:
        return _LIMIT_BYTES

    @limit_bytes.setter
    def limit_bytes(self, value: int) -> None:
        _beneath("limit_bytes").__set__(self, value)

    @property
    def keeps_whole(self) -> bool:
        return True

    @keeps_whole.setter
    def keeps_whole(self, value: bool) -> None:
        _beneath("keeps_whole").__set__(self, value)

    @property
    def decide(self) -> Callable[[], None]:
        return _decided

    @decide.setter
    def decide(self, value: Callable[[], None]) -> None:
        _beneath("decide").__set__(self, value)


def _beneath(name: str) -> Any:
    return Pipe.__dict__[name]


def _decided() -> None:
    """Read no settings: a recorder in memory is on whatever they say."""


def _no_thread(function: Callable[[], object]) -> bool:
    """Start none: what was caught is written as the recorder is read."""
    return False


def _unpatch(names: list[str]) -> None:
    if names:  # no name at all would take back every patch
        integrations.uninstall(*names)


@contextmanager
def memory_recorder() -> Iterator[MemoryRecorder]:
    """
    Record in memory until the block ends, whatever the environment and the settings say.

    Blocks may be nested; the innermost records. What was recorded can still be read after
    the block. Threads and thread pools hand their scope on, as with tracing switched on.
    """
    recorder = MemoryRecorder()
    was_on, scope, scopes_opened = bool(SWITCH), CURRENT.get(), context.scopes_opened
    roots = dict(context.implicit_roots)
    patched, was_watching = integrations.installed(), monitoring.state().is_on
    _holders.append(recorder)
    try:
        PIPE.__class__ = _HeldPipe
        CURRENT.set(None)
        context.implicit_roots.clear()
        SWITCH[:] = [True]
        integrations.install("auto")
        if not was_watching:
            monitoring.install(start_thread=_no_thread)
        yield recorder
    finally:
        recorder._was_on = bool(SWITCH)
        settle_all()
        for root in context.implicit_roots.values():
            close_agent(root, b"null", None)
        if not was_watching:
            monitoring.uninstall()
        _unpatch([name for name in integrations.installed() if name not in patched])
        context.implicit_roots.clear()
        context.implicit_roots.update(roots)
        context.scopes_opened = scopes_opened
        SWITCH[:] = [True] if was_on else []
        CURRENT.set(scope)
        _holders.remove(recorder)
        if not _holders:
            PIPE.__class__ = Pipe
