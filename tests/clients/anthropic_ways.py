"""Every way in which a program asks Anthropic's SDK for a message, and what it gets to see."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import anthropic

__all__ = ["STREAMED", "WAYS", "Way", "look"]


class Way(NamedTuple):
    """One way to ask."""

    ask: Callable[[Any, dict[str, Any]], Any]
    """Of a client and the request's parameters."""
    is_async: bool
    is_streamed: bool

    def run(self, url: str, given: dict[str, Any], **settings: Any) -> Any:
        """Ask once, with a client of its own."""
        if self.is_async:
            return asyncio.run(self._run(url, given, settings))
        with anthropic.Anthropic(base_url=url, api_key="k", **settings) as client:
            return look(self.ask, client, given)

    async def _run(self, url: str, given: dict[str, Any], settings: dict[str, Any]) -> Any:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="k", **settings) as client:
            return await look_async(self.ask, client, given)


def look(ask: Callable[..., Any], *args: Any) -> Any:
    """Give what *ask* returned, or how it failed, as data."""
    try:
        return describe(ask(*args))
    except Exception as exc:
        return describe_error(exc)


async def look_async(ask: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    try:
        return describe(await ask(*args))
    except Exception as exc:
        return describe_error(exc)


def describe_error(exc: BaseException) -> Any:
    cause = None if exc.__cause__ is None else describe_error(exc.__cause__)
    tail = traceback.extract_tb(exc.__traceback__)[-1]
    return {
        "type": type(exc).__name__,
        "text": str(exc),
        "cause": cause,
        "context": type(exc.__context__).__name__,
        "raised in": tail.name,
    }


def describe(value: Any) -> Any:
    """Give *value* with the types of what is in it."""
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(describe, value)]
    if hasattr(value, "model_dump"):
        return [type(value).__name__, value.model_dump(mode="json", warnings=False)]
    return value if isinstance(value, (str, int, dict, type(None))) else type(value).__qualname__


# ------------------------------------------------------------------ at once


def create(client: Any, given: Any) -> Any:
    message = client.messages.create(**given)
    return message, message._request_id


async def create_async(client: Any, given: Any) -> Any:
    message = await client.messages.create(**given)
    return message, message._request_id


def beta(client: Any, given: Any) -> Any:
    return client.beta.messages.create(**given)


async def beta_async(client: Any, given: Any) -> Any:
    return await client.beta.messages.create(**given)


def parse(client: Any, given: Any) -> Any:
    return client.messages.parse(**given)


async def parse_async(client: Any, given: Any) -> Any:
    return await client.messages.parse(**given)


def raw(client: Any, given: Any) -> Any:
    response = client.messages.with_raw_response.create(**given)
    return response.status_code, response.retries_taken, response.headers["request-id"], response.parse()


async def raw_async(client: Any, given: Any) -> Any:
    response = await client.messages.with_raw_response.create(**given)
    parsed = response.parse()
    parsed = await parsed if asyncio.iscoroutine(parsed) else parsed
    return response.status_code, response.retries_taken, response.headers["request-id"], parsed


def unread(client: Any, given: Any) -> Any:
    with client.messages.with_streaming_response.create(**given) as response:
        return response.headers["request-id"], response.parse()


async def unread_async(client: Any, given: Any) -> Any:
    async with client.messages.with_streaming_response.create(**given) as response:
        return response.headers["request-id"], await response.parse()


def unread_lines(client: Any, given: Any) -> Any:
    with client.messages.with_streaming_response.create(**given) as response:
        return list(response.iter_lines())


async def unread_lines_async(client: Any, given: Any) -> Any:
    async with client.messages.with_streaming_response.create(**given) as response:
        return [line async for line in response.iter_lines()]


def post(client: Any, given: Any) -> Any:
    return client.post("/v1/messages", body=given, cast_to=dict[str, Any])


async def post_async(client: Any, given: Any) -> Any:
    return await client.post("/v1/messages", body=given, cast_to=dict[str, Any])


# ------------------------------------------------------------------ in events


def events(client: Any, given: Any) -> Any:
    stream = client.messages.create(**given, stream=True)
    return type(stream).__qualname__, list(stream)


async def events_async(client: Any, given: Any) -> Any:
    stream = await client.messages.create(**given, stream=True)
    return type(stream).__qualname__, [event async for event in stream]


def events_by_next(client: Any, given: Any) -> Any:
    with client.messages.create(**given, stream=True) as stream:
        found = []
        while (event := next(stream, None)) is not None:
            found.append(event)
        return found


async def events_by_next_async(client: Any, given: Any) -> Any:
    async with await client.messages.create(**given, stream=True) as stream:
        found = []
        while (event := await anext(stream, None)) is not None:
            found.append(event)
        return found


def helper(client: Any, given: Any) -> Any:
    with client.messages.stream(**given) as stream:
        found = list(stream)
        return type(stream).__qualname__, found, stream.get_final_message(), stream.request_id


async def helper_async(client: Any, given: Any) -> Any:
    async with client.messages.stream(**given) as stream:
        found = [event async for event in stream]
        return type(stream).__qualname__, found, await stream.get_final_message(), stream.request_id


def texts(client: Any, given: Any) -> Any:
    with client.messages.stream(**given) as stream:
        return list(stream.text_stream), stream.get_final_text()


async def texts_async(client: Any, given: Any) -> Any:
    async with client.messages.stream(**given) as stream:
        return [text async for text in stream.text_stream], await stream.get_final_text()


def final(client: Any, given: Any) -> Any:
    with client.messages.stream(**given) as stream:
        return stream.get_final_message()


async def final_async(client: Any, given: Any) -> Any:
    async with client.messages.stream(**given) as stream:
        return await stream.get_final_message()


def beta_helper(client: Any, given: Any) -> Any:
    with client.beta.messages.stream(**given) as stream:
        return list(stream), stream.get_final_message()


async def beta_helper_async(client: Any, given: Any) -> Any:
    async with client.beta.messages.stream(**given) as stream:
        return [event async for event in stream], await stream.get_final_message()


def raw_events(client: Any, given: Any) -> Any:
    stream = client.messages.with_raw_response.create(**given, stream=True).parse()
    return type(stream).__qualname__, list(stream)


async def raw_events_async(client: Any, given: Any) -> Any:
    response = await client.messages.with_raw_response.create(**given, stream=True)
    stream = response.parse()
    stream = await stream if asyncio.iscoroutine(stream) else stream
    return type(stream).__qualname__, [event async for event in stream]


def unread_events(client: Any, given: Any) -> Any:
    with client.messages.with_streaming_response.create(**given, stream=True) as response:
        return list(response.parse())


async def unread_events_async(client: Any, given: Any) -> Any:
    async with client.messages.with_streaming_response.create(**given, stream=True) as response:
        return [event async for event in await response.parse()]


def unread_event_lines(client: Any, given: Any) -> Any:
    with client.messages.with_streaming_response.create(**given, stream=True) as response:
        return list(response.iter_lines())


async def unread_event_lines_async(client: Any, given: Any) -> Any:
    async with client.messages.with_streaming_response.create(**given, stream=True) as response:
        return [line async for line in response.iter_lines()]


_AT_ONCE = (create, beta, parse, raw, unread, unread_lines, post)
_AT_ONCE_ASYNC = (
    create_async,
    beta_async,
    parse_async,
    raw_async,
    unread_async,
    unread_lines_async,
    post_async,
)
_IN_EVENTS = (
    events,
    events_by_next,
    helper,
    texts,
    final,
    beta_helper,
    raw_events,
    unread_events,
    unread_event_lines,
)
_IN_EVENTS_ASYNC = (
    events_async,
    events_by_next_async,
    helper_async,
    texts_async,
    final_async,
    beta_helper_async,
    raw_events_async,
    unread_events_async,
    unread_event_lines_async,
)

_ALL: dict[str, Way] = {
    **{ask.__name__: Way(ask, False, False) for ask in _AT_ONCE},
    **{ask.__name__: Way(ask, True, False) for ask in _AT_ONCE_ASYNC},
    **{ask.__name__: Way(ask, False, True) for ask in _IN_EVENTS},
    **{ask.__name__: Way(ask, True, True) for ask in _IN_EVENTS_ASYNC},
}
WAYS = {
    name: way
    for name, way in _ALL.items()
    if "parse" not in name or hasattr(anthropic.resources.Messages, "parse")  # not in 0.75
}
STREAMED = {name: way for name, way in WAYS.items() if way.is_streamed}
