"""
Notes: what the trace itself says is missing from it.

A note stands beside an event of the agent that was at work when the gap came, at the
time of the gap, and is stored in the transaction of the events that it stands among.
Invariant: it tells of each loss once, and it never takes the place of an event: its id
is none that a frame can have, and it counts as no event of the program's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agenttrace.clock import render_utc
from agenttrace.encode import codec
from agenttrace.events import H_AGENT_ID, H_EXTRA, H_KIND, H_PARENT_AGENT_ID, H_TS_NS
from agenttrace.write.header import Shortage

if TYPE_CHECKING:
    from agenttrace.store.batch import Record

__all__ = ["Notes"]

_NOT_OF_A_NOTE = range(H_PARENT_AGENT_ID + 1, H_EXTRA + 1)
_REASONS = {
    "full": "the ring was full for longer than the program may be held up",
    "side_file": "there was no room beside the ring for events larger than it",
}


class Notes:
    """The notes of one ring; used by its drainer."""

    def __init__(self, process_id: str) -> None:
        self._process_id = process_id
        self._beside: Record | None = None
        """The last event of an agent that came by."""
        self._lost_count = 0

    def count_lost(self, count: int) -> None:
        """Take note that *count* stored events went with their database."""
        self._lost_count += count

    def can_tell(self) -> bool:
        """Tell whether there is an agent to whose events a note may be added."""
        return self._beside is not None

    def insert(self, records: list[Record], shortage: Shortage | None, place: int) -> int:
        """
        Put the notes that are due among the events of a batch.

        Args:
            records: In their order; changed in place.
            shortage: Drops to be told of, if any.
            place: Where the batch begins in the ring's stream.

        Returns:
            How many notes there are among *records* now; what could not be told stays due.
        """
        before, count = self._beside, 0
        for record in reversed(records):
            if record.header[H_AGENT_ID] is not None:
                self._beside = record
                break
        if self._beside is None:
            return 0
        if self._lost_count:
            text = f"{self._lost_count} earlier events went with a database file that was removed or replaced"
            ts_ns = self._beside.header[H_TS_NS]
            event_id = f"{self._process_id}-n{place:x}"
            records.append(_build(self._beside, ts_ns, event_id, {"level": "warning", "text": text}))
            self._lost_count = 0
            count += 1
        if shortage is not None:
            index, beside = _find_place(records, shortage.since_ns, before)
            records.insert(index, self._tell(shortage, beside or self._beside))
            count += 1
        return count

    def _tell(self, shortage: Shortage, beside: Record) -> Record:
        ts_ns = shortage.since_ns or beside.header[H_TS_NS]
        count = shortage.total - shortage.told
        reasons = " and ".join(_REASONS[reason] for reason in shortage.dropped)
        what = "1 event was dropped" if count == 1 else f"{count} events were dropped"
        payload = {
            "level": "warning",
            "text": f"{what} from {render_utc(ts_ns // 1_000_000)} UTC on: {reasons}",
            "dropped": count,
            "reasons": list(shortage.dropped),
        }
        return _build(beside, ts_ns, f"{self._process_id}-w{shortage.total:x}", payload)


def _find_place(records: list[Record], since_ns: int, before: Record | None) -> tuple[int, Record | None]:
    """Find the last event of an agent that is older than the gap; *before* is the last of earlier batches."""
    found: tuple[int, Record | None] = (0, before)
    for index, record in enumerate(records):
        if record.header[H_TS_NS] > since_ns > 0:
            break
        if record.header[H_AGENT_ID] is not None:
            found = index + 1, record
    return found


def _build(beside: Record, ts_ns: int, event_id: str, payload: dict[str, object]) -> Record:
    header = list(beside.header)
    header[H_KIND], header[H_TS_NS] = "note", ts_ns
    for column in _NOT_OF_A_NOTE:
        header[column] = None
    return beside._replace(header=header, payload=codec.dumps(payload), event_id=event_id, blob=None)
