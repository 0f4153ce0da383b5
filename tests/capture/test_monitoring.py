"""Watching through ``sys.monitoring``: its life, its company, and what it never does."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import agenttrace
from agenttrace import agent_scope
from agenttrace.capture import monitoring
from agenttrace.capture.monitoring import state
from agenttrace.errors import LOSSES
from agenttrace.testing import memory_recorder

watched = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
_tools: Any = getattr(sys, "monitoring", None)


def ours() -> list[int]:
    """Give the tool ids that bear our name."""
    return [number for number in range(6) if _tools.get_tool(number) == "agenttrace"]


def lose() -> None:
    try:
        raise ValueError("lost")
    except ValueError:
        pass


@pytest.fixture
def other_tools() -> Iterator[list[int]]:
    """Let other tools hold ids; freed at the end."""
    held: list[int] = []
    yield held
    for number in held:
        _tools.free_tool_id(number)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python has sys.monitoring")
class TestBefore312:
    """Where the interpreter does not tell."""

    def test_state(self) -> None:
        """Nothing breaks, and the state says what is missing and what to do."""
        with memory_recorder() as recorder, agent_scope("lead"):
            lose()
            assert not state().is_on and "record_exception" in state().text
        assert [event.kind for event in recorder.events()] == ["agent_start", "agent_end"]


@watched
class TestLife:
    """On while tracing is on, and not a moment longer."""

    def test_switch(self) -> None:
        """``enable`` takes one tool id, ``disable`` gives it back with its events and callbacks."""
        assert ours() == []
        agenttrace.configure(enabled=True, install=())
        (number,) = ours()
        assert state().is_on and str(number) in state().text
        agenttrace.disable()
        assert ours() == [] and not state().is_on
        _tools.use_tool_id(number, "next")
        try:
            assert _tools.get_events(number) == 0
            assert _tools.register_callback(number, _tools.events.RAISE, None) is None
        finally:
            _tools.free_tool_id(number)

    def test_twice(self) -> None:
        """Switching on twice takes one id."""
        agenttrace.configure(enabled=True, install=())
        agenttrace.enable()
        assert len(ours()) == 1

    def test_uninstall(self) -> None:
        """``uninstall()`` takes it back with everything else; ``enable`` brings it back."""
        agenttrace.configure(enabled=True, install=())
        agenttrace.uninstall()
        assert ours() == []
        agenttrace.enable()
        assert len(ours()) == 1

    @pytest.mark.parametrize("word", ["0", "off", "No"])
    def test_off_by_environment(self, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """``AGENTTRACE_SWALLOWED=0`` switches it off."""
        monkeypatch.setenv("AGENTTRACE_SWALLOWED", word)
        agenttrace.configure(enabled=True, install=())
        assert agenttrace.is_enabled() and ours() == []

    def test_off_later(self) -> None:
        """So does ``configure`` while tracing is on; and back."""
        agenttrace.configure(enabled=True, install=())
        agenttrace.configure(swallowed="off")
        assert ours() == []
        agenttrace.configure(swallowed="auto")
        assert len(ours()) == 1

    def test_recorder_in_memory(self) -> None:
        """A recorder in memory watches while it is open."""
        with memory_recorder():
            assert len(ours()) == 1
            with memory_recorder():
                assert len(ours()) == 1
            assert len(ours()) == 1
        assert ours() == []


@watched
class TestCompany:
    """Beside other tools."""

    def test_taken_ids(self, other_tools: list[int]) -> None:
        """Ids that others hold are left to them; the well-known ones are never taken."""
        for number in (_tools.DEBUGGER_ID, _tools.COVERAGE_ID, _tools.PROFILER_ID, 4):
            _tools.use_tool_id(number, "somebody")
            other_tools.append(number)
        with memory_recorder() as recorder, agent_scope("lead"):
            assert ours() == [3]
            lose()
        assert [event.kind for event in recorder.events()].count("error") == 1

    def test_well_known_ids(self) -> None:
        """What belongs to debuggers, coverage and profilers stays free for them."""
        with memory_recorder():
            assert not {_tools.DEBUGGER_ID, _tools.COVERAGE_ID, _tools.PROFILER_ID} & set(ours())

    def test_none_free(self, other_tools: list[int], caplog: pytest.LogCaptureFixture) -> None:
        """When no id is free, one clear message says so, and everything else goes on."""
        for number in (3, 4, 5):
            _tools.use_tool_id(number, f"tool {number}")
            other_tools.append(number)
        with caplog.at_level(logging.WARNING, "agenttrace"):
            for _ in range(2):
                with memory_recorder() as recorder, agent_scope("lead"):
                    lose()
                assert [event.kind for event in recorder.events()] == ["agent_start", "agent_end"]
                text = state().text
        (message,) = [record.getMessage() for record in caplog.records]
        assert "tool 4" in message and "record_exception" in message
        assert "tool 4" in text
        while other_tools:
            _tools.free_tool_id(other_tools.pop())
        with memory_recorder():
            assert state().is_on

    def test_other_callbacks(self, other_tools: list[int]) -> None:
        """Another tool sees the same events with and without us, also after we have gone."""
        seen: list[str] = []
        _tools.use_tool_id(2, "profiler")
        other_tools.append(2)
        events = _tools.events
        for event, name in ((events.RAISE, "raise"), (events.EXCEPTION_HANDLED, "handled")):
            _tools.register_callback(
                2, event, lambda code, *_, name=name: seen.append(name) if code is lose.__code__ else None
            )
        _tools.set_events(2, events.RAISE | events.EXCEPTION_HANDLED)
        try:
            for block in (None, memory_recorder(), None):
                if block is None:
                    lose()
                else:
                    with block, agent_scope("lead"):
                        lose()
        finally:
            _tools.set_events(2, 0)
        assert seen == ["raise", "handled"] * 3

    def test_disabled_locations(self, other_tools: list[int]) -> None:
        """A location that another tool has switched off stays off: nothing of ours starts events anew."""
        seen: list[int] = []

        def on_line(code: Any, line: int) -> Any:
            if code is lose.__code__:
                seen.append(line)
            return _tools.DISABLE

        _tools.use_tool_id(2, "profiler")
        other_tools.append(2)
        _tools.register_callback(2, _tools.events.LINE, on_line)
        _tools.set_events(2, _tools.events.LINE)
        try:
            lose()
            once = list(seen)
            with memory_recorder(), agent_scope("lead"):
                lose()
                lose()
            lose()
        finally:
            _tools.set_events(2, 0)
            _tools.restart_events()
        assert once and seen == once


@watched
class TestTransparency:
    """The program cannot tell."""

    def test_failure_of_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What goes wrong in a callback is counted, and the program gets its own exception."""

        def broken(*_: Any) -> Any:
            raise OSError("ours")

        monkeypatch.setattr(monitoring, "_consider", broken)
        monkeypatch.setattr(monitoring, "note_raise", broken)
        caught: list[BaseException] = []
        with memory_recorder(), agent_scope("lead"):
            try:
                raise ValueError("the program's")
            except ValueError as exc:
                caught.append(exc)
        assert str(caught[0]) == "the program's" and caught[0].__context__ is None
        assert LOSSES["capture.monitoring.handled"] == 1

    def test_recursion(self) -> None:
        """A program that recurses too deep gets its RecursionError, and goes on being recorded."""

        def deep() -> None:
            deep()

        with memory_recorder() as recorder, agent_scope("lead"):
            with pytest.raises(RecursionError, match="maximum recursion depth"):
                deep()
        assert [event.error_type for event in recorder.events() if event.kind == "error"] == [
            "RecursionError"
        ]

    def test_traceback(self) -> None:
        """The traceback has the program's frames and no other."""

        def run() -> list[str]:
            names = []
            try:
                try:
                    lose_nothing()
                finally:
                    repr(0)
            except ValueError as exc:
                link = exc.__traceback__
                while link is not None:
                    names.append(f"{link.tb_frame.f_code.co_name}:{link.tb_lineno}")
                    link = link.tb_next
            return names

        def lose_nothing() -> None:
            raise ValueError

        bare = run()
        with memory_recorder(), agent_scope("lead"):
            assert run() == bare

    def test_interrupt_passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An interrupt that comes amid a callback reaches the program."""

        def interrupt(*_: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(monitoring, "_consider", interrupt)
        with memory_recorder(), agent_scope("lead"):
            with pytest.raises(KeyboardInterrupt):
                lose()
            monkeypatch.undo()

    def test_other_threads(self) -> None:
        """Outside any operation nothing is recorded."""
        with memory_recorder() as recorder:
            lose()
        assert recorder.events() == []


@watched
class TestSettings:
    """What is asked for."""

    def run(self, **settings: Any) -> list[Any]:
        """Look up, and lose one in our file and one elsewhere; give the error rows."""
        source = "def call():\n    try:\n        raise OSError('theirs')\n    except OSError:\n        pass\n"
        names: dict[str, Any] = {}
        exec(compile(source, os.path.join("/opt", "site-packages", "theirs", "call.py"), "exec"), names)
        with memory_recorder() as recorder:
            monitoring.install(start_thread=lambda function: False, **settings)
            with agent_scope("lead"):
                lose()
                names["call"]()
                try:
                    {}["key"]
                except KeyError:
                    pass
        return [event.error_type for event in recorder.events() if event.kind == "error"]

    def test_default(self) -> None:
        """Our own files, and no expected look-ups."""
        assert self.run() == ["ValueError"]

    def test_thorough(self) -> None:
        """``on`` writes expected look-ups too."""
        assert self.run(is_thorough=True) == ["ValueError", "KeyError"]

    def test_include(self) -> None:
        """A package counts as our own when it is included."""
        assert self.run(include=("theirs",)) == ["ValueError", "OSError"]

    def test_exclude(self) -> None:
        """Files that are excluded do not count."""
        assert self.run(exclude=(os.path.dirname(__file__),)) == []

    def test_reach_the_watch(self) -> None:
        """The settings of ``configure`` are those that count."""
        agenttrace.configure(
            enabled=True,
            install=(),
            swallowed="on",
            swallowed_include=["theirs"],
            swallowed_exclude=[__file__],
        )
        watch = monitoring._watch
        assert watch is not None and watch.is_thorough
        assert watch.user_code.whose("/opt/site-packages/theirs/a.py") == "own"
        assert watch.user_code.whose(__file__) == "site"
