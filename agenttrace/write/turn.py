"""
Whose turn it is to drain a ring.

Owns the sink and the drain of one ring. Invariants: they are used only by the thread
that has the turn, which is the writer's for as long as it lives; and the database is
closed whenever nobody has it, so a fork that has taken the turn inherits no open one.
"""

from __future__ import annotations

from _thread import RLock, get_ident
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from agenttrace.errors import RingTaken, SchemaTooNew, contain

if TYPE_CHECKING:
    from agenttrace.store.batch import EventSink
    from agenttrace.write.drain import Drain

__all__ = ["Turn"]


class Turn:
    """
    The right to drain, and what is needed for it.

    Args:
        build_drain: Makes sink and drain, in the thread that drains first.
    """

    def __init__(self, build_drain: Callable[[], tuple[EventSink, Drain]]) -> None:
        self.ident = 0
        """The writer's thread, 0 while there is none. What that thread records is not recorded."""
        self.stopped = ""
        """Why nobody shall drain any more, for people; empty while somebody may."""
        self._build_drain = build_drain
        self._sink: EventSink | None = None
        self._drain: Drain | None = None
        self._lock = RLock()  # protects the two above
        self.is_mine: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]
        """Tells whether the calling thread has the turn."""
        self.give: Callable[[], None] = self._lock.release
        """Lets others have the turn."""
        self.takers: frozenset[CodeType] = frozenset()
        """The functions that take it, and give it back before they return."""

    def take(self, timeout_s: float) -> bool:
        """
        Wait for the turn; -1 waits without end, 0 not at all.

        Called inside the ``try`` that gives it back where ``is_mine``: an interrupt may come as it returns.
        """
        return self._lock.acquire(timeout=timeout_s)

    def is_used(self, frame: FrameType | None) -> bool:
        """
        Tell whether the calling thread, which has the turn, is using it.

        An interrupt may end a caller before it gives the turn back, in whatever ``finally``; nobody
        would drain again. So a turn that no function on the stack can have taken is given back here.

        Args:
            frame: Where to begin; the caller's caller, where the caller takes turns itself.
        """
        if self.ident == get_ident():
            return True
        while frame is not None:
            if frame.f_code in self.takers:
                return True
            frame = frame.f_back
        while self.is_mine():
            self.give()
        return False

    def begin(self) -> None:
        """Say that the calling thread, which has the turn, is the writer's."""
        self.ident = get_ident()

    def end(self) -> None:
        """Drain no more for now, and close the database."""
        try:
            self.close()
        finally:
            self.ident = 0

    def open(self) -> tuple[EventSink, Drain]:
        """Give sink and drain; the sink opens its database by itself."""
        if self._sink is None or self._drain is None:
            self._sink, self._drain = self._build_drain()
        return self._sink, self._drain

    def close(self) -> None:
        """Close the database; a later use opens it again."""
        sink = self._sink
        if sink is None or sink.target.is_memory:
            return
        try:
            sink.close()
        except Exception as exc:
            contain("write.close", exc)

    def take_note(self, exc: Exception) -> None:
        """Say what went wrong; where waiting cannot help, nobody drains again and the ring stays."""
        if isinstance(exc, (SchemaTooNew, RingTaken)):
            self.stopped = str(exc)
        contain("write.store", exc)

    @property
    def written_count(self) -> int:
        """Events of the ring that are in the database."""
        return 0 if self._drain is None else self._drain.written_count

    @property
    def failed(self) -> dict[str, int]:
        """Events that could not be stored, by reason."""
        return {} if self._drain is None else dict(self._drain.failed)
