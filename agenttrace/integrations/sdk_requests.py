"""
Requests of a model's SDK, as it makes them: which of them asks a model, its attempts, its answer.

Shared by the SDKs that are made alike: one base client sends every request, sleeps between attempts and
makes the response. Invariants: what the program gets is what the SDK made, and exceptions pass as they
are; an SDK that lacks a seam loses what is seen through it, and nothing else. Cost while tracing is off:
the switch.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from agenttrace.capture.context import PIPE, SWITCH
from agenttrace.capture.turns import model_turn
from agenttrace.errors import contained
from agenttrace.integrations.patching import Library, Patch, note_problem
from agenttrace.integrations.sdk_attempts import describe_failure
from agenttrace.integrations.sdk_exchange import Exchange, find_caller
from agenttrace.integrations.sdk_reading import Api
from agenttrace.integrations.sdk_streams import exchange_of, follow_stream, is_stream, watch_body

__all__ = ["ModelSdk"]


class _Making:
    """A request that is being made; empty once it returns, for event loops keep contexts long after that."""

    __slots__ = ("exchange",)

    def __init__(self, exchange: Exchange | None) -> None:
        self.exchange = exchange
        """None for one that asks no model."""


_MAKING: ContextVar[_Making | None] = ContextVar("agenttrace_sdk_request", default=None)


class ModelSdk:
    """One SDK: its name, what is asked where, and its patches."""

    def __init__(self, name: str, apis: Mapping[str, Api], provider_of: Callable[[Any], str]) -> None:
        """
        Describe an SDK.

        Args:
            name: Of the package and of the integration.
            apis: By path, as the SDK's own resources name it.
            provider_of: Says who serves the models of a client.
        """
        self.name = name
        self._apis = dict(apis)
        self._provider_of = provider_of
        self._place = f"integrations.{name}"

    def library(self, check: Callable[[ModuleType], Iterator[Patch]]) -> Library:
        """
        Make the library that patches it.

        Args:
            check: Called with the package itself, as it is imported.
        """
        return Library(
            self.name,
            {
                self.name: check,
                f"{self.name}._base_client": self._describe_client,
                f"{self.name}._response": _describe_responses,
                f"{self.name}._legacy_response": _describe_responses,
            },
        )

    def _describe_client(self, module: ModuleType) -> Iterator[Patch]:
        sync, awaiting, base = module.SyncAPIClient, module.AsyncAPIClient, module.BaseClient
        # Where the body is made ready in a method of its own, the request follows in another one.
        name = "_request" if hasattr(sync, "_copy_and_prepare") else "request"
        yield Patch(sync, name, self._build_request)
        yield Patch(awaiting, name, self._build_async_request)
        yield Patch(base, "_build_request", self._build_attempt)
        yield Patch(base, "_calculate_retry_timeout", self._build_timeout)
        yield Patch(sync, "_process_response", self._build_process)
        yield Patch(awaiting, "_process_response", self._build_async_process)
        if hasattr(sync, "_sleep_for_retry"):  # before, the exception that is being handled has the response
            yield Patch(sync, "_sleep_for_retry", self._build_sleep)
            yield Patch(awaiting, "_sleep_for_retry", self._build_async_sleep)

    # ------------------------------------------------------------- a request

    def _open(self, client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Exchange | None:
        """Open the turn that a request is; None for one that asks no model."""
        with contained(f"{self._place}.request"):
            options: Any = args[1] if len(args) > 1 else kwargs.get("options")
            if str(getattr(options, "method", "")).lower() != "post":
                return None
            api = self._apis.get(str(options.url).partition("?")[0].rstrip("/"))
            if api is None:
                return None
            body = dict(options.json_data) if isinstance(options.json_data, Mapping) else {}
            if isinstance(getattr(options, "extra_json", None), Mapping):
                body.update(options.extra_json)
            asked = api.ask(body)
            turn = model_turn(
                asked.model,
                provider=self._provider_of(client),
                input=asked.input,
                params=asked.params or None,
            )
            exchange = Exchange(self.name, api.answer(), bool(kwargs.get("stream")), turn.open())
            if PIPE.substitute is not None:
                exchange.asked = (api, body)
            return exchange
        return None

    def _build_request(self, request: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(request)
        def traced_request(client: Any, *args: Any, **kwargs: Any) -> Any:
            if not SWITCH:
                return request(client, *args, **kwargs)
            exchange, around = self._open(client, args, kwargs), _MAKING.get()
            making = _Making(exchange)
            _MAKING.set(making)
            try:
                if exchange is not None and PIPE.substitute is not None:
                    exchange.ask_replay(is_async=False)
                result = request(client, *args, **kwargs)
            except BaseException as exc:
                if exchange is not None:
                    exchange.fail(exc)
                raise
            finally:
                making.exchange = None
                _MAKING.set(around)  # by value: a coroutine may be closed in another context
            if exchange is not None:
                self._hand_over(exchange, result)
            return result

        return traced_request

    def _build_async_request(self, request: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        @functools.wraps(request)
        async def traced_request(client: Any, *args: Any, **kwargs: Any) -> Any:
            if not SWITCH:
                return await request(client, *args, **kwargs)
            exchange, around = self._open(client, args, kwargs), _MAKING.get()
            making = _Making(exchange)
            _MAKING.set(making)
            try:
                if exchange is not None and PIPE.substitute is not None:
                    exchange.ask_replay(is_async=True)
                    await exchange.wait_as_recorded()
                result = await request(client, *args, **kwargs)
            except BaseException as exc:
                if exchange is not None:
                    exchange.fail(exc)
                raise
            finally:
                making.exchange = None
                _MAKING.set(around)
            if exchange is not None:
                self._hand_over(exchange, result)
            return result

        return traced_request

    def _hand_over(self, exchange: Exchange, result: Any) -> None:
        """Tell what came with the response, or follow what is still to come."""
        is_open = False
        try:
            if is_stream(result):
                follow_stream(result, exchange)
                is_open = True
            elif exchange.response is not None:
                is_open = exchange_of(exchange.response) is exchange
        except Exception as exc:
            note_problem(self.name, f"a {type(result).__name__} cannot be followed: {exc}")
        exchange.go_on(result, is_open)

    # ------------------------------------------------------------- its attempts

    def _mine(self) -> Exchange | None:
        making = _MAKING.get()
        exchange = None if making is None else making.exchange
        return exchange if exchange is not None and exchange.name == self.name else None

    def _build_attempt(self, build: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(build)
        def build_request(client: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = self._mine()
            if exchange is not None and exchange.turn is not None:
                exchange.response = None
                exchange.turn.begin_attempt()
            built = build(client, *args, **kwargs)
            if exchange is not None and exchange.replayed is not None:
                exchange.answer_replayed(client, built)
            return built

        return build_request

    def _build_timeout(self, calculate: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(calculate)
        def calculate_retry_timeout(client: Any, *args: Any, **kwargs: Any) -> Any:
            timeout_s = calculate(client, *args, **kwargs)
            exchange = self._mine()
            if exchange is not None and exchange.replayed is not None:
                timeout_s = 0.0  # nobody has to be spared
            if exchange is not None and exchange.turn is not None:
                caught = sys.exception()
                with contained(f"{self._place}.retry"):
                    options = args[1] if len(args) > 1 else kwargs.get("options")
                    failure = self._describe_failure(exchange, client, caught)
                    exchange.response = None
                    exchange.turn.note_caller(find_caller())
                    exchange.turn.fail_attempt(
                        failure,
                        wait_ms=float(timeout_s) * 1000,
                        limit_count=_limit_of(client, options),
                        by=self.name,
                    )
            return timeout_s

        return calculate_retry_timeout

    def _describe_failure(self, exchange: Exchange, client: Any, caught: BaseException | None) -> Any:
        try:
            return describe_failure(exchange, client, caught)
        except Exception as exc:
            note_problem(self.name, f"what an attempt failed with cannot be told: {exc}")
            return "the attempt failed" if caught is None else caught

    def _build_sleep(self, sleep: Callable[..., Any]) -> Callable[..., Any]:
        """Only keep the response: how long is slept is calculated inside."""

        @functools.wraps(sleep)
        def sleep_for_retry(client: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = self._mine()
            if exchange is not None:
                exchange.response = kwargs.get("response")
            return sleep(client, *args, **kwargs)

        return sleep_for_retry

    def _build_async_sleep(self, sleep: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        @functools.wraps(sleep)
        async def sleep_for_retry(client: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = self._mine()
            if exchange is not None:
                exchange.response = kwargs.get("response")
            return await sleep(client, *args, **kwargs)

        return sleep_for_retry

    # ------------------------------------------------------------- its response

    def _build_process(self, process: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(process)
        def process_response(client: Any, *args: Any, **kwargs: Any) -> Any:
            self._see(kwargs.get("response"))
            return process(client, *args, **kwargs)

        return process_response

    def _build_async_process(self, process: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        @functools.wraps(process)
        async def process_response(client: Any, *args: Any, **kwargs: Any) -> Any:
            self._see(kwargs.get("response"))
            return await process(client, *args, **kwargs)

        return process_response

    def _see(self, response: Any) -> None:
        """Keep the response of an attempt that went well; see the end of its body, if that is unread."""
        exchange = self._mine()
        if exchange is None or response is None:
            return
        try:
            if response.status_code < 400:
                exchange.response = response
                if not response.is_closed and exchange_of(response) is None:
                    watch_body(response, exchange)
        except Exception as exc:
            note_problem(self.name, f"the end of a {type(response).__name__} cannot be seen: {exc}")


def _limit_of(client: Any, options: Any) -> int | None:
    """Give how many attempts there are at most."""
    if not hasattr(options, "get_max_retries"):
        return None
    return int(options.get_max_retries(client.max_retries)) + 1


# ------------------------------------------------------------- raw responses


def _follow_parsed(response: Any, parsed: Any) -> None:
    """Follow the stream that a raw response was parsed to."""
    with contained("integrations.sdk.parse"):
        if is_stream(parsed):
            exchange = exchange_of(getattr(response, "http_response", None))
            if exchange is not None:
                follow_stream(parsed, exchange)


def _build_parse(parse: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(parse)
    def traced_parse(response: Any, *args: Any, **kwargs: Any) -> Any:
        parsed = parse(response, *args, **kwargs)
        _follow_parsed(response, parsed)
        return parsed

    return traced_parse


def _build_async_parse(parse: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(parse)
    async def traced_parse(response: Any, *args: Any, **kwargs: Any) -> Any:
        parsed = await parse(response, *args, **kwargs)
        _follow_parsed(response, parsed)
        return parsed

    return traced_parse


def _describe_responses(module: ModuleType) -> Iterator[Patch]:
    """Give the patches of ``_response``, or of ``_legacy_response``."""
    for name, build in (
        ("APIResponse", _build_parse),
        ("AsyncAPIResponse", _build_async_parse),
        ("LegacyAPIResponse", _build_parse),
    ):
        owner = vars(module).get(name)
        if owner is not None and owner.__module__ == module.__name__:
            yield Patch(owner, "parse", build)
