"""Threads that raise, pass on and lose exceptions at once, in operations of their own and around them."""

from __future__ import annotations

import random
import sys
import threading

import pytest

from agenttrace import agent_scope, traced_tool
from agenttrace.capture import late
from agenttrace.capture.waiting import BY_OBJECT, UNWRITTEN
from agenttrace.testing import memory_recorder

THREADS = 6
AGENTS = 60
FIRST_SEED = 20_261_121


@traced_tool
def divide(number: int) -> int:
    if number % 3 == 0:
        raise OSError(number)
    return number


def raise_or_not(number: int) -> None:
    try:
        if number % 2:
            raise ValueError(number)
        divide(number)
    finally:
        repr(number)


def lose_or_pass_on(number: int) -> None:
    try:
        raise_or_not(number)
    except ValueError as exc:
        if number % 5 == 0:
            raise RuntimeError(number) from exc
    except OSError:
        if number % 7 == 0:
            raise


def numbers(seed: int) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(1000) for _ in range(8 * AGENTS)]


def run(seed: int) -> None:
    drawn = iter(numbers(seed))
    for _ in range(AGENTS):
        with agent_scope("sub"):
            for _ in range(8):
                try:
                    lose_or_pass_on(next(drawn))
                except (RuntimeError, OSError):
                    pass


@pytest.mark.stress
@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
class TestThreads:
    """However the threads take turns."""

    def test_every_loss_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each exception that was lost has one row, each that left a call one that says where it ended."""
        # What has waited for half a second is written though it may go on yet, and has two rows then: a
        # busy machine keeps a thread off the processor for that long.
        monkeypatch.setattr(late, "_AGE_NS", 3_600_000_000_000)
        print(f"seed {FIRST_SEED}")
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            with memory_recorder() as recorder, agent_scope("root"):
                threads = [
                    threading.Thread(target=run, args=(seed,))
                    for seed in range(FIRST_SEED, FIRST_SEED + THREADS)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
        finally:
            sys.setswitchinterval(interval_s)
        drawn = [number for seed in range(FIRST_SEED, FIRST_SEED + THREADS) for number in numbers(seed)]
        lost = sum(number % 2 for number in drawn)
        failed = sum(number % 2 == 0 and number % 3 == 0 for number in drawn)
        kinds = [event.kind for event in recorder.events()]
        assert (kinds.count("error"), kinds.count("handled")) == (lost + failed, failed)
        assert not UNWRITTEN and not BY_OBJECT
