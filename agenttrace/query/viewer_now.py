"""
The half of ``TraceViewer`` that says what goes on: what is open, and who lives.

Invariant: whether a process lives is judged when asked, never stored. Cost: the rows that are open, and
one range of an index for each tool that is compared with its past.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agenttrace.query.liveness import read_liveness
from agenttrace.query.reading import Reader, check_limit
from agenttrace.store.rows import OpenOperation, ProcessRow

if TYPE_CHECKING:
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
