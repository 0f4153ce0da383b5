"""OpenAI's SDK in one form for tests, sync and async: what is asked, and what a program gets of it."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

import openai

from tests.clients.provider import Provider

__all__ = ["APIS", "FORMS", "HTTP", "MESSAGES", "Asking", "Turn", "turns_of"]

HTTP = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
"""``httpx2``, or ``httpx`` beneath older ones of the SDK."""

FORMS = ("plain", "streamed", "helper", "raw", "raw streamed", "open", "open streamed", "lines")
"""The ways in which a program may take an answer."""
APIS = ("chat", "responses")

MESSAGES = [{"role": "user", "content": "hi"}]


class Asking:
    """Asks a provider through the SDK."""

    def __init__(self, provider: Provider, api: str, is_async: bool, **options: Any) -> None:
        self._provider = provider
        self._api = api
        self._is_async = is_async
        self._options = {"base_url": provider.openai_url, "api_key": "k", **options}

    @property
    def arguments(self) -> dict[str, Any]:
        """What is asked, as the API names it."""
        if self._api == "chat":
            return {"model": "gpt-x", "messages": MESSAGES}
        return {"model": "gpt-x", "input": MESSAGES}

    @property
    def usage(self) -> dict[str, Any]:
        """What makes a stream tell its usage."""
        return {"stream_options": {"include_usage": True}} if self._api == "chat" else {}

    def client(self) -> Any:
        """Make a client; without certificates, whose reading would take most of a test's time."""
        if self._is_async:
            return openai.AsyncOpenAI(
                **self._options, http_client=openai.DefaultAsyncHttpxClient(verify=False)
            )
        return openai.OpenAI(**self._options, http_client=openai.DefaultHttpxClient(verify=False))

    def resource(self, client: Any) -> Any:
        """Give what has ``create``."""
        return client.chat.completions if self._api == "chat" else client.responses

    def use(self, sync: Callable[[Any], Any], awaiting: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        """Run *sync* or *awaiting* with what has ``create``."""
        if not self._is_async:
            with self.client() as client:
                return sync(self.resource(client))

        async def main() -> Any:
            async with self.client() as client:
                return await awaiting(self.resource(client))

        return asyncio.run(main())

    def ask(self, form: str = "plain", **more: Any) -> Any:
        """Ask, take the answer in *form* to its end, and give what a program would see of it."""
        arguments = {**self.arguments, **more}
        streaming = {**self.usage, **arguments, "stream": True}
        table: dict[str, tuple[Callable[..., Any], Callable[..., Any], dict[str, Any]]] = {
            "plain": (_create, _create_async, arguments),
            "streamed": (_stream, _stream_async, streaming),
            "helper": (_helper, _helper_async, {**self.usage, **arguments}),
            "raw": (_raw, _raw_async, arguments),
            "raw streamed": (_raw, _raw_async, streaming),
            "open": (_open, _open_async, arguments),
            "open streamed": (_open, _open_async, streaming),
            "lines": (_lines, _lines_async, streaming),
        }
        sync, awaiting, given = table[form]
        return self.use(lambda resource: sync(resource, given), lambda resource: awaiting(resource, given))


# ------------------------------------------------------------------ the forms


def plain(value: Any) -> Any:
    """Give what is equal between two runs: type and content, without what is made anew each time."""
    return type(value).__name__, json.loads(value.model_dump_json())


def _create(resource: Any, given: dict[str, Any]) -> Any:
    return plain(resource.create(**given))


async def _create_async(resource: Any, given: dict[str, Any]) -> Any:
    return plain(await resource.create(**given))


def _stream(resource: Any, given: dict[str, Any]) -> Any:
    stream = resource.create(**given)
    assert isinstance(stream, openai.Stream)
    return [plain(event) for event in stream]


async def _stream_async(resource: Any, given: dict[str, Any]) -> Any:
    stream = await resource.create(**given)
    assert isinstance(stream, openai.AsyncStream)
    return [plain(event) async for event in stream]


def _final(stream: Any) -> Any:
    return (
        stream.get_final_completion if hasattr(stream, "get_final_completion") else stream.get_final_response
    )


def _helper(resource: Any, given: dict[str, Any]) -> Any:
    with resource.stream(**given) as stream:
        kinds = [event.type for event in stream]
        return kinds, plain(_final(stream)())


async def _helper_async(resource: Any, given: dict[str, Any]) -> Any:
    async with resource.stream(**given) as stream:
        kinds = [event.type async for event in stream]
        return kinds, plain(await _final(stream)())


def _raw(resource: Any, given: dict[str, Any]) -> Any:
    response = resource.with_raw_response.create(**given)
    parsed = response.parse()
    assert response.parse() is parsed
    found = [plain(event) for event in parsed] if given.get("stream") else plain(parsed)
    return type(response).__name__, response.status_code, response.retries_taken, found


async def _raw_async(resource: Any, given: dict[str, Any]) -> Any:
    response = await resource.with_raw_response.create(**given)
    parsed = response.parse()
    found = [plain(event) async for event in parsed] if given.get("stream") else plain(parsed)
    return type(response).__name__, response.status_code, response.retries_taken, found


def _open(resource: Any, given: dict[str, Any]) -> Any:
    with resource.with_streaming_response.create(**given) as response:
        parsed = response.parse()
        found = [plain(event) for event in parsed] if given.get("stream") else plain(parsed)
        return type(response).__name__, response.status_code, found


async def _open_async(resource: Any, given: dict[str, Any]) -> Any:
    async with resource.with_streaming_response.create(**given) as response:
        parsed = await response.parse()
        found = [plain(event) async for event in parsed] if given.get("stream") else plain(parsed)
        return type(response).__name__, response.status_code, found


def _lines(resource: Any, given: dict[str, Any]) -> Any:
    with resource.with_streaming_response.create(**given) as response:
        return list(response.iter_lines())


async def _lines_async(resource: Any, given: dict[str, Any]) -> Any:
    async with resource.with_streaming_response.create(**given) as response:
        return [line async for line in response.iter_lines()]


# ------------------------------------------------------------------ what is left of it


class Turn:
    """One model turn, as its rows tell."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self.columns = columns
        self.call = json.loads(columns["call_payload"])
        self.payload = json.loads(columns["payload"]) if columns["payload"] else {}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["columns"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def tokens(self) -> tuple[int | None, ...]:
        """Input, output, cache reads, reasoning."""
        return (self.input_tokens, self.output_tokens, self.cache_read_tokens, self.reasoning_tokens)


_NAMES = (
    "asked call_payload model provider status attempt turn error_id error_type input_tokens output_tokens "
    "cache_read_tokens reasoning_tokens payload"
).split()


def turns_of(rows: Callable[..., list[tuple[Any, ...]]]) -> list[Turn]:
    """Read all turns, in the order in which they began."""
    found = rows(
        "SELECT c.model, c.payload, t.model, t.provider, t.status, t.attempt, t.turn, t.error_id,"
        " t.error_type, t.input_tokens, t.output_tokens, t.cache_read_tokens, t.reasoning_tokens, t.payload"
        " FROM trajectory_events c LEFT JOIN trajectory_events t"
        " ON t.kind = 'model_turn' AND t.span_id = c.span_id AND t.conversation_id = c.conversation_id"
        " WHERE c.kind = 'model_call' ORDER BY c.ts_ns, c.id"
    )
    return [Turn(dict(zip(_NAMES, row, strict=True))) for row in found]
