"""OpenAI's SDK, followed: streams that do not come to their end, and those that do."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import openai
import pytest

from agenttrace import agent_scope, errors, traced_tool
from agenttrace.capture.context import CURRENT
from tests.clients.conftest import Rows
from tests.clients.openai_asking import APIS, HTTP, Asking, turns_of
from tests.clients.provider import Provider
from tests.clients.provider_replies import (
    Usage,
    broken_stream,
    failed_stream,
    held,
    text,
    tool_calls,
)
from tests.reading import ROOT

WAYS = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
BOTH = pytest.mark.parametrize("api", APIS)

BROKEN = (openai.APIConnectionError, HTTP.RemoteProtocolError)
"""What the SDK raises where a stream breaks off, since 3.0 and before."""

WORDS = "one two three four five six"


class Left(Exception):
    """The program's own, raised amid a stream."""


def is_text(event: Any) -> bool:
    """Tell whether *event* brings text."""
    choices = getattr(event, "choices", None)
    if choices is not None:
        return bool(choices and choices[0].delta.content)
    return bool(event.type == "response.output_text.delta")


def take(events: Iterator[Any], count: int) -> None:
    """Take events until *count* of them brought text."""
    for event in events:
        count -= is_text(event)
        if count == 0:
            return


async def take_async(events: AsyncIterator[Any], count: int) -> None:
    """The same of an async stream."""
    async for event in events:
        count -= is_text(event)
        if count == 0:
            return


def text_of(turn: Any) -> str:
    """Give what is kept of an answer's text."""
    output = turn.payload["output"]
    if isinstance(output, dict):
        return str(output["content"])
    return "".join(part["text"] for item in output for part in item.get("content", []))


def deltas_of(rows: Rows) -> list[str]:
    """Give the texts of all pieces."""
    found = rows("SELECT payload FROM trajectory_events WHERE kind = 'model_delta' ORDER BY ts_ns, id")
    return [json.loads(payload)["text"] for (payload,) in found]


class Leaving:
    """The ways to leave a stream before its end, after three pieces of text."""

    @staticmethod
    def close(stream: Any) -> None:
        take(stream, 3)
        stream.close()

    @staticmethod
    def block(stream: Any) -> None:
        with stream:
            take(stream, 3)

    @staticmethod
    def error(stream: Any) -> None:
        with pytest.raises(Left), stream:
            take(stream, 3)
            raise Left

    @staticmethod
    def drop(stream: Any) -> None:
        take(stream, 3)

    @staticmethod
    def response(stream: Any) -> None:
        take(stream, 3)
        stream.response.close()


class LeavingAsync:
    """The same of an async stream."""

    @staticmethod
    async def close(stream: Any) -> None:
        await take_async(stream, 3)
        await stream.close()

    @staticmethod
    async def block(stream: Any) -> None:
        async with stream:
            await take_async(stream, 3)

    @staticmethod
    async def error(stream: Any) -> None:
        with pytest.raises(Left):
            async with stream:
                await take_async(stream, 3)
                raise Left

    @staticmethod
    async def drop(stream: Any) -> None:
        await take_async(stream, 3)

    @staticmethod
    async def response(stream: Any) -> None:
        await take_async(stream, 3)
        await stream.response.aclose()


@WAYS
@BOTH
class TestAStreamThatIsLeft:
    @pytest.mark.parametrize("way", ["close", "block", "error", "drop", "response"])
    def test_keeps_what_had_come(
        self, provider: Provider, rows: Rows, api: str, way: str, is_async: bool
    ) -> None:
        """Its turn is ``stopped_early``, no error, and pieces and answer end where the program left."""
        provider.queue(text(WORDS))
        asking = Asking(provider, api, is_async)

        def leave(resource: Any) -> None:
            getattr(Leaving, way)(resource.create(**asking.arguments, stream=True))
            gc.collect()

        async def leave_async(resource: Any) -> None:
            await getattr(LeavingAsync, way)(await resource.create(**asking.arguments, stream=True))
            gc.collect()
            for _ in range(20):  # the event loop closes what was dropped
                await asyncio.sleep(0)
            gc.collect()

        asking.use(leave, leave_async)
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type, turn.error_id) == ("stopped_early", None, None)
        assert text_of(turn) == "one two three "
        assert "".join(deltas_of(rows)) == "one two three "
        assert turn.payload["first_chunk_ms"] > 0
        assert rows("SELECT count(*) FROM trajectory_events WHERE kind = 'error'") == [(0,)]

    def test_unread_ends_its_turn(self, provider: Provider, rows: Rows, api: str, is_async: bool) -> None:
        """A stream that is dropped before its first piece ends as the object goes."""
        provider.queue(held(text(WORDS)))
        asking = Asking(provider, api, is_async)

        def drop(resource: Any) -> None:
            resource.create(**asking.arguments, stream=True)
            gc.collect()
            assert [turn.status for turn in turns_of(rows)] == ["stopped_early"]

        async def drop_async(resource: Any) -> None:
            await resource.create(**asking.arguments, stream=True)
            gc.collect()
            assert [turn.status for turn in turns_of(rows)] == ["stopped_early"]

        asking.use(drop, drop_async)
        (turn,) = turns_of(rows)
        assert "first_chunk_ms" not in turn.payload

    @pytest.mark.parametrize("form", ["raw", "open"])
    def test_raw_and_unread_ends_its_turn(
        self, provider: Provider, rows: Rows, api: str, form: str, is_async: bool
    ) -> None:
        """So does a raw response that nobody reads."""
        provider.queue(held(text(WORDS)))
        asking = Asking(provider, api, is_async)
        given = {**asking.arguments, "stream": True}

        def drop(resource: Any) -> None:
            if form == "raw":
                resource.with_raw_response.create(**given)
                gc.collect()
            else:
                with resource.with_streaming_response.create(**given):
                    pass

        async def drop_async(resource: Any) -> None:
            if form == "raw":
                await resource.with_raw_response.create(**given)
                gc.collect()
            else:
                async with resource.with_streaming_response.create(**given):
                    pass

        asking.use(drop, drop_async)
        assert [turn.status for turn in turns_of(rows)] == ["stopped_early"]

    def test_by_the_helper_ends_its_turn(
        self, provider: Provider, rows: Rows, api: str, is_async: bool
    ) -> None:
        """``.stream()`` closes the connection beneath the stream; that is seen too."""
        provider.queue(text(WORDS))
        asking = Asking(provider, api, is_async)
        kind = "content.delta" if api == "chat" else "response.output_text.delta"

        def leave(resource: Any) -> None:
            with resource.stream(**asking.arguments) as stream:
                for event in stream:
                    if event.type == kind and event.delta:
                        break

        async def leave_async(resource: Any) -> None:
            async with resource.stream(**asking.arguments) as stream:
                async for event in stream:
                    if event.type == kind and event.delta:
                        break

        asking.use(leave, leave_async)
        (turn,) = turns_of(rows)
        assert (turn.status, text_of(turn)) == ("stopped_early", "one ")

    def test_at_its_last_piece_is_complete(
        self, provider: Provider, rows: Rows, api: str, is_async: bool
    ) -> None:
        """A program that stops as the answer says that it is done has the whole answer."""
        provider.queue(text(WORDS))
        asking = Asking(provider, api, is_async)

        def is_last(event: Any) -> bool:
            if api == "chat":
                return bool(event.choices and event.choices[0].finish_reason)
            return bool(event.type == "response.completed")

        def leave(resource: Any) -> None:
            with resource.create(**asking.arguments, stream=True) as stream:
                next(event for event in stream if is_last(event))

        async def leave_async(resource: Any) -> None:
            async with await resource.create(**asking.arguments, stream=True) as stream:
                async for event in stream:
                    if is_last(event):
                        break

        asking.use(leave, leave_async)
        (turn,) = turns_of(rows)
        assert (turn.status, text_of(turn)) == ("ok", WORDS)


@WAYS
@BOTH
class TestAStreamThatBreaks:
    @pytest.mark.parametrize("form", ["streamed", "helper", "raw streamed", "open streamed"])
    def test_fails_with_what_the_program_gets(
        self, provider: Provider, rows: Rows, api: str, form: str, is_async: bool
    ) -> None:
        """One failure, of the SDK's exception, and what had arrived stays."""
        provider.queue(broken_stream(text(WORDS), after=3))
        with pytest.raises(BROKEN) as raised:
            Asking(provider, api, is_async).ask(form)
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type) == ("error", raised.type.__name__)
        assert text_of(turn) == "".join(deltas_of(rows)) == "one two three "
        assert rows("SELECT error_type, fate FROM failures") == [(raised.type.__name__, "open")]
        assert rows("SELECT count(*) FROM trajectory_events WHERE kind = 'retry'") == [(0,)]

    def test_past_the_sdk_fails_with_what_the_program_gets(
        self, provider: Provider, rows: Rows, api: str, is_async: bool
    ) -> None:
        """A program that reads the lines itself gets the transport's exception."""
        provider.queue(broken_stream(text(WORDS), after=3))
        with pytest.raises(HTTP.RemoteProtocolError) as raised:
            Asking(provider, api, is_async).ask("lines")
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type) == ("error", raised.type.__name__)
        assert text_of(turn) == "one two three "

    def test_amid_a_tools_arguments_keeps_their_text(
        self, provider: Provider, rows: Rows, api: str, is_async: bool
    ) -> None:
        """Half of the arguments are kept as the text that they were."""
        provider.queue(broken_stream(tool_calls([("add", {"first": 1, "second": 2})]), after=2))
        with pytest.raises(BROKEN):
            Asking(provider, api, is_async).ask("streamed")
        (turn,) = turns_of(rows)
        output = turn.payload["output"]
        call = output["tool_calls"][0]["function"] if api == "chat" else output[0]
        assert call["name"] == "add"
        assert '{"first": 1, "second": 2}'.startswith(call["arguments"])
        assert 0 < len(call["arguments"]) < 25


@WAYS
class TestAStreamThatSaysItFailed:
    def test_in_chat_raises_and_is_that_failure(self, provider: Provider, rows: Rows, is_async: bool) -> None:
        """An ``error`` in a chunk is raised by the SDK, and is the turn's failure."""
        provider.queue(failed_stream(text(WORDS), after=2))
        with pytest.raises(openai.APIError):
            Asking(provider, "chat", is_async).ask("streamed")
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type, text_of(turn)) == ("error", "APIError", "one two ")

    def test_in_responses_ends_as_failed(self, provider: Provider, rows: Rows, is_async: bool) -> None:
        """``response.failed`` is an event like others: nothing is raised, and the turn has failed."""
        provider.queue(failed_stream(text(WORDS), after=2))
        Asking(provider, "responses", is_async).ask("streamed")
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type) == ("error", "ReturnedFailure")
        assert turn.payload["finish_reason"] == "failed"
        assert text_of(turn) == "one two "


class TestAStreamThatIsCancelled:
    def test_is_a_cancelled_turn(self, provider: Provider, rows: Rows) -> None:
        """A task that is cancelled while it waits for the next piece leaves no error."""
        provider.queue(held(text(WORDS), after=2))

        async def read(seen: asyncio.Event) -> None:
            async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as client:
                stream = await client.responses.create(model="gpt-x", input="hi", stream=True)
                async for event in stream:
                    if event.type == "response.output_text.delta" and event.delta == "two ":
                        seen.set()

        async def main() -> None:
            seen = asyncio.Event()
            task = asyncio.ensure_future(read(seen))
            await seen.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_id, text_of(turn)) == ("cancelled", None, "one two ")


class TestWhileAnAnswerStreams:
    def test_the_program_stands_outside(self, provider: Provider, rows: Rows) -> None:
        """A tool that is called between two pieces belongs to the agent, beside the turn."""

        @traced_tool
        def look() -> None:
            pass

        provider.queue(text(WORDS))
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        with agent_scope("a"):
            before = CURRENT.get()
            stream = client.responses.create(model="gpt-x", input="hi", stream=True)
            assert CURRENT.get() is before
            for event in stream:
                if event.type == "response.output_text.delta":
                    look()
                    assert CURRENT.get() is before
        assert rows(
            "SELECT count(*) FROM trajectory_events t JOIN trajectory_events a ON a.kind = 'agent_start'"
            " AND a.span_id = t.parent_span_id WHERE t.kind = 'tool_call'"
        ) == [(6,)]

    def test_pieces_are_rows_at_once(self, provider: Provider, rows: Rows) -> None:
        """What had come is in the database while the rest is still awaited, for a program that is killed."""
        go_on = threading.Event()
        provider.queue(held(text("long " * 200 + "end"), after=150, until=go_on))
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        seen = 0
        for event in client.responses.create(model="gpt-x", input="hi", stream=True):
            seen += event.type == "response.output_text.delta"
            if seen == 150 and not go_on.is_set():
                assert "".join(deltas_of(rows)).startswith("long " * 100)
                assert turns_of(rows)[0].status is None
                go_on.set()
        assert turns_of(rows)[0].status == "ok"

    def test_a_reader_in_another_thread_or_context_ends_the_turn(
        self, provider: Provider, rows: Rows
    ) -> None:
        """The turn keeps its agent, wherever its answer is read."""
        provider.queue(text(WORDS), text(WORDS))
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        with agent_scope("a"):
            streams = [client.responses.create(model="m", input="hi", stream=True) for _ in range(2)]
        thread = threading.Thread(target=list, args=(streams[0],))
        thread.start()
        thread.join()
        contextvars.Context().run(list, streams[1])
        assert rows("SELECT agent_name, status FROM trajectory_events WHERE kind = 'model_turn'") == [
            ("a", "ok"),
            ("a", "ok"),
        ]
        assert errors.LOSSES == {}

    def test_nothing_is_read_ahead(self, provider: Provider, rows: Rows) -> None:
        """The next piece is fetched when the program asks for it, and not before."""
        go_on = threading.Event()
        provider.queue(held(text(WORDS), after=1, until=go_on))
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        first = next(stream)
        while not first.choices[0].delta.content:
            first = next(stream)
        assert first.choices[0].delta.content == "one "
        go_on.set()
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == WORDS[4:]


@BOTH
class TestAStreamWithoutUsage:
    def test_says_nothing_of_tokens(self, provider: Provider, rows: Rows, api: str) -> None:
        """What the provider does not send is unknown; the request is not changed to get it."""
        provider.queue(text(WORDS, usage=Usage(9, 4)))
        asking = Asking(provider, api, False)
        asking.use(lambda resource: list(resource.create(**asking.arguments, stream=True)), _never)
        (turn,) = turns_of(rows)
        assert turn.tokens == ((None, None, None, None) if api == "chat" else (9, 4, 0, 0))
        assert "stream_options" not in provider.bodies[0]


async def _never(resource: Any) -> None:
    raise AssertionError("not async")


@pytest.mark.slow
class TestAtTheEndOfAProgram:
    @pytest.mark.parametrize("where", ["held", "in a cycle"])
    def test_a_stream_that_was_never_read_is_ended(
        self, provider: Provider, tmp_path: Path, where: str
    ) -> None:
        """
        It shows as left by the program, not as interrupted, and the program ends as without us.

        That may be a crash: on Python 3.13 the SDK closes a body during finalization, which
        CPython does not survive.
        """
        program = (
            "import openai\n"
            "stream = openai.OpenAI().responses.create(model='m', input='hi', stream=True)\n"
            "next(iter(stream))\n"
        )
        if where == "in a cycle":
            program += "box = [stream]; box.append(box); del box, stream\n"

        def run(code: str) -> tuple[int, str, str]:
            provider.queue(held(text(WORDS), after=0))
            done = subprocess.run(
                [sys.executable, "-c", code],
                env={
                    **os.environ,
                    **provider.environment,
                    "AGENTTRACE": "1",
                    "AGENTTRACE_DB": str(tmp_path / "t.db"),
                    "PYTHONPATH": str(ROOT),
                },
                capture_output=True,
                text=True,
                timeout=60,
            )
            return done.returncode, done.stdout, done.stderr

        assert run(f"import agenttrace\n{program}") == run(program)
        assert [turn.status for turn in turns_of(Rows(tmp_path / "t.db"))] == ["stopped_early"]


@pytest.mark.slow
@pytest.mark.stress
class TestManyAtOnce:
    @pytest.mark.parametrize("seed", range(3))
    def test_end_each_once_and_as_they_were_left(self, provider: Provider, rows: Rows, seed: int) -> None:
        """Tasks side by side, each with an agent of its own, that read, leave, drop or are cancelled."""
        random = Random(seed)
        ways = [random.choice(["read", "close", "drop", "cancel"]) for _ in range(40)]
        print(f"seed {seed}: {ways}")
        is_held = {f"task {at}": way == "cancel" for at, way in enumerate(ways)}
        provider.answer(
            lambda request: held(text(WORDS), after=2) if is_held[request.last_text] else text(WORDS)
        )

        async def leave(client: Any, name: str, way: str) -> None:
            async with agent_scope(name):
                stream = await client.responses.create(
                    model="m", input=[{"role": "user", "content": name}], stream=True
                )
                if way in ("read", "cancel"):
                    task = asyncio.current_task()
                    async for event in stream:
                        if way == "cancel" and getattr(event, "delta", "") == "two ":
                            assert task is not None
                            asyncio.get_running_loop().call_soon(task.cancel)
                else:
                    await take_async(stream, random.randrange(1, 4))
                    if way == "close":
                        await stream.close()

        async def main() -> None:
            async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as client:
                tasks = [leave(client, f"task {at}", way) for at, way in enumerate(ways)]
                ends = await asyncio.gather(*tasks, return_exceptions=True)
                assert [type(end) for end in ends] == [
                    asyncio.CancelledError if way == "cancel" else type(None) for way in ways
                ]
                gc.collect()
                for _ in range(20):
                    await asyncio.sleep(0)
                gc.collect()

        asyncio.run(main())
        wanted = {"read": "ok", "close": "stopped_early", "drop": "stopped_early", "cancel": "cancelled"}
        found = rows("SELECT agent_name, status FROM trajectory_events WHERE kind = 'model_turn'")
        assert sorted(found) == sorted((f"task {at}", wanted[way]) for at, way in enumerate(ways))
        assert rows("SELECT count(*) FROM trajectory_events WHERE kind = 'error'") == [(0,)]
        assert errors.LOSSES == {}
