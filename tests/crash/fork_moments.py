"""
Programs that fork while their writer is busy with something slow: what ``test_fork_moments`` starts.

``python -m tests.crash.fork_moments COMMAND DATABASE SEED FORKS`` prints one JSON object. Neither
command may import the store here: what a child finds imported, its writer does not import.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from typing import Any

from agenttrace.write.recorder import Recorder
from tests.crash.children import Pipe, fork, hook, idle, reap, spin
from tests.crash.events import build_event
from tests.write.factory import build_recorder

__all__ = ["main"]

_MODULES = 50
"""About so many the writer imports before it can store anything."""
_FORKS_EACH = 10
_LOCKED_MS = (5, 40)
_FREE_MS = (1, 15)


def _work_in_child(recorder: Recorder, name: str, how: str, pipe: Pipe) -> None:
    """Record in a child that was forked from one that records."""
    for number in range(3):
        recorder.publish(build_event(name, number))
        pipe.say(name, number)
    if how == "flush":
        recorder.flush(20.0)
    if how == "shutdown":
        recorder.shutdown(20.0)


def _is_imported() -> bool:
    return hasattr(sys.modules.get("agenttrace.store.batch"), "EventSink")


def importing(database: str, seed: int, forks: int) -> dict[str, Any]:
    """Fork once in each of *forks* children, at a drawn moment of the imports after the first event."""
    draw = random.Random(seed)
    pipe, said = Pipe(), Pipe()
    hung = 0
    for turn in range(forks):
        how, modules = draw.choice(["flush", "shutdown", "exit at once"]), draw.randrange(_MODULES)

        def begin(turn: int = turn, how: str = how, modules: int = modules) -> None:
            before = len(sys.modules)
            recorder = build_recorder(database, flush_interval_s=0.001)
            hook(recorder)
            recorder.publish(build_event(f"parent-{turn}", 0))
            pipe.say(f"parent-{turn}", 0)
            while len(sys.modules) - before < modules and not _is_imported():
                idle(0.0001)
            said.say("beside" if _is_imported() else "amid")
            child = fork(lambda: _work_in_child(recorder, f"child-{turn}", how, pipe))
            assert reap(child)
            recorder.publish(build_event(f"parent-{turn}", 1))
            pipe.say(f"parent-{turn}", 1)

        hung += not reap(fork(begin))
    pipe.close_write()
    said.close_write()
    return {"acknowledged": pipe.read_lines(), "hung": hung, "amid": said.read_lines().count("amid")}


def _hold_lock(database: str, orders: Pipe, seed: int) -> None:
    """Lock the database for drawn times, with drawn pauses, until there is an order to stop."""
    draw = random.Random(seed)
    connection = sqlite3.connect(database, isolation_level=None, timeout=20.0)
    while not orders.has_word():
        connection.execute("BEGIN IMMEDIATE")
        spin(draw.uniform(*_LOCKED_MS) / 1000)
        connection.execute("COMMIT")
        spin(draw.uniform(*_FREE_MS) / 1000)


def _make(database: str) -> None:
    recorder = build_recorder(database)
    recorder.publish(build_event("first", 0))
    recorder.shutdown()


def locked(database: str, seed: int, forks: int) -> dict[str, Any]:
    """Fork while another process has the database locked most of the time, and the writer waits for it."""
    draw = random.Random(seed)
    pipe, said, orders = Pipe(), Pipe(), Pipe()
    assert reap(fork(lambda: _make(database)))  # so that this process never opens it
    holder = fork(lambda: _hold_lock(database, orders, seed))
    hung = 0
    for turn in range(0, forks, _FORKS_EACH):
        hows = draw.choices(["flush", "exit at once"], [1, 9], k=_FORKS_EACH)
        moments = [(how, draw.random() * 0.02) for how in hows]

        def begin(turn: int = turn, moments: list[tuple[str, float]] = moments) -> None:
            recorder = build_recorder(database, flush_interval_s=0.001)
            hook(recorder)
            for number, (how, wait_s) in enumerate(moments):
                recorder.publish(build_event(f"parent-{turn}", number))
                pipe.say(f"parent-{turn}", number)
                spin(wait_s)
                ring = recorder.ring
                said.say("amid" if ring is not None and ring.head != ring.tail else "beside")
                name = f"child-{turn + number}"
                child = fork(lambda how=how, name=name: _work_in_child(recorder, name, how, pipe))  # type: ignore[misc]
                assert reap(child)

        hung += not reap(fork(begin))
    orders.say("stop")
    hung += not reap(holder)
    pipe.close_write()
    said.close_write()
    return {"acknowledged": pipe.read_lines(), "hung": hung, "amid": said.read_lines().count("amid")}


def main(command: str, database: str, seed: str, forks: str) -> None:
    """Run one of the functions above, and print what it gives."""
    assert "peewee" not in sys.modules and "agenttrace.store.batch" not in sys.modules
    work = {"importing": importing, "locked": locked}[command]
    print(json.dumps(work(database, int(seed), int(forks))))


if __name__ == "__main__":
    main(*sys.argv[1:])
