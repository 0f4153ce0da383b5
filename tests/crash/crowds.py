"""
Many processes and threads on one database at once: what ``test_crowds`` starts.

``python -m tests.crash.crowds COMMAND DATABASE PROCESSES COUNT`` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import agenttrace
import agenttrace.store.batch
import agenttrace.write.drain  # so that children do not import them one by one
from agenttrace import agent_scope
from tests.crash.children import Pipe, fork, reap
from tests.crash.events import build_event, text_of
from tests.write.factory import build_recorder

__all__ = ["main"]

_THREADS = 8
_TIMEOUT_S = 120.0


def _start_together(processes: int, work: Any) -> int:
    """Run *work* with its number in each of *processes*, all from one moment on; gives how many hung."""
    gate = Pipe()

    def begin(number: int) -> None:
        gate.close_write()
        gate.read_lines()  # until the parent has closed its end, too
        work(number)

    children = [fork(lambda number=number: begin(number)) for number in range(processes)]  # type: ignore[misc]
    gate.close_write()
    return sum(not reap(child, _TIMEOUT_S) for child in children)


def threads(database: str, processes: int, count: int) -> dict[str, Any]:
    """Record in eight threads of each process: each thread into an agent of its own, and all into one."""
    said = Pipe()

    def work(process: int) -> None:
        agenttrace.configure(database=database, flush_interval_s=0.01)

        def record(thread: int) -> None:
            name = f"p{process}t{thread}"
            with agent_scope("shared", agent_id="shared", conversation_id="talk") as shared:
                for number in range(count):
                    shared.record("note", {"number": _own(name, number), "text": _shared_text(name, number)})
            with agent_scope(name, agent_id=name, conversation_id="talk") as own:
                for number in range(count):
                    own.record("note", {"number": number, "text": text_of(name, number)})

        started = [threading.Thread(target=record, args=(thread,)) for thread in range(_THREADS)]
        for one in started:
            one.start()
        for one in started:
            one.join()
        result = agenttrace.shutdown(_TIMEOUT_S)
        said.say(result.written, result.pending, result.dropped)

    def _own(name: str, number: int) -> int:
        process, _, thread = name[1:].partition("t")
        return (int(process) * _THREADS + int(thread)) * count + number

    def _shared_text(name: str, number: int) -> str:
        return text_of("shared", _own(name, number))

    hung = _start_together(processes, work)
    said.close_write()
    return {"hung": hung, "results": [list(map(int, line.split())) for line in said.read_lines()]}


def new_file(database: str, processes: int, count: int) -> dict[str, Any]:
    """Let the first events of all processes make, and migrate, one new database after the other."""
    hung = 0
    for turn in range(count):

        def work(number: int, turn: int = turn) -> None:
            recorder = build_recorder(f"{database}.{turn}", flush_interval_s=0.001)
            for event in range(5):
                recorder.publish(build_event(f"p{number}", event))
            recorder.shutdown(_TIMEOUT_S)

        hung += _start_together(processes, work)
    return {"hung": hung}


def main(command: str, database: str, processes: str, count: str) -> None:
    """Run one of the functions above, and print what it gives."""
    assert agenttrace.store.batch and agenttrace.write.drain
    work = {"new_file": new_file, "threads": threads}[command]
    print(json.dumps(work(database, int(processes), int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
