"""
What the SDKs of model providers have in common: one method that makes every request, tries it again, and
makes an answer, a stream or a raw response of what comes.

Owns the patches of a base client, its streams and its raw responses. Invariants: results and errors are the
SDK's own objects; a request that asks no model for an answer is not looked at; however a turn's answer is
consumed, its turn ends. Cost while tracing is off: the switch.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from agenttrace.capture.context import SWITCH
from agenttrace.capture.turns import ModelTurn, model_turn
from agenttrace.errors import contained
from agenttrace.integrations.patching import Patch, note_problem
from agenttrace.integrations.sdk_streams import KEY, Answer, Parts, follow_stream, tell_answer

__all__ = ["Question", "Reader", "describe_client", "describe_responses", "describe_streams"]


class Question(NamedTuple):
    """What a request asks."""

    model: str
    messages: Any
    """In the provider's own form."""
    params: dict[str, Any]
    """All else that was sent: instructions, tools, limits."""


class Reader(Protocol):
    """What is a provider's own."""

    name: str
    """Of the integration, the provider and who tries again."""

    def read_question(self, path: str, body: Any) -> Question | None:
        """Read a request to *path*; None where it asks no model for an answer."""

    def read_answer(self, path: str, value: Any) -> Answer:
        """Read a whole answer, the SDK's object or the wire's dict."""

    def begin_parts(self, path: str) -> Parts:
        """Begin an answer that arrives in events."""


class _Running(NamedTuple):
    """A request on its way."""

    turn: ModelTurn
    path: str
    handled: BaseException | None
    """What the program was handling as it made the request."""


_RUNNING: ContextVar[_Running | None] = ContextVar("agenttrace_sdk_request", default=None)


# ------------------------------------------------------------------ one request


def _open(reader: Reader, options: Any) -> _Running | None:
    """Open the turn that a request with *options* is; None where it is none."""
    with contained(f"integrations.{reader.name}.request"):
        path = str(options.url).partition("?")[0]
        if str(options.method).lower() != "post":
            return None
        question = reader.read_question(path, options.json_data)
        if question is None:
            return None
        turn = model_turn(
            question.model, provider=reader.name, input=question.messages, params=question.params
        )
        return _Running(turn.open(), path, sys.exception())
    return None


def _build_request(reader: Reader) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def build(request: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(request)
        def request_traced(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            running = _open(reader, options) if SWITCH else None
            if running is None:
                return request(self, cast_to, options, *args, **kwargs)
            around = _RUNNING.get()
            _RUNNING.set(running)
            try:
                result = request(self, cast_to, options, *args, **kwargs)
            except BaseException as exc:
                running.turn.close(exc)
                raise
            finally:
                _RUNNING.set(around)
            _follow(reader, running, result)
            return result

        return request_traced

    return build


def _build_async_request(reader: Reader) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def build(request: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(request)
        async def request_traced(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            running = _open(reader, options) if SWITCH else None
            if running is None:
                return await request(self, cast_to, options, *args, **kwargs)
            around = _RUNNING.get()
            _RUNNING.set(running)
            try:
                result = await request(self, cast_to, options, *args, **kwargs)
            except BaseException as exc:
                running.turn.close(exc)
                raise
            finally:
                _RUNNING.set(around)
            _follow(reader, running, result)
            return result

        return request_traced

    return build


# ------------------------------------------------------------------ its attempts


def _fail_attempt(reader: Reader, client: Any, running: _Running, told: dict[str, Any]) -> None:
    with contained(f"integrations.{reader.name}.retry"):
        response = told.get("response")
        failure: Any = sys.exception()
        if response is not None:
            failure = client._make_status_error_from_response(response)
        elif failure is None or failure is running.handled:
            failure = "the attempt failed"
        limit_count = told.get("max_retries")
        running.turn.fail_attempt(
            failure,
            limit_count=limit_count + 1 if isinstance(limit_count, int) else None,
            by=reader.name,
        )


def _build_sleep(reader: Reader) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def build(sleep: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(sleep)
        def sleep_traced(self: Any, *args: Any, **kwargs: Any) -> Any:
            running = _RUNNING.get()
            if running is None:
                return sleep(self, *args, **kwargs)
            _fail_attempt(reader, self, running, kwargs)
            slept = sleep(self, *args, **kwargs)
            running.turn.begin_attempt()
            return slept

        return sleep_traced

    return build


def _build_async_sleep(reader: Reader) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def build(sleep: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(sleep)
        async def sleep_traced(self: Any, *args: Any, **kwargs: Any) -> Any:
            running = _RUNNING.get()
            if running is None:
                return await sleep(self, *args, **kwargs)
            _fail_attempt(reader, self, running, kwargs)
            slept = await sleep(self, *args, **kwargs)
            running.turn.begin_attempt()
            return slept

        return sleep_traced

    return build


# ------------------------------------------------------------------ what it gives


def _follow(reader: Reader, running: _Running, result: Any) -> None:
    """Go on with the turn in what the program got; where that cannot be, the turn ends."""
    turn = running.turn
    turn.leave()
    try:
        response = getattr(result, "http_response", None)
        if response is not None:
            raw = _Raw(reader, running)
            if result.__dict__.get("_is_sse_stream") or not response.is_closed:
                result.__dict__[KEY] = raw
            else:
                raw.take(response.json())
        elif hasattr(result, "_iterator"):
            follow_stream(result, turn, reader.begin_parts(running.path))
        else:
            tell_answer(turn, reader.read_answer(running.path, result))
            turn.close()
    except Exception as exc:
        with contained(f"integrations.{reader.name}.answer"):
            note_problem(reader.name, f"what {type(result).__name__} holds cannot be read: {exc!r}")
        turn.close()


class _Raw:
    """A raw response whose body the program has yet to read, in whichever way."""

    def __init__(self, reader: Reader, running: _Running) -> None:
        self._reader = reader
        self._path = running.path
        self._turn = running.turn
        self._is_passed_on = False

    def __del__(self) -> None:
        self.end(GeneratorExit())

    def pass_on(self, parsed: Any) -> None:
        """Go on in what the program has made of the response."""
        if self._is_passed_on:
            return
        self._is_passed_on = True
        if hasattr(parsed, "_iterator"):
            follow_stream(parsed, self._turn, self._reader.begin_parts(self._path))
        else:
            self._tell(parsed)

    def take(self, value: Any) -> None:
        """End with the whole answer."""
        self._is_passed_on = True
        self._tell(value)

    def _tell(self, value: Any) -> None:
        tell_answer(self._turn, self._reader.read_answer(self._path, value))
        self._turn.close()

    def close(self, response: Any) -> None:
        """End as the program closes the response; what it has read otherwise is in it, or gone by."""
        if self._is_passed_on:
            return
        with contained(f"integrations.{self._reader.name}.answer"):
            if hasattr(response, "_content") and "json" in response.headers.get("content-type", ""):
                self.take(response.json())
        self.end(None if response.is_stream_consumed else GeneratorExit())

    def end(self, exc: BaseException | None) -> None:
        """End the turn without an answer, unless somebody else ends it."""
        if not self._is_passed_on:
            self._is_passed_on = True
            self._turn.close(exc)


def _pass_on(response: Any, parsed: Any) -> None:
    with contained("integrations.sdk.parse"):
        raw = response.__dict__.get(KEY)
        if isinstance(raw, _Raw):
            raw.pass_on(parsed)


def _end(closed: Any) -> None:
    """End the turn of a stream or of a raw response that the program has closed."""
    with contained("integrations.sdk.close"):
        followed = closed.__dict__.get(KEY)
        if isinstance(followed, _Raw):
            followed.close(closed.http_response)
        elif followed is not None:
            followed.end(GeneratorExit())


def _build_parse(parse: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(parse)
    def parse_traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        parsed = parse(self, *args, **kwargs)
        _pass_on(self, parsed)
        return parsed

    return parse_traced


def _build_async_parse(parse: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(parse)
    async def parse_traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        parsed = await parse(self, *args, **kwargs)
        _pass_on(self, parsed)
        return parsed

    return parse_traced


def _build_close(close: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(close)
    def close_traced(self: Any) -> Any:
        try:
            return close(self)
        finally:
            _end(self)

    return close_traced


def _build_async_close(close: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(close)
    async def close_traced(self: Any) -> Any:
        try:
            return await close(self)
        finally:
            _end(self)

    return close_traced


# ------------------------------------------------------------------ the tables


def describe_client(reader: Reader, module: ModuleType) -> Iterator[Patch]:
    """Give the patches of ``_base_client``."""
    plain, awaiting = module.SyncAPIClient, module.AsyncAPIClient
    # Where the body is made ready in a method of its own, the request follows in another one.
    name = "_request" if hasattr(plain, "_copy_and_prepare") else "request"
    yield Patch(plain, name, _build_request(reader))
    yield Patch(awaiting, name, _build_async_request(reader))
    yield Patch(plain, "_sleep_for_retry", _build_sleep(reader))
    yield Patch(awaiting, "_sleep_for_retry", _build_async_sleep(reader))


def describe_streams(module: ModuleType) -> Iterator[Patch]:
    """Give the patches of ``_streaming``."""
    yield Patch(module.Stream, "close", _build_close)
    yield Patch(module.AsyncStream, "close", _build_async_close)


def describe_responses(module: ModuleType) -> Iterator[Patch]:
    """Give the patches of ``_response``."""
    yield Patch(module.APIResponse, "parse", _build_parse)
    yield Patch(module.AsyncAPIResponse, "parse", _build_async_parse)
    yield Patch(module.APIResponse, "close", _build_close)
    yield Patch(module.AsyncAPIResponse, "close", _build_async_close)
