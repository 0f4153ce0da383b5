"""
A program that records and does what it is told, so that a test can do things to its database meanwhile.

``python -m tests.crash.steady_program DATABASE NAME`` reads orders, one a line, and answers each with one
line of JSON. It is started by ``Steady``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import agenttrace
import agenttrace.store.batch
import agenttrace.write.recorder
from agenttrace import agent_scope, traced_tool
from agenttrace.store import open_database
from agenttrace.wiring import STATE
from agenttrace.write.writer import FlushResult
from tests.crash.children import HANG_S
from tests.crash.events import text_of
from tests.reading import ROOT
from tests.ways import environment_of

__all__ = ["Steady"]


class Steady:
    """
    The program, seen from outside.

    Args:
        database: Where it records.
        name: Of its only agent.
        way: As in ``ways``.
        environment: Further variables, such as ``AGENTTRACE_RING_BYTES``.
    """

    def __init__(
        self, database: str | Path, name: str = "steady", *, way: str = "default", **environment: str
    ) -> None:
        settings = {**os.environ, **environment_of(way), "PYTHONPATH": str(ROOT), **environment}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(database), name],
            cwd=ROOT,
            env=settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.emitted = 1
        """Events so far, the agent's start included."""

    def __enter__(self) -> Steady:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def order(self, *words: object) -> Any:
        """Give an order, and wait for the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the program has died: {self._process.communicate()[1][-3000:]}"
        return json.loads(line)

    def emit(self, rounds: int) -> None:
        """Have it record *rounds* notes and as many traced calls, whose results must be right."""
        wrong = self.order("emit", rounds)
        self.emitted += 3 * rounds
        assert wrong == 0, "tracing has changed the program's results"

    def flush(self, timeout_s: float = HANG_S) -> FlushResult:
        """Have it flush."""
        return FlushResult(*self.order("flush", timeout_s))

    def flush_all(self) -> FlushResult:
        """Have it flush until nothing is pending."""
        deadline_s = time.monotonic() + HANG_S
        while (result := self.flush()).pending:
            assert time.monotonic() < deadline_s, f"still pending: {result}, {self.counters()}"
        return result

    def counters(self) -> dict[str, Any]:
        """Ask how its recording goes."""
        found: dict[str, Any] = self.order("counters")
        return found

    def end(self) -> None:
        """Have it end in order; it must say nothing and end well."""
        self.emitted += 1  # the agent's end
        _, said = self._process.communicate("end\n", timeout=HANG_S)
        assert self._process.returncode == 0, said
        assert "Traceback" not in said, said

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        assert self._process.wait(HANG_S) == -signal.SIGKILL


@traced_tool
def _work(number: int) -> int:
    return number * 3


def _emit(agent: Any, name: str, start: int, count: int) -> int:
    """Record; gives how many calls came out differently than untraced."""
    wrong = 0
    for number in range(start, start + count):
        agent.record("note", {"number": number, "text": text_of(name, number)})
        try:
            wrong += _work(number) != number * 3
        except BaseException:
            wrong += 1
    return wrong


def _obey(agent: Any, name: str) -> None:
    recorded = 0
    while (words := sys.stdin.readline().split())[:1] not in ([], ["end"]):
        answer: Any = None
        if words[0] == "emit":
            answer = _emit(agent, name, recorded, int(words[1]))
            recorded += int(words[1])
        elif words[0] == "flush":
            answer = agenttrace.flush(float(words[1]))
        elif words[0] == "counters":
            answer = STATE.recorder.counters() if STATE.recorder is not None else None
        elif words[0] == "become":
            os.setgid(int(words[1]))
            os.setuid(int(words[1]))
        print(json.dumps(answer), flush=True)


def _main(database: str, name: str) -> None:
    assert agenttrace.store.batch and agenttrace.write.recorder
    open_database(":memory:").close()  # brings in the rest, while who becomes somebody else can read it
    agenttrace.configure(database=database, flush_interval_s=0.01)
    with agent_scope(name, agent_id=name, conversation_id="talk") as agent:
        _obey(agent, name)


if __name__ == "__main__":
    _main(*sys.argv[1:])
