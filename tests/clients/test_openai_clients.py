"""OpenAI's SDK, followed: clients of other kinds, and bodies that come in other forms."""

from __future__ import annotations

import gc
import gzip
import json
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.clients.conftest import Rows
from tests.clients.openai_asking import HTTP, MESSAGES, turns_of
from tests.clients.provider import Provider
from tests.clients.provider_replies import bad_request, text

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-x-2026",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes, indeed"}}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
CHUNKS = [
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-x-2026",
        "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": reason}],
    }
    for word, reason in (("yes, ", None), ("indeed", None), ("", "stop"))
]


class Pieces(HTTP.SyncByteStream):  # type: ignore[name-defined,misc]
    """A body in pieces of five bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self._content), 5):
            yield self._content[at : at + 5]


def http_client(answer: Callable[[Any], Any]) -> Any:
    """Give a client that gets what *answer* makes of a request."""
    return HTTP.Client(transport=HTTP.MockTransport(answer))


def send(content: bytes, content_type: str, encoding: str | None = None) -> Callable[[Any], Any]:
    """Answer 200 with *content*, as a network would: in pieces."""

    def answer(request: Any) -> Any:
        headers = {"content-type": content_type}
        if encoding is not None:
            headers["content-encoding"] = encoding
        return HTTP.Response(200, headers=headers, stream=Pieces(content))

    return answer


def ask(resource: Any, **more: Any) -> Any:
    return resource.create(model="gpt-x", messages=MESSAGES, **more)


class TestOtherClients:
    def test_of_azure_are_followed(self, rows: Rows) -> None:
        """The deployment stands in the path that is sent; the turn has the model that was asked."""
        paths = []

        def answer(request: Any) -> Any:
            paths.append(request.url.path)
            return HTTP.Response(200, json=COMPLETION)

        client = openai.AzureOpenAI(
            azure_endpoint="https://mine.openai.azure.com",
            api_key="k",
            api_version="2024-10-21",
            http_client=http_client(answer),
        )
        ask(client.chat.completions)
        (turn,) = turns_of(rows)
        assert paths == ["/openai/deployments/gpt-x/chat/completions"]
        assert (turn.asked, turn.model, turn.provider) == ("gpt-x", "gpt-x-2026", "azure")
        assert turn.tokens == (9, 3, None, None)

    def test_made_of_a_client_are_followed(self, provider: Provider, rows: Rows) -> None:
        """``with_options``, a subclass, the module's own client, and ``client.post``."""

        class Mine(openai.OpenAI):
            pass

        provider.queue(*[text("yes")] * 4)
        client = Mine(base_url=provider.openai_url, api_key="k")
        ask(client.with_options(max_retries=0).chat.completions)
        ask(client.chat.completions)
        client.post("/chat/completions", cast_to=object, body={"model": "gpt-x", "messages": MESSAGES})
        openai.base_url, openai.api_key = f"{provider.openai_url}/", "k"
        try:
            ask(openai.chat.completions)
        finally:
            openai.base_url = openai.api_key = None
        assert [turn.payload["output"]["content"] for turn in turns_of(rows)] == ["yes"] * 4

    def test_do_nothing_with_other_requests(self, rows: Rows) -> None:
        """Embeddings, stored completions, cancelled responses: no turns, and no trace of them."""
        client = openai.OpenAI(
            api_key="k", http_client=http_client(lambda request: HTTP.Response(200, json={}))
        )
        client.embeddings.create(model="e", input="x", encoding_format="float")
        client.chat.completions.with_raw_response.create(model="m", messages=[])
        client.responses.cancel("resp_1")
        client.models.with_raw_response.list()
        assert len(turns_of(rows)) == 1


class TestABody:
    @pytest.mark.parametrize("how", ["parse", "read", "json", "iter_bytes", "iter_lines"])
    @pytest.mark.parametrize("encoding", [None, "gzip"])
    def test_that_the_program_reads_is_the_answer(self, rows: Rows, how: str, encoding: str | None) -> None:
        """However a raw response is read, and compressed or not, its turn has the answer."""
        content = json.dumps(COMPLETION).encode()
        content = gzip.compress(content) if encoding else content
        client = openai.OpenAI(
            api_key="k", http_client=http_client(send(content, "application/json", encoding))
        )
        with ask(client.chat.completions.with_streaming_response) as response:
            read = getattr(response, how)()
            if how.startswith("iter"):
                read = list(read)
        (turn,) = turns_of(rows)
        assert (turn.status, turn.payload["output"]["content"]) == ("ok", "yes, indeed")
        assert turn.tokens == (9, 3, None, None)

    @pytest.mark.parametrize("encoding", [None, "gzip"])
    def test_of_events_that_the_program_reads_is_the_answer(self, rows: Rows, encoding: str | None) -> None:
        """Lines of events, compressed or not."""
        lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS) + "data: [DONE]\n\n"
        content = gzip.compress(lines.encode()) if encoding else lines.encode()
        client = openai.OpenAI(
            api_key="k", http_client=http_client(send(content, "text/event-stream", encoding))
        )
        with ask(client.chat.completions.with_streaming_response, stream=True) as response:
            assert "".join(response.iter_text()) == lines
        (turn,) = turns_of(rows)
        assert (turn.status, turn.payload["output"]["content"]) == ("ok", "yes, indeed")
        assert turn.payload["finish_reason"] == "stop"

    def test_that_the_program_reads_in_part_was_left(self, rows: Rows) -> None:
        """Half of a body says nothing that could be read."""
        content = json.dumps(COMPLETION).encode()
        client = openai.OpenAI(api_key="k", http_client=http_client(send(content, "application/json")))
        with ask(client.chat.completions.with_streaming_response) as response:
            next(response.iter_bytes())
        (turn,) = turns_of(rows)
        assert (turn.status, turn.payload["output"]) == ("stopped_early", None)

    @pytest.mark.parametrize("is_raw", [False, True], ids=["plain", "raw"])
    def test_that_is_no_json_is_kept_as_text(self, rows: Rows, is_raw: bool) -> None:
        """A gateway's page, say, which the SDK hands on as it is."""
        page = "<html>please log in</html>"
        client = openai.OpenAI(api_key="k", http_client=http_client(send(page.encode(), "text/html")))
        resource = client.chat.completions
        found = ask(resource.with_raw_response).text if is_raw else ask(resource)
        assert found == page
        (turn,) = turns_of(rows)
        assert (turn.status, turn.payload["output"]) == ("ok", page)

    def test_without_chunked_end_that_breaks_off_is_seen_by_its_missing_reason(self, rows: Rows) -> None:
        """A stream that just ends has no finish reason; the SDK takes it for complete, and so do we."""
        content = f"data: {json.dumps(CHUNKS[0])}\n\n".encode()
        client = openai.OpenAI(api_key="k", http_client=http_client(send(content, "text/event-stream")))
        assert len(list(ask(client.chat.completions, stream=True))) == 1
        (turn,) = turns_of(rows)
        assert (turn.status, turn.payload["output"]["content"]) == ("ok", "yes, ")
        assert turn.payload["finish_reason"] is None if "finish_reason" in turn.payload else True


class TestWhatLives:
    def test_ends_as_without_us(self, provider: Provider, rows: Rows) -> None:
        """A stream that is kept keeps no exception that was being handled, and no frame of its maker."""

        class Big:
            pass

        provider.queue(text("a b c"), bad_request())
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        kept: list[Any] = []
        refs: list[weakref.ref[Any]] = []

        def make() -> None:
            big = Big()
            refs.append(weakref.ref(big))
            try:
                raise ValueError("mine")
            except ValueError:
                kept.append(ask(client.chat.completions, stream=True))

        make()
        gc.collect()
        assert refs[0]() is None

        def fail() -> None:
            big = Big()
            refs.append(weakref.ref(big))
            with pytest.raises(openai.BadRequestError):
                ask(client.chat.completions)

        fail()
        gc.collect()
        assert refs[1]() is None
        kept[0].close()
