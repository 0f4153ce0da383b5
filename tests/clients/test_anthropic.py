"""Anthropic's SDK, as it is, against a provider on loopback: one turn a request, with all that it told."""

from __future__ import annotations

import asyncio
import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import pytest

import agenttrace
from agenttrace import agent_scope, model_turn, traced_tool
from tests.clients.anthropic_ways import WAYS, Way
from tests.clients.provider import Provider, Request
from tests.clients.provider_replies import (
    Call,
    Reply,
    Usage,
    bad_request,
    dropped,
    max_tokens,
    overloaded,
    rate_limited,
    raw,
    refusal,
    server_error,
    text,
    tool_calls,
    zipped,
)
from tests.clients.turns import read_turns
from tests.frameworks.conftest import Rows

TOOLS: Any = [
    {"name": "add", "description": "Add.", "input_schema": {"type": "object", "properties": {}}},
]
GIVEN: dict[str, Any] = {
    "model": "claude-asked",
    "max_tokens": 99,
    "system": "be brief",
    "messages": [{"role": "user", "content": "hello"}],
    "tools": TOOLS,
}
USAGE = Usage(100, 50, cache_read_tokens=20, cache_write_tokens=30, reasoning_tokens=10)
RICH = tool_calls(
    [Call("add", {"a": 1, "b": "größer"}, "toolu_a"), Call("sub", {"a": [1, {"b": None}]}, "toolu_b")],
    content="let me see",
    thinking="two of them",
    usage=USAGE,
    model="claude-answered",
    response_id="msg_fixed",
)
RICH_CONTENT = [
    {"type": "thinking", "thinking": "two of them", "signature": "c2lnbmVk"},
    {"type": "text", "text": "let me see"},
    {"type": "tool_use", "id": "toolu_a", "name": "add", "input": {"a": 1, "b": "größer"}},
    {"type": "tool_use", "id": "toolu_b", "name": "sub", "input": {"a": [1, {"b": None}]}},
]


def name_of_error(way: Way, reply: Reply) -> str:
    """Give what this version of the SDK raises for *reply*: 529 has not always been a kind of its own."""
    with Provider() as provider:
        provider.queue(reply)
        return str(way.run(provider.anthropic_url, GIVEN, max_retries=0)["type"])


def without_ids(seen: Any) -> Any:
    """Give what the program saw without the numbers that the provider gives its answers."""
    return re.sub(r"req_\d+", "req", repr(seen))


every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
in_four_ways = pytest.mark.parametrize(
    "way", [WAYS[name] for name in ("create", "create_async", "helper", "helper_async")]
)


@every_way
class TestTurn:
    """A request for a message, however it is made."""

    def test_tells_all_that_was_asked_and_answered(self, rows: Rows, provider: Provider, way: Way) -> None:
        """Messages and parameters as they were sent; blocks, reason, id and both models as they came."""
        provider.queue(RICH)
        way.run(provider.anthropic_url, GIVEN)
        (turn,) = read_turns(rows)
        assert (turn.asked, turn.answered, turn.provider) == ("claude-asked", "claude-answered", "anthropic")
        assert (turn.status, turn.number, turn.attempt, turn.errors) == ("ok", 1, None, [])
        assert turn.call["input"] == GIVEN["messages"]
        assert turn.call["params"]["system"] == "be brief"
        assert turn.call["params"]["tools"] == TOOLS
        assert turn.call["params"]["max_tokens"] == 99
        assert turn.payload["output"] == RICH_CONTENT
        assert turn.payload["finish_reason"] == "tool_use"
        assert turn.payload["response_id"] == "msg_fixed"
        assert ("first_chunk_ms" in turn.payload) == way.is_streamed

    def test_counts_to_the_token(self, rows: Rows, provider: Provider, way: Way) -> None:
        """Input has what the cache gave and took; what the provider sent stands beside it."""
        provider.queue(RICH)
        way.run(provider.anthropic_url, GIVEN)
        (turn,) = read_turns(rows)
        assert turn.usage == USAGE
        sent = turn.payload["usage"]
        assert (sent["input_tokens"], sent["cache_read_input_tokens"]) == (50, 20)
        assert (sent["cache_creation_input_tokens"], sent["output_tokens"]) == (30, 50)

    @pytest.mark.parametrize("failure", [rate_limited(), overloaded(), server_error()])
    def test_is_one_however_often_it_is_tried(
        self, rows: Rows, provider: Provider, way: Way, failure: Reply
    ) -> None:
        """The SDK's own retries are attempts: an error and a retry for each, and one end."""
        provider.queue(failure, failure, RICH)
        way.run(provider.anthropic_url, GIVEN, max_retries=4)
        (turn,) = read_turns(rows)
        assert (turn.status, turn.attempt, turn.usage) == ("ok", 3, USAGE)
        assert [fate for _, _, fate in rows.failures()] == ["retried", "retried"]
        kind = name_of_error(way, failure)
        assert [(error["type"], error["attempt"]) for error in turn.errors] == [(kind, 1), (kind, 2)]
        assert all(f"Error code: {failure.status}" in error["message"] for error in turn.errors)
        assert [retry["error_id"] for retry in turn.retries] == [error["error_id"] for error in turn.errors]
        assert [(retry["by"], retry["limit_count"]) for retry in turn.retries] == [("anthropic", 5)] * 2
        assert all(0 < retry["wait_ms"] < 400 for retry in turn.retries)

    def test_may_come_compressed(self, rows: Rows, provider: Provider, way: Way) -> None:
        """Whoever unpacks it, the SDK or the program's own reading: it is read."""
        provider.queue(zipped(RICH))
        way.run(provider.anthropic_url, GIVEN)
        (turn,) = read_turns(rows)
        assert (turn.status, turn.usage, turn.payload["output"]) == ("ok", USAGE, RICH_CONTENT)

    @pytest.mark.parametrize(
        "reply",
        [
            raw("<html>please log in</html>"),
            raw("", content_type="application/json"),
            raw('{"some": "thing"}', content_type="application/json"),
            raw("event: ping\ndata: {}\n\n", content_type="text/event-stream"),
        ],
        ids=["a page", "nothing", "something", "no message"],
    )
    def test_may_be_no_answer_at_all(self, rows: Rows, provider: Provider, way: Way, reply: Reply) -> None:
        """What a proxy says with status 200 ends the turn, without tokens; the program sees what it saw."""
        provider.queue(reply)
        on = way.run(provider.anthropic_url, GIVEN, max_retries=0)
        (turn,) = read_turns(rows)
        # What the program makes of it afterwards is not the turn's affair.
        raised = on["type"] if isinstance(on, dict) and "raised in" in on else None
        assert (turn.status, turn.error_type) in [("ok", None), ("error", raised)]
        assert turn.usage == Usage(0, 0)
        if way.ask.__name__ in ("beta", "beta_async") and "html" in str(reply.raw):
            assert turn.payload["output"] == reply.raw
        agenttrace.disable()
        provider.queue(reply)
        off = way.run(provider.anthropic_url, GIVEN, max_retries=0)
        assert without_ids(on) == without_ids(off)

    def test_fails_as_the_request_does(self, rows: Rows, provider: Provider, way: Way) -> None:
        """An error of the API is the turn's, once."""
        provider.queue(bad_request("what is that"))
        way.run(provider.anthropic_url, GIVEN)
        (turn,) = read_turns(rows)
        assert (turn.status, turn.error_type, turn.attempt) == ("error", "BadRequestError", None)
        (error,) = turn.errors
        assert (error["type"], error["module"]) == ("BadRequestError", "anthropic")
        assert "what is that" in error["message"]
        assert turn.usage == Usage(0, 0)

    def test_gives_up_when_the_sdk_does(self, rows: Rows, provider: Provider, way: Way) -> None:
        """Each attempt failed, the last one with the error that the program gets."""
        provider.queue(rate_limited("one"), overloaded("two"), server_error("three"))
        way.run(provider.anthropic_url, GIVEN)
        (turn,) = read_turns(rows)
        assert (turn.status, turn.error_type, turn.attempt) == ("error", "InternalServerError", 3)
        assert [error["type"] for error in turn.errors] == [
            "RateLimitError",
            name_of_error(way, overloaded()),
            "InternalServerError",
        ]
        assert len(turn.retries) == 2

    def test_is_tried_again_when_nobody_answers(
        self, rows: Rows, provider: Provider, way: Way, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A connection that ends is an attempt too."""
        monkeypatch.setattr("anthropic._base_client.INITIAL_RETRY_DELAY", 0.001)
        provider.queue(dropped(), RICH)
        way.run(provider.anthropic_url, GIVEN)
        (turn,) = read_turns(rows)
        assert (turn.status, turn.attempt) == ("ok", 2)
        assert [error["type"] for error in turn.errors] == ["APIConnectionError"]


class TestAnswer:
    """What else an answer may be."""

    @in_four_ways
    @pytest.mark.parametrize(
        "reply, reason",
        [
            (max_tokens("as long as"), "max_tokens"),
            (refusal("no"), "refusal"),
            (text("done"), "end_turn"),
        ],
    )
    def test_says_why_it_ends(
        self, rows: Rows, provider: Provider, way: Way, reply: Reply, reason: str
    ) -> None:
        """The reason is the provider's own word."""
        provider.queue(reply)
        way.run(provider.anthropic_url, {**GIVEN, "tools": []})
        (turn,) = read_turns(rows)
        assert turn.payload["finish_reason"] == reason
        assert turn.payload["output"] == [{"type": "text", "text": reply.text}]

    @pytest.mark.parametrize("streamed", [False, True])
    def test_may_hold_arguments_that_are_cut_off(
        self, rows: Rows, provider: Provider, streamed: bool
    ) -> None:
        """Of a call whose arguments are no JSON, the text is kept."""
        provider.queue(Reply(calls=(Call("add", '{"a": 1, "b": ', "toolu_c"),), stop="length"))
        client = anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k")
        if streamed:
            list(client.messages.create(**GIVEN, stream=True))
        else:
            client.messages.create(**GIVEN)
        (turn,) = read_turns(rows)
        sent: Any = '{"a": 1, "b": ' if streamed else {}
        assert turn.payload["output"] == [
            {"type": "tool_use", "id": "toolu_c", "name": "add", "input": sent},
        ]


class TestConversation:
    """Turns among the other things that an agent does."""

    def test_has_its_turns_in_order(self, rows: Rows, provider: Provider) -> None:
        """A loop of model and tool: numbers count up, and tools stand between the turns."""

        @traced_tool
        def add(a: int, b: int) -> int:
            return a + b

        provider.queue(tool_calls([("add", {"a": 1, "b": 2})]), text("3"))
        client = anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k")
        messages: list[Any] = [{"role": "user", "content": "what is 1 + 2?"}]
        with agent_scope("adder"):
            for _ in range(2):
                answer = client.messages.create(model="claude-asked", max_tokens=9, messages=messages)
                messages.append({"role": "assistant", "content": answer.content})
                results = [
                    {"type": "tool_result", "tool_use_id": block.id, "content": str(add(**block.input))}
                    for block in answer.content
                    if block.type == "tool_use"
                ]
                messages.append({"role": "user", "content": results})
        kinds = ("model_call", "model_turn", "tool_call", "tool_result")
        assert [(event["kind"], event["turn"]) for event in rows.events(*kinds)] == [
            ("model_call", 1),
            ("model_turn", 1),
            ("tool_call", None),
            ("tool_result", None),
            ("model_call", 2),
            ("model_turn", 2),
        ]
        turns = read_turns(rows)
        # The SDK's own objects were sent back; they are kept as what went over the wire.
        assert turns[1].call["input"] == provider.bodies[1]["messages"]
        assert {event["agent"] for event in rows.events(*kinds)} == {"adder"}

    def test_is_the_turn_that_the_program_wrote_itself(self, rows: Rows, provider: Provider) -> None:
        """A ``model_turn`` around the SDK's request is that same turn, and gets what it lacks."""
        provider.queue(rate_limited(), RICH)
        client = anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k")
        with model_turn("my-model", input="my own words"):
            client.messages.create(**GIVEN)
        (turn,) = read_turns(rows)
        assert (turn.asked, turn.answered) == ("my-model", "claude-answered")
        assert turn.call["input"] == "my own words"
        assert (turn.usage, turn.attempt, turn.payload["output"]) == (USAGE, 2, RICH_CONTENT)

    @pytest.mark.parametrize("seed", range(3))
    def test_costs_what_its_turns_cost(self, rows: Rows, provider: Provider, seed: int) -> None:
        """The sums of an agent are those of the provider, to the token."""
        print("seed", seed)
        dice = random.Random(seed)
        usages = []
        for _ in range(7):
            read, written, fresh = (dice.randrange(5000) for _ in range(3))
            output = dice.randrange(1, 3000)
            usages.append(Usage(read + written + fresh, output, read, written, dice.randrange(output)))
        with agent_scope("spender"):
            for usage in usages:
                name = dice.choice(list(WAYS))
                provider.queue(text("a b c", usage=usage))
                WAYS[name].run(provider.anthropic_url, GIVEN)
        names = Usage.__slots__
        told = rows(f"SELECT {', '.join(f'SUM({name})' for name in names)} FROM trajectory_events")
        assert told == [tuple(sum(getattr(usage, name) for usage in usages) for name in names)]
        (agent,) = rows("SELECT input_tokens, output_tokens FROM agents WHERE agent_name = 'spender'")
        assert agent == told[0][:2]


class TestMoney:
    """What a turn cost, by the offline table."""

    @in_four_ways
    def test_is_told_to_the_cent(self, rows: Rows, provider: Provider, way: Way) -> None:
        """Each kind of token at its own price, of the model that answered; an attempt costs nothing."""
        pytest.importorskip("genai_prices")
        usage = Usage(100_000, 5_000, cache_read_tokens=20_000, cache_write_tokens=30_000)
        provider.queue(rate_limited(), text("dear", usage=usage, model="claude-sonnet-4-6"))
        way.run(provider.anthropic_url, {**GIVEN, "model": "claude-not-in-any-table"})
        dollars_per_million = 50_000 * 3 + 20_000 * 0.3 + 30_000 * 3.75 + 5_000 * 15
        ((cost,),) = rows("SELECT SUM(cost_usd) FROM trajectory_events")
        assert cost == pytest.approx(dollars_per_million / 1_000_000)
        assert rows("SELECT SUM(cost_usd) FROM agents") == [(cost,)]


class TestMany:
    """Requests at the same time."""

    @staticmethod
    def echo(request: Request) -> Reply:
        """Answer with the question's number, and count it too."""
        number = int(request.last_text)
        if request.headers["x-stainless-retry-count"] == "0" and number % 3 == 0:
            return rate_limited()
        return text(f"{number} it is", usage=Usage(number + 1, number + 2), response_id=f"msg_{number}")

    def check(self, rows: Rows, count: int) -> None:
        turns = read_turns(rows)
        assert sorted(turn.payload["response_id"] for turn in turns) == sorted(
            f"msg_{number}" for number in range(count)
        )
        for turn in turns:
            number = int(turn.call["input"][0]["content"])
            assert turn.payload["response_id"] == f"msg_{number}"
            assert turn.payload["output"] == [{"type": "text", "text": f"{number} it is"}]
            assert turn.usage == Usage(number + 1, number + 2)
            assert turn.attempt == (2 if number % 3 == 0 else None)
        assert sorted(turn.number for turn in turns) == list(range(1, count + 1))

    @pytest.mark.parametrize("streamed", [False, True])
    def test_in_tasks_each_have_their_own(self, rows: Rows, provider: Provider, streamed: bool) -> None:
        """Twenty at once in one loop: no answer, count or attempt goes to another's turn."""
        provider.answer(self.echo)

        async def go() -> None:
            async with anthropic.AsyncAnthropic(base_url=provider.anthropic_url, api_key="k") as client:

                async def ask(number: int) -> None:
                    given = {**GIVEN, "messages": [{"role": "user", "content": str(number)}]}
                    if not streamed:
                        await client.messages.create(**given)
                        return
                    async with client.messages.stream(**given) as stream:
                        async for _ in stream:
                            await asyncio.sleep(0)

                with agent_scope("many"):
                    await asyncio.gather(*map(ask, range(20)))

        asyncio.run(go())
        self.check(rows, 20)

    def test_in_threads_each_have_their_own(self, rows: Rows, provider: Provider) -> None:
        """The same of threads, which go on in the agent that started them."""
        provider.answer(self.echo)
        client = anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k")

        def ask(number: int) -> None:
            given = {**GIVEN, "messages": [{"role": "user", "content": str(number)}]}
            with client.messages.stream(**given) as stream:
                stream.get_final_message()

        with agent_scope("many"), ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(20)))
        client.close()
        self.check(rows, 20)


class TestOtherRequests:
    """What the SDK asks besides."""

    def test_are_no_turns(self, rows: Rows, provider: Provider) -> None:
        """Counting tokens, listing models and making a batch ask no model for an answer."""
        client = anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k", max_retries=0)
        message: Any = {"model": "claude-asked", "messages": GIVEN["messages"]}
        batch: Any = [{"custom_id": "one", "params": {**message, "max_tokens": 9}}]
        for ask in (
            lambda: client.messages.count_tokens(**message),
            lambda: client.models.list(),
            lambda: client.messages.batches.create(requests=batch),
        ):
            provider.queue(bad_request())
            with pytest.raises(anthropic.BadRequestError):
                ask()
        with agent_scope("asker"):
            pass
        assert read_turns(rows) == []
