"""
Is it still running? What can be said of the process behind an open operation.

A process is live while it holds its ring on this machine, or was seen within
30 s. What is left open by any other is out of contact: another host may run it,
or it died where nobody could see. Computed when asked, never stored.
"""

from __future__ import annotations

from collections.abc import Collection

from agenttrace import clock
from agenttrace.query.reading import Reader
from agenttrace.query.tree import Liveness

__all__ = ["LIVE_FOR_MS", "OUT_OF_CONTACT", "RUNNING", "read_liveness"]

LIVE_FOR_MS = 30_000
RUNNING = "running"
OUT_OF_CONTACT = "out of contact"


def read_liveness(reader: Reader, held: Collection[str] = (), *, now_ms: int | None = None) -> Liveness:
    """
    Give a function from process id to ``running`` or ``out of contact``.

    Args:
        reader: Where to read ``processes``.
        held: Process ids whose ring is held by a living process of this machine.
        now_ms: The time to judge by; now, unless given.
    """
    since_ms = (clock.now_ms() if now_ms is None else now_ms) - LIVE_FOR_MS
    seen = {
        row[0]
        for row in reader.rows(
            "SELECT process_id FROM processes WHERE ended_ms IS NULL AND last_seen_ms >= ?", [since_ms]
        )
    }
    live = seen | set(held)

    def judge(process_id: str) -> str:
        return RUNNING if process_id in live else OUT_OF_CONTACT

    return judge
