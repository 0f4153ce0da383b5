"""OpenAI's SDK in a replay: the program gets what was recorded, and nothing is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pydantic
import pytest

from agenttrace.errors import ReplayError
from tests.clients.conftest import Rows
from tests.clients.openai_asking import APIS, FORMS, MESSAGES, Asking, turns_of
from tests.clients.provider import Provider
from tests.clients.provider_replies import (
    Reply,
    Usage,
    bad_request,
    broken_stream,
    dropped,
    failed_stream,
    max_tokens,
    rate_limited,
    refusal,
    server_error,
    text,
    tool_calls,
)
from tests.clients.replaying import replaying

_NOT_RECORDED = (
    "created",
    "created_at",
    "completed_at",
    "service_tier",
    "system_fingerprint",
    "background",
    "logprobs",
    "store",
    "reasoning",
    "temperature",
    "text_format",
    "top_p",
    "truncation",
    "annotations",
    "usage",
)


def said(value: Any) -> Any:
    """Give what is equal in a replay: all but what no turn keeps, and the form of what is left out."""
    if isinstance(value, dict):
        kept = {key: said(one) for key, one in value.items() if key not in _NOT_RECORDED and one is not None}
        if kept.get("object") == "response":
            kept.pop("text", None)
        return kept
    return type(value)(map(said, value)) if isinstance(value, (list, tuple)) else value


REPLIES: dict[str, Reply] = {
    "text": text("one two three", usage=Usage(100, 20, 64, 0, 8)),
    "tools": tool_calls([("add", {"a": 1, "b": "long enough to be cut"}), ("sub", {})], content="let me see"),
    "cut": max_tokens("it goes on and"),
    "refusal": refusal("I will not say"),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("api", APIS)
class TestAReplayedAnswer:
    @pytest.mark.parametrize("form", [form for form in FORMS if form != "lines"])
    @pytest.mark.parametrize("reply", REPLIES)
    def test_is_what_the_program_got(
        self, provider: Provider, rows: Rows, api: str, is_async: bool, form: str, reply: str
    ) -> None:
        """In every form in which an answer is taken, and nothing reaches the provider."""
        provider.queue(REPLIES[reply])
        asking = Asking(provider, api, is_async)
        before = _ask(asking, form)
        with replaying(rows) as recording:
            again = _ask(asking, form)
        assert said(again) == said(before)
        assert recording.asked == ["gpt-x"]
        assert len(provider.requests) == 1
        first, second = turns_of(rows)
        assert first.tokens == second.tokens
        assert first.payload["output"] == second.payload["output"]
        assert first.payload["finish_reason"] == second.payload["finish_reason"]

    @pytest.mark.parametrize("form", ["plain", "streamed"])
    @pytest.mark.parametrize("reply", [rate_limited(), server_error()], ids=["429", "500"])
    def test_comes_after_the_attempts_that_failed(
        self, provider: Provider, rows: Rows, api: str, is_async: bool, form: str, reply: Reply
    ) -> None:
        """The SDK tries again by itself, as often as it did, and nobody waits."""
        provider.queue(reply, reply, text("at last"))
        asking = Asking(provider, api, is_async)
        before = asking.ask(form)
        with replaying(rows):
            again = asking.ask(form)
        waits_ms = rows(
            "SELECT json_extract(payload, '$.wait_ms') FROM trajectory_events WHERE kind = 'retry'"
        )
        assert len(waits_ms) == 4 and sum(wait_ms for (wait_ms,) in waits_ms[2:]) < 100, waits_ms
        assert said(again) == said(before)
        first, second = turns_of(rows)
        assert (first.attempt, second.attempt) == (3, 3)
        errors = rows("SELECT error_type, count(*) FROM trajectory_events WHERE kind = 'error' GROUP BY 1")
        assert [count for _, count in errors] == [4]

    @pytest.mark.parametrize("form", ["plain", "streamed", "raw", "open"])
    @pytest.mark.parametrize(
        "reply", [bad_request("no such model"), rate_limited("quota"), dropped()], ids=["400", "429", "gone"]
    )
    def test_fails_as_it_failed(
        self, provider: Provider, rows: Rows, api: str, is_async: bool, form: str, reply: Reply
    ) -> None:
        """The same class, text, status and body; a connection that broke breaks again."""
        provider.queue(reply)
        asking = Asking(provider, api, is_async, max_retries=0)
        with pytest.raises(openai.APIError) as before:
            asking.ask(form)
        with replaying(rows), pytest.raises(openai.APIError) as again:
            asking.ask(form)
        for name in ("status_code", "body", "code", "message", "type"):
            assert getattr(again.value, name, None) == getattr(before.value, name, None)
        assert type(again.value) is type(before.value)
        assert str(again.value) == str(before.value)
        assert type(again.value.__cause__) is type(before.value.__cause__)
        assert len(provider.requests) == 1
        failures = rows("SELECT error_type, message FROM failures")
        assert failures[0] == failures[1]

    @pytest.mark.parametrize("reply", [broken_stream, failed_stream], ids=["broken", "failed"])
    def test_breaks_off_where_it_broke_off(
        self, provider: Provider, rows: Rows, api: str, is_async: bool, reply: Any
    ) -> None:
        """The program gets the pieces that came, and then what ended them."""
        provider.queue(reply(text("one two three four"), after=2))
        asking = Asking(provider, api, is_async)
        before, how = _pieces(asking)
        with replaying(rows):
            again, how_again = _pieces(asking)
        assert (again, how_again) == (before, how)
        assert before == ["one ", "two "]
        first, second = turns_of(rows)
        assert (first.status, first.payload["output"]) == (second.status, second.payload["output"])

    def test_is_refused_past_the_place_where_the_program_left_it(
        self, provider: Provider, rows: Rows, api: str, is_async: bool
    ) -> None:
        """What was never read was never recorded: who reads on is told so."""
        provider.queue(text("one two three four"))
        asking = Asking(provider, api, is_async)
        before, _ = _pieces(asking, 2)
        with replaying(rows):
            assert _pieces(asking, 2)[0] == before == ["one ", "two "]
        with replaying(rows):
            again, how = _pieces(asking)
        assert again == before
        assert how.startswith("ReplayError: the recorded program left this stream")

    def test_is_refused_where_none_was_recorded(
        self, provider: Provider, rows: Rows, api: str, is_async: bool
    ) -> None:
        """The substitute's error reaches the program as it is, and ends the turn."""
        with replaying(rows), pytest.raises(ReplayError, match="no turn of gpt-x is left"):
            Asking(provider, api, is_async).ask()
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type) == ("error", "ReplayError")


def _ask(asking: Asking, form: str) -> Any:
    """Ask, and give the answer, or what the SDK's own parsing says of one that was cut off."""
    try:
        return asking.ask(form)
    except (openai.LengthFinishReasonError, RuntimeError) as exc:
        return type(exc).__name__


def _pieces(asking: Asking, stop_after: int = 99) -> tuple[list[str], str]:
    """Give the texts of a stream, and how it ended."""
    pieces: list[str] = []

    def take(event: Any) -> bool:
        choices = getattr(event, "choices", None)
        piece = choices[0].delta.content if choices else getattr(event, "delta", None)
        if piece:
            pieces.append(piece)
        return len(pieces) >= stop_after

    def read(resource: Any) -> None:
        with resource.create(**asking.arguments, stream=True) as stream:
            for event in stream:
                if take(event):
                    break

    async def read_async(resource: Any) -> None:
        async with await resource.create(**asking.arguments, stream=True) as stream:
            async for event in stream:
                if take(event):
                    break

    try:
        asking.use(read, read_async)
    except Exception as exc:
        return pieces, f"{type(exc).__name__}: {exc}"
    return pieces, "ended"


class _Sum(pydantic.BaseModel):
    total: int


@pytest.mark.skipif(not hasattr(openai.resources.chat.Completions, "parse"), reason="not in 1.12")
@pytest.mark.parametrize("api", APIS)
class TestAParsedAnswer:
    def test_is_parsed_again(self, provider: Provider, rows: Rows, api: str) -> None:
        """An object of the program's own class, made by the SDK; a refusal by the model stays one."""
        provider.queue(text('{"total": 4}'), refusal("no"))

        def ask() -> list[Any]:
            with openai.OpenAI(base_url=provider.openai_url, api_key="k") as client:
                found = []
                for _ in range(2):
                    if api == "chat":
                        answer = client.chat.completions.parse(
                            model="gpt-x", messages=MESSAGES, response_format=_Sum
                        )
                        found.append((answer.choices[0].message.parsed, answer.choices[0].message.refusal))
                    else:
                        parsed = client.responses.parse(model="gpt-x", input=MESSAGES, text_format=_Sum)
                        found.append((parsed.output_parsed, parsed.output[0].content[0].type))
                return found

        before = ask()
        with replaying(rows):
            assert ask() == before
        assert before[0][0] == _Sum(total=4)

    def test_is_many_at_once(self, provider: Provider, rows: Rows, api: str) -> None:
        """Requests of one client at the same time each get an answer of their own."""
        provider.answer(lambda request: text("same"))

        async def main() -> list[Any]:
            async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as client:
                asking = Asking(provider, api, True)
                resource = asking.resource(client)
                return await asyncio.gather(*(resource.create(**asking.arguments) for _ in range(20)))

        before = asyncio.run(main())
        with replaying(rows) as recording:
            again = asyncio.run(main())
        assert sorted(one.id for one in again) == sorted(one.id for one in before)
        assert len(recording.asked) == len(provider.requests) == 20


class TestAClientInAReplay:
    def test_needs_no_key_that_is_one_and_no_server(self, provider: Provider, rows: Rows) -> None:
        """Whatever stands for the key; the host is not even looked up."""
        provider.queue(text("hello"))
        Asking(provider, "chat", False).ask()
        with replaying(rows):
            client = openai.OpenAI(api_key="none", base_url="http://nowhere.invalid/v1")
            answer = client.chat.completions.create(model="gpt-x", messages=MESSAGES)
        assert answer.choices[0].message.content == "hello"

    def test_sends_its_other_requests_as_ever(self, provider: Provider, rows: Rows) -> None:
        """What is no turn goes its way; so does everything once the replay is over."""
        provider.queue(text("hello"), text("again"))
        with openai.OpenAI(api_key="k", base_url=provider.openai_url) as client:
            ask = {"model": "gpt-x", "messages": MESSAGES}
            client.chat.completions.create(**ask)
            with replaying(rows):
                assert client.chat.completions.create(**ask).choices[0].message.content == "hello"
            assert client.chat.completions.create(**ask).choices[0].message.content == "again"
