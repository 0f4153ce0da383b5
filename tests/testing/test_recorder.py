"""The recorder in memory: what it takes, and how it leaves the house."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import integrations
from agenttrace.capture import context
from agenttrace.capture.context import CURRENT, PIPE, SWITCH
from agenttrace.testing import MemoryRecorder, memory_recorder


@agenttrace.traced_tool
def echo(value: Any) -> Any:
    return value


def state_of_the_house() -> list[Any]:
    """Everything a recorder touches, to be compared before and after."""
    return [
        type(PIPE),
        PIPE.publish,
        PIPE.decide,
        PIPE.limit_bytes,
        PIPE.span_prefix,
        list(SWITCH),
        CURRENT.get(),
        dict(context.implicit_roots),
        context.scopes_opened,
        integrations.installed(),
        threading.Thread.start,
        ThreadPoolExecutor.submit,
    ]


class TestMemoryRecorder:
    def test_records_while_its_block_is_open(self) -> None:
        """Before and after, a traced tool is a plain function again."""
        echo(1)
        with memory_recorder() as recorder:
            echo(2)
        echo(3)
        calls = [event.payload for event in recorder.events() if event.kind == "tool_call"]
        assert calls == [{"arguments": {"value": 2}}]

    def test_sees_at_each_read_what_was_recorded_before_it(self) -> None:
        """A read in the middle of a run is as good as one at its end."""
        with memory_recorder() as recorder:
            assert recorder.events() == []
            echo(1)
            first = len(recorder.events())
            echo(2)
            assert len(recorder.events()) == first + 2

    @pytest.mark.parametrize("word", ["0", "off", "1"])
    def test_records_whatever_the_environment_says(self, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """``AGENTTRACE=0`` keeps a program quiet, but not a test that asks for the recording."""
        monkeypatch.setenv("AGENTTRACE", word)
        with memory_recorder() as recorder, agenttrace.agent_scope("lead"):
            echo(1)
        assert [trace.tool_name for trace in recorder.store.tool_traces()] == ["echo"]

    def test_keeps_large_values_whole(self) -> None:
        """Nothing is cut, whatever the settings of the program are."""
        large = {"text": "x" * 3_000_000, "list": list(range(20_000))}
        with memory_recorder() as recorder:
            agenttrace.configure(max_payload_bytes=512)
            echo(large)
        result = next(event for event in recorder.events() if event.kind == "tool_result")
        assert result.payload["output"] == large

    def test_redacts_nothing(self) -> None:
        """A test compares what really came and went; nothing of it reaches a disk."""
        with memory_recorder() as recorder:
            echo({"password": "hunter2"})
        call = next(event for event in recorder.events() if event.kind == "tool_call")
        assert call.payload["arguments"] == {"value": {"password": "hunter2"}}

    def test_makes_no_file_and_no_thread(self, clean_environment: Path) -> None:
        """Neither a database nor a ring nor a writer comes to be."""
        threads = threading.active_count()
        with memory_recorder() as recorder:
            echo(1)
            recorder.events()
            assert threading.active_count() == threads
        assert [path for path in clean_environment.rglob("*") if path.is_file()] == []

    def test_follows_threads_into_their_agent(self) -> None:
        """Pools and threads hand the scope on, also where ``AGENTTRACE_INSTALL=none``."""
        with memory_recorder() as recorder, agenttrace.agent_scope("lead"), ThreadPoolExecutor(2) as pool:
            list(pool.map(echo, range(4)))
            thread = threading.Thread(target=echo, args=("alone",))
            thread.start()
            thread.join()
        assert {event.agent_name for event in recorder.events()} == {"lead"}

    def test_takes_events_of_many_threads(self) -> None:
        """8 threads with 50 calls each leave 400 pairs, numbered without a gap."""
        with memory_recorder() as recorder, agenttrace.agent_scope("lead"), ThreadPoolExecutor(8) as pool:
            list(pool.map(echo, range(400)))
        seqs = [event.seq for event in recorder.events()]
        assert sorted(seqs) == list(range(802))

    def test_ends_the_implicit_agent_with_its_block(self) -> None:
        """A tool outside any scope runs under ``main``, and no later recorder continues that."""
        with memory_recorder() as recorder:
            echo(1)
        with memory_recorder() as later:
            echo(2)
        for one in (recorder, later):
            kinds = [event.kind for event in one.events()]
            assert kinds == ["agent_start", "tool_call", "tool_result", "agent_end"]

    def test_closes_its_store_when_it_is_forgotten(self, recwarn: pytest.WarningsRecorder) -> None:
        """No warning of an unclosed database is left to the user's tests."""
        with memory_recorder() as recorder:
            echo(1)
        recorder.events()
        del recorder
        gc.collect()
        assert not [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)]

    def test_says_when_an_event_cannot_be_stored(self) -> None:
        """A broken event fails the test that made it, instead of missing from its assertions."""
        recorder = MemoryRecorder()
        header = ["tool_call", 1, None, "a", "a", *([None] * 10)]
        recorder.publish(json.dumps(header).encode() + b"\n{}")
        with pytest.raises(agenttrace.errors.StoreError, match="could not be stored"):
            recorder.events()


class TestRestoring:
    def test_leaves_the_house_as_it_was(self) -> None:
        """Pipe, switch, scope, patches and the implicit root stand as before."""
        before = state_of_the_house()
        with memory_recorder():
            echo(1)
            assert state_of_the_house() != before
        assert state_of_the_house() == before

    def test_also_when_the_block_raises(self) -> None:
        """An assertion that fails inside is no reason to go on recording."""
        before = state_of_the_house()
        with pytest.raises(KeyError), memory_recorder():
            raise KeyError
        assert state_of_the_house() == before

    def test_goes_on_recording_to_the_database_afterwards(self, clean_environment: Path) -> None:
        """A program that records keeps its database; the block is missing from it."""
        database = clean_environment / "own.db"
        agenttrace.configure(database)
        with agenttrace.agent_scope("outer") as outer:
            echo("before")
            with memory_recorder() as recorder:
                echo("inside")
            echo("after")
        agenttrace.flush()
        values = [
            event.payload["arguments"]["value"]
            for event in agenttrace.TraceStore(database).events(outer.conversation_id)
            if event.kind == "tool_call"
        ]
        assert values == ["before", "after"]
        assert [event.agent_name for event in recorder.events() if event.kind == "tool_call"] == ["main"]

    def test_nests_and_only_the_innermost_records(self) -> None:
        """The outer one goes on where the inner one ends."""
        with memory_recorder() as outer:
            echo("a")
            with memory_recorder() as inner:
                echo("b")
            echo("c")

        def values(recorder: MemoryRecorder) -> list[Any]:
            events = recorder.events()
            return [event.payload["arguments"]["value"] for event in events if event.kind == "tool_call"]

        assert values(outer) == ["a", "c"]
        assert values(inner) == ["b"]


class TestProgramsThatConfigure:
    @pytest.mark.parametrize(
        "configure",
        [
            lambda path: agenttrace.configure(path),
            lambda path: agenttrace.configure(enabled=True),
            lambda path: agenttrace.enable(),
        ],
        ids=["database", "enabled", "enable"],
    )
    def test_still_record_into_memory(
        self, configure: Callable[[Path], None], clean_environment: Path
    ) -> None:
        """A program under test that sets its own database never writes to it."""
        path = clean_environment / "production.db"
        with memory_recorder() as recorder:
            configure(path)
            echo(1)
            agenttrace.flush()
        assert len(recorder.events()) == 4
        assert not path.exists()
        assert not agenttrace.is_enabled()

    def test_may_switch_themselves_off(self) -> None:
        """``disable`` is what the program wants, so nothing more is recorded."""
        with memory_recorder() as recorder:
            agenttrace.disable()
            echo(1)
        assert recorder.events() == []
