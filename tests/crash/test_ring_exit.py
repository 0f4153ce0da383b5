"""The end of a process, in each of its forms: nothing hangs, and what was recorded is stored or counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agenttrace.write.recovery import recover
from tests.reading import ROOT
from tests.write.factory import read_numbers, read_rows

pytestmark = [pytest.mark.slow, pytest.mark.crash]

PROGRAM = """
import atexit, os, sys, threading
from tests.write.factory import build_body, build_recorder
recorder = build_recorder(sys.argv[1], flush_interval_s=60.0)
def early():  # registered before ours, so it runs after it
    recorder.publish(build_body(10))
    recorder.publish(build_body(11))
def hook():
    os.register_at_fork(before=recorder.before_fork, after_in_parent=recorder.after_in_parent,
                        after_in_child=recorder.after_in_child)
    atexit.register(recorder.at_exit)
"""


def _run(program: str, database: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM + program, str(database)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def _rings() -> list[str]:
    return os.listdir(os.environ["AGENTTRACE_RING_DIR"])


class TestTheEnd:
    @pytest.mark.parametrize(
        ("ending", "code"),
        [("", 0), ("sys.exit(3)", 3), ("raise RuntimeError('x')", 1), ("raise KeyboardInterrupt", 1)],
    )
    def test_in_order_stores_all_and_leaves_no_ring(self, ending: str, code: int, tmp_path: Path) -> None:
        """However the main thread ends: all events are stored as the process exits."""
        done = _run(f"hook(); recorder.publish(build_body(1)); {ending}", tmp_path / "t.db")
        assert done.returncode == code
        assert read_numbers(tmp_path / "t.db") == [1]
        assert read_rows(tmp_path / "t.db", "SELECT exit FROM processes") == [("ok",)]
        assert _rings() == []

    @pytest.mark.shared_ring
    @pytest.mark.parametrize(
        "ending", ["os._exit(0)", "os.kill(os.getpid(), 15)", "os.kill(os.getpid(), 11)", "os.abort()"]
    )
    def test_without_notice_leaves_the_ring(self, ending: str, tmp_path: Path) -> None:
        """``os._exit``, SIGTERM, a crash: the next to open the database stores what was recorded."""
        _run(f"hook(); recorder.publish(build_body(1)); {ending}", tmp_path / "t.db")
        assert read_numbers(tmp_path / "t.db") == []
        assert recover(str(tmp_path / "t.db")).events == 1
        assert read_numbers(tmp_path / "t.db") == [1]
        assert _rings() == []

    def test_has_room_for_late_exit_handlers(self, tmp_path: Path) -> None:
        """Handlers that run after ours still record, into the same process, and leave no ring."""
        done = _run("atexit.register(early); hook(); recorder.publish(build_body(1))", tmp_path / "t.db")
        assert done.returncode == 0, done.stderr
        assert read_numbers(tmp_path / "t.db") == [1, 10, 11]
        assert read_rows(tmp_path / "t.db", "SELECT count(*) FROM processes") == [(1,)]
        assert _rings() == []

    def test_of_a_process_whose_first_event_is_its_last(self, tmp_path: Path) -> None:
        """A first event in an exit handler, before or after ours, is stored; no thread is waited for."""
        for name, program in (
            ("after", "atexit.register(early); hook()"),
            ("before", "hook(); atexit.register(early)"),
        ):
            done = _run(program, tmp_path / f"{name}.db")
            assert (done.returncode, done.stderr) == (0, "")
            assert read_numbers(tmp_path / f"{name}.db") == [10, 11]
        assert _rings() == []

    def test_with_objects_that_record_as_they_die(self, tmp_path: Path) -> None:
        """Finalisers of the interpreter's end neither hang nor speak; what they record is counted at most."""
        program = """
class Dying:
    def __init__(self): self.me = self
    def __del__(self): recorder.publish(build_body(20))
kept = Dying()
sys.kept = Dying()
hook()
recorder.publish(build_body(1))
"""
        done = _run(program, tmp_path / "t.db")
        assert done.returncode == 0
        assert "Traceback" not in done.stderr
        assert read_numbers(tmp_path / "t.db")[0] == 1

    def test_with_a_thread_that_still_records(self, tmp_path: Path) -> None:
        """A daemon thread that records to the last moment does not keep the process from ending."""
        program = """
hook()
def work():
    number = 0
    while True:
        recorder.publish(build_body(number))
        number += 1
threading.Thread(target=work, daemon=True).start()
while recorder.ring is None or recorder.ring.head < 100_000:
    pass
"""
        done = _run(program, tmp_path / "t.db")
        assert done.returncode == 0, done.stderr
        recover(str(tmp_path / "t.db"))
        numbers = read_numbers(tmp_path / "t.db")
        assert numbers == sorted(set(numbers))
        assert len(numbers) > 100

    def test_of_a_forked_child_ends_only_the_child(self, tmp_path: Path) -> None:
        """A child that runs the inherited exit handlers closes its own record, and not its parent's."""
        program = """
hook()
recorder.publish(build_body(1))
if os.fork() == 0:
    recorder.publish(build_body(2))
    sys.exit(0)
os.wait()
recorder.publish(build_body(3))
"""
        done = _run(program, tmp_path / "t.db")
        assert done.returncode == 0, done.stderr
        assert sorted(read_numbers(tmp_path / "t.db")) == [1, 2, 3]
        assert read_rows(tmp_path / "t.db", "SELECT exit, count(*) FROM processes GROUP BY 1") == [("ok", 2)]
        assert _rings() == []

    def test_of_a_process_pool_stores_what_its_workers_recorded(self, tmp_path: Path) -> None:
        """Workers run no exit handlers of ours; their last events are there when the pool is done."""
        program = """
import multiprocessing
hook()
def work(number):
    recorder.publish(build_body(number))
recorder.publish(build_body(0))
context = multiprocessing.get_context("fork")
workers = [context.Process(target=work, args=(number,)) for number in range(1, 5)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(recorder.flush(10).written)
"""
        done = _run(program, tmp_path / "t.db")
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
        assert sorted(read_numbers(tmp_path / "t.db")) == [0, 1, 2, 3, 4]
        assert read_rows(tmp_path / "t.db", "SELECT DISTINCT exit FROM processes") == [("ok",)]

    def test_waits_for_a_signal_that_is_the_program_s_own(self, tmp_path: Path) -> None:
        """A SIGTERM meant for ``sigwait`` reaches it, with the writer's thread about."""
        program = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
hook()
recorder.publish(build_body(1))
recorder.flush(10)
os.kill(os.getpid(), signal.SIGTERM)
print(signal.sigwait({signal.SIGTERM}) == signal.SIGTERM)
"""
        assert _run(program, tmp_path / "t.db").stdout == "True\n"
