"""Anthropic's SDK in a replay: the program gets what was recorded, and nothing is asked."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import anthropic
import pytest

from agenttrace.errors import ReplayError
from tests.clients.anthropic_ways import STREAMED, WAYS, Way
from tests.clients.conftest import Rows
from tests.clients.provider import Provider
from tests.clients.provider_replies import (
    Reply,
    bad_request,
    broken_stream,
    dropped,
    failed_stream,
    overloaded,
    rate_limited,
    text,
    tool_calls,
)
from tests.clients.replaying import replaying
from tests.clients.test_anthropic import GIVEN, RICH
from tests.clients.turns import read_turns

SCRIPTS: dict[str, list[Reply]] = {
    "tools": [RICH],
    "retried": [rate_limited(), overloaded(), RICH],
    "given up": [overloaded("one"), overloaded("two"), overloaded("three")],
    "refused": [bad_request()],
    "cut": [tool_calls([("add", '{"a": ')])],
}
BREAKING: dict[str, list[Reply]] = {
    "broken": [broken_stream(RICH, after=5)],
    "failed": [failed_stream(RICH, after=5)],
}
_NOT_KEPT = ("request_id", "raised in", "parsed_output")
"""Where the SDK raised is its own matter; an answer's id of its request is nowhere recorded."""


def said(seen: Any) -> Any:
    """Give what is equal in a replay."""
    text = re.sub(r"req_\d+", "replayed", json.dumps(_kept(seen), sort_keys=True))
    return json.loads(text)


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("type") in ("RemoteProtocolError", "ReadError"):
            return {"type": value["type"], "text": value["text"]}  # beneath it were sockets
        return {
            key: _kept(one)
            for key, one in value.items()
            if key not in _NOT_KEPT and one is not None and not (key == "usage" and "context" not in value)
        }
    return [_kept(one) for one in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize(
    "way", [pytest.param(way, id=name) for name, way in WAYS.items() if "lines" not in name]
)
class TestAReplayedAnswer:
    @pytest.mark.parametrize("script", SCRIPTS)
    def test_is_what_the_program_got(self, provider: Provider, rows: Rows, way: Way, script: str) -> None:
        """In every form in which it may be asked for: values, attempts, errors with their causes."""
        provider.queue(*SCRIPTS[script])
        before = way.run(provider.anthropic_url, GIVEN)
        count = len(provider.requests)
        with replaying(rows) as recording:
            again = way.run("http://nowhere.invalid", GIVEN)
        waits_ms = rows(
            "SELECT json_extract(payload, '$.wait_ms') FROM trajectory_events WHERE kind = 'retry'"
        )
        assert sum(wait_ms or 0 for (wait_ms,) in waits_ms[len(waits_ms) // 2 :]) < 100, waits_ms
        assert said(again) == said(before)
        assert recording.asked == [GIVEN["model"]]
        assert len(provider.requests) == count
        first, second = read_turns(rows)
        assert first.usage == second.usage
        assert (first.status, first.attempt, first.error_type) == (
            second.status,
            second.attempt,
            second.error_type,
        )
        for name in ("output", "finish_reason", "response_id"):
            assert first.payload.get(name) == second.payload.get(name)


@pytest.mark.parametrize("way", STREAMED.values(), ids=STREAMED)
class TestAReplayedStream:
    @pytest.mark.parametrize("script", BREAKING)
    def test_breaks_off_where_it_broke_off(
        self, provider: Provider, rows: Rows, way: Way, script: str
    ) -> None:
        """What had come is given; then what ended it."""
        provider.queue(*BREAKING[script])
        before = way.run(provider.anthropic_url, GIVEN)
        with replaying(rows):
            again = way.run("http://nowhere.invalid", GIVEN)
        if "lines" not in way.ask.__name__:
            assert said(again) == said(before)
        first, second = read_turns(rows)
        assert (first.status, first.error_type) == (second.status, second.error_type)
        assert first.payload["output"] == second.payload["output"]
        assert first.payload["output"], "some of it had come"


class TestAReplayedRequest:
    def test_breaks_as_the_connection_broke(self, provider: Provider, rows: Rows) -> None:
        """The class of the HTTP library's exception beneath is the recorded one."""
        provider.queue(dropped())
        way = WAYS["create"]
        before = way.run(provider.anthropic_url, GIVEN, max_retries=0)
        with replaying(rows):
            again = way.run("http://nowhere.invalid", GIVEN, max_retries=0)
        assert before["type"] == "APIConnectionError"
        assert said(again)["cause"]["type"] == said(before)["cause"]["type"]

    def test_is_refused_where_none_was_recorded(self, rows: Rows) -> None:
        """The substitute's error reaches the program as it is."""
        with replaying(rows), anthropic.Anthropic(base_url="http://nowhere.invalid", api_key="k") as client:
            with pytest.raises(ReplayError, match="no turn of"):
                client.messages.create(**GIVEN)

    def test_waits_to_be_cancelled_where_it_was(self, provider: Provider, rows: Rows) -> None:
        """A request that the program gave up on has no answer: the program gives up on it again."""
        from tests.clients.provider_replies import held

        provider.queue(held(text("late")))

        async def main(url: str) -> str:
            async with anthropic.AsyncAnthropic(base_url=url, api_key="k") as client:
                try:
                    await asyncio.wait_for(client.messages.create(**GIVEN), 0.1)
                except TimeoutError:
                    return "given up"
            return "answered"

        assert asyncio.run(main(provider.anthropic_url)) == "given up"
        with replaying(rows):
            assert asyncio.run(main("http://nowhere.invalid")) == "given up"


@pytest.mark.skipif(not hasattr(anthropic, "beta_tool"), reason="not in older ones")
class TestTheToolRunner:
    def test_calls_no_tool_again(self, provider: Provider, rows: Rows) -> None:
        """The runner gets results, and the failure that it makes a text of, from the replay."""
        provider.queue(
            tool_calls([("count", {"item": "apples"}), ("count", {"item": "pears"})]), text("3 apples")
        )
        ran: list[str] = []

        @anthropic.beta_tool
        def count(item: str) -> str:
            """Count."""
            ran.append(item)
            return str({"apples": 3}[item])

        def run(url: str) -> Any:
            with anthropic.Anthropic(base_url=url, api_key="k") as client:
                runner = client.beta.messages.tool_runner(
                    model="claude-x",
                    max_tokens=10,
                    tools=[count],
                    messages=[{"role": "user", "content": "count"}],
                )
                return runner.until_done().content[0].text

        before = run(provider.anthropic_url)
        with replaying(rows) as recording:
            assert run("http://nowhere.invalid") == before == "3 apples"
        assert ran == ["apples", "pears"]
        assert recording.asked == ["claude-x", "count", "count", "claude-x"]


class TestAGap:
    def test_is_filled_by_asking(self, provider: Provider, rows: Rows) -> None:
        """Where the substitute has nothing and lets it be, the request leaves."""
        provider.queue(text("one"), text("two"))
        way = WAYS["create"]
        before = way.run(provider.anthropic_url, GIVEN)
        with replaying(rows) as recording:
            recording.turns.append(None)  # type: ignore[arg-type]
            assert said(way.run(provider.anthropic_url, GIVEN)) == said(before)
            assert said(way.run(provider.anthropic_url, GIVEN)) != said(before)
        assert len(provider.requests) == 2
