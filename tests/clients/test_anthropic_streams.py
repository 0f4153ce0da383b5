"""Anthropic's streams that do not end as they should: what had arrived stays, and the turn ends."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anthropic
import pytest

import agenttrace
from agenttrace import agent_scope
from tests.clients.anthropic_ways import STREAMED, Way
from tests.clients.provider import Provider
from tests.clients.provider_replies import (
    Call,
    Usage,
    broken_stream,
    failed_stream,
    held,
    rate_limited,
    text,
    tool_calls,
)
from tests.clients.turns import Turn, read_turns
from tests.frameworks.conftest import Rows
from tests.reading import ROOT

GIVEN: dict[str, Any] = {
    "model": "claude-asked",
    "max_tokens": 99,
    "messages": [{"role": "user", "content": "hello"}],
}
USAGE = Usage(100, 50, cache_read_tokens=20, cache_write_tokens=30)
WORDS = text("one two three four", usage=USAGE)
CALLS = tool_calls([Call("add", {"a": 1, "b": 2}, "toolu_a")], content="so", thinking="well now", usage=USAGE)


def client_of(provider: Provider, **settings: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k", **settings)


def text_of(turn: Turn) -> str:
    return "".join(block.get("text", "") for block in turn.payload["output"])


def begin(client: Any, count: int) -> Any:
    """Open a stream and read *count* of its text's pieces."""
    stream = client.messages.create(**GIVEN, stream=True)
    seen = 0
    for event in stream:
        seen += event.type == "content_block_delta"
        if seen == count:
            break
    return stream


every_stream = pytest.mark.parametrize("way", STREAMED.values(), ids=STREAMED)


@every_stream
class TestBroken:
    """A stream that breaks on its way."""

    def test_keeps_what_had_arrived(self, rows: Rows, provider: Provider, way: Way) -> None:
        """Text, in the answer and in a row of its own; counts as far as they were told; the error, once."""
        provider.queue(broken_stream(WORDS, after=2))
        seen = way.run(provider.anthropic_url, GIVEN)
        (turn,) = read_turns(rows)
        assert turn.status == "error"
        assert turn.error_type == seen["type"]
        assert [error["type"] for error in turn.errors] == [seen["type"]]
        assert turn.payload["output"] == [{"type": "text", "text": "one two "}]
        assert turn.deltas == ["one two "]
        assert (turn.usage.input_tokens, turn.usage.cache_read_tokens) == (100, 20)
        assert turn.payload["first_chunk_ms"] > 0

    def test_may_break_before_it_began(self, rows: Rows, provider: Provider, way: Way) -> None:
        """Not a word of the answer had come."""
        provider.queue(broken_stream(WORDS, after=0))
        way.run(provider.anthropic_url, GIVEN)
        (turn,) = read_turns(rows)
        assert (turn.status, turn.deltas) == ("error", [])
        assert text_of(turn) == ""

    def test_keeps_calls_and_thoughts_as_far_as_they_came(
        self, rows: Rows, provider: Provider, way: Way
    ) -> None:
        """Blocks before the break are whole, the last one is what had come of it."""
        provider.queue(broken_stream(CALLS, after=6))  # two thoughts, a signature, a word, "", a piece
        way.run(provider.anthropic_url, GIVEN)
        (turn,) = read_turns(rows)
        assert turn.payload["output"] == [
            {"type": "thinking", "thinking": "well now", "signature": "c2lnbmVk"},
            {"type": "text", "text": "so"},
            {"type": "tool_use", "id": "toolu_a", "name": "add", "input": '{"a": 1,'},
        ]

    def test_fails_by_an_event_too(self, rows: Rows, provider: Provider, way: Way) -> None:
        """The provider's error event fails the turn with what the SDK makes of it, if it makes anything."""
        provider.queue(failed_stream(WORDS, after=3))
        seen = way.run(provider.anthropic_url, GIVEN)
        (turn,) = read_turns(rows)
        assert text_of(turn) == "one two three "
        assert turn.status == "error"
        (error,) = turn.errors
        assert "Overloaded" in error["message"]
        if "lines" not in way.ask.__name__:  # who reads the lines himself gets the event as it is
            assert turn.error_type == seen["type"]


class TestAborted:
    """A stream that the program wants no more of."""

    @pytest.mark.parametrize("how", ["close", "with", "drop", "helper"])
    def test_stops_early_with_what_had_arrived(self, rows: Rows, provider: Provider, how: str) -> None:
        """Closed, left or let go: the turn ends where the program stopped, and that is no failure."""
        provider.queue(held(WORDS, after=2))
        client = client_of(provider)
        if how == "helper":
            with client.messages.stream(**GIVEN) as helper:
                assert next(helper.text_stream) == "one "
        else:
            stream = begin(client, 1)
            if how == "close":
                stream.close()
            elif how == "with":
                with stream:
                    pass
            del stream
            gc.collect()
        (turn,) = read_turns(rows)
        assert (turn.status, turn.error_type, turn.errors) == ("stopped_early", None, [])
        assert turn.payload["output"] == [{"type": "text", "text": "one "}]
        assert turn.deltas == ["one "]
        assert turn.payload["response_id"] == "msg_0001"
        client.close()
        assert provider.requests[0].gone.wait(10)

    @pytest.mark.parametrize("how", ["aclose", "with", "drop", "helper", "cancel"])
    def test_does_so_among_tasks(self, rows: Rows, provider: Provider, how: str) -> None:
        """The same of the async client; a task that is cancelled as it waits is a cancellation."""
        provider.queue(held(WORDS, after=2))

        async def read(client: Any, got: asyncio.Event) -> None:
            stream = await client.messages.create(**GIVEN, stream=True)
            async for event in stream:
                if event.type == "content_block_delta":
                    got.set()
                    if how == "aclose":
                        await stream.close()
                    if how != "cancel":
                        return

        async def read_helper(client: Any) -> None:
            async with client.messages.stream(**GIVEN) as helper:
                async for _ in helper.text_stream:
                    break

        async def go() -> None:
            async with anthropic.AsyncAnthropic(base_url=provider.anthropic_url, api_key="k") as client:
                got = asyncio.Event()
                if how == "helper":
                    await read_helper(client)
                elif how == "with":
                    async with await client.messages.create(**GIVEN, stream=True) as stream:
                        async for event in stream:
                            if event.type == "content_block_delta":
                                break
                elif how == "cancel":
                    task = asyncio.create_task(read(client, got))
                    await got.wait()
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                else:
                    await read(client, got)
                    gc.collect()

        asyncio.run(go())
        gc.collect()
        (turn,) = read_turns(rows)
        assert turn.status == ("cancelled" if how == "cancel" else "stopped_early")
        assert turn.errors == []
        assert text_of(turn).startswith("one ")
        assert provider.requests[0].gone.wait(10)

    @pytest.mark.parametrize("last", ["message_delta", "message_stop"])
    def test_is_complete_once_it_has_said_why_it_ends(
        self, rows: Rows, provider: Provider, last: str
    ) -> None:
        """Who stops reading there has missed nothing."""
        provider.queue(WORDS)
        with client_of(provider) as client:
            stream = client.messages.create(**GIVEN, stream=True)
            for event in stream:
                if event.type == last:
                    break
            stream.close()
        (turn,) = read_turns(rows)
        assert (turn.status, turn.usage) == ("ok", USAGE)
        assert turn.payload["finish_reason"] == "end_turn"

    def test_is_let_go_unread(self, rows: Rows, provider: Provider) -> None:
        """A stream of which nothing was read leaves a turn without an answer."""
        provider.queue(held(WORDS, after=1))
        with client_of(provider) as client:
            client.messages.create(**GIVEN, stream=True).close()
        (turn,) = read_turns(rows)
        assert (turn.status, turn.payload["output"], turn.usage) == ("stopped_early", None, Usage(0, 0))

    def test_fails_by_what_the_program_raises_itself(self, rows: Rows, provider: Provider) -> None:
        """An error in the program's loop is not the turn's: it was only left early."""
        provider.queue(held(WORDS, after=2))
        with client_of(provider) as client, pytest.raises(ZeroDivisionError), agent_scope("divider"):
            with client.messages.stream(**GIVEN) as stream:
                for _ in stream.text_stream:
                    raise ZeroDivisionError
        (turn,) = read_turns(rows)
        assert (turn.status, turn.errors) == ("stopped_early", [])

    @pytest.mark.parametrize("after", [0, 2])
    def test_may_take_too_long(self, rows: Rows, provider: Provider, after: int) -> None:
        """A time limit of the SDK's is an error like another."""
        provider.queue(held(WORDS, after=after))
        with client_of(provider, timeout=0.1, max_retries=0) as client:
            with pytest.raises(Exception, match="timed out") as raised:
                list(client.messages.create(**GIVEN, stream=True))
        (turn,) = read_turns(rows)
        assert (turn.status, turn.error_type) == ("error", type(raised.value).__name__)
        assert text_of(turn) == ("one two " if after else "")


class TestCancelled:
    """A request that the program gives up before there is an answer."""

    @pytest.mark.parametrize("streamed", [False, True])
    def test_while_nobody_answers(self, rows: Rows, provider: Provider, streamed: bool) -> None:
        """No error: the turn is cancelled, without an answer."""
        provider.queue(held(WORDS))

        async def go() -> None:
            async with anthropic.AsyncAnthropic(base_url=provider.anthropic_url, api_key="k") as client:
                task = asyncio.create_task(client.messages.create(**GIVEN, stream=streamed))
                while not provider.requests:
                    await asyncio.sleep(0)
                if streamed:  # its head comes at once
                    stream = await task
                    task = asyncio.create_task(drain(stream))
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        async def drain(stream: Any) -> None:
            async for _ in stream:
                pass

        asyncio.run(go())
        (turn,) = read_turns(rows)
        assert (turn.status, turn.errors, turn.retries) == ("cancelled", [], [])
        assert turn.error_type == "CancelledError"

    def test_while_it_waits_to_try_again(self, rows: Rows, provider: Provider) -> None:
        """The attempt that failed is told; no other followed."""
        provider.queue(rate_limited(retry_after_ms=60_000))

        async def go() -> None:
            async with anthropic.AsyncAnthropic(base_url=provider.anthropic_url, api_key="k") as client:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.messages.create(**GIVEN), 0.2)

        asyncio.run(go())
        (turn,) = read_turns(rows)
        assert (turn.status, turn.retries) == ("cancelled", [])
        assert [error["type"] for error in turn.errors] == ["RateLimitError"]
        assert len(provider.requests) == 1


class TestGoing:
    """A stream while it goes on."""

    def test_stands_outside_of_what_the_program_does_meanwhile(self, rows: Rows, provider: Provider) -> None:
        """What runs between two events is not inside the turn, and ends before it."""
        release = threading.Event()
        provider.queue(held(WORDS, after=1, until=release))
        with client_of(provider) as client, agent_scope("reader"):
            stream = begin(client, 1)
            agenttrace.record("note", {"text": "meanwhile"})
            release.set()
            assert len(list(stream)) > 3
        (turn,) = read_turns(rows)
        assert turn.status == "ok"
        ((span, parent),) = rows("SELECT span_id, parent_span_id FROM trajectory_events WHERE kind = 'note'")
        ((turn_span,),) = rows("SELECT span_id FROM trajectory_events WHERE kind = 'model_call'")
        assert turn_span not in (span, parent)

    def test_may_be_read_elsewhere(self, rows: Rows, provider: Provider) -> None:
        """Opened by one agent and read in another thread after it has ended, it stays that agent's turn."""
        provider.queue(WORDS)
        with client_of(provider) as client:
            with agent_scope("asker"):
                stream = client.messages.create(**GIVEN, stream=True)
            reader = threading.Thread(target=lambda: list(stream))
            reader.start()
            reader.join()
        (turn,) = read_turns(rows)
        assert (turn.status, text_of(turn), turn.usage) == ("ok", WORDS.text, USAGE)
        assert rows("SELECT DISTINCT agent_name FROM trajectory_events WHERE kind LIKE 'model%'") == [
            ("asker",)
        ]

    def test_leaves_rows_of_a_long_answer(self, rows: Rows, provider: Provider) -> None:
        """A long text is kept piece by piece in a bounded number of rows, and as a whole."""
        long = " ".join(f"word{number}" for number in range(3000))
        provider.queue(text(long))
        with client_of(provider) as client:
            list(client.messages.create(**GIVEN, stream=True))
        (turn,) = read_turns(rows)
        assert 20 < len(turn.deltas) <= 200
        assert long.startswith("".join(turn.deltas))
        kept = turn.payload["output"][0]["text"]
        assert (kept["$agenttrace"], kept["bytes"]) == ("cut", len(long))
        assert long.startswith(kept["head"])


PROGRAM = """
import anthropic
stream = anthropic.Anthropic().messages.create(
    model="claude-asked", max_tokens=9, messages=[{"role": "user", "content": "hello"}], stream=True
)
count = 0
for event in stream:
    if event.type == "content_block_delta":
        count += 1
        if count == 300:
            print("here", flush=True)
"""


@pytest.mark.slow
@pytest.mark.shared_ring
class TestKilled:
    """A process that is killed while an answer streams in."""

    def test_leaves_what_had_arrived(self, provider: Provider, tmp_path: Path, rows: Rows) -> None:
        """The pieces are there, and the turn is interrupted; the program never heard of us."""
        words = " ".join(f"word{number}" for number in range(400))
        provider.queue(held(text(words), after=300))
        program = tmp_path / "program.py"
        program.write_text(PROGRAM)
        database = tmp_path / "killed.db"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AGENTTRACE_DB")},
            **provider.environment,
            "PYTHONPATH": str(ROOT),
            "AGENTTRACE_DB": str(database),
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "agenttrace", "run", str(program)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        child.stdout.close()
        subprocess.run(
            [sys.executable, "-m", "agenttrace", "list"], env=environment, check=True, capture_output=True
        )
        connection = sqlite3.connect(database)
        deltas = [
            json.loads(payload)["text"]
            for (payload,) in connection.execute(
                "SELECT payload FROM trajectory_events WHERE kind = 'model_delta' ORDER BY id"
            )
        ]
        (status,) = connection.execute(
            "SELECT status FROM trajectory_events WHERE kind = 'model_turn'"
        ).fetchone()
        connection.close()
        assert status == "interrupted"
        kept = "".join(deltas)
        assert words.startswith(kept)
        arrived = len(" ".join(words.split()[:300]))
        assert arrived - len(kept) < 600
