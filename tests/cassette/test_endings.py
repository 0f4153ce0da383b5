"""How recorded calls end again: streams, retries, cancellations, failures as data, calls without an end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity

from agenttrace import agent_scope, replay, tool_scope, traced_tool
from agenttrace.cassette import Cassette
from agenttrace.errors import ReplayError
from agenttrace.testing import memory_recorder
from tests.cassette.recording import EXECUTED, executed, record


@traced_tool
def numbers(n: int) -> Generator[int, None, str]:
    executed("numbers")
    yield from range(n)
    if n == 3:
        raise OSError(5, "stream broke", "pipe")
    return f"gave {n}"


@traced_tool
async def words(n: int) -> AsyncIterator[str]:
    executed("words")
    for number in range(n):
        await asyncio.sleep(0)
        yield f"w{number}"


@traced_tool
async def slow() -> str:
    executed("slow")
    await asyncio.sleep(30)
    return "late"


@traced_tool
def refuse(x: int) -> dict[str, Any]:
    executed("refuse")
    return {"error": f"no {x}", "code": 42}


@traced_tool
def interrupted() -> None:
    executed("interrupted")
    raise KeyboardInterrupt


def flaky(name: str) -> Any:
    """Give a function that fails twice, differently, and then goes well."""
    times: list[int] = []

    def flaky_tool(x: int) -> str:
        executed(name)
        times.append(x)
        if len(times) == 1:
            raise ConnectionError("first")
        if len(times) == 2:
            raise TimeoutError("second")
        return f"third {x}"

    return flaky_tool


def retrying(function: Any, seen: list[str], attempts: int = 3) -> Any:
    """Retry with tenacity, which notes each failure that it saw."""

    def note(state: Any) -> None:
        seen.append(repr(state.outcome.exception()))

    return tenacity.retry(
        stop=tenacity.stop_after_attempt(attempts), wait=tenacity.wait_none(), after=note, reraise=True
    )(function)


class TestStreams:
    """Give their items, their value and their failure again."""

    def test_yield_what_they_yielded(self) -> None:
        """Items, return value and exception, as lazily as before."""

        def drain(n: int) -> tuple[list[int], Any]:
            items, stream = [], numbers(n)
            while True:
                try:
                    items.append(next(stream))
                except StopIteration as stop:
                    return items, stop.value
                except OSError as exc:
                    return items, (type(exc), exc.errno, exc.filename, str(exc))

        def program() -> Any:
            with agent_scope("lead"):
                return [drain(2), drain(3), drain(0)]

        cassette, outcome = record(program)
        with replay(cassette) as playing:
            assert program() == outcome
        assert not EXECUTED and playing.unused() == []
        assert outcome[1][1][:3] == (OSError, 5, "pipe")

    def test_yield_asynchronously(self) -> None:
        """An async generator is one again."""

        async def program() -> list[str]:
            with agent_scope("lead"):
                return [word async for word in words(4)]

        cassette, outcome = record(lambda: asyncio.run(program()))
        with replay(cassette):
            assert asyncio.run(program()) == outcome == ["w0", "w1", "w2", "w3"]
        assert not EXECUTED

    def test_stop_where_the_consumer_stopped(self) -> None:
        """A consumer that takes as few items as before is none the wiser; one that wants more is told."""

        def program(count: int) -> list[int]:
            with agent_scope("lead"):
                stream = numbers(10)
                found = [next(stream) for _ in range(count)]
                stream.close()
                return found

        cassette, _ = record(lambda: program(2))
        with replay(cassette):
            assert program(2) == [0, 1]
        with pytest.raises(ReplayError, match="nobody asked for more than 2 items"), replay(cassette):
            program(3)
        assert not EXECUTED

    def test_give_the_items_that_were_kept_and_name_the_rest(self) -> None:
        """Of a long stream the first items are given; whoever wants more is refused, and not cut short."""

        def program(count: int) -> list[int]:
            with agent_scope("lead"):
                stream = numbers(100)
                return [item for item, _ in zip(stream, range(count), strict=False)]

        cassette, _ = record(lambda: program(100))
        with replay(cassette) as playing:
            assert program(19) == list(range(19))
        assert any("numbers(n=100)" in note and "20 of 100 items" in note for note in playing.notes)
        with pytest.raises(ReplayError, match="gave 100 items, of which 20 were kept"), replay(cassette):
            program(100)
        assert not EXECUTED


class TestRetries:
    """Show the same failures in the same order."""

    def test_above_the_tool_see_each_attempt(self) -> None:
        """A retry decorator above the traced tool runs its own loop over the recorded attempts."""
        seen: list[str] = []
        tool = retrying(traced_tool(flaky("flaky")), seen)

        def program() -> str:
            with agent_scope("lead"):
                return tool(7)

        cassette, outcome = record(program)
        before, seen[:] = list(seen), []
        assert outcome == "third 7" and len(before) == 2
        with replay(cassette) as playing:
            assert program() == outcome
        assert seen == before and not EXECUTED
        assert (playing.replayed, playing.unused()) == (3, [])

    def test_below_the_tool_are_part_of_it(self) -> None:
        """What retried inside the tool does not run; the tool's end is given back."""
        seen: list[str] = []
        tool = traced_tool(retrying(flaky("flaky"), seen))

        def program() -> str:
            with agent_scope("lead"):
                return tool(7)

        cassette, outcome = record(program)
        with memory_recorder() as recorder, replay(cassette) as playing:
            assert program() == outcome == "third 7"
        assert not EXECUTED and playing.unused() == []
        (own,) = recorder.conversation_ids()
        attempts = [call.attempts for run in Cassette.of(recorder.store, own).runs for call in run.calls]
        recorded = [call.attempts for run in cassette.runs for call in run.calls]
        assert [one["message"] for one in attempts[0]] == ["first", "second"]
        assert [(one["type"], one["by"]) for one in attempts[0]] == [
            (one["type"], one["by"]) for one in recorded[0]
        ]

    def test_by_hand_are_calls_of_their_own(self) -> None:
        """A loop that calls again after a failure meets the same failures."""
        tool = traced_tool(flaky("flaky"))

        def program() -> list[str]:
            with agent_scope("lead"):
                found = []
                for _ in range(3):
                    try:
                        found.append(tool(1))
                    except OSError as exc:
                        found.append(repr(exc))
                return found

        cassette, outcome = record(program)
        with replay(cassette):
            assert program() == outcome
        assert outcome == ["ConnectionError('first')", "TimeoutError('second')", "third 1"]
        assert not EXECUTED

    def test_that_go_on_for_longer_are_refused(self) -> None:
        """More attempts than were recorded have nothing to be given."""
        limit = [2]
        tool = tenacity.retry(
            stop=lambda state: state.attempt_number >= limit[0], wait=tenacity.wait_none(), reraise=True
        )(traced_tool(flaky("flaky")))

        def program() -> Any:
            with agent_scope("lead"):
                return tool(1)

        cassette, outcome = record(program)
        assert isinstance(outcome, TimeoutError)
        limit[0] = 3
        with pytest.raises(ReplayError, match="it was tried 2 times"), replay(cassette):
            program()
        assert not EXECUTED


class TestCancellations:
    """Come again from where they came."""

    def test_by_a_timeout(self) -> None:
        """The timeout fires again, and the program sees TimeoutError as it did."""

        async def program() -> str:
            with agent_scope("lead"):
                try:
                    return await asyncio.wait_for(slow(), 0.05)
                except TimeoutError:
                    return "too slow"

        cassette, outcome = record(lambda: asyncio.run(program()))
        with replay(cassette) as playing:
            assert asyncio.run(program()) == outcome == "too slow"
        assert not EXECUTED and playing.replayed == 1

    def test_by_a_sibling_that_failed(self) -> None:
        """A task group cancels the call again."""

        @traced_tool
        async def fail() -> None:
            executed("fail")
            await asyncio.sleep(0)
            raise ValueError("no")

        async def program() -> str:
            with agent_scope("lead"):
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(slow())
                        group.create_task(fail())
                except* ValueError as exc:
                    found = repr(exc.exceptions)
                return found

        cassette, outcome = record(lambda: asyncio.run(program()))
        with replay(cassette):
            assert asyncio.run(program()) == outcome
        assert not EXECUTED

    def test_by_the_keyboard(self) -> None:
        """An interrupt is raised again."""

        def program() -> str:
            with agent_scope("lead"):
                try:
                    interrupted()
                except KeyboardInterrupt:
                    return "stopped"
            raise AssertionError("not reached")

        cassette, outcome = record(program)
        with replay(cassette):
            assert program() == outcome == "stopped"
        assert not EXECUTED


class TestFailuresAsData:
    """Are given back as data."""

    def test_are_returned(self) -> None:
        """What was returned is returned, and not raised."""

        def program() -> Any:
            with agent_scope("lead"):
                return refuse(1)

        cassette, outcome = record(program)
        with replay(cassette):
            assert program() == outcome == {"error": "no 1", "code": 42}
        assert not EXECUTED

    def test_of_a_tool_that_does_not_exist_happen_again(self) -> None:
        """A dispatcher's own code runs: an unknown name fails in it as it did."""
        tools = {"refuse": refuse}

        def program() -> list[str]:
            found = []
            with agent_scope("lead"):
                for name in ("no_such_tool", "refuse"):
                    try:
                        with tool_scope(name, arguments={"x": 1}):
                            found.append(str(tools[name](x=1)))
                    except KeyError as exc:
                        found.append(repr(exc))
            return found

        cassette, outcome = record(program)
        with replay(cassette) as playing:
            assert program() == outcome
        assert outcome[0] == "KeyError('no_such_tool')"
        assert not EXECUTED and playing.unused() == []


_KILLED = """
import os, sys, agenttrace
from agenttrace import agent_scope, traced_tool

@traced_tool
def add(a, b):
    return a + b

@traced_tool
def crash():
    os.kill(os.getpid(), 9)

agenttrace.configure(sys.argv[1])
with agent_scope("lead"):
    add(1, 2)
    crash()
"""


class TestCallsWithoutAnEnd:
    """Have nothing to give."""

    def test_end_the_replay_where_the_process_was_killed(self, tmp_path: Path) -> None:
        """What came before is given back; the call amid which the process died is refused by name."""
        database = tmp_path / "t.db"
        killed = subprocess.run([sys.executable, "-c", _KILLED, str(database)], check=False)
        assert killed.returncode == -9

        @traced_tool
        def add(a: int, b: int) -> int:
            executed("add")
            return a + b

        @traced_tool
        def crash() -> None:
            executed("crash")

        def program() -> None:
            with agent_scope("lead"):
                assert add(1, 2) == 3
                crash()

        with pytest.raises(ReplayError, match=r"crash\(\) cannot be given back: the recorded run ends here"):
            with replay("last", database=database):
                program()
        assert not EXECUTED
        with replay("last", mode="fill", database=database) as playing:
            program()
        assert EXECUTED == {"crash": 1} and playing.ran == 1


def test_iterators_are_what_they_were() -> None:
    """A stand-in of a generator is one: it has ``send``, and does nothing before the first item."""
    cassette, _ = record(lambda: list(numbers(2)))
    with replay(cassette):
        made: Iterator[int] = numbers(2)
        assert next(made) == 0 and made.send(None) == 1  # type: ignore[attr-defined]
