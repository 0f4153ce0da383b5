"""The block `replay`: what it gives back, what it refuses, what it leaves behind."""

from __future__ import annotations

import asyncio
import functools
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import agent_scope, replay, tool_scope, traced_tool
from agenttrace.capture.context import CURRENT, PIPE, SWITCH
from agenttrace.cassette import Cassette
from agenttrace.errors import ReplayError
from agenttrace.testing import memory_recorder
from tests.cassette.recording import EXECUTED, executed, record
from tests.reading import run_python


@traced_tool
def add(a: int, b: int) -> int:
    executed("add")
    return a + b


@traced_tool
def draw() -> int:
    executed("draw")
    return EXECUTED["draw"]


@traced_tool
def look_up(key: str) -> str:
    executed("look_up")
    return _find(key)


def _find(key: str) -> str:
    raise KeyError(key)


@traced_tool
def count(n: int) -> Iterator[int]:
    executed("count")
    yield from range(n)
    return "done"


def lines_of(exc: BaseException) -> list[tuple[str, int, str]]:
    """Give file, line and function of each frame of this file, outermost first."""
    return [
        (frame.filename, frame.lineno or 0, frame.name)
        for frame in traceback.extract_tb(exc.__traceback__)
        if frame.filename == __file__ and frame.name in ("look_up", "_find")
    ]


class TestReplay:
    """Gives back what was recorded."""

    def test_gives_results_without_running_a_tool(self) -> None:
        """A tool's result is the recorded one, and its code does not run."""

        def program() -> list[Any]:
            with agent_scope("lead"):
                return [add(1, 2), add(a=2, b=3), list(count(3))]

        cassette, outcome = record(program)
        with replay(cassette) as playing:
            assert program() == outcome == [3, 5, [0, 1, 2]]
        assert not EXECUTED
        assert (playing.replayed, playing.ran, playing.unused()) == (3, 0, [])

    def test_gives_equal_calls_in_the_order_in_which_they_were_made(self) -> None:
        """The second of two equal calls gets the second result."""

        def program() -> list[int]:
            with agent_scope("lead"):
                return [draw(), draw(), draw()]

        cassette, outcome = record(program)
        with replay(cassette):
            assert program() == outcome == [1, 2, 3]
        assert not EXECUTED

    def test_raises_the_recorded_exception_at_the_recorded_line(self) -> None:
        """Class, message and the lines below the tool are those of the recorded run."""

        def program() -> str:
            with agent_scope("lead"):
                return look_up("missing")

        cassette, outcome = record(program)
        with pytest.raises(KeyError) as caught, replay(cassette):
            program()
        assert caught.value.args == outcome.args == ("missing",)
        assert lines_of(caught.value) == lines_of(outcome)
        assert len(lines_of(outcome)) == 2
        assert not EXECUTED

    def test_replays_calls_outside_any_scope(self) -> None:
        """They belong to the agent `main` on both sides."""
        cassette, outcome = record(lambda: add(20, 22))
        with replay(cassette) as playing:
            assert add(20, 22) == outcome == 42
        assert not EXECUTED and playing.replayed == 1

    def test_refuses_what_was_never_recorded_and_names_the_nearest(self) -> None:
        """Strict: the error says what is asked, what is nearest, and where they differ."""

        def program(b: int) -> int:
            with agent_scope("lead"):
                return add(1, b)

        cassette, _ = record(lambda: program(2))
        with pytest.raises(ReplayError) as caught, replay(cassette):
            program(3)
        message = str(caught.value)
        assert "lead asks for add(a=1, b=3), which was never recorded there" in message
        assert "Nearest recorded: add(a=1, b=2)" in message
        assert "b: recorded 2, asked 3" in message
        assert not EXECUTED

    def test_raises_a_refusal_that_the_program_swallowed(self) -> None:
        """A run that catches everything does not pass by what the replay could not give."""

        def program(b: int) -> None:
            with agent_scope("lead"):
                try:
                    add(1, b)
                except Exception:
                    return

        cassette, _ = record(lambda: program(2))
        with pytest.raises(ReplayError, match="never recorded"), replay(cassette):
            program(3)

    def test_runs_what_was_never_recorded_in_mode_fill(self) -> None:
        """Fill: recorded calls are given back, others run and are counted."""

        def program(b: int) -> list[int]:
            with agent_scope("lead"):
                return [add(1, 2), add(1, b)]

        cassette, _ = record(lambda: program(2))
        with replay(cassette, mode="fill") as playing:
            assert program(5) == [3, 6]
        assert EXECUTED == {"add": 1}
        assert (playing.replayed, playing.ran) == (1, 1)
        assert playing.unused() == ["lead: add(a=1, b=2)"]

    def test_joins_a_tool_scope_and_the_tool_inside(self) -> None:
        """Scope and traced tool are one recorded call, and are given back as one."""

        def program() -> int:
            with agent_scope("lead"), tool_scope("add", arguments={"a": 1, "b": 1}):
                return add(1, 1)

        cassette, outcome = record(program)
        with replay(cassette) as playing:
            assert program() == outcome == 2
        assert not EXECUTED and playing.unused() == []

    def test_leaves_tracing_as_it_was(self) -> None:
        """After the block the switch, the pipe, the patches and the scope are those of before."""
        cassette, _ = record(lambda: add(1, 1))
        before = (list(SWITCH), PIPE.publish, PIPE.prepare, CURRENT.get(), agenttrace.is_enabled())
        with replay(cassette):
            assert add(1, 1) == 2 and SWITCH
        assert (list(SWITCH), PIPE.publish, PIPE.prepare, CURRENT.get(), agenttrace.is_enabled()) == before
        assert PIPE.substitute is None
        assert add(1, 1) == 2 and EXECUTED == {"add": 1}

    def test_is_one_at_a_time(self) -> None:
        """A second replay amid the first is refused, and the first goes on."""
        cassette, _ = record(lambda: add(1, 1))
        with replay(cassette):
            with pytest.raises(ReplayError, match="a replay is open"), replay(cassette):
                raise AssertionError("not reached")
            assert add(1, 1) == 2


class Shop:
    """Tools of every binding."""

    def __init__(self, name: str) -> None:
        self.name = name

    @traced_tool
    def sell(self, item: str) -> str:
        executed("sell")
        return f"{self.name} sells {item}"

    @classmethod
    @traced_tool
    def open_all(cls, count: int) -> str:
        executed("open_all")
        return f"{cls.__name__} {count}"

    @staticmethod
    @traced_tool
    async def close(hour: int = 8) -> int:
        executed("close")
        return hour

    def __call__(self, word: str) -> str:
        executed("call")
        return word + self.name


class TestBindings:
    """Tools that are no plain functions."""

    def test_are_given_back_alike(self) -> None:
        """Methods, class and static methods, partials and callable objects."""
        call_it = traced_tool(Shop("c"), name="call_it")
        partly = traced_tool(functools.partial(_add_three, 1, c=5), name="partly")

        def program() -> list[Any]:
            shop = Shop("s")
            with agent_scope("lead"):
                sell = shop.sell
                return [
                    sell("tea"),
                    Shop("t").sell(item="jam"),
                    Shop.open_all(2),
                    asyncio.run(Shop.close()),
                    call_it("w"),
                    partly(2),
                ]

        cassette, outcome = record(program)
        with replay(cassette) as playing:
            assert program() == outcome
        assert not EXECUTED and (playing.replayed, playing.unused(), playing.notes) == (6, [], [])

    def test_in_a_recorder_in_memory_leave_the_pipe_as_it_was(self) -> None:
        """A replay inside a recorder in memory is recorded there, and puts nothing in its place."""
        cassette, _ = record(lambda: add(1, 1))
        before = PIPE.publish
        with memory_recorder() as recorder:
            with replay(cassette) as playing:
                assert add(1, 1) == 2
            assert recorder.conversation_ids() == [playing.conversation_id]
        assert PIPE.publish == before and not EXECUTED


def _add_three(a: int, b: int, c: int) -> int:
    executed("add_three")
    return a + b + c


class TestCassette:
    """What was recorded, as a file."""

    def test_reads_what_it_wrote(self, tmp_path: Any) -> None:
        """A saved cassette is equal data, the same text each time, and replays as the recording does."""

        def program() -> list[Any]:
            with agent_scope("lead", input={"task": "sum"}):
                with agent_scope("helper"):
                    first = add(1, 2)
                try:
                    look_up("x")
                except KeyError:
                    return [first, draw()]
            raise AssertionError("not reached")

        cassette, outcome = record(program)
        path = tmp_path / "cassette.json"
        cassette.save(path)
        loaded = Cassette.load(path)
        assert loaded.to_data() == cassette.to_data()
        text = path.read_text()
        loaded.save(path)
        assert path.read_text() == text
        with replay(path) as playing:
            assert program() == outcome
        assert not EXECUTED and playing.unused() == []

    def test_refuses_other_files(self, tmp_path: Any) -> None:
        """What is no cassette, or of a newer version, is refused with its name."""
        path = tmp_path / "other.json"
        for text, reason in (
            ("[]", "no cassette"),
            ("{", "no cassette"),
            ('{"version": 99, "runs": []}', "99"),
        ):
            path.write_text(text)
            with pytest.raises(ReplayError, match=reason):
                Cassette.load(path)
        with pytest.raises(ReplayError, match="No such file"):
            Cassette.load(tmp_path / "none.json")


def test_without_a_replay_nothing_of_it_is_there() -> None:
    """Importing, and recording a tool, brings in no cassettes."""
    code = (
        "import agenttrace, sys\n"
        "@agenttrace.traced_tool\n"
        "def tool(x): return x\n"
        "agenttrace.configure(sys.argv[1]); tool(1); agenttrace.flush()\n"
        "print([name for name in sys.modules if 'cassette' in name])"
    )
    done = run_python(code, Path(os.environ["AGENTTRACE_DB"]), os.environ["AGENTTRACE_DB"])
    assert done.stdout.strip() == "[]", done.stderr
