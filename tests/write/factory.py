"""Small real things for the tests of ring and writer: settings, rings, events, recorders."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agenttrace.clock import now_ns
from agenttrace.config import Settings
from agenttrace.encode import codec
from agenttrace.encode.redact import Rules
from agenttrace.events import CONTROL_CONVERSATION, H_EXTRA, ProcessInfo, new_id
from agenttrace.write.frames import iter_frames
from agenttrace.write.header import RingInfo
from agenttrace.write.recorder import Recorder
from agenttrace.write.ring import Ring
from agenttrace.write.ring_native import choose_ring

__all__ = [
    "LIMITS",
    "build_body",
    "build_info",
    "build_process",
    "build_recorder",
    "build_ring",
    "read_bodies",
    "read_numbers",
    "read_rows",
    "recording",
    "wait_until",
]

LIMITS = {"max_payload_bytes": 4096, "max_blob_bytes": 262_144}


def build_process(process_id: str = "") -> ProcessInfo:
    """Describe a process; another one at each call."""
    return ProcessInfo(process_id or new_id(), "host", "boot", 1, "3.11", "0.1", "[]", "/", None, 1)


def build_info(database: str | Path, rules: Rules | None = None, process_id: str = "") -> RingInfo:
    """Build what stands in a ring's head."""
    redaction = (rules or Rules.build(None)).to_data()
    return RingInfo(str(database), build_process(process_id), redaction, dict(LIMITS))


def build_ring(database: str | Path = ":memory:", ring_bytes: int = 65_536, **how: Any) -> Ring:
    """Make a ring whose writer is taken to be awake."""
    ring = choose_ring().create(build_info(database), ring_bytes, **{"kind": _kind(), **how})
    ring.expect_writer(resting=False)
    return ring


def build_body(
    number: int = 0, text: str = "", *, kind: str = "note", conversation: str = "talk", **columns: Any
) -> bytes:
    """Build a frame's body as capture does; *columns* by position ``H_…`` in lower case."""
    header: list[Any] = [kind, now_ns(), conversation, "agent", "agent", *(None,) * (H_EXTRA - 4)]
    for name, value in columns.items():
        header[_position(name)] = value
    return codec.encode_header(header) + b"\n" + codec.dumps({"number": number, "text": text})


def build_conversation(task: str) -> bytes:
    """Build the body that describes a conversation."""
    header: list[Any] = [CONTROL_CONVERSATION, now_ns(), "talk", *(None,) * (H_EXTRA - 2)]
    return codec.encode_header(header) + b"\n" + codec.dumps({"task": task, "metadata": None})


def _position(name: str) -> int:
    from agenttrace import events

    return int(getattr(events, f"H_{name.upper()}"))


def build_recorder(
    database: str | Path, *, build_sink: Callable[[], Any] | None = None, **settings: Any
) -> Recorder:
    """Make a recorder of a process of its own."""
    rules = Rules.build(settings.get("redact"))
    settings = {"ring": _kind(), **settings}
    return Recorder(Settings(database=str(database), **settings), rules, build_process, build_sink)


def _kind() -> str:
    """Give the kind of rings that this run of the tests is made with."""
    return os.environ.get("AGENTTRACE_RING", "auto")


@contextmanager
def recording(database: str | Path, **settings: Any) -> Iterator[Recorder]:
    """Record, and shut down at the end."""
    recorder = build_recorder(database, **settings)
    try:
        yield recorder
    finally:
        recorder.shutdown(5.0)


def read_bodies(ring: Ring) -> list[bytes]:
    """Give what is in a ring and not yet stored, in its order."""
    return [frame.body for frame in iter_frames(ring.read(ring.tail, ring.head), ring.tail)]


def read_rows(database: str | Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Give the rows of *sql*; none where there is no database, or no table in it, yet."""
    if not Path(database).exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'processes'").fetchall():
            return []
        return connection.execute(sql, values).fetchall()


def read_numbers(database: str | Path) -> list[int]:
    """Give the numbers of the stored events in the order of storage; notes about losses have none."""
    rows = read_rows(
        database,
        "SELECT payload FROM trajectory_events WHERE json_extract(payload, '$.level') IS NOT 'warning'"
        " ORDER BY id",
    )
    return [json.loads(payload)["number"] for (payload,) in rows]


def wait_until(condition: Callable[[], Any], within_s: float = 20.0) -> None:
    """Poll until *condition* holds; fail where it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s} s"
        time.sleep(0.002)
