"""A fork warns of threads where the program has some, and not because it is traced."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.reading import query, run_python

PROGRAM = """
import os, random, sys, threading, time, warnings
import agenttrace
from agenttrace import agent_scope, traced_tool

@traced_tool
def work(number):
    return number

draw = random.Random(int(sys.argv[1]))
gate = threading.Event()
if sys.argv[2] == "threads":
    threading.Thread(target=gate.wait).start()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with agent_scope("root"):
        for number in range(60):
            work(number)
            if draw.random() < 0.5:
                agenttrace.flush()  # now the writer rests; else it has something to do
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
gate.set()
print(len([one for one in caught if "fork" in str(one.message)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python warns from 3.12 on")
class TestForkWarning:
    """``DeprecationWarning: This process is multi-threaded, use of fork() may lead to deadlocks``."""

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_not_of_our_thread(self, seed: int, tmp_path: Path) -> None:
        """A program without threads is never warned, whatever the writer is doing; no event is lost."""
        print(f"seed {seed}")
        done = run_python(PROGRAM, tmp_path / "t.db", str(seed), "none")
        assert done.stdout.split() == ["0"], done.stderr
        assert query(tmp_path / "t.db", "SELECT count(*) FROM tool_traces WHERE status = 'ok'") == [(60,)]

    def test_of_the_program_s_threads(self, tmp_path: Path) -> None:
        """A program with threads is warned as ever, so that the test above cannot pass by silence."""
        done = run_python(PROGRAM, tmp_path / "t.db", "1", "threads")
        assert done.stdout.split() == ["60"], done.stderr
