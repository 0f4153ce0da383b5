"""OpenAI's SDK, followed: what its own attempts leave, and errors of the API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import openai
import pytest
import tenacity

from agenttrace import agent_scope, model_turn
from tests.clients.conftest import Rows
from tests.clients.openai_asking import APIS, HTTP, MESSAGES, Asking, turns_of
from tests.clients.provider import Provider
from tests.clients.provider_replies import (
    bad_request,
    dropped,
    held,
    rate_limited,
    server_error,
    text,
)

WAYS = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
BOTH = pytest.mark.parametrize("api", APIS)
FORM = pytest.mark.parametrize("form", ["plain", "streamed", "raw", "open streamed"])


def attempts_of(rows: Rows) -> list[tuple[Any, ...]]:
    """Give kind, attempt, error type and payload of all errors and retries, in their order."""
    found = rows(
        "SELECT kind, attempt, error_type, error_id, payload FROM trajectory_events"
        " WHERE kind IN ('error', 'retry', 'model_call', 'model_turn') ORDER BY ts_ns, id"
    )
    return [(*row, json.loads(payload)) for *row, payload in found]


@WAYS
@BOTH
@FORM
class TestAttempts:
    def test_that_were_rate_limited_are_rows(
        self, provider: Provider, rows: Rows, api: str, form: str, is_async: bool
    ) -> None:
        """An error for each, with what the SDK would have raised, a retry with its pause, one turn."""
        provider.queue(rate_limited(retry_after_ms=3), server_error(retry_after_ms=2), text("in the end"))
        Asking(provider, api, is_async).ask(form)
        found = attempts_of(rows)
        assert [row[0] for row in found] == ["model_call", "error", "retry", "error", "retry", "model_turn"]
        assert [row[1:3] for row in found if row[0] == "error"] == [
            (1, "RateLimitError"),
            (2, "InternalServerError"),
        ]
        assert [row[4] for row in found if row[0] == "retry"] == [
            {"wait_ms": 3.0, "limit_count": 3, "by": "openai"},
            {"wait_ms": 2.0, "limit_count": 3, "by": "openai"},
        ]
        assert [row[3] for row in found if row[0] == "error"] == [
            row[3] for row in found if row[0] == "retry"
        ]
        (turn,) = turns_of(rows)
        assert (turn.status, turn.attempt, turn.error_id) == ("ok", 3, None)
        assert rows("SELECT fate FROM failures ORDER BY ts_ms, id") == [("retried",), ("retried",)]

    def test_that_all_failed_end_the_turn(
        self, provider: Provider, rows: Rows, api: str, form: str, is_async: bool
    ) -> None:
        """The last failure is the exception that the program gets, and no retry follows it."""
        provider.queue(rate_limited("once"), rate_limited("twice"))
        with pytest.raises(openai.RateLimitError):
            Asking(provider, api, is_async, max_retries=1).ask(form)
        found = attempts_of(rows)
        assert [row[0] for row in found] == ["model_call", "error", "retry", "error", "model_turn"]
        assert [row[1] for row in found if row[0] == "error"] == [1, 2]
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type, turn.attempt) == ("error", "RateLimitError", 2)
        assert turn.error_id == found[3][3]


@WAYS
@BOTH
class TestAConnectionThatBreaks:
    def test_is_an_attempt_that_failed(
        self, provider: Provider, rows: Rows, api: str, is_async: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The SDK's word for it, caused by the transport's; the pause is the one that it took."""
        monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.002)
        provider.queue(dropped(), text("yes"))
        Asking(provider, api, is_async).ask()
        found = attempts_of(rows)
        assert [row[0] for row in found] == ["model_call", "error", "retry", "model_turn"]
        error = found[1][4]["error"]
        assert (error["type"], error["message"]) == ("APIConnectionError", "Connection error.")
        assert error["cause"]["module"].startswith("httpx")
        assert 0 < found[2][4]["wait_ms"] <= 2

    @pytest.mark.slow
    def test_for_waiting_too_long_is_a_timeout(
        self, provider: Provider, rows: Rows, api: str, is_async: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that says nothing is given up, and asked again."""
        monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.002)
        provider.queue(held(text("never")), text("yes"))
        Asking(provider, api, is_async, timeout=1.0).ask()  # the second answer may be slow, too
        found = attempts_of(rows)
        assert [row[2] for row in found if row[0] == "error"] == ["APITimeoutError"]
        assert [row[0] for row in found][-2:] == ["retry", "model_turn"]

    def test_for_good_ends_the_turn(self, provider: Provider, rows: Rows, api: str, is_async: bool) -> None:
        """Without attempts left, what leaves the SDK is the failure."""
        provider.queue(dropped())
        with pytest.raises(openai.APIConnectionError):
            Asking(provider, api, is_async, max_retries=0).ask()
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type, turn.attempt) == ("error", "APIConnectionError", None)


@WAYS
@BOTH
@FORM
class TestAnErrorOfTheApi:
    def test_is_the_turns_failure(
        self, provider: Provider, rows: Rows, api: str, form: str, is_async: bool
    ) -> None:
        """One error row, whose frames begin with the program's own line; it escapes its agent."""
        provider.queue(bad_request("no such thing"))
        with pytest.raises(openai.BadRequestError) as raised, agent_scope("a"):
            Asking(provider, api, is_async).ask(form)
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type) == ("error", "BadRequestError")
        ((payload,),) = rows("SELECT payload FROM trajectory_events WHERE kind = 'error'")
        error = json.loads(payload)["error"]
        assert "no such thing" in error["message"] == str(raised.value)[:8_192]
        assert error["frames"][0]["file"].endswith("openai_asking.py")
        assert rows("SELECT fate FROM failures") == [("escaped",)]


class TestAnAttemptThatFailed:
    def test_names_the_line_that_asked(self, provider: Provider, rows: Rows) -> None:
        """Where the SDK tries again by itself, the place is the program's call."""
        provider.queue(rate_limited(), text("yes"))
        Asking(provider, "chat", False).ask()
        ((place,),) = rows("SELECT raised_at FROM failures")
        assert "openai_asking.py:" in place
        assert place.endswith(" _create")

    def test_is_not_what_the_program_was_handling(self, provider: Provider, rows: Rows) -> None:
        """A request made inside an ``except`` says what went wrong with itself."""
        provider.queue(rate_limited(), text("yes"))
        try:
            raise ValueError("mine")
        except ValueError:
            Asking(provider, "chat", False).ask()
        assert [row[2] for row in attempts_of(rows) if row[0] == "error"] == ["RateLimitError"]


class TestAnInterruptedPause:
    def test_is_followed_by_no_attempt(
        self, provider: Provider, rows: Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ctrl-C while the SDK sleeps: an error, a cancelled turn, and no retry."""

        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("openai._base_client.time", SimpleNamespace(sleep=interrupt, time=time.time))
        provider.queue(rate_limited())
        with pytest.raises(KeyboardInterrupt):
            Asking(provider, "chat", False).ask()
        assert [row[0] for row in attempts_of(rows)] == ["model_call", "error", "model_turn"]
        assert turns_of(rows)[0].status == "cancelled"


class TestARequestThatIsCancelled:
    def test_is_a_cancelled_turn(self, provider: Provider, rows: Rows) -> None:
        """A task that is cancelled while the model thinks leaves no error."""
        provider.queue(held(text("never")))

        async def main() -> None:
            async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as client:
                asked = asyncio.ensure_future(
                    client.chat.completions.create(model="gpt-x", messages=MESSAGES)  # type: ignore[arg-type]
                )
                while not provider.requests:
                    await asyncio.sleep(0)
                asked.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asked

        asyncio.run(main())
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type, turn.error_id) == ("cancelled", "CancelledError", None)


class TestAFailureThatCameAsAnAnswer:
    """Some answer 200, and say in the body that it went wrong."""

    @pytest.mark.parametrize("is_read", [False, True], ids=["plain", "open"])
    def test_is_the_turns_failure(self, rows: Rows, is_read: bool) -> None:
        """The turn ends in error, with what the body says."""

        def answer(request: Any) -> Any:
            return HTTP.Response(200, json={"error": {"message": "no such model", "code": 404}})

        client = openai.OpenAI(api_key="k", http_client=HTTP.Client(transport=HTTP.MockTransport(answer)))
        given: Any = {"model": "m", "messages": MESSAGES}
        if is_read:
            with client.chat.completions.with_streaming_response.create(**given) as response:
                assert response.json() == {"error": {"message": "no such model", "code": 404}}
        else:
            client.chat.completions.create(**given)
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type) == ("error", "ReturnedFailure")
        ((message,),) = rows("SELECT message FROM failures")
        assert message == "no such model"

    def test_of_a_response_is_the_turns_failure(self, rows: Rows) -> None:
        """A response with the status ``failed`` failed."""
        body = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": "gpt-x",
            "status": "failed",
            "error": {"code": "server_error", "message": "The model broke."},
            "output": [],
        }

        def answer(request: Any) -> Any:
            return HTTP.Response(200, json=body)

        client = openai.OpenAI(api_key="k", http_client=HTTP.Client(transport=HTTP.MockTransport(answer)))
        assert client.responses.create(model="gpt-x", input="hi").status == "failed"
        (turn,) = turns_of(rows)
        assert (turn.status, turn.payload["finish_reason"]) == ("error", "failed")
        assert rows("SELECT message FROM failures") == [("The model broke.",)]


class TestThreadsSideBySide:
    def test_keep_their_own_attempts(self, provider: Provider, rows: Rows) -> None:
        """Requests of several threads, each of which is tried again, do not mix."""
        seen: set[str] = set()
        lock = threading.Lock()

        def rule(request: Any) -> Any:
            with lock:
                is_new = request.last_text not in seen
                seen.add(request.last_text)
            return rate_limited() if is_new else text(f"for {request.last_text}")

        provider.answer(rule)
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")

        def ask(name: str) -> None:
            with agent_scope(name):
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": name}])

        threads = [threading.Thread(target=ask, args=(f"agent {at}",)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert rows(
            "SELECT count(DISTINCT agent_id), count(*), sum(attempt = 2) FROM trajectory_events"
            " WHERE kind = 'model_turn'"
        ) == [(8, 8, 8)]
        assert rows(
            "SELECT count(*) FROM trajectory_events e JOIN trajectory_events r ON r.kind = 'retry'"
            " AND r.error_id = e.error_id AND r.span_id = e.span_id AND r.agent_id = e.agent_id"
            " WHERE e.kind = 'error'"
        ) == [(8,)]
        found = rows("SELECT agent_name, payload FROM trajectory_events WHERE kind = 'model_turn'")
        assert all(json.loads(payload)["output"]["content"] == f"for {name}" for name, payload in found)


class TestARetryLibraryAround:
    @pytest.mark.parametrize("is_inside", [False, True], ids=["bare", "inside a turn"])
    def test_makes_attempts_of_its_own(self, provider: Provider, rows: Rows, is_inside: bool) -> None:
        """What the SDK tried, and what tenacity did: each failure once, each retry by who made it."""
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=1)

        @tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none())
        def ask() -> Any:
            return client.chat.completions.create(model="m", messages=MESSAGES)  # type: ignore[arg-type]

        provider.queue(rate_limited("1"), rate_limited("2"), server_error("3"), text("done"))
        with agent_scope("a"), model_turn("m") if is_inside else contextlib.nullcontext():
            ask()
        found = attempts_of(rows)
        assert [row[4].get("by") for row in found if row[0] == "retry"] == ["openai", "tenacity", "openai"]
        assert [row[3] for row in found if row[0] == "error"] == [
            row[3] for row in found if row[0] == "retry"
        ]
        numbers = [row[1] for row in found if row[0] == "error"]
        ends = [(turn.status, turn.attempt) for turn in turns_of(rows)]
        if is_inside:
            assert (numbers, ends) == ([1, 2, 3], [("ok", 4)])
        else:
            assert (numbers, ends) == ([1, 2, 1], [("error", 2), ("ok", 2)])
        assert rows("SELECT DISTINCT fate FROM failures") == [("retried",)]
