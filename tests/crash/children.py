"""What the programs of the fault tests share: children, pipes to them, and the end of waiting."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from agenttrace.write.recorder import Recorder
from tests.reading import ROOT

__all__ = ["HANG_S", "Pipe", "fork", "hook", "idle", "reap", "run_program", "spin"]

HANG_S = 30.0
"""Who has not ended by then, hangs."""


class Pipe:
    """
    Lines between processes, written whole.

    Args:
        size_bytes: How much may be written before it is read, where the system's 64 KiB are too many.
    """

    def __init__(self, size_bytes: int | None = None) -> None:
        self.read_end, self.write_end = os.pipe()
        if size_bytes is not None:
            fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, size_bytes)

    def say(self, *words: object) -> None:
        """Write one line; returns once it can be read."""
        os.write(self.write_end, (" ".join(map(str, words)) + "\n").encode())

    def close_write(self) -> None:
        """Leave the writing to others, so that the end is seen when they are gone."""
        os.close(self.write_end)

    def has_word(self) -> bool:
        """Tell whether there is something to read, or nobody left who could write."""
        return bool(select.select([self.read_end], [], [], 0)[0])

    def read_lines(self, count: int | None = None) -> list[str]:
        """Read at least *count* lines, or all until the last writer is gone."""
        data = b""
        while count is None or data.count(b"\n") < count:
            assert select.select([self.read_end], [], [], HANG_S)[0], "nobody writes"
            part = os.read(self.read_end, 65_536)
            if not part:
                break
            data += part
        return [line for line in data.decode().split("\n") if line]


def fork(work: Callable[[], None]) -> int:
    """Run *work* in a child that ends without any clearing up; 1 is its exit code where it raised."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def reap(child: int, within_s: float = HANG_S) -> bool:
    """Wait for a child; False, and no child, where it hangs."""
    deadline_s = time.monotonic() + within_s
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline_s:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.001)
    return True


def spin(for_s: float) -> None:
    """Let a drawn time pass without giving the processor away."""
    until_s = time.perf_counter() + for_s
    while time.perf_counter() < until_s:
        pass


def idle(for_s: float) -> None:
    """Let a drawn time pass, in which the other threads have the interpreter."""
    select.select([], [], [], for_s)


def hook(recorder: Recorder) -> None:
    """Let a recorder know of forks, as the runtime does."""
    os.register_at_fork(
        before=recorder.before_fork,
        after_in_parent=recorder.after_in_parent,
        after_in_child=recorder.after_in_child,
    )


def run_program(
    module: str, *arguments: object, way: str = "default", prefix: tuple[str, ...] = (), **environment: str
) -> str:
    """
    Run a program of the tests in an interpreter of its own.

    Args:
        module: Of tests/crash.
        arguments: Its command line.
        way: One of ``ways.WAYS``, or ``default``.
        prefix: A command that runs it, such as ``unshare``.
        environment: More of it.

    Returns:
        What it printed.
    """
    from tests.ways import environment_of

    settings: dict[str, Any] = {**os.environ, **environment_of(way), "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [*prefix, sys.executable, "-W", "ignore", "-m", f"tests.crash.{module}", *map(str, arguments)],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, f"{done.stderr[-4000:]}\n{done.stdout[-1000:]}"
    return done.stdout
