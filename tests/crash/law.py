"""
The law that every fault test holds a database against.

What was acknowledged is there, once; what was not is there once or not at all; each event is
whole, in its own agent (``events``), in order and of one process; rows and drops make up what
was emitted; and the database agrees with itself.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from agenttrace.store.event_store import TraceStore
from agenttrace.write.recovery import recover
from tests.crash.events import text_of
from tests.write.factory import read_rows

__all__ = ["Kept", "check_database", "hold"]

_EVENTS_LOST = ("frame: ", "torn", "database replaced", "write.error", "write.late", "write.no_ring")
"""What ``processes.failed`` counts by the event, and not by the try."""


class Kept(NamedTuple):
    """What a database holds."""

    numbers: dict[str, list[int]]
    """Of the numbered events, by agent, in the order of storage."""
    notes: list[dict[str, Any]]
    """Payloads of the notes that tell of losses."""
    dropped: Counter[str]
    """Events that were given up, by reason, as the processes counted them."""
    interrupted: int
    """Operations that were closed for a dead process."""

    rows: int
    """How many events there are, numbered or not; those that recording itself has added are not counted."""


def hold(
    database: str | Path,
    acknowledged: Iterable[str] = (),
    *,
    emitted: int | None = None,
    has_gaps: bool = False,
    shared: str = "",
    forked_amid: str = "",
) -> Kept:
    """
    Recover what is left, and hold the database against the law.

    Args:
        database: Its processes have ended.
        acknowledged: ``agent number`` of each event whose recording had returned.
        emitted: How many events were recorded in all, numbered or not.
        has_gaps: Events may have been dropped, so numbers may be missing, but only where they were counted.
        shared: An agent as which several processes recorded.
        forked_amid: An agent whose process was forked inside the recording of an event. Where that had not
            begun its work, the child records the event too, as it would make any call: that one is left out.
    """
    found = recover(str(database))
    assert found.left == (), "not everything could be recovered"
    folder = os.environ["AGENTTRACE_RING_DIR"]
    rings = [name for name in os.listdir(folder) if not name.startswith(".new-")]  # swept a minute later
    assert rings == [], "rings are left"
    check_database(database, has_gaps=has_gaps)
    kept = _read(database, forked_amid, shared)
    for agent, numbers in kept.numbers.items():
        assert len(set(numbers)) == len(numbers), f"{agent}: doubled"
        if agent == shared:
            continue
        assert numbers == sorted(numbers), f"{agent}: out of order"
        assert has_gaps or numbers == list(range(len(numbers))), f"{agent}: lost"
    there = {f"{agent} {number}" for agent, numbers in kept.numbers.items() for number in numbers}
    missing = sorted(set(acknowledged) - there)
    if has_gaps:
        assert len(missing) <= kept.dropped.total(), f"lost without a count: {missing[:5]}"
    else:
        assert missing == [], f"lost {len(missing)}"
    if emitted is not None:
        assert kept.rows + kept.dropped.total() == emitted, f"{kept.rows} rows, {kept.dropped}"
    told = sum(note["dropped"] for note in kept.notes if "dropped" in note)
    assert told <= kept.dropped["full"] + kept.dropped["side_file"], "told of more than was dropped"
    return kept


def check_database(database: str | Path, *, has_gaps: bool = False) -> None:
    """Check that a database agrees with itself, whatever it holds; a start or an end may be in a gap."""
    assert read_rows(database, "PRAGMA integrity_check") == [("ok",)]
    assert read_rows(database, "PRAGMA foreign_key_check") == []
    gaps = read_rows(
        database,
        "SELECT agent_id FROM trajectory_events GROUP BY conversation_id, agent_id"
        " HAVING min(seq) != 0 OR max(seq) != count(*) - 1",
    )
    assert gaps == [], "seq has gaps"
    doubled = read_rows(
        database,
        "SELECT conversation_id, event_id FROM trajectory_events GROUP BY 1, 2 HAVING count(*) > 1",
    )
    assert doubled == [], "an event is there twice"
    unpaired = read_rows(
        database,
        "SELECT span_id FROM trajectory_events WHERE kind IN ('tool_call', 'tool_result')"
        " GROUP BY conversation_id, span_id HAVING count(*) > 2 OR count(*) > count(DISTINCT kind)"
        + (" OR count(*) < 2" if not has_gaps else ""),
    )
    assert unpaired == [], "calls without one result each"
    if Path(database).exists():
        with closing(TraceStore(database)) as store:
            assert store.verify() == []


def _read(database: str | Path, forked_amid: str, shared: str) -> Kept:
    rows = read_rows(
        database, "SELECT agent_id, kind, status, payload, event_id FROM trajectory_events ORDER BY id"
    )
    events: dict[str, list[tuple[int, str]]] = defaultdict(list)
    notes = []
    for agent, kind, status, payload, event_id in rows:
        found = json.loads(payload)
        if found.get("level") == "warning":
            notes.append(found)
        event = found.get("output") if kind == "tool_result" else found if kind == "note" else None
        if status == "interrupted" or not isinstance(event, dict) or "number" not in event:
            continue
        _check_whole(database, agent, event, found)
        events[agent].append((event["number"], event_id))
    if forked_amid in events:
        events[forked_amid] = _leave_out_forked(events[forked_amid])
    for agent, found_there in events.items():
        makers = {event_id.partition("-")[0] for _, event_id in found_there}
        assert agent == shared or len(makers) == 1, f"{agent}: events of several processes"
    numbers = {agent: [number for number, _ in found_there] for agent, found_there in events.items()}
    interrupted = sum(row[2] == "interrupted" for row in rows)
    return Kept(numbers, notes, _read_dropped(database), interrupted, len(rows) - len(notes) - interrupted)


def _check_whole(database: str | Path, agent: str, event: dict[str, Any], payload: dict[str, Any]) -> None:
    if "sha256" in payload:
        ((body,),) = read_rows(database, "SELECT body FROM payload_blobs WHERE sha256 = ?", payload["sha256"])
        event = json.loads(body)
    assert event["text"] == text_of(agent, event["number"]), f"{agent}: half, or of another agent"


def _leave_out_forked(events: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Leave out the one event that each child of a fork amid a call has made of that call as well."""
    by_process = Counter(event_id.partition("-")[0] for _, event_id in events)
    ((parent, _),) = by_process.most_common(1)
    own = [event for event in events if event[1].startswith(parent)]
    others = [event for event in events if not event[1].startswith(parent)]
    assert len(others) == len(by_process) - 1, "more than the one call that was forked"
    assert all(event_id.endswith("-0") for _, event_id in others)
    assert {number for number, _ in others} <= {number for number, _ in own}, "a child's alone"
    return own


def _read_dropped(database: str | Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for dropped, failed in read_rows(database, "SELECT dropped, failed FROM processes"):
        counts.update(json.loads(dropped or "{}"))
        failures = json.loads(failed or "{}")
        counts.update({name: n for name, n in failures.items() if name.startswith(_EVENTS_LOST)})
    return counts
