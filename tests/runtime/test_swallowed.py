"""Swallowed exceptions in programs of their own: switched on, killed, forked, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reading import ROOT, open_store, query, run_python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12"),
]

LOSE = """
import os, sys, threading
from agenttrace import agent_scope, flush, traced_tool

@traced_tool
def work():
    return None

def lose(text="lost"):
    try:
        raise ValueError(text)
    except ValueError:
        pass
"""

ERRORS = (
    "SELECT json_extract(payload, '$.error.message') FROM trajectory_events WHERE kind = 'error' ORDER BY id"
)


def run(code: str, database: Path, **environment: str) -> list[str]:
    """Run the program and give the messages of its error rows."""
    done = run_python(LOSE + code, database, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    open_store(database)
    return [row[0] for row in query(database, ERRORS)]


class TestSwitch:
    """On with tracing, unless it is said not to be."""

    def test_on(self, tmp_path: Path) -> None:
        """``AGENTTRACE=1`` is enough."""
        assert run("with agent_scope('lead'): lose()", tmp_path / "a.db") == ["lost"]

    def test_off(self, tmp_path: Path) -> None:
        """``AGENTTRACE_SWALLOWED=0`` takes it back."""
        assert run("with agent_scope('lead'): lose()", tmp_path / "a.db", AGENTTRACE_SWALLOWED="0") == []

    def test_lists(self, tmp_path: Path) -> None:
        """Files and packages are excluded and included through the environment."""
        code = """
names = {}
source = "def call():\\n    try:\\n        raise OSError('theirs')\\n    except OSError:\\n        pass\\n"
exec(compile(source, "/x/site-packages/shop/a.py", "exec"), names)
with agent_scope("lead"):
    names["call"]()
"""
        assert run(code, tmp_path / "a.db") == []
        assert run(code, tmp_path / "b.db", AGENTTRACE_SWALLOWED_INCLUDE="other, shop") == ["theirs"]
        environment = {"AGENTTRACE_SWALLOWED_INCLUDE": "shop", "AGENTTRACE_SWALLOWED_EXCLUDE": "shop.a"}
        assert run(code, tmp_path / "c.db", **environment) == []


class TestEnd:
    """What waits as something ends."""

    def test_flush(self, tmp_path: Path) -> None:
        """``flush`` writes what waits in a scope that goes on."""
        code = """
import sqlite3
with agent_scope("lead"):
    lose()
    flush()
    connection = sqlite3.connect(os.environ["AGENTTRACE_DB"])
    count = "SELECT count(*) FROM trajectory_events WHERE kind = 'error'"
    assert connection.execute(count).fetchone() == (1,)
    connection.close()
"""
        assert run(code, tmp_path / "a.db") == ["lost"]

    def test_exit_amid_a_scope(self, tmp_path: Path) -> None:
        """A program that leaves by ``sys.exit`` amid a scope loses none."""
        code = """
scope = agent_scope("lead")
scope.__enter__()
lose()
sys.exit(0)
"""
        assert run(code, tmp_path / "a.db") == ["lost"]

    def test_kill_amid_a_long_scope(self, tmp_path: Path) -> None:
        """Within a second it is safe from a SIGKILL, although the operation records nothing more."""
        code = """
from agenttrace.capture.context import PIPE
import agenttrace
agenttrace.configure(flush_interval_s=60)
with agent_scope("lead"):
    work()
    publish = PIPE.publish
    def publish_and_tell(body):
        publish(body)
        print("published", flush=True)
    PIPE.publish = publish_and_tell
    lose()
    print("lost", flush=True)
    threading.Event().wait()
"""
        database = tmp_path / "a.db"
        environment = {
            **os.environ,
            "AGENTTRACE": "1",
            "AGENTTRACE_DB": str(database),
            "PYTHONPATH": str(ROOT),
        }
        child = subprocess.Popen(
            [sys.executable, "-c", LOSE + code], env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout is not None
            assert [child.stdout.readline().strip() for _ in range(2)] == ["lost", "published"]
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        open_store(database)
        assert [row[0] for row in query(database, ERRORS)] == ["lost"]
        ends = query(database, "SELECT status FROM trajectory_events WHERE kind = 'agent_end'")
        assert ends == [("interrupted",)]


class TestFork:
    """What waits while the process forks."""

    def test_written_by_the_parent(self, tmp_path: Path) -> None:
        """It is the parent's alone; what the child loses is the child's."""
        code = """
with agent_scope("lead"):
    lose("before")
    child = os.fork()
    lose("in the child" if child == 0 else "in the parent")
    if child == 0:
        flush()
        os._exit(0)
    os.waitpid(child, 0)
"""
        found = run(code, tmp_path / "a.db", PYTHONWARNINGS="ignore")
        assert sorted(found) == ["before", "in the child", "in the parent"]

    def test_amid_the_late_thread(self, tmp_path: Path) -> None:
        """Forks beside a thread that writes what waits neither hang nor write twice."""
        code = """
from agenttrace.capture import late
late._STEP_S, late._AGE_NS = 0.0005, 0
with agent_scope("lead"):
    for number in range(60):
        with agent_scope("sub"):
            lose(str(number))
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
"""
        found = run(code, tmp_path / "a.db", PYTHONWARNINGS="ignore")
        assert sorted(map(int, found)) == list(range(60))

    def test_no_warning(self, tmp_path: Path) -> None:
        """A program without threads is not warned of one when it forks, whatever waits."""
        code = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with agent_scope("lead"):
        flush()  # the database is open: opening it may take longer than a fork waits
        for number in range(30):
            lose(str(number))
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
assert not caught, caught[0].message
"""
        assert sorted(map(int, run(code, tmp_path / "a.db"))) == list(range(30))


class TestChildren:
    """Child processes that end before anybody has written what they lost."""

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "subprocess"])
    def test_lost_in_a_child(self, method: str, tmp_path: Path) -> None:
        """A child that does nothing but lose an exception writes it as it ends, and ends in order."""
        program, database = tmp_path / "program.py", tmp_path / "a.db"
        program.write_text(
            LOSE
            + """
import multiprocessing, subprocess
if __name__ == "__main__":
    if sys.argv[1:] == ["child"]:
        lose("in the child")
    else:
        with agent_scope("lead"):
            if os.environ["METHOD"] == "subprocess":
                subprocess.run([sys.executable, __file__, "child"], check=True)
            else:
                context = multiprocessing.get_context(os.environ["METHOD"])
                child = context.Process(target=lose, args=("in the child",))
                child.start()
                child.join()
""",
            encoding="utf-8",
        )
        environment = {**os.environ, "AGENTTRACE": "1", "PYTHONPATH": str(ROOT), "METHOD": method}
        environment["AGENTTRACE_DB"] = str(database)
        done = subprocess.run(
            [sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert [row[0] for row in query(database, ERRORS)] == ["in the child"]
        open_store(database)
        assert query(database, "SELECT DISTINCT exit FROM processes") == [("ok",)]
        assert query(database, "SELECT DISTINCT agent_name FROM trajectory_events") == [("lead",)]
