"""What waits is written within a second, by a thread that stands in nobody's way."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agenttrace import agent_scope
from agenttrace.capture import late
from agenttrace.capture.late import LateWriter
from agenttrace.capture.settling import settle_older
from agenttrace.capture.waiting import UNWRITTEN, forget_all, is_any_waiting
from agenttrace.testing import MemoryRecorder, memory_recorder

watched = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")


class Boom(Exception):
    pass


def lose() -> None:
    try:
        raise Boom("lost")
    except Boom:
        pass


def published(recorder: MemoryRecorder) -> int:
    """Count what has been published, without asking for what waits."""
    return len(recorder._bodies)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the thread hurry."""
    monkeypatch.setattr(late, "_STEP_S", 0.001)
    monkeypatch.setattr(late, "_AGE_NS", 0)
    monkeypatch.setattr(late, "_IDLE_STEPS", 2)


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made = late._Life()
    monkeypatch.setattr(late, "_life", made)
    yield made
    forget_all()


class TestThread:
    """Its life."""

    def test_starts_once(self, life: Any) -> None:
        """One thread, however often something waits."""
        started: list[Callable[[], object]] = []
        writer = LateWriter(lambda function: not started.append(function))
        for _ in range(3):
            writer.expect()
        assert len(started) == 1

    def test_cannot_start(self, life: Any) -> None:
        """Where no thread can be had, the next time asks again."""
        asked: list[int] = []
        writer = LateWriter(lambda function: bool(asked.append(1)))
        for _ in range(3):
            writer.expect()
        assert len(asked) == 3 and not life.is_running

    def test_ends(self, life: Any, at_once: None) -> None:
        """It ends when nothing waits, and says so."""
        life.is_running = True
        late._run()
        assert not life.is_running

    def test_ends_in_a_forked_child(self, life: Any, at_once: None) -> None:
        """After a fork it writes nothing that is the parent's."""
        life.is_running = True
        late._after_fork_in_child()
        assert late._life is not life and not late._life.is_running and not is_any_waiting()

    def test_stands_still_while_forking(self, life: Any) -> None:
        """From before the fork until after it, the thread cannot be amid a write."""
        late._before_fork()
        assert life.writing.locked() and life.forkers
        asked: list[int] = []
        LateWriter(lambda function: bool(asked.append(1))).expect()
        assert not asked
        late._after_fork_in_parent()
        assert not life.writing.locked() and not life.forkers

    def test_is_called_away_by_a_fork(self, life: Any) -> None:
        """A thread that pauses ends at once when the process is about to fork."""
        ended = threading.Event()

        def start(function: Callable[[], object]) -> bool:
            threading.Thread(target=lambda: (function(), ended.set())).start()
            return True

        began_s = time.monotonic()
        LateWriter(start, lambda native_id: ended.is_set()).expect()
        late._before_fork()
        assert ended.is_set() and time.monotonic() - began_s < late._STEP_S
        late._after_fork_in_parent()


@watched
class TestWriting:
    """What it writes."""

    def test_writes(self, life: Any, at_once: None) -> None:
        """What waits is published although the operation records nothing."""
        with memory_recorder() as recorder, agent_scope("lead"):
            before = published(recorder)
            lose()
            assert published(recorder) == before and is_any_waiting()
            late._run()
            assert published(recorder) == before + 1 and not is_any_waiting()
        assert [event.kind for event in recorder.events()].count("error") == 1

    def test_waits_for_age(self) -> None:
        """What was caught a moment ago waits longer."""
        with memory_recorder() as recorder, agent_scope("lead"):
            before = published(recorder)
            lose()
            settle_older(3_600_000_000_000)
            assert published(recorder) == before

    def test_except_that_still_runs(self) -> None:
        """An ``except`` may run for hours: it is written meanwhile, and once."""
        with memory_recorder() as recorder, agent_scope("lead"):
            before = published(recorder)
            try:
                raise Boom("x")
            except Boom:
                settle_older(0)
                assert published(recorder) == before + 1
        assert [event.kind for event in recorder.events()].count("error") == 1

    def test_with_that_still_runs(self) -> None:
        """A ``with`` or ``finally`` that still runs may let it pass: it is not written."""

        class Slow:
            def __enter__(self) -> None: ...

            def __exit__(self, *failure: object) -> None:
                settle_older(0)

        with memory_recorder() as recorder:
            with pytest.raises(Boom), agent_scope("lead"), Slow():
                try:
                    raise Boom("x")
                finally:
                    settle_older(0)
        (error,) = [event for event in recorder.events() if event.kind == "error"]
        assert error.payload.get("handled") is None

    def test_raised_after_all(self) -> None:
        """What was written and then goes on is a second row of the same failure."""
        with memory_recorder() as recorder:
            with pytest.raises(Boom), agent_scope("lead"):
                try:
                    raise Boom("x")
                except Boom:
                    settle_older(0)
                    raise
        first, second = [event for event in recorder.events() if event.kind == "error"]
        assert first.error_id == second.error_id and len(recorder.failures()) == 1

    def test_two_writers(self) -> None:
        """Whoever comes second finds nothing to write."""
        with memory_recorder() as recorder, agent_scope("lead"):
            lose()
            waiting = list(UNWRITTEN.values())
            settle_older(0)
            from agenttrace.capture.settling import settle

            settle(waiting)
        assert [event.kind for event in recorder.events()].count("error") == 1
