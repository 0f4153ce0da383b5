"""What is compared: arguments as they were recorded, redacted and cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import agent_scope, replay, traced_tool
from agenttrace.cassette.likeness import alike
from agenttrace.errors import ReplayError
from tests.cassette.recording import EXECUTED, executed, record_to_file

SECRET = "sk-proj-Zq8vN3xRt7LmK2pW9yB4cD6fG1hJ5sA0"


@traced_tool
def log_in(user: str, password: str) -> str:
    executed("log_in")
    return f"session of {user}, {EXECUTED['log_in']}"


@traced_tool(redact=["pin"])
def unlock(door: str, pin: int) -> str:
    executed("unlock")
    return f"{door} open"


@traced_tool
def size_of(text: str) -> int:
    executed("size_of")
    return len(text)


@traced_tool(capture_arguments=False)
def whisper(text: str) -> str:
    executed("whisper")
    return f"{EXECUTED['whisper']}"


@traced_tool
def repeat(text: str, times: int) -> str:
    executed("repeat")
    return text * times


@traced_tool(capture_result=False)
def hide(x: int) -> int:
    executed("hide")
    return x


@traced_tool
def read_key() -> dict[str, str]:
    executed("read_key")
    return {"api_key": SECRET}


@traced_tool
def tell_key() -> str:
    executed("tell_key")
    return f"use {SECRET} for that"


class TestArguments:
    """Are compared as they were recorded."""

    def test_that_were_redacted_are_redacted_again(self, tmp_path: Path) -> None:
        """A secret argument finds its call, and equal-looking ones come in order; nothing of it is shown."""

        def program() -> list[Any]:
            with agent_scope("lead"):
                return [
                    log_in("ada", "correct horse 1"),
                    log_in("bob", "battery staple 2"),
                    log_in("ada", "another 3"),
                    unlock("front", pin=1234),
                    unlock("back", pin=5678),
                    size_of(f"the key is {SECRET}, keep it"),
                ]

        _, outcome = record_to_file(tmp_path / "t.db", program)
        with replay("last", database=tmp_path / "t.db") as playing:
            assert program() == outcome
        assert not EXECUTED and playing.unused() == []
        assert "horse" not in str(playing.cassette.to_data())

    def test_that_were_not_captured_come_in_order(self, tmp_path: Path) -> None:
        """Without arguments, calls of one tool are told apart by their order alone."""

        def program() -> list[str]:
            with agent_scope("lead"):
                return [whisper("a"), whisper("b")]

        _, outcome = record_to_file(tmp_path / "t.db", program)
        with replay("last", database=tmp_path / "t.db"):
            assert program() == outcome == ["1", "2"]

    @pytest.mark.parametrize("max_blob_bytes", [262_144, 20_000, 0])
    def test_that_were_cut_are_known_by_what_is_left(self, tmp_path: Path, max_blob_bytes: int) -> None:
        """A long text is its beginning and its length, wherever it was cut."""
        texts = ["a" * 10 + " word" * 60_000, "b" * 10 + " word" * 60_000, "a" * 10 + " word" * 60_001]

        def program(order: list[int]) -> list[int]:
            with agent_scope("lead"):
                return [size_of(texts[number]) for number in order]

        settings = {"max_blob_bytes": max_blob_bytes}
        record_to_file(tmp_path / "t.db", lambda: program([0, 1, 2]), **settings)
        with replay("last", database=tmp_path / "t.db"):
            assert program([2, 0, 1]) == [len(texts[number]) for number in (2, 0, 1)]
        with pytest.raises(ReplayError, match="never recorded"):
            with replay("last", database=tmp_path / "t.db"):
                size_of("c" + texts[0][1:])
        assert not EXECUTED


class TestAlike:
    """A mark agrees with what may have stood in its place, and with nothing else."""

    @pytest.mark.parametrize(
        ("recorded", "live", "is_alike"),
        [
            ({"$agenttrace": "redacted", "rule": "x"}, "text", True),
            ({"$agenttrace": "redacted", "rule": "x"}, None, False),
            ({"$agenttrace": "redacted", "rule": "x"}, ["text"], False),
            ({"$agenttrace": "cut", "bytes": 5, "head": "ab"}, "abcde", True),
            ({"$agenttrace": "cut", "bytes": 5, "head": "ab"}, "abcdef", False),
            ({"$agenttrace": "cut", "bytes": 5, "head": "ab"}, "xbcde", False),
            ([1, {"$agenttrace": "cut", "items": 2}], [1, 2, 3], True),
            ([1, {"$agenttrace": "cut", "items": 2}], [1, 2], False),
            ({"a": 1, "$agenttrace": "cut", "items": 1}, {"a": 1, "b": 2}, True),
            ({"a": 1, "$agenttrace": "cut", "items": 1}, {"a": 2, "b": 2}, False),
            ("key [redacted:openai] here", "key sk-123 here", True),
            ("key [redacted:openai] here", "key sk-123 there", False),
            (1, 1.0, True),
            (1, True, False),
            ({"a": 1}, {"a": 1, "b": None}, False),
        ],
    )
    def test_agrees(self, recorded: Any, live: Any, is_alike: bool) -> None:
        """Either way round."""
        assert alike(recorded, live) is is_alike
        assert alike(live, recorded) is is_alike


class TestDatabase:
    """Where a conversation is looked for."""

    def test_is_the_one_that_this_process_records_to(self, tmp_path: Path) -> None:
        """Also where the program has configured it; what was recorded just now is there."""
        agenttrace.configure(tmp_path / "own.db")
        with agent_scope("lead"):
            assert size_of("four") == 4
        EXECUTED.clear()
        with replay("last"), agent_scope("lead"):
            assert size_of("four") == 4
        assert not EXECUTED


class TestResultsThatWereNotKept:
    """Are named before anything runs."""

    @pytest.mark.parametrize(
        ("tool", "settings", "reason"),
        [
            (lambda: hide(1), {}, "was not captured (capture_result=False)"),
            (read_key, {}, "was redacted ("),
            (tell_key, {}, "was redacted ("),
            (lambda: repeat("long ", 100_000), {}, "is cut beyond what was kept whole"),
            (lambda: repeat("long ", 10_000), {"max_blob_bytes": 0}, "is cut beyond what was kept whole"),
        ],
    )
    def test_are_named_before_anything_runs(
        self, tmp_path: Path, tool: Any, settings: dict[str, Any], reason: str
    ) -> None:
        """Strict refuses with the call, the reason and the command that shows the event."""

        def program() -> Any:
            with agent_scope("lead"):
                return tool()

        _, outcome = record_to_file(tmp_path / "t.db", program, **settings)
        with pytest.raises(ReplayError) as caught:
            replay("last", database=tmp_path / "t.db")
        message = str(caught.value)
        assert reason in message and "agenttrace show --event " in message and "lead: " in message
        with replay("last", mode="fill", database=tmp_path / "t.db") as playing:
            assert program() == outcome
        assert sum(EXECUTED.values()) == 1 == playing.ran
        assert any("runs itself" in note and reason in note for note in playing.notes)

    def test_are_whole_where_they_were_kept_beside_the_row(self, tmp_path: Path) -> None:
        """A result longer than a row comes back to its last byte."""

        def program() -> Any:
            with agent_scope("lead"):
                return repeat("long ", 20_000)

        _, outcome = record_to_file(tmp_path / "t.db", program)
        with replay("last", database=tmp_path / "t.db"):
            assert program() == outcome
        assert not EXECUTED and len(outcome) == 100_000
