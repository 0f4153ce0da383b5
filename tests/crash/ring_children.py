"""
Processes that record and die: what the crash tests of ring and writer start.

``python -m tests.crash.ring_children COMMAND DATABASE SEED`` prints one JSON object with
what was acknowledged: an event counts as acknowledged once ``publish`` has returned.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import agenttrace.store.batch  # so that children do not import it one by one
from agenttrace import native
from agenttrace.write.recorder import Recorder
from agenttrace.write.recovery import recover
from agenttrace.write.ring import Ring
from tests.write.factory import build_body, build_recorder

__all__ = ["main"]

_HANG_S = 20.0


def _hook(recorder: Recorder) -> None:
    os.register_at_fork(
        before=recorder.before_fork,
        after_in_parent=recorder.after_in_parent,
        after_in_child=recorder.after_in_child,
    )


def _fork(work: Callable[[], None]) -> int:
    """Run *work* in a child that ends without any clearing up."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def _reap(child: int) -> bool:
    """Wait for a child; False, and no child, where it hangs."""
    deadline_s = time.monotonic() + _HANG_S
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline_s:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.001)
    return True


class _Pipe:
    """Lines from children to their parent, written whole."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def say(self, *words: object) -> None:
        os.write(self._write, (" ".join(map(str, words)) + "\n").encode())

    def close_write(self) -> None:
        os.close(self._write)

    def read_lines(self, count: int | None = None) -> list[str]:
        """Read at least *count* lines, or all until the last writer is gone."""
        data = b""
        while count is None or data.count(b"\n") < count:
            assert select.select([self._read], [], [], _HANG_S)[0], "nobody writes"
            part = os.read(self._read, 65_536)
            if not part:
                break
            data += part
        return [line for line in data.decode().split("\n") if line]


def _record_for_ever(recorder: Recorder, pipe: _Pipe, name: str) -> None:
    for number in range(10_000_000):
        recorder.publish(build_body(number, name, agent_id=name))
        pipe.say(name, number)


def kill(database: str, seed: int, kills: int) -> dict[str, Any]:
    """Kill *kills* children, each at a drawn moment of a drawn kind of work."""
    draw = random.Random(seed)
    acknowledged: list[str] = []
    for turn in range(kills):
        how = draw.choice(["one thread", "threads", "busy writer", "forks", "large events"])
        count, spin_s = draw.randrange(1, 150), draw.random() * 0.0005
        pipe = _Pipe()

        def work(turn: int = turn, how: str = how, pipe: _Pipe = pipe) -> None:
            os.setpgid(0, 0)
            interval_s = 0.001 if how == "busy writer" else 60.0
            recorder = build_recorder(database, flush_interval_s=interval_s, ring_bytes=1_048_576)
            _hook(recorder)
            call = build_body(0, "open", kind="tool_call", span_id=f"{turn:016x}", agent_id=f"{turn}-open")
            recorder.publish(call)
            pipe.say(f"{turn}-open", 0)
            if how == "threads":
                for name in ("b", "c"):
                    threading.Thread(
                        target=_record_for_ever, args=(recorder, pipe, f"{turn}-{name}"), daemon=True
                    ).start()
            if how == "forks":
                for name in ("f", "g"):
                    _fork(lambda name=name: _record_for_ever(recorder, pipe, f"{turn}-{name}"))  # type: ignore[misc]
            if how == "large events":
                recorder.publish(build_body(0, "L" * 300_000, agent_id=f"{turn}-large"))
                pipe.say(f"{turn}-large", 0)
            _record_for_ever(recorder, pipe, f"{turn}-a")

        child = _fork(work)
        pipe.close_write()
        lines = pipe.read_lines(count)
        until_s = time.perf_counter() + spin_s
        while time.perf_counter() < until_s:
            pass
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged += lines + pipe.read_lines()
    return {"acknowledged": acknowledged}


def fork(database: str, seed: int, forks: int) -> dict[str, Any]:
    """Fork while threads record and the writer writes; children record and end in a drawn way."""
    draw = random.Random(seed)
    recorder = build_recorder(database, flush_interval_s=0.001)
    _hook(recorder)
    is_over = threading.Event()
    acknowledged: list[str] = []

    def record(name: str) -> None:
        for number in range(10_000_000):
            if is_over.is_set():
                return
            recorder.publish(build_body(number, name, agent_id=name))
            acknowledged.append(f"{name} {number}")
            if number % 500 == 499:
                recorder.flush(30.0)  # so that a machine with no time for the writer drops nothing

    threads = [threading.Thread(target=record, args=(f"parent-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    pipe = _Pipe()
    hung = 0
    for turn in range(forks):
        how = draw.choice(["shutdown", "exit at once", "flush", "fork again"])

        def work(turn: int = turn, how: str = how) -> None:
            for number in range(3):
                recorder.publish(build_body(number, how, agent_id=f"child-{turn}"))
                pipe.say(f"child-{turn}", number)
            if how == "fork again":
                grandchild = _fork(
                    lambda: recorder.publish(build_body(0, how, agent_id=f"grandchild-{turn}"))
                )
                os.waitpid(grandchild, 0)
                pipe.say(f"grandchild-{turn}", 0)
            if how == "flush":
                recorder.flush(5.0)
            if how == "shutdown":
                recorder.shutdown()

        hung += not _reap(_fork(work))
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
    _hook(recorder)
    # In C a put is one step, so the middle of an event is the middle of ``publish``.
    amid = (Ring.put if native.FUNCTIONS is None else Recorder.publish).__code__
    parent = os.getpid()
    pipe = _Pipe()
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
        recorder.publish(build_body(number, "x" * draw.randrange(400), agent_id="parent"))
        if os.getpid() != parent:
            break
        acknowledged.append(f"parent {number}")
        number += 1
        if number % 1000 == 0:
            recorder.flush(30.0)  # as above
    if os.getpid() != parent:
        for number in range(3):
            recorder.publish(build_body(number, "child", agent_id=f"child-{os.getpid()}"))
            pipe.say(f"child-{os.getpid()}", number)
        os._exit(0)
    hung = sum(not _reap(child) for child in children)
    pipe.close_write()
    acknowledged += pipe.read_lines()
    result = recorder.shutdown()
    return {"acknowledged": acknowledged, "hung": hung, "pending": result.pending, "dropped": result.dropped}


def race(database: str, seed: int, owners: int) -> dict[str, Any]:
    """Let recoverers race with each other, and with processes that die or end in order."""
    draw = random.Random(seed)
    pipe, over = _Pipe(), _Pipe()

    def own(turn: int, how: str) -> None:
        recorder = build_recorder(database, flush_interval_s=draw.choice([0.001, 60.0]))
        for number in range(300):
            recorder.publish(build_body(number, how, agent_id=f"{how}-{turn}"))
        pipe.say(f"{how}-{turn}", 300)
        if how == "ends":
            recorder.shutdown()

    def recover_for_ever() -> None:
        while not select.select([over._read], [], [], 0)[0]:
            recover(database)

    recoverers = [_fork(recover_for_ever) for _ in range(3)]
    hung = 0
    for turn in range(owners):
        how = draw.choice(["ends", "dies"])
        hung += not _reap(_fork(lambda turn=turn, how=how: own(turn, how)))  # type: ignore[misc]
    over.say("over")
    hung += sum(not _reap(child) for child in recoverers)
    pipe.close_write()
    done = pipe.read_lines()
    acknowledged = [f"{line.split()[0]} {number}" for line in done for number in range(300)]
    return {"acknowledged": acknowledged, "hung": hung}


def main(command: str, database: str, seed: str, count: str) -> None:
    """Run one of the functions above, and print what it gives."""
    assert agenttrace.store.batch
    work = {"kill": kill, "fork": fork, "fork_in_frame": fork_in_frame, "race": race}[command]
    print(json.dumps(work(database, int(seed), int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
