"""
A real program of threads, tasks and forks, which is killed: what ``test_kill`` starts.

``python -m tests.crash.mixed_program DATABASE SEED KILLS SIGNAL…`` prints, as JSON, what the killed
programs had acknowledged: each call once it had returned with the right result.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import agenttrace
import agenttrace.store.batch
import agenttrace.write.recorder  # so that children do not import them one by one
from agenttrace import agent_scope, tool_scope, traced_tool
from agenttrace.write.recovery import recover
from tests.crash.children import Pipe, fork, spin
from tests.crash.events import text_of

__all__ = ["main"]

_CALLS = 1_000_000


@traced_tool
def work(agent: str, number: int) -> dict[str, Any]:
    """Do something whose result is known."""
    return {"number": number, "text": text_of(agent, number)}


@traced_tool
async def wait(agent: str, number: int) -> dict[str, Any]:
    """Do the same, and let others go on meanwhile."""
    await asyncio.sleep(0)
    return {"number": number, "text": text_of(agent, number)}


class _Program:
    """One program that works until it is killed."""

    def __init__(self, turn: int, database: str, draw: random.Random, pipe: Pipe) -> None:
        self._name = str(turn)
        self._pipe = pipe
        self._exit_after = draw.randrange(1, 100)
        self._threads, self._tasks, self._forks = (draw.randrange(3) for _ in range(3))
        self._interval_s = draw.choice([0.001, 0.001, 60.0])
        self._database = database

    def run(self, exits: bool) -> None:
        """Work in all ways at once; where it *exits*, it does so by itself, without any clearing up."""
        os.setpgid(0, 0)
        if exits:
            self._forks = 0  # they would go on
        else:
            self._exit_after = _CALLS
        agenttrace.configure(database=self._database, flush_interval_s=self._interval_s)
        with agent_scope("root", agent_id=f"{self._name}-root", conversation_id=f"talk-{self._name}"):
            tool_scope("never_ends", arguments={"x": 1}).__enter__()
            for number in range(self._threads):
                run = contextvars.copy_context().run
                threading.Thread(target=run, args=(self._work, f"thread{number}"), daemon=True).start()
            for number in range(self._forks):
                fork(self._working(f"fork{number}"))
            asyncio.run(self._wait_in_tasks())

    def _working(self, name: str) -> Callable[[], None]:
        return lambda: self._work(name)

    def _work(self, name: str) -> None:
        agent = f"{self._name}-{name}"
        with agent_scope(name, agent_id=agent):
            for number in range(self._exit_after):
                self._acknowledge(agent, number, work(agent, number))

    async def _wait_in_tasks(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(1 + self._tasks):
                group.create_task(self._wait(f"task{number}"))

    async def _wait(self, name: str) -> None:
        agent = f"{self._name}-{name}"
        async with agent_scope(name, agent_id=agent):
            for number in range(self._exit_after):
                self._acknowledge(agent, number, await wait(agent, number))
            os._exit(7)

    def _acknowledge(self, agent: str, number: int, result: dict[str, Any]) -> None:
        is_right = result == {"number": number, "text": text_of(agent, number)}
        self._pipe.say(agent if is_right else "wrong", number)


def main(database: str, seed: str, kills: str, *signals: str) -> None:
    """Let programs live until a drawn moment each, and print what they said."""
    assert agenttrace.store.batch and agenttrace.write.recorder
    draw = random.Random(int(seed))
    acknowledged: list[str] = []
    for turn in range(int(kills)):
        how = draw.choice(signals)
        pipe = Pipe(
            4096
        )  # the ring has room for all that may be acknowledged and not read: nothing is dropped
        program = _Program(turn, database, draw, pipe)
        child = fork(lambda program=program, exits=how == "_exit": program.run(exits))  # type: ignore[misc]
        pipe.close_write()
        if how == "_exit":
            acknowledged += pipe.read_lines()
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        else:
            acknowledged += pipe.read_lines(draw.randrange(1, 120))
            spin(draw.random() * 0.002)
            os.killpg(child, getattr(signal, how))
            acknowledged += pipe.read_lines()
            os.waitpid(child, 0)
        os.close(pipe.read_end)
        if draw.random() < 0.2:
            recover(database)  # otherwise the next program does it
    print(json.dumps(acknowledged))


if __name__ == "__main__":
    main(*sys.argv[1:])
