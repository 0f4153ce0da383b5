"""What is recorded while the interpreter ends, or while the clock is turned back, is stored or counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.law import hold
from tests.reading import query, run_python
from tests.ways import WAYS, environment_of

pytestmark = [pytest.mark.slow, pytest.mark.crash]

PROGRAM = """
import atexit, sys, threading
from concurrent.futures import ThreadPoolExecutor
def late(): start("late")
{before}
from agenttrace import agent_scope, traced_tool
from tests.crash.events import text_of
def work(name, count=50):
    with agent_scope(name, agent_id=name, conversation_id="talk") as agent:
        for number in range(count):
            agent.record("note", {{"number": number, "text": text_of(name, number)}})
def start(name):
    thread = threading.Thread(target=work, args=(name,))
    try:
        thread.start()
    except RuntimeError:  # from Python 3.12 on none can be started by then
        work(name)
    else:
        thread.join()
def after_main():
    threading.main_thread().join()
    work("late")
class Dying:
    def __del__(self): work("dying", 1)
def for_ever():
    work("daemon", 1_000_000_000)
{ending}
"""

_EVENTS = 52
"""Of one agent of the program: 50 notes, its start and its end."""


class TestAnEvent:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize(
        ("before", "ending", "agents"),
        [
            ("", "work('main'); atexit.register(late)", 2),
            ("atexit.register(late)", "work('main')", 2),
            ("atexit.register(late)", "", 1),
            ("", "work('main'); threading.Thread(target=after_main).start()", 2),
            ("", "threading.Thread(target=after_main).start()", 1),
            ("", "work('main'); ThreadPoolExecutor(1).submit(work, 'late')", 2),
        ],
        ids=[
            "a thread of an exit handler before ours",
            "a thread of an exit handler after ours",
            "the first of all in an exit handler",
            "a thread that outlives the main one",
            "the first of all in such a thread",
            "a thread of a pool",
        ],
    )
    def test_at_the_interpreter_s_end_is_stored(
        self, before: str, ending: str, agents: int, way: str, tmp_path: Path
    ) -> None:
        """The program ends as it would, says nothing, and every event is there once."""
        done = run_python(
            PROGRAM.format(before=before, ending=ending), tmp_path / "t.db", **environment_of(way)
        )
        assert (done.returncode, done.stderr) == (0, "")
        kept = hold(tmp_path / "t.db", emitted=agents * _EVENTS)
        assert kept.numbers["late"] == list(range(50))
        assert query(tmp_path / "t.db", "SELECT DISTINCT exit FROM processes") == [("ok",)]

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize(
        "ending",
        [
            "work('main'); kept = Dying(); sys.kept = Dying()",
            "work('main'); threading.Thread(target=for_ever, daemon=True).start()",
        ],
        ids=["of a finaliser", "of a daemon thread"],
    )
    def test_after_the_end_holds_up_nothing(self, ending: str, way: str, tmp_path: Path) -> None:
        """What comes when nothing can be stored any more is dropped; all that came before is there."""
        program = PROGRAM.format(before="", ending=ending)
        done = run_python(program, tmp_path / "t.db", **environment_of(way))
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        kept = hold(tmp_path / "t.db", has_gaps=True)
        assert kept.numbers["main"] == list(range(50))


CLOCK = """
import os, time
wall_ns, wall = time.time_ns, time.time
step_s = [0.0]
time.time_ns = lambda: wall_ns() + int(step_s[0] * 1e9)
time.time = lambda: wall() + step_s[0]
import agenttrace
from agenttrace import agent_scope, traced_tool
from tests.crash.events import text_of
@traced_tool
def work(number):
    return number
def record(name):
    with agent_scope(name, agent_id=name, conversation_id="talk") as agent:
        for number, step in enumerate((0, 7200, -3600, -86400, 0.5, -0.5, 0)):
            step_s[0] = step
            agent.record("note", {"number": number, "text": text_of(name, number)})
            assert work(number) == number
            agenttrace.flush()
record("parent")
step_s[0] = -3600
child = os.fork()
if child == 0:
    record("child")
    agenttrace.flush()
    os._exit(0)
os.waitpid(child, 0)
record("again")
"""


class TestAClock:
    @pytest.mark.parametrize("way", WAYS)
    def test_that_is_turned_back_changes_no_order(self, way: str, tmp_path: Path) -> None:
        """Hours forward and days back, amid a program and before a fork: time goes on within each process."""
        done = run_python(CLOCK, tmp_path / "t.db", **environment_of(way))
        assert (done.returncode, done.stderr) == (0, "")
        kept = hold(tmp_path / "t.db", emitted=3 * (2 + 3 * 7))
        assert kept.numbers == {name: list(range(7)) for name in ("parent", "child", "again")}
        rows = query(
            tmp_path / "t.db",
            "SELECT substr(event_id, 1, 16), ts_ns, duration_ms FROM trajectory_events ORDER BY id",
        )
        for process in {row[0] for row in rows}:
            times = [ts_ns for found, ts_ns, _ in rows if found == process]
            assert times == sorted(times)
        assert min(row[2] for row in rows if row[2] is not None) >= 0
