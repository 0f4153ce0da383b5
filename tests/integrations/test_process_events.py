"""What child processes record lands where it belongs, however they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reading import ROOT, open_store, query, run_python

HEAD = """
import json, multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
import agenttrace
from agenttrace import agent_scope, traced_tool
from tests.integrations import process_tasks as tasks
"""

FAILURE = """
context = multiprocessing.get_context(sys.argv[1])

@traced_tool
def submit(executor):
    return executor.submit(tasks.fail_in_agent)

@traced_tool
def ask(executor):
    executor.submit(tasks.fail_in_agent).result()

try:
    with agent_scope("root"), agent_scope("middle"), ProcessPoolExecutor(1, mp_context=context) as executor:
        if sys.argv[2] == "inside":
            ask(executor)
        else:
            submit(executor).result()
except LookupError as exc:
    print(json.dumps([type(exc).__name__, exc.args]))
"""

KILLED = """
context = multiprocessing.get_context(sys.argv[1])
reading, writing = context.Pipe(duplex=False)
with agent_scope("root"):
    process = context.Process(target=tasks.die_in_tool, args=(writing,))
    process.start()
    reading.recv()
    process.join()
    agenttrace.flush()
    rows = agenttrace.TraceStore(os.environ["AGENTTRACE_DB"]).events(agenttrace.current().conversation_id)
    print(json.dumps([[row.kind, row.agent_name, row.status] for row in rows]))
"""

SHORT_LIVED = """
context = multiprocessing.get_context(sys.argv[1])
with agent_scope("root"):
    given = {} if sys.argv[1] == "fork" else {"max_tasks_per_child": 1}
    with ProcessPoolExecutor(2, mp_context=context, **given) as executor:
        list(executor.map(tasks.be_agent, ["child"] * 4))
    with context.Pool(1, maxtasksperchild=1) as pool:
        pool.map(tasks.be_agent, ["child"] * 2, chunksize=1)
        pool.close()
        pool.join()
    agenttrace.flush()
    os.kill(os.getpid(), 9)
"""

FORKS_FIRST = """
reading, writing = multiprocessing.Pipe(duplex=False)
for _ in range(3):
    if os.fork() == 0:
        writing.send(tasks.be_agent() and agenttrace.capture.context.PIPE.span_prefix)
        os._exit(0)
prefixes = [reading.recv() for _ in range(3)] + [agenttrace.capture.context.PIPE.span_prefix]
print(len(set(prefixes)))
"""

WITHOUT = """
import json, multiprocessing, sys
if __name__ == "__mp_main__":
    sys.modules["agenttrace"] = None  # no import of it succeeds in this process

def look():
    try:
        import agenttrace
    except ImportError:
        return "none here"
    return "here"

if __name__ == "__main__":
    from concurrent.futures import ProcessPoolExecutor
    import agenttrace
    context = multiprocessing.get_context(sys.argv[1])
    with agenttrace.agent_scope("root"):
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            seen = [executor.submit(look).result(), *executor.map(str, [1, 2])]
        with context.Pool(1) as pool:
            seen += [pool.apply(look), *pool.map(str, [3, 4])]
        process = context.Process(target=look)
        process.start()
        process.join()
    print(json.dumps([*seen, process.exitcode]))
"""


@pytest.mark.slow
class TestFailureAcrossProcesses:
    """An exception is one failure, in whatever process it is raised and caught."""

    @pytest.mark.parametrize("where", ["inside", "after"])
    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_one_failure_one_row(self, method: str, where: str, tmp_path: Path) -> None:
        """Everything that the exception leaves closes with the same error_id, and one row tells of it."""
        database = tmp_path / "t.db"
        done = run_python(HEAD + FAILURE, database, method, where)
        assert (done.returncode, json.loads(done.stdout)) == (0, ["LookupError", ["broken"]]), done.stderr
        open_store(database)
        errors = query(
            database, "SELECT error_id, agent_name, tool_name FROM trajectory_events WHERE kind = 'error'"
        )
        assert [row[1:] for row in errors] == [("child", "break_down")]
        left = query(
            database,
            "SELECT coalesce(tool_name, agent_name), error_id FROM trajectory_events"
            " WHERE kind IN ('agent_end', 'tool_result') AND status = 'error'",
        )
        names = {"break_down", "child", "middle", "root"} | ({"ask"} if where == "inside" else set())
        assert {name for name, _ in left} == names
        assert {error_id for _, error_id in left} == {errors[0][0]}
        assert query(database, "SELECT fate FROM failures") == [("escaped",)]


@pytest.mark.slow
class TestEndOfAChild:
    """Nothing that a child recorded waits for the next program."""

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    @pytest.mark.shared_ring
    def test_killed(self, method: str, tmp_path: Path) -> None:
        """The living parent finds what a killed child left open, and closes it as interrupted."""
        done = run_python(HEAD + KILLED, tmp_path / "t.db", method)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [
            ["agent_start", "root", None],
            ["agent_start", "child", None],
            ["tool_call", "child", None],
            ["tool_result", "child", "interrupted"],
            ["agent_end", "child", "interrupted"],
        ]

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_short_lived_workers(self, method: str, tmp_path: Path) -> None:
        """Workers of one task each have stored their events when their pool is gone."""
        database = tmp_path / "t.db"
        done = run_python(HEAD + SHORT_LIVED, database, method)
        assert done.returncode == -9, done.stderr
        assert query(database, "SELECT status, count(*) FROM agents WHERE agent_name = 'child'") == [
            ("ok", 6)
        ]
        assert query(database, "SELECT count(*) FROM tool_traces WHERE status = 'ok'") == [(6,)]

    def test_forked_before_the_first_event(self, tmp_path: Path) -> None:
        """Children that were forked before anything was recorded have span ids of their own."""
        done = run_python(HEAD + FORKS_FIRST, tmp_path / "t.db")
        assert done.stdout.split() == ["4"], done.stderr


@pytest.mark.slow
class TestChildWithoutAgenttrace:
    """A child that cannot import agenttrace works as ever."""

    @pytest.mark.parametrize("method", ["spawn", "forkserver"])
    def test_runs_its_tasks(self, method: str, tmp_path: Path) -> None:
        """Tasks, maps and processes do what they do."""
        program = tmp_path / "without.py"
        program.write_text(WITHOUT)
        done = subprocess.run(
            [sys.executable, str(program), method],
            env={**os.environ, "AGENTTRACE": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == ["none here", "1", "2", "none here", "3", "4", 0]
        assert done.stderr == ""
