"""
A real program, killed at a drawn moment: what it was told is recorded, is recorded.

The child acknowledges each event on a pipe after the call that records it has
returned. ``flush_interval_s=60`` keeps the writer out, so that the ring and not
luck holds the events.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reading import ROOT, open_store, query

KILLS = 50

CHILD = """
import os, sys, threading
import agenttrace
from agenttrace import agent_scope, model_turn, record, tool_scope, traced_tool

agenttrace.configure(database=sys.argv[1], flush_interval_s=60)
pipe = int(sys.argv[2])

@traced_tool
def work(number):
    return number

def acknowledge(word):
    os.write(pipe, (word + "\\n").encode())

def worker(name):
    with agent_scope(name):
        for number in range(1_000_000):
            work(number)
            acknowledge(f"{name} {number}")

with agent_scope("root"):
    turn = model_turn("model-1").__enter__()
    call = tool_scope("never_ends", arguments={"x": 1}).__enter__()
    acknowledge("open")
    threads = [threading.Thread(target=worker, args=(name,), daemon=True) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def _run_and_kill(
    database: Path, how_many: int, log: Path, number: signal.Signals = signal.SIGKILL
) -> list[str]:
    """Kill the child after *how_many* acknowledgements; give all that it wrote."""
    read_end, write_end = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(database), str(write_end)],
        pass_fds=[write_end],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=log.open("wb"),
    )
    os.close(write_end)
    words: list[str] = []
    with os.fdopen(read_end, "r") as pipe:
        for line in pipe:
            words.append(line.strip())
            if len(words) == how_many:
                child.send_signal(number)
                words.extend(rest.strip() for rest in pipe if rest.endswith("\n"))
                break
    child.wait(30)
    assert len(words) >= how_many, log.read_text()
    return words


@pytest.mark.crash
@pytest.mark.slow
class TestKill:
    """The design's promise for SIGKILL."""

    def test_every_acknowledged_event_once(self, tmp_path: Path) -> None:
        """At 50 drawn moments: each acknowledged call once, and what was open interrupted."""
        seed = int(os.environ.get("AGENTTRACE_TEST_SEED", random.randrange(1 << 30)))
        print(f"seed {seed}")
        draw = random.Random(seed)
        moments = [draw.randrange(1, 400) for _ in range(KILLS)]
        for number, moment in enumerate(moments):
            self._check(tmp_path / f"{number}.db", moment, tmp_path / f"{number}.log")

    def _check(self, database: Path, moment: int, log: Path) -> None:
        words = _run_and_kill(database, moment, log)
        store = open_store(database)
        del store
        found = query(
            database,
            "SELECT agent_name, json_extract(payload, '$.output'), count(*) FROM trajectory_events"
            " WHERE kind = 'tool_result' AND tool_name = 'work' AND status = 'ok' GROUP BY 1, 2",
        )
        assert all(count == 1 for _, _, count in found)
        stored = {f"{name} {number}" for name, number, _ in found}
        missing = set(words) - stored - {"open"}
        assert not missing, f"killed at {moment}: lost {sorted(missing)[:5]}"
        ended = query(
            database,
            "SELECT kind, agent_name FROM trajectory_events"
            " WHERE status = 'interrupted' AND agent_name = 'root'",
        )
        assert sorted(ended) == [("agent_end", "root"), ("model_turn", "root"), ("tool_result", "root")]
        assert query(database, "SELECT status FROM agent_sessions") == [("interrupted",)]
        assert query(database, "PRAGMA integrity_check") == [("ok",)]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT])
    def test_other_deaths(self, number: signal.Signals, tmp_path: Path) -> None:
        """SIGTERM, a crash in C and an abort keep as much."""
        words = _run_and_kill(tmp_path / "t.db", 20, tmp_path / "log", number)
        open_store(tmp_path / "t.db")
        rows = query(
            tmp_path / "t.db",
            "SELECT agent_name || ' ' || json_extract(payload, '$.output') FROM trajectory_events"
            " WHERE kind = 'tool_result' AND tool_name = 'work' AND status = 'ok'",
        )
        assert set(words) - {"open"} <= {row[0] for row in rows}

    def test_os_exit(self, tmp_path: Path) -> None:
        """``os._exit`` skips every hook and loses nothing."""
        code = (
            "import os, agenttrace\n"
            f"agenttrace.configure(database={str(tmp_path / 't.db')!r}, flush_interval_s=60)\n"
            "agenttrace.record('note', {'text': 'here'})\n"
            "os._exit(7)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=30
        )
        assert done.returncode == 7
        open_store(tmp_path / "t.db")
        assert query(tmp_path / "t.db", "SELECT count(*) FROM trajectory_events WHERE kind = 'note'") == [
            (1,)
        ]
