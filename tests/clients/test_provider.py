"""The fake provider is a good likeness: the SDKs read from it what it was told to say."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import anthropic
import openai
import pytest

from tests.clients.provider import Provider, Request
from tests.clients.provider_replies import (
    Call,
    Reply,
    Usage,
    bad_request,
    broken_stream,
    dropped,
    failed_stream,
    held,
    max_tokens,
    overloaded,
    rate_limited,
    refusal,
    server_error,
    text,
    tool_calls,
    zipped,
)

HELLO: Any = [{"role": "user", "content": "hello"}]
RICH = tool_calls(
    [Call("add", {"a": 1, "b": "größer"}, "call-a"), ("sub", {"a": [1, {"b": None}]})],
    content="let me see",
    thinking="two of them",
    usage=Usage(100, 50, cache_read_tokens=20, cache_write_tokens=30, reasoning_tokens=10),
    model="answered-1",
    response_id="resp_fixed",
)


def to_anthropic(provider: Provider, **more: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k", **more)


def to_openai(provider: Provider, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.openai_url, api_key="k", **more)


def ask_messages(provider: Provider, *, stream: bool = False, **more: Any) -> Any:
    given: Any = {"model": "asked", "max_tokens": 9, "messages": HELLO}
    client = to_anthropic(provider, **more)
    if not stream:
        return client.messages.create(**given)
    with client.messages.stream(**given) as events:
        return events.get_final_message()


def ask_chat(provider: Provider, *, stream: bool = False, **more: Any) -> Any:
    client = to_openai(provider, **more)
    if not stream:
        return client.chat.completions.create(model="asked", messages=HELLO)
    usage: Any = {"include_usage": True}
    with client.chat.completions.stream(model="asked", messages=HELLO, stream_options=usage) as events:
        snapshots = [event.snapshot for event in events if event.type == "chunk"]
        return snapshots[-1]  # the final completion is not given where the limit of tokens was reached


def ask_responses(provider: Provider, *, stream: bool = False, **more: Any) -> Any:
    client = to_openai(provider, **more)
    if not stream:
        return client.responses.create(model="asked", input="hello")
    with client.responses.stream(model="asked", input="hello") as events:
        # The helper's own last response is there for ``completed`` alone; an incomplete one has its event.
        return list(events)[-1].response


ASK = {"messages": ask_messages, "chat": ask_chat, "responses": ask_responses}


def bare(answer: Any) -> Any:
    """Give what was said, without what only an SDK's stream helper adds."""
    added = {"parsed", "parsed_arguments", "index", "stop_details"}

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: strip(one)
                for key, one in value.items()
                if key not in added and one not in (None, [], "")
            }
        return [strip(one) for one in value] if isinstance(value, list) else value

    return strip(answer.model_dump(mode="json"))


@pytest.mark.parametrize("api", ASK)
class TestProvider:
    """Each wire format."""

    @pytest.mark.parametrize("reply", [RICH, text("a b"), refusal("no"), max_tokens("as long as")])
    def test_says_the_same_streamed_and_not(self, provider: Provider, api: str, reply: Reply) -> None:
        """What the SDK puts together from the events is what it reads in one piece."""
        reply = Reply(**{name: getattr(reply, name) for name in reply.__slots__} | {"response_id": "resp_1"})
        provider.queue(reply, reply)
        plain, streamed = bare(ASK[api](provider)), bare(ASK[api](provider, stream=True))
        for answer in (plain, streamed):
            # A call without an id of its own gets one of the request.
            for block in answer.get("content", []):
                block.pop("id", None)
            for message in (choice["message"] for choice in answer.get("choices", [])):
                for call in message.get("tool_calls", []):
                    call.pop("id")
            for item in answer.get("output", []):
                item.pop("call_id", None)
        assert plain == streamed

    @pytest.mark.parametrize("stream", [False, True])
    def test_says_the_same_compressed(self, provider: Provider, api: str, stream: bool) -> None:
        """What comes zipped is read as what does not."""
        reply = text("a b c", response_id="resp_1")
        provider.queue(reply, zipped(reply))
        plain, unzipped = bare(ASK[api](provider, stream=stream)), bare(ASK[api](provider, stream=stream))
        assert plain == unzipped

    @pytest.mark.parametrize("failure", [rate_limited(), overloaded(), server_error()])
    @pytest.mark.parametrize("stream", [False, True])
    def test_is_asked_again_after_a_failure(
        self, provider: Provider, api: str, failure: Reply, stream: bool
    ) -> None:
        """The SDK tries again at once, with the same body."""
        provider.queue(failure, failure, text("fine"))
        assert "fine" in ASK[api](provider, stream=stream).model_dump_json()
        first, *others = provider.bodies
        assert others == [first, first]

    def test_is_believed_when_it_refuses(self, provider: Provider, api: str) -> None:
        """An error of the request's own is raised at once, with the provider's words."""
        provider.queue(bad_request("what is that"))
        with pytest.raises((anthropic.BadRequestError, openai.BadRequestError), match="what is that"):
            ASK[api](provider)

    def test_can_hang_up(self, provider: Provider, api: str) -> None:
        """No answer at all is a connection error."""
        provider.queue(dropped())
        with pytest.raises((anthropic.APIConnectionError, openai.APIConnectionError)):
            ASK[api](provider, max_retries=0)

    def test_can_break_off(self, provider: Provider, api: str) -> None:
        """A stream that breaks has brought what was sent before, and raises then."""
        provider.queue(broken_stream(text("a b c d"), after=2))
        events = open_stream(provider, api)
        got = []
        # OpenAI's own error, or that of the HTTP library, which is not the same in every version.
        with pytest.raises(Exception, match="onnection"):
            got.extend(delta for event in events if (delta := piece(event)))
        assert got == ["a ", "b "]

    def test_can_fail_in_a_stream(self, provider: Provider, api: str) -> None:
        """An error event is raised, or, by the responses API, told."""
        provider.queue(failed_stream(text("a b c d"), after=2))
        events = open_stream(provider, api)
        got: list[Any] = []
        if api == "responses":
            got.extend(events)
            assert got[-1].type == "response.failed"
            assert got[-1].response.error.message == "Overloaded"
        else:
            with pytest.raises((openai.APIError, anthropic.APIStatusError), match="Overloaded"):
                got.extend(events)
        assert [delta for event in got if (delta := piece(event))] == ["a ", "b "]

    def test_goes_on_when_it_is_let(self, provider: Provider, api: str) -> None:
        """A held stream gives what it has, and the rest later."""
        release = threading.Event()
        provider.queue(held(text("a b c"), after=1, until=release))
        got: list[str] = []
        for event in open_stream(provider, api):
            if delta := piece(event):
                got.append(delta)
                if len(got) == 1:
                    release.set()
        assert got == ["a ", "b ", "c"]

    def test_sees_its_client_leave(self, provider: Provider, api: str) -> None:
        """Who closes a stream that never ends is gone."""
        provider.queue(held(text("a b c"), after=1))
        events = open_stream(provider, api)
        next(event for event in events if piece(event))
        events.close()
        assert provider.requests[0].gone.wait(10)

    def test_answers_by_the_request(self, provider: Provider, api: str) -> None:
        """A rule sees the last message."""

        def rule(request: Request) -> Reply | None:
            return text(f"{request.api}: {request.last_text}")

        provider.answer(rule)
        assert f"{api}: hello" in ASK[api](provider).model_dump_json()


def open_stream(provider: Provider, api: str) -> Any:
    if api == "messages":
        client = to_anthropic(provider)
        return client.messages.create(model="asked", max_tokens=9, messages=HELLO, stream=True)
    if api == "chat":
        return to_openai(provider).chat.completions.create(model="asked", messages=HELLO, stream=True)
    return to_openai(provider).responses.create(model="asked", input="hello", stream=True)


def piece(event: Any) -> str | None:
    """Give the piece of text in an event of whatever API."""
    if hasattr(event, "choices"):
        return event.choices[0].delta.content or None if event.choices else None
    delta = getattr(event, "delta", None)
    return delta if isinstance(delta, str) else getattr(delta, "text", None)


class TestUsage:
    """The counts, as each provider counts."""

    def test_leaves_the_cache_out_at_anthropic(self, provider: Provider) -> None:
        """Input is what was neither read from nor written to the cache."""
        provider.queue(RICH, RICH)
        for stream in (False, True):
            usage = ask_messages(provider, stream=stream).usage
            cached = (usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
            assert (usage.input_tokens, *cached, usage.output_tokens) == (50, 20, 30, 50)

    def test_is_streamed_by_chat_only_where_it_is_asked_for(self, provider: Provider) -> None:
        """Without ``include_usage`` no chunk has any."""
        provider.queue(RICH)
        assert all(chunk.usage is None for chunk in open_stream(provider, "chat"))

    @pytest.mark.parametrize("stream", [False, True])
    def test_has_all_in_it_at_openai(self, provider: Provider, stream: bool) -> None:
        """Input and output are whole; what they are made of stands beside them."""
        provider.queue(RICH, RICH)
        chat = ask_chat(provider, stream=stream).usage
        assert (chat.prompt_tokens, chat.completion_tokens) == (100, 50)
        usage = ask_responses(provider, stream=stream).usage
        assert (usage.input_tokens, usage.output_tokens) == (100, 50)
        assert (chat.prompt_tokens_details.cached_tokens, usage.input_tokens_details.cached_tokens) == (
            20,
            20,
        )


class TestScript:
    """What a test is told when it and the program disagree."""

    def test_fails_a_request_that_nobody_foresaw(self) -> None:
        """The SDK gets an error, and the block ends with an assertion."""
        provider = Provider()
        with pytest.raises(AssertionError, match="nobody foresaw"):
            with provider:
                with pytest.raises(anthropic.BadRequestError):
                    ask_messages(provider)

    def test_fails_a_reply_that_nobody_fetched(self) -> None:
        """A queue that is not empty at the end is a mistake."""
        with pytest.raises(AssertionError, match="nobody fetched"):
            with Provider() as provider:
                provider.queue(text("unheard"))

    def test_leaves_no_thread(self) -> None:
        """With connections open and a stream held, the end is the end."""
        before = threading.active_count()
        with Provider() as provider:
            provider.queue(text("a"), held(text("a b"), after=1))
            client = to_anthropic(provider)
            client.messages.create(model="asked", max_tokens=9, messages=HELLO)
            events = iter(client.messages.create(model="asked", max_tokens=9, messages=HELLO, stream=True))
            next(events)
            assert threading.active_count() > before
        assert threading.active_count() == before

    @pytest.mark.slow
    def test_answers_a_program_that_knows_nothing_of_it(self, provider: Provider) -> None:
        """Its environment is all that an unchanged program needs."""
        program = (
            "import anthropic, openai\n"
            "m = [{'role': 'user', 'content': 'hello'}]\n"
            "answer = anthropic.Anthropic().messages.create(model='x', max_tokens=9, messages=m)\n"
            "print(answer.content[0].text)\n"
            "print(openai.OpenAI().responses.create(model='x', input='hello').output_text)\n"
        )
        provider.queue(text("one"), text("two"))
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PATH": "", **provider.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.split() == ["one", "two"], done.stderr
