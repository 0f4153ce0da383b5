"""
What outlasts a ring: who this process is, and what its former rings came to.

Invariant: totals only grow, so that ``rows + dropped + pending`` is what was emitted.
"""

from __future__ import annotations

from agenttrace.errors import count_loss
from agenttrace.events import ProcessInfo
from agenttrace.write.frames import iter_frames
from agenttrace.write.ring_base import RingBase
from agenttrace.write.turn import Turn

__all__ = ["Past", "count_frames"]


class Past:
    """Totals of one process; a forked child begins anew."""

    def __init__(self) -> None:
        self.process: ProcessInfo | None = None
        self.end = 0
        """Where the stream of the last ring ended."""
        self.dropped: dict[str, int] = {}
        """The last ring's counts; each ring begins with those of the one before."""
        self.lost: dict[str, int] = {}
        """Events that no ring could take, by reason."""
        self.written = 0
        self.pending = 0
        """Events that were left in a ring, for others to recover."""
        self.failed = 0

    def count(self, reason: str) -> None:
        """Count an event without a ring; also under ``errors.LOSSES``, for ``doctor``."""
        self.lost[reason] = self.lost.get(reason, 0) + 1
        count_loss(f"write.{reason}")

    def follow(self, ring: RingBase) -> None:
        """Let the next ring begin where a closed one ends, with what that has counted."""
        self.end = max(self.end, ring.head)
        self.dropped = ring.dropped()

    def add(self, ring: RingBase, turn: Turn) -> None:
        """Take over from a ring that is closed and drained."""
        self.follow(ring)
        self.written += turn.written_count
        self.pending += count_frames(ring)
        self.failed += sum(turn.failed.values())


def count_frames(ring: RingBase) -> int:
    """Count the events in a ring that are not stored; 0 where its memory is gone."""
    try:
        tail = ring.tail
        return sum(1 for _ in iter_frames(ring.read(tail, ring.head), tail)) + ring.waiting_count()
    except ValueError:
        return 0
