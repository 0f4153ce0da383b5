"""
Processes that record and die: what the crash tests of ring and writer start.

``python -m tests.crash.ring_children COMMAND DATABASE SEED`` prints one JSON object with
what was acknowledged: an event counts as acknowledged once ``publish`` has returned.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from types import FrameType
from typing import Any

import agenttrace.store.batch  # so that children do not import it one by one
from agenttrace import native
from agenttrace.write.recorder import Recorder
from agenttrace.write.recovery import recover
from agenttrace.write.ring import Ring
from tests.crash.children import Pipe, hook, reap, spin
from tests.crash.children import fork as start
from tests.crash.events import build_event
from tests.write.factory import build_recorder

__all__ = ["main"]


def _record_for_ever(recorder: Recorder, pipe: Pipe, name: str) -> None:
    for number in range(10_000_000):
        recorder.publish(build_event(name, number))
        pipe.say(name, number)


def kill(database: str, seed: int, kills: int) -> dict[str, Any]:
    """Kill *kills* children, each at a drawn moment of a drawn kind of work."""
    draw = random.Random(seed)
    acknowledged: list[str] = []
    for turn in range(kills):
        how = draw.choice(["one thread", "threads", "busy writer", "forks", "large events"])
        count, spin_s = draw.randrange(1, 150), draw.random() * 0.0005
        pipe = Pipe()

        def work(turn: int = turn, how: str = how, pipe: Pipe = pipe) -> None:
            os.setpgid(0, 0)
            interval_s = 0.001 if how == "busy writer" else 60.0
            recorder = build_recorder(database, flush_interval_s=interval_s, ring_bytes=262_144)
            hook(recorder)
            call = build_event(f"{turn}-open", 0, kind="tool_call", span_id=f"{turn:016x}")
            recorder.publish(call)
            if how == "threads":
                for name in ("b", "c"):
                    threading.Thread(
                        target=_record_for_ever, args=(recorder, pipe, f"{turn}-{name}"), daemon=True
                    ).start()
            if how == "forks":
                for name in ("f", "g"):
                    start(lambda name=name: _record_for_ever(recorder, pipe, f"{turn}-{name}"))  # type: ignore[misc]
            if how == "large events":
                recorder.publish(build_event(f"{turn}-large", 0))
                pipe.say(f"{turn}-large", 0)
            _record_for_ever(recorder, pipe, f"{turn}-a")

        child = start(work)
        pipe.close_write()
        lines = pipe.read_lines(count)
        spin(spin_s)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged += lines + pipe.read_lines()
    return {"acknowledged": acknowledged}


def fork(database: str, seed: int, forks: int) -> dict[str, Any]:
    """Fork while threads record and the writer writes; children record and end in a drawn way."""
    draw = random.Random(seed)
    recorder = build_recorder(database, flush_interval_s=0.001)
    hook(recorder)
    is_over = threading.Event()
    acknowledged: list[str] = []

    def record(name: str) -> None:
        for number in range(10_000_000):
            if is_over.is_set():
                return
            recorder.publish(build_event(name, number))
            acknowledged.append(f"{name} {number}")
            if number % 500 == 499:
                recorder.flush(30.0)  # so that a machine with no time for the writer drops nothing

    threads = [threading.Thread(target=record, args=(f"parent-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    pipe = Pipe()
    hung = 0
    for turn in range(forks):
        how = draw.choice(["shutdown", "exit at once", "flush", "fork again"])

        def work(turn: int = turn, how: str = how) -> None:
            for number in range(3):
                recorder.publish(build_event(f"child-{turn}", number))
                pipe.say(f"child-{turn}", number)
            if how == "fork again":
                grandchild = start(lambda: recorder.publish(build_event(f"grandchild-{turn}", 0)))
                os.waitpid(grandchild, 0)
                pipe.say(f"grandchild-{turn}", 0)
            if how == "flush":
                recorder.flush(5.0)
            if how == "shutdown":
                recorder.shutdown()

        hung += not reap(start(work))
    is_over.set()
    for thread in threads:
        thread.join()
    pipe.close_write()
    acknowledged += pipe.read_lines()
    result = recorder.shutdown()
    return {"acknowledged": acknowledged, "hung": hung, "pending": result.pending, "dropped": result.dropped}


def fork_in_frame(database: str, seed: int, forks: int) -> dict[str, Any]:
    """Fork in a signal handler, so in the middle of whatever ``publish`` does."""
    draw = random.Random(seed)
    recorder = build_recorder(database, flush_interval_s=0.01)
    hook(recorder)
    # In C a put is one step, so the middle of an event is the middle of ``publish``.
    amid = (Ring.put if native.FUNCTIONS is None else Recorder.publish).__code__
    parent = os.getpid()
    pipe = Pipe()
    children: list[int] = []
    acknowledged: list[str] = []

    def handler(number: int, frame: FrameType | None) -> None:
        if os.getpid() != parent or len(children) == forks:
            return
        while frame is not None and frame.f_code is not amid:
            frame = frame.f_back
        if frame is not None:
            child = os.fork()
            if child == 0:
                return
            children.append(child)
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + draw.random() * 0.003)

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    number = 0
    while len(children) < forks:
        recorder.publish(build_event("parent", number))
        if os.getpid() != parent:
            break
        acknowledged.append(f"parent {number}")
        number += 1
        if number % 1000 == 0:
            recorder.flush(30.0)  # as above
    if os.getpid() != parent:
        for number in range(3):
            recorder.publish(build_event(f"child-{os.getpid()}", number))
            pipe.say(f"child-{os.getpid()}", number)
        os._exit(0)
    hung = sum(not reap(child) for child in children)
    pipe.close_write()
    acknowledged += pipe.read_lines()
    result = recorder.shutdown()
    return {"acknowledged": acknowledged, "hung": hung, "pending": result.pending, "dropped": result.dropped}


def race(database: str, seed: int, owners: int) -> dict[str, Any]:
    """Let recoverers race with each other, and with processes that die or end in order; kill some of them."""
    draw = random.Random(seed)
    pipe, over = Pipe(), Pipe()

    def own(turn: int, how: str, flush_interval_s: float) -> None:
        recorder = build_recorder(database, flush_interval_s=flush_interval_s)
        for number in range(300):
            recorder.publish(build_event(f"{how}-{turn}", number))
        pipe.say(f"{how}-{turn}", 300)
        if how == "ends":
            recorder.shutdown()

    def recover_for_ever() -> None:
        while not over.has_word():
            recover(database)

    recoverers = [start(recover_for_ever) for _ in range(3)]
    hung = killed = 0
    for turn in range(owners):
        how, interval_s = draw.choice(["ends", "dies"]), draw.choice([0.001, 60.0])
        owner = start(lambda turn=turn, how=how, interval_s=interval_s: own(turn, how, interval_s))  # type: ignore[misc]
        if draw.random() < 0.4:
            victim = recoverers.pop(draw.randrange(3))
            spin(draw.random() * 0.02)
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            killed += 1
            recoverers.append(start(recover_for_ever))
        hung += not reap(owner)
    over.say("over")
    hung += sum(not reap(child) for child in recoverers)
    pipe.close_write()
    done = pipe.read_lines()
    acknowledged = [f"{line.split()[0]} {number}" for line in done for number in range(300)]
    return {"acknowledged": acknowledged, "hung": hung, "killed": killed}


def main(command: str, database: str, seed: str, count: str) -> None:
    """Run one of the functions above, and print what it gives."""
    assert agenttrace.store.batch
    work = {"kill": kill, "fork": fork, "fork_in_frame": fork_in_frame, "race": race}[command]
    print(json.dumps(work(database, int(seed), int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
