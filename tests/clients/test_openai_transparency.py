"""A program that uses OpenAI's SDK gets the same, followed or not: values, types, errors, laziness."""

from __future__ import annotations

import asyncio
import copy
import functools
import importlib
import inspect
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

import agenttrace
from agenttrace import errors
from tests.clients.openai_asking import APIS, FORMS, HTTP, MESSAGES, Asking
from tests.clients.provider import Provider
from tests.clients.provider_replies import (
    Call,
    Reply,
    bad_request,
    broken_stream,
    failed_stream,
    rate_limited,
    refusal,
    server_error,
    text,
    tool_calls,
)

WAYS = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
BOTH = pytest.mark.parametrize("api", APIS)

REPLIES: dict[str, list[Reply]] = {
    "text": [text("some words of text", thinking="hm", response_id="id_1")],
    "tools": [
        tool_calls(
            [Call("add", {"a": 1}, "call_1"), Call("look", {"deep": [1, {"x": None}]}, "call_2")],
            content="I will",
            response_id="id_2",
        )
    ],
    "refusal": [refusal("no", response_id="id_3")],
    "retried": [rate_limited(), server_error(), text("late", response_id="id_4")],
    "given up": [rate_limited(), rate_limited(), rate_limited("for good")],
    "rejected": [bad_request("nonsense")],
    "broken": [broken_stream(text("some words of text", response_id="id_5"), after=2)],
    "failed": [failed_stream(text("some words of text", response_id="id_6"), after=2)],
}

_CLASSES = (
    ("openai._base_client", "BaseClient"),
    ("openai._base_client", "SyncAPIClient"),
    ("openai._base_client", "AsyncAPIClient"),
    ("openai._response", "APIResponse"),
    ("openai._response", "AsyncAPIResponse"),
    ("openai._legacy_response", "LegacyAPIResponse"),
    ("openai._streaming", "Stream"),
    ("openai._streaming", "AsyncStream"),
)


def classes() -> dict[str, dict[str, Any]]:
    """Give what stands in each class that could be patched."""
    return {name: dict(vars(getattr(importlib.import_module(module), name))) for module, name in _CLASSES}


def outcome_of(function: Callable[[], Any]) -> Any:
    """Give what a program sees of a call: its value, or its exception with causes and the SDK's frames."""
    try:
        return "value", function()
    except Exception as exc:
        causes, link = [], exc.__cause__
        while link is not None:
            causes.append(type(link).__name__)
            link = link.__cause__
        frames = [
            frame.name
            for frame in traceback.extract_tb(exc.__traceback__)
            if "agenttrace" not in Path(frame.filename).parts
        ]
        return (
            "error",
            type(exc),
            str(exc),
            causes,
            exc.__suppress_context__,
            vars(exc).keys() - MARKS,
            frames,
        )


MARKS = {"__agenttrace_error__"}


@pytest.mark.slow
@WAYS
@BOTH
@pytest.mark.parametrize("form", FORMS)
class TestAProgram:
    def test_gets_the_same_followed_or_not(
        self, provider: Provider, tmp_path: Path, api: str, form: str, is_async: bool
    ) -> None:
        """Never installed, on, off again, and uninstalled: one outcome, and one sequence of requests."""

        def outcomes() -> dict[str, Any]:
            found = {}
            for kind, replies in REPLIES.items():
                provider.queue(*replies)
                before = len(provider.bodies)
                options = {"max_retries": 0} if kind == "broken" else {}
                asking = Asking(provider, api, is_async, **options)
                found[kind] = (outcome_of(functools.partial(asking.ask, form)), provider.bodies[before:])
            return found

        untouched, untraced = classes(), outcomes()
        agenttrace.configure(database=tmp_path / "t.db")
        traced = outcomes()
        assert errors.LOSSES == {}
        agenttrace.disable()
        off = outcomes()
        agenttrace.uninstall()
        assert classes() == untouched
        assert traced == untraced
        assert off == untraced
        assert outcomes() == untraced


class TestTheMethods:
    def test_look_as_before(self, tmp_path: Path) -> None:
        """Signature, name, and whether to await them, for each that is replaced."""

        def looks() -> list[Any]:
            return [
                (
                    name,
                    attribute,
                    inspect.signature(value),
                    inspect.iscoroutinefunction(value),
                    value.__qualname__,
                    value.__doc__,
                )
                for name, own in classes().items()
                for attribute, value in own.items()
                if inspect.isfunction(value)
            ]

        before = looks()
        agenttrace.configure(database=tmp_path / "t.db")
        replaced = [name for name, own in classes().items() for value in own.values() if _is_ours(value)]
        assert looks() == before
        assert len(replaced) >= 10


def _is_ours(value: Any) -> bool:
    return inspect.isfunction(value) and "agenttrace" in Path(value.__code__.co_filename).parts


class TestWhatIsHandedOut:
    def test_is_the_object_that_the_sdk_made(
        self, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not a copy and not a proxy, of results, streams and exceptions."""
        agenttrace.configure(database=tmp_path / "t.db")
        from openai._base_client import SyncAPIClient

        made: list[Any] = []
        process, status = SyncAPIClient._process_response, SyncAPIClient._make_status_error_from_response

        def keep(function: Callable[..., Any]) -> Callable[..., Any]:
            def kept(*args: Any, **kwargs: Any) -> Any:
                made.append(function(*args, **kwargs))
                return made[-1]

            return kept

        monkeypatch.setattr(SyncAPIClient, "_process_response", keep(process))
        monkeypatch.setattr(SyncAPIClient, "_make_status_error_from_response", keep(status))
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        provider.queue(text("a"), text("b"), bad_request())
        result = client.responses.create(model="m", input="hi")
        stream = client.responses.create(model="m", input="hi", stream=True)
        with pytest.raises(openai.BadRequestError) as raised:
            client.responses.create(model="m", input="hi")
        assert [one is other for one, other in zip(made, (result, stream, raised.value), strict=True)] == [
            True,
            True,
            True,
        ]
        assert (type(stream), isinstance(stream, openai.Stream)) == (openai.Stream, True)
        stream.close()

    def test_pickles_and_copies_as_before(self, provider: Provider, tmp_path: Path) -> None:
        """A result, an exception and a raw response pass through pickle, without what followed them."""
        agenttrace.configure(database=tmp_path / "t.db")
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        provider.queue(text("a"), text("b"), text("c"))
        result = client.responses.create(model="m", input="hi")
        assert pickle.loads(pickle.dumps(result)) == result == copy.deepcopy(result)
        raw = client.responses.with_raw_response.create(model="m", input="hi")
        assert pickle.loads(pickle.dumps(raw.http_response)).content == raw.http_response.content
        with client.responses.with_streaming_response.create(model="m", input="hi") as opened:
            assert opened.parse().output_text == "c"
        assert b"agenttrace" not in pickle.dumps(opened.http_response)

    def test_of_a_stream_has_its_response_and_closes_it(self, provider: Provider, tmp_path: Path) -> None:
        """``.response`` is the HTTP response, which knows how long it took once the stream is closed."""
        agenttrace.configure(database=tmp_path / "t.db")
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        provider.queue(text("a b c"))
        with client.responses.create(model="m", input="hi", stream=True) as stream:
            assert stream.response.status_code == 200
            assert not stream.response.is_closed
            next(stream)
        assert stream.response.is_closed
        assert stream.response.elapsed.total_seconds() > 0
        assert stream.response.http_version == "HTTP/1.1"

    def test_gives_the_connection_back(self, provider: Provider, tmp_path: Path) -> None:
        """Many streams through a pool of one connection: none is kept."""
        agenttrace.configure(database=tmp_path / "t.db")
        http = HTTP.Client(limits=HTTP.Limits(max_connections=1), timeout=5)
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k", http_client=http)
        for at in range(6):
            provider.queue(text("a b c"))
            stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)  # type: ignore[call-overload]
            if at % 2:
                stream.close()
            else:
                assert len(list(stream)) >= 3

    def test_of_an_async_stream_is_read_in_its_task(self, provider: Provider, tmp_path: Path) -> None:
        """A context variable that the program sets between two pieces is there at the next one."""
        agenttrace.configure(database=tmp_path / "t.db")
        provider.queue(text("a b c"))

        async def main() -> list[str]:
            async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as client:
                stream = await client.responses.create(model="m", input="hi", stream=True)
                names = []
                task = asyncio.current_task()
                async for _ in stream:
                    assert asyncio.current_task() is task
                    names.append("event")
                return names

        assert len(asyncio.run(main())) > 3


class TestAnIterableOfMessages:
    def test_is_read_once_by_the_sdk(self, provider: Provider, tmp_path: Path) -> None:
        """A generator of messages is sent whole, and recorded as it was sent."""
        agenttrace.configure(database=tmp_path / "t.db")
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        provider.queue(text("a"))
        client.chat.completions.create(model="m", messages=(one for one in MESSAGES))  # type: ignore[arg-type,misc]
        assert provider.bodies[0]["messages"] == MESSAGES
