"""
Programs in places that are too small: what ``test_poor_places`` starts.

``python -m tests.crash.poor_places COMMAND FOLDER SEED COUNT`` prints one JSON object. Those that need
a small file system mount one over FOLDER, so they are started in a mount namespace of their own.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import agenttrace.store.batch
import agenttrace.write.drain  # so that children do not import them one by one
from agenttrace.write.recovery import recover
from tests.crash.children import HANG_S, Pipe, fork, idle, reap
from tests.crash.events import build_event
from tests.crash.law import hold
from tests.crash.steady_program import Steady
from tests.write.factory import build_recorder

__all__ = ["main"]

_MIB = 1 << 20
_FREE_KIB = 700
_PARTS = 5


def _mount(folder: str, size_mib: int) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "none", folder], check=True)


def _fill_disk(folder: str) -> Path:
    """Leave little room in a small file system; gives the file to be removed."""
    filler = Path(folder) / "filler"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    filler.write_bytes(b"x" * (free - _FREE_KIB * 1024))
    return filler


def _emit_until_full(program: Steady) -> None:
    for _ in range(200):
        program.emit(25)
        if program.flush().pending:
            return
    raise AssertionError("the disk was never full")


def full_disk(folder: str, seed: int, count: int) -> dict[str, Any]:
    """Record until the disk is full, and on; then make room, and see that what waited is stored."""
    _mount(folder, 4 + 2 * count)  # each time the database grows by what was left free, and its log with it
    database = Path(folder) / "t.db"
    with Steady(database, AGENTTRACE_RING_BYTES="65536") as program:
        for _ in range(count):
            filler = _fill_disk(folder)
            _emit_until_full(program)
            program.emit(100)
            filler.unlink()
            result = program.flush_all()
            assert result.written + result.dropped == program.emitted, (result, program.emitted)
            database_bytes = database.stat().st_size
        program.end()
    kept = hold(database, emitted=program.emitted, has_gaps=True)
    assert sum(note["dropped"] for note in kept.notes) == kept.dropped["full"]
    return {"dropped": kept.dropped, "bytes": database_bytes}


def death_on_a_full_disk(folder: str, seed: int, count: int) -> dict[str, Any]:
    """Kill a program whose disk is full; nobody can recover it before there is room."""
    _mount(folder, 4)
    database = Path(folder) / "t.db"
    with Steady(database) as program:
        program.emit(5)
        filler = _fill_disk(folder)
        _emit_until_full(program)
        program.emit(100)
        program.kill()
    left = recover(str(database)).left
    filler.unlink()
    kept = hold(database, emitted=program.emitted)
    return {"left": left, "interrupted": kept.interrupted}


def small_memory(folder: str, seed: int, count: int) -> dict[str, Any]:
    """Let *count* processes at once have 2 MiB for their rings together; half of them die."""
    rings = Path(folder) / "rings"
    rings.mkdir()
    _mount(str(rings), 2)
    os.environ["AGENTTRACE_RING_DIR"] = str(rings)
    database = f"{folder}/t.db"
    said, kinds, gate = Pipe(), Pipe(), Pipe()

    def work(number: int) -> None:
        gate.close_write()
        recorder = build_recorder(database, flush_interval_s=0.02)
        recorder.publish(build_event(f"{number}", 0))
        assert recorder.ring is not None
        kind = recorder.ring.kind
        kinds.say(kind, recorder.ring.capacity_bytes)
        gate.read_lines()  # until all have their rings
        recorder.publish(build_event(f"{number}-large", 0))
        for event in range(1, 30):
            recorder.publish(build_event(f"{number}", event))
        if number % 2:
            recorder.shutdown(60.0)
        elif kind == "memory":
            recorder.flush(60.0)  # without this, what was not stored yet dies with it
        said.say(number)

    children = [fork(lambda number=number: work(number)) for number in range(count)]  # type: ignore[misc]
    found = kinds.read_lines(count)
    gate.close_write()
    hung = sum(not reap(child) for child in children)
    said.close_write()
    acknowledged = [f"{number} {event}" for number in said.read_lines() for event in range(30)]
    assert len(acknowledged) == 30 * count
    kept = hold(database, acknowledged, emitted=31 * count, has_gaps=True)
    return {"rings": found, "hung": hung, "dropped": kept.dropped}


def _eat(blocks: list[Any]) -> None:
    """Take all memory that is to be had, to the last small piece."""
    for size in (_MIB, 1 << 16, 1 << 12, 1 << 9, 64, 16):
        try:
            while True:
                blocks.append(bytes(size))
        except MemoryError:
            continue


def _set_memory_limit(more_bytes: int | None) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft = hard if more_bytes is None else pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def no_memory(folder: str, seed: int, count: int) -> dict[str, Any]:
    """Record in *count* processes that have next to no memory, some of them from the first event on."""
    draw = random.Random(seed)
    said = Pipe()
    hung = 0
    database = f"{folder}/t.db"
    for turn in range(count):
        own = random.Random(draw.randrange(1 << 30))
        hung += not reap(fork(lambda turn=turn, own=own: _record_in_want(database, turn, own, said)))  # type: ignore[misc]
    said.close_write()
    lines = said.read_lines()
    assert len(lines) == count, "a program has died of tracing"
    emitted = sum(int(line.split()[1]) for line in lines)
    kept = hold(database, emitted=emitted, has_gaps=True)
    return {"hung": hung, "emitted": emitted, "dropped": kept.dropped}


def _record_in_want(database: str, turn: int, draw: random.Random, said: Pipe) -> None:
    recorder = build_recorder(database, flush_interval_s=0.005)
    names = [f"{turn}-large" if number % 40 == 7 else f"{turn}" for number in range(500)]
    bodies = [build_event(name, names[:number].count(name)) for number, name in enumerate(names)]
    began = draw.choice([0, 50])
    for body in bodies[:began]:
        recorder.publish(body)
    if draw.random() < 0.7:
        recorder.flush(10.0)
    _set_memory_limit(_MIB)
    blocks: list[Any] = []
    spared = [draw.randrange(400) for _ in range(_PARTS)]
    size = (len(bodies) - began) // _PARTS
    parts = [bodies[start : start + size] for start in range(began, len(bodies), size)]
    for spare, part in zip(spared, parts, strict=True):
        try:
            blocks.append([None] * 100_000)
            _eat(blocks)
        except MemoryError:
            pass
        while blocks and spare:
            spare -= 1
            blocks.pop()
        for body in part:
            recorder.publish(body)  # must not raise
        try:
            recorder.flush(0.02)
        except MemoryError:
            pass  # asked for, so it may say so
        if draw.random() < 0.5:
            blocks.clear()
    blocks.clear()
    _set_memory_limit(None)
    emitted, deadline_s = len(bodies), time.monotonic() + HANG_S
    while emitted == len(bodies) or recorder.ring is None:  # where making one has failed, there are pauses
        assert time.monotonic() < deadline_s
        idle(0.005)
        recorder.publish(build_event(f"{turn}-after", emitted - len(bodies)))
        emitted += 1
    if draw.random() < 0.5:
        recorder.shutdown(20.0)
    else:
        recorder.flush(20.0)
    said.say(turn, emitted)


def main(command: str, folder: str, seed: str, count: str) -> None:
    """Run one of the functions above, and print what it gives."""
    assert agenttrace.store.batch and agenttrace.write.drain
    work = {
        "death_on_a_full_disk": death_on_a_full_disk,
        "full_disk": full_disk,
        "no_memory": no_memory,
        "small_memory": small_memory,
    }[command]
    print(json.dumps(work(folder, int(seed), int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
