"""
The half of ``TraceViewer`` that says what goes on: what is open, and who lives.

Invariant: whether a process lives is judged when asked, never stored. Cost: the rows that are open, and
one range of an index for each tool that is compared with its past.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agenttrace import clock
from agenttrace.query.liveness import read_liveness
from agenttrace.query.reading import Reader, check_limit
from agenttrace.query.thresholds import DEFAULTS, Thresholds
from agenttrace.store.rows import OpenOperation, ProcessRow

if TYPE_CHECKING:
    from agenttrace.query.usual import OpenNow
    from agenttrace.store.event_store import TraceStore

__all__ = ["ViewerNow"]


class ViewerNow:
    """What is open now; the ground that the other halves stand on."""

    store: TraceStore
    reader: Reader

    def open_operations(self, limit: int = 1000) -> tuple[tuple[OpenOperation, str], ...]:
        """Give what has started and not ended, oldest first, each with ``running`` or ``out of contact``."""
        judge = self._judge()
        rows = self.reader.select(OpenOperation, "ORDER BY ts_ns, id LIMIT ?", [check_limit(limit)])
        return tuple((row, judge(row.process_id or "")) for row in rows)

    def compare_open(self, limit: int = 100, thresholds: Thresholds | None = None) -> tuple[OpenNow, ...]:
        """
        Give what is open beside what is usual for its like: the p95 of the newest, and how many times that.

        Args:
            limit: How many at most, the oldest first.
            thresholds: When it is stalled; the defaults when left out.
        """
        from agenttrace.query.usual import compare_open  # late: most questions are of what is over

        opened = list(self.open_operations(limit))
        return compare_open(self.reader, opened, clock.now_ms(), thresholds or DEFAULTS)

    def processes(self, limit: int = 100) -> tuple[ProcessRow, ...]:
        """Give the processes that recorded, newest first."""
        return tuple(self.store.processes()[: check_limit(limit)])

    def _judge(self) -> Callable[[str], str]:
        target = self.store.target
        if target.is_memory:
            return read_liveness(self.reader)
        # Late: only where somebody asks what is running.
        from agenttrace.write.recovery import held_processes

        return read_liveness(self.reader, held_processes(target.path))
