"""
Fork at the n-th call that the first event makes, for every n: what ``test_fork_while_making`` starts.

``python -m tests.crash.fork_while_making FOLDER`` prints, as JSON, what went wrong; [] is well.
"""

from __future__ import annotations

import json
import os
import sys
from types import FrameType
from typing import Any

import agenttrace.store.batch
import agenttrace.write.drain
import agenttrace.write.pipeline  # so that children do not import them one by one
from agenttrace.write.recovery import recover
from tests.write.factory import build_body, build_recorder, read_rows

EVENTS = 20


def _record(database: str, number: int) -> bool:
    """Publish with a fork at call *number*; False where the first event makes fewer calls."""
    recorder = build_recorder(database, flush_interval_s=60.0)
    os.register_at_fork(
        before=recorder.before_fork,
        after_in_parent=recorder.after_in_parent,
        after_in_child=recorder.after_in_child,
    )
    parent, calls, child = os.getpid(), 0, 0
    read_end, write_end = os.pipe()  # the child goes on once the parent's events lie in the ring

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls, child
        if f"{os.sep}agenttrace{os.sep}" in frame.f_code.co_filename and os.getpid() == parent:
            calls += 1
            if calls == number:
                child = os.fork()
                if child == 0:
                    os.close(write_end)
                    os.read(read_end, 1)

    sys.settrace(trace)
    recorder.publish(build_body(0, "first", agent_id="parent"))
    sys.settrace(None)
    if os.getpid() != parent:
        for event in range(3):
            recorder.publish(build_body(event, "child", agent_id="child"))
        os._exit(0)
    for event in range(1, EVENTS):
        recorder.publish(build_body(event, "more", agent_id="parent"))
    os.close(write_end)
    if child:
        os.waitpid(child, 0)
    recorder.shutdown()
    return child != 0


def _check(database: str, number: int) -> list[str]:
    recover(database)
    rows = read_rows(
        database, "SELECT agent_id, json_extract(payload, '$.number') FROM trajectory_events ORDER BY id"
    )
    found = {name: [row[1] for row in rows if row[0] == name] for name in ("parent", "child")}
    wanted = {"parent": list(range(EVENTS)), "child": [0, 1, 2]}
    if found["parent"].count(0) == 2:  # a call that had not begun its work is the child's as well
        found["parent"].remove(0)
    return [f"call {number}: {name} has {found[name]}" for name in found if found[name] != wanted[name]]


def main(folder: str) -> None:
    """Try one number after the other, each in a process of its own."""
    assert agenttrace.store.batch and agenttrace.write.drain and agenttrace.write.pipeline
    wrong: list[str] = []
    number = 0
    forked = True
    while forked:
        number += 1
        database = os.path.join(folder, f"{number}.db")
        process = os.fork()
        if process == 0:
            os._exit(0 if _record(database, number) else 7)
        forked = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        if forked:
            wrong += _check(database, number)
    print(json.dumps({"tried": number - 1, "wrong": wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
