"""
Processes whose recording is interrupted all the time: what the stress tests of the ring start.

``python -m tests.stress.ring_storm COMMAND DATABASE SEED COUNT`` prints one JSON object.
An event counts as acknowledged once the call that puts it in has returned.
"""

from __future__ import annotations

import gc
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from agenttrace.write.frames import iter_frames
from agenttrace.write.ring import NUDGE, Ring
from tests.write.factory import build_body, build_recorder, build_ring

__all__ = ["main"]


class Storm:
    """Interrupt the main thread at drawn moments: the handler records, and may raise KeyboardInterrupt."""

    def __init__(self, seed: int, record: Callable[[str], None], only_below: CodeType) -> None:
        self.count = 0
        self._draw = random.Random(seed)
        self._record = record
        self._only_below = only_below
        signal.signal(signal.SIGALRM, self._handle)

    def go_on(self) -> None:
        """Arm the timer for the next interrupt."""
        signal.setitimer(signal.ITIMER_REAL, 0.00001 + self._draw.random() * 0.00008)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code is not self._only_below:
            frame = frame.f_back
        if frame is None:
            self.go_on()  # outside the work that is to be interrupted
            return
        self.count += 1
        if self._draw.random() < 0.3:
            self._record(f"handler {self.count}")
        self.go_on()
        if self._draw.random() < 0.7:
            raise KeyboardInterrupt


def _brew(storm: Storm, record: Callable[[str], None], interrupts: int) -> int:
    """Record in a loop, also in ``finally``, until there were enough interrupts."""
    number = 0

    def work() -> None:
        nonlocal number
        while storm.count < interrupts:
            number += 1
            try:
                record(f"main {number}")
            finally:
                record(f"finally {number}")

    storm._only_below = work.__code__
    storm.go_on()
    while storm.count < interrupts:
        try:
            work()
        except KeyboardInterrupt:
            pass
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return number


def ring(database: str, seed: int, interrupts: int) -> dict[str, Any]:
    """Interrupt ``Ring.put``, while another thread drains the ring round and round."""
    shared = build_ring(database, 262_144)
    acknowledged: list[str] = []
    seen: list[str] = []
    is_over = threading.Event()

    def record(name: str) -> None:
        body = name.encode() + b" " + b"x" * (len(acknowledged) % 300)
        while shared.put(body) > NUDGE:
            if name.startswith("handler"):
                return
            time.sleep(0)
        acknowledged.append(name)

    def drain() -> None:
        while not is_over.is_set() or shared.head != shared.tail:
            shared.absorb()
            for frame in iter_frames(shared.read(shared.tail, shared.head), shared.tail):
                seen.append(frame.body.split(b" x")[0].decode().strip())
                shared.advance(frame.end)
            time.sleep(0.0005)

    drainer = threading.Thread(target=drain)
    drainer.start()
    storm = Storm(seed, record, _brew.__code__)
    _brew(storm, record, interrupts)
    other = threading.Thread(target=record, args=("other 1",), daemon=True)
    other.start()
    other.join(10)
    is_over.set()
    drainer.join(10)
    return {
        "acknowledged": acknowledged,
        "seen": seen,
        "interrupts": storm.count,
        "dropped": shared.dropped(),
        "usable": not other.is_alive() and not drainer.is_alive(),
    }


def recorder(database: str, seed: int, interrupts: int) -> dict[str, Any]:
    """Interrupt ``Recorder.publish`` and ``flush``, while the writer stores."""
    whole = build_recorder(database, flush_interval_s=0.005, ring_bytes=67_108_864)
    acknowledged: list[str] = []

    def record(name: str) -> None:
        whole.publish(build_body(0, name))
        acknowledged.append(name)
        if len(acknowledged) % 1000 == 0:
            whole.flush(0.01)

    storm = Storm(seed, record, _brew.__code__)
    _brew(storm, record, interrupts)
    other = threading.Thread(target=record, args=("other 1",), daemon=True)
    other.start()
    other.join(10)
    flushed = whole.flush(20)
    result = whole.shutdown()
    return {
        "acknowledged": acknowledged,
        "interrupts": storm.count,
        "flushed": flushed,
        "result": result,
        "usable": not other.is_alive(),
    }


def finalisers(database: str, seed: int, count: int) -> dict[str, Any]:
    """Record in ``__del__`` of objects that the garbage collector finds in the middle of everything."""
    draw = random.Random(seed)
    whole = build_recorder(database, flush_interval_s=0.005)
    acknowledged: list[str] = []

    class Dying:
        def __init__(self, name: str) -> None:
            self.name = name
            self.me = self

        def __del__(self) -> None:
            whole.publish(build_body(0, self.name))
            acknowledged.append(self.name)

    gc.set_threshold(draw.randrange(1, 4))
    for number in range(count):
        Dying(f"dying {number}")
        whole.publish(build_body(0, f"main {number}"))
        acknowledged.append(f"main {number}")
    gc.collect()
    return {"acknowledged": acknowledged, "result": whole.shutdown(), "interrupts": count, "usable": True}


def main(command: str, database: str, seed: str, count: str) -> None:
    """Run one of the functions above, and print what it gives."""
    work = {"ring": ring, "recorder": recorder, "finalisers": finalisers}[command]
    print(json.dumps(work(database, int(seed), int(count))))


if __name__ == "__main__":
    assert Ring
    main(*sys.argv[1:])
