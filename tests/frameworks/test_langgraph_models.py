"""LangChain's chat models: one turn each, whatever is around it and whichever SDK is inside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.caches import InMemoryCache
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from agenttrace import agent_scope
from tests.clients.provider import Provider
from tests.clients.provider_replies import Usage, bad_request, broken_stream, rate_limited, text, tool_calls
from tests.frameworks.conftest import Rows
from tests.frameworks.langgraph_graphs import asks, build_model

BOTH = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
PROVIDERS = pytest.mark.parametrize("kind", ["openai", "anthropic"])
USAGE = {
    "input_tokens": 100,
    "output_tokens": 7,
    "total_tokens": 107,
    "input_token_details": {"cache_read": 60, "cache_creation": 30},
    "output_token_details": {"reasoning": 3},
}
pytestmark = pytest.mark.filterwarnings("ignore:The method")
COUNTS = "input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens"


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Start a provider on loopback."""
    with Provider() as started:
        yield started


def build_real(kind: str, provider: Provider, **options: Any) -> BaseChatModel:
    """Make LangChain's own model of a provider."""
    if kind == "openai":
        return ChatOpenAI(model="gpt-4o", base_url=provider.openai_url, api_key="k", **options)
    return ChatAnthropic(model="claude-opus-4-7", base_url=provider.anthropic_url, api_key="k", **options)


def ask(model: Any, given: Any, is_async: bool = False, **options: Any) -> Any:
    """Ask a model, not streamed."""
    with agent_scope("a"):
        if is_async:
            return asyncio.run(model.ainvoke(given, **options))
        return model.invoke(given, **options)


def read(model: Any, given: Any, is_async: bool = False, limit_count: int | None = None) -> list[Any]:
    """Read a stream, all of it or its beginning."""
    pieces: list[Any] = []

    async def go() -> None:
        stream = model.astream(given)
        async for piece in stream:
            pieces.append(piece)
            if len(pieces) == limit_count:
                await stream.aclose()
                return

    with agent_scope("a"):
        if is_async:
            asyncio.run(go())
        else:
            stream = model.stream(given)
            for piece in stream:
                pieces.append(piece)
                if len(pieces) == limit_count:
                    stream.close()
                    break
    return pieces


def stream_events(model: Any, is_async: bool) -> str:
    """Read a stream of the third form for its answer alone."""

    async def go() -> Any:
        return await (await model.astream_events("hello", version="v3")).output

    with agent_scope("a"):
        answer = asyncio.run(go()) if is_async else model.stream_events("hello", version="v3").output
    return str(answer.text)


def turns(rows: Rows) -> list[tuple[Any, ...]]:
    """Give ``(turn, status, model, provider, output)`` of each turn."""
    found = rows(
        "SELECT turn, status, model, provider, payload ->> '$.output' FROM trajectory_events"
        " WHERE kind = 'model_turn' ORDER BY ts_ns"
    )
    assert len(found) == len(rows.events("model_call"))
    return found


class TestTurn:
    """A model without an SDK inside."""

    @BOTH
    def test_has_messages_in_and_an_answer_out(self, rows: Rows, is_async: bool) -> None:
        """Each message with its role; calls, results and their ids as in OpenAI's chat."""
        model = build_model("fine")
        asked = asks(("look", {"word": "x"}))
        messages = [
            SystemMessage("be brief"),
            HumanMessage("hello", name="Ann"),
            asked,
            ToolMessage("no x", tool_call_id="call-1", status="error"),
        ]
        assert ask(model, messages, is_async).content == "fine"
        (call,) = rows.events("model_call")
        assert call["payload"]["input"] == [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hello", "name": "Ann"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "call-1",
                        "type": "function",
                        "function": {"name": "look", "arguments": '{"word": "x"}'},
                    }
                ],
            },
            {"role": "tool", "content": "no x", "tool_call_id": "call-1", "status": "error"},
        ]
        (turn,) = rows.events("model_turn")
        assert turn["payload"]["output"] == {"role": "assistant", "content": "fine"}
        assert (turn["agent"], turn["turn"], turn["model"]) == ("a", 1, "GenericFakeChatModel")

    @BOTH
    def test_counts_tokens_as_langchain_does(self, rows: Rows, is_async: bool) -> None:
        """``usage_metadata`` in our columns; all input is input, cached or not."""
        answer = AIMessage(
            "fine",
            usage_metadata=USAGE,
            response_metadata={"model_name": "m-2026", "finish_reason": "stop", "id": "resp-1"},
        )
        ask(build_model(answer), "hello", is_async)
        assert rows(f"SELECT model, {COUNTS} FROM trajectory_events WHERE kind = 'model_turn'") == [
            ("m-2026", 100, 7, 60, 30, 3)
        ]
        payload = rows.events("model_turn")[0]["payload"]
        assert (payload["finish_reason"], payload["response_id"]) == ("stop", "resp-1")
        assert payload["usage"] == USAGE

    @BOTH
    def test_that_streams_is_one_turn(self, rows: Rows, is_async: bool) -> None:
        """Pieces reach the program one by one; together they are the answer, with their first time."""
        pieces = read(build_model("one two three"), "hello", is_async)
        assert [piece.content for piece in pieces if piece.content] == ["one", " ", "two", " ", "three"]
        ((_, status, *_),) = turns(rows)
        (turn,) = rows.events("model_turn")
        assert status == "ok" and turn["payload"]["output"] == {
            "role": "assistant",
            "content": "one two three",
        }
        assert turn["payload"]["first_chunk_ms"] >= 0

    @BOTH
    def test_that_streams_events_is_one_turn(self, rows: Rows, is_async: bool) -> None:
        """The third form of ``stream_events``: the turn ends with its last event, read or not."""
        assert stream_events(build_model("one two three"), is_async) == "one two three"
        ((_, status, _, _, output),) = turns(rows)
        assert status == "ok" and '"text":"one two three"' in output
        assert rows.events("model_turn")[0]["payload"]["first_chunk_ms"] >= 0

    @BOTH
    def test_left_early_keeps_what_had_come(self, rows: Rows, is_async: bool) -> None:
        """A stream that is closed is stopped early; its pieces stay."""
        read(build_model("one two three"), "hello", is_async, limit_count=3)
        assert [(row[1], row[4]) for row in turns(rows)] == [("stopped_early", "one two")]
        assert [one["payload"]["text"] for one in rows.events("model_delta")] == ["one two"]

    def test_is_lazy_as_ever(self, rows: Rows) -> None:
        """A stream that nobody reads asks nothing, and is no turn."""
        model = build_model("one")
        stream = model.stream("hello")
        assert not rows.events("model_call")
        stream.close()
        assert model.invoke("hello").content == "one"

    @BOTH
    def test_that_fails_is_a_failure(self, rows: Rows, is_async: bool) -> None:
        """The exception is the turn's, and reaches the program."""
        with pytest.raises(ConnectionError):
            ask(build_model(ConnectionError("no line")), "hello", is_async)
        assert [row[1] for row in turns(rows)] == ["error"]
        assert [(one["error_type"], one["agent"]) for one in rows.events("error")] == [
            ("ConnectionError", "a")
        ]

    @BOTH
    def test_that_breaks_off_keeps_what_had_come(self, rows: Rows, is_async: bool) -> None:
        """A stream that fails amid its answer ends in error, with the pieces."""

        class Breaking(GenericFakeChatModel):
            def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
                yield ChatGenerationChunk(message=AIMessageChunk("half"))
                raise ConnectionError("gone")

        with pytest.raises(ConnectionError):
            read(Breaking(messages=iter(())), "hello", is_async)
        assert [(row[1], row[4]) for row in turns(rows)] == [("error", "half")]

    def test_may_be_one_of_many(self, rows: Rows) -> None:
        """A batch is a turn for each, in its own thread, all of the agent around it."""
        with agent_scope("a"):
            model = GenericFakeChatModel(messages=iter(["x"] * 3))
            assert len(model.batch(["1", "2", "3"])) == 3
        assert sorted(row[0] for row in turns(rows)) == [1, 2, 3]
        given = [one["payload"]["input"][0]["content"] for one in rows.events("model_call")]
        assert sorted(given) == ["1", "2", "3"]

    def test_says_what_it_was_given_besides(self, rows: Rows) -> None:
        """Tools, stop words and what else was bound are the turn's params."""
        tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
        model = build_model("fine").bind(tools=tools, stop=["END"], temperature=0.5)
        with agent_scope("a"):
            model.invoke("hello")
        params = rows.events("model_call")[0]["payload"]["params"]
        assert (params["tools"], params["stop"], params["temperature"]) == (tools, ["END"], 0.5)
        assert "run_manager" not in params

    def test_in_a_chain_is_what_the_chain_asks(self, rows: Rows) -> None:
        """A prompt piped into a model is asked as messages."""
        chain = ChatPromptTemplate.from_messages([("system", "be {how}"), ("user", "hello")]) | build_model(
            "a", "b"
        )
        with agent_scope("a"):
            chain.invoke({"how": "brief"})
            list(chain.stream({"how": "long"}))
        given = [[part["content"] for part in one["payload"]["input"]] for one in rows.events("model_call")]
        assert given == [["be brief", "hello"], ["be long", "hello"]]
        assert [row[1] for row in turns(rows)] == ["ok", "ok"]

    def test_asked_again_by_langchain_is_a_turn_each(self, rows: Rows) -> None:
        """``with_retry`` makes another turn of another attempt; the failure before it was retried."""

        class Flaky(BaseChatModel):
            tries: int = 0

            @property
            def _llm_type(self) -> str:
                return "flaky"

            def _generate(self, *_: Any, **__: Any) -> ChatResult:
                self.tries += 1
                if self.tries == 1:
                    raise ConnectionError("no line")
                return ChatResult(generations=[ChatGeneration(message=AIMessage("fine"))])

        model = Flaky().with_retry(wait_exponential_jitter=False)
        with agent_scope("a"):
            assert model.invoke("hello").content == "fine"
        assert [row[1] for row in turns(rows)] == ["error", "ok"]
        assert [(kind, fate) for _, kind, fate in rows.failures()] == [("ConnectionError", "retried")]

    def test_out_of_a_cache_costs_nothing(self, rows: Rows) -> None:
        """An answer that LangChain remembers is a turn without usage."""
        model = build_model(AIMessage("fine", usage_metadata=USAGE))
        model.cache = InMemoryCache()
        with agent_scope("a"):
            assert model.invoke("hello").content == model.invoke("hello").content == "fine"
        assert rows(
            "SELECT input_tokens FROM trajectory_events WHERE kind = 'model_turn' ORDER BY ts_ns"
        ) == [
            (100,),
            (None,),
        ]


class TestCache:
    """What a provider's own cache took and gave."""

    @BOTH
    def test_of_anthropic_counts_once(self, rows: Rows, provider: Provider, is_async: bool) -> None:
        """Reads and writes are input, in columns of their own, as the SDK itself would say."""
        usage = Usage(input_tokens=100, output_tokens=20, cache_read_tokens=40, cache_write_tokens=30)
        provider.queue(text("fine", usage=usage))
        ask(build_real("anthropic", provider), "hello", is_async)
        assert rows(f"SELECT {COUNTS} FROM trajectory_events WHERE kind = 'model_turn'") == [
            (100, 20, 40, 30, None)
        ]


@PROVIDERS
class TestRealModel:
    """LangChain's models of real providers, whose SDKs are followed too."""

    @BOTH
    def test_is_one_turn_with_its_sdk(
        self, rows: Rows, provider: Provider, kind: str, is_async: bool
    ) -> None:
        """Tokens count once, the answer's ids and reason are the provider's, money is known."""
        usage = Usage(input_tokens=100, output_tokens=20, cache_read_tokens=40)
        provider.queue(text("hello there", usage=usage))
        assert ask(build_real(kind, provider), "hello", is_async).text == "hello there"
        ((number, status, model, served_by, _),) = turns(rows)
        assert (number, status, served_by) == (1, "ok", kind)
        assert model.startswith(("gpt-4o", "claude-opus-4-7"))
        sql = f"SELECT {COUNTS} FROM trajectory_events WHERE kind = 'model_turn'"
        assert [row[:3] for row in rows(sql)] == [(100, 20, 40)]
        payload = rows.events("model_turn")[0]["payload"]
        assert payload["finish_reason"] in ("stop", "end_turn")
        assert payload["response_id"].startswith(("chatcmpl-", "msg_"))

    @BOTH
    def test_that_streams_is_one_turn(
        self, rows: Rows, provider: Provider, kind: str, is_async: bool
    ) -> None:
        """Each piece is told once."""
        provider.queue(text("one two three four"))
        pieces = read(build_real(kind, provider), "hello", is_async)
        assert "".join(piece.text for piece in pieces) == "one two three four"
        assert [row[1] for row in turns(rows)] == ["ok"]
        output = rows.events("model_turn")[0]["payload"]["output"]
        said = output["content"]
        assert (said if isinstance(said, str) else said[0]["text"]) == "one two three four"

    @BOTH
    def test_that_streams_events_is_one_turn(
        self, rows: Rows, provider: Provider, kind: str, is_async: bool
    ) -> None:
        """Also with an SDK inside that had to try again."""
        provider.queue(rate_limited(), text("one two three"))
        assert stream_events(build_real(kind, provider), is_async) == "one two three"
        assert [row[1] for row in turns(rows)] == ["ok"]
        assert len(rows.events("retry")) == 1

    @BOTH
    def test_retried_by_its_sdk_is_one_turn(
        self, rows: Rows, provider: Provider, kind: str, is_async: bool
    ) -> None:
        """A 429 that the SDK tries again is an attempt of the turn, and its failure was retried."""
        provider.queue(rate_limited(), text("at last"))
        assert ask(build_real(kind, provider), "hello", is_async).text == "at last"
        assert [row[1] for row in turns(rows)] == ["ok"]
        (retry,) = rows.events("retry")
        assert retry["payload"]["by"] == kind
        assert [(error, fate) for _, error, fate in rows.failures()] == [("RateLimitError", "retried")]

    @BOTH
    def test_refused_is_one_failure(self, rows: Rows, provider: Provider, kind: str, is_async: bool) -> None:
        """The provider's error is one failure, through the SDK and through LangChain."""
        provider.queue(bad_request())
        with pytest.raises(Exception, match="no such parameter"):
            ask(build_real(kind, provider), "hello", is_async)
        assert [row[1] for row in turns(rows)] == ["error"]
        assert [(error, fate) for _, error, fate in rows.failures()] == [("BadRequestError", "escaped")]

    @BOTH
    def test_cut_off_keeps_what_had_come(
        self, rows: Rows, provider: Provider, kind: str, is_async: bool
    ) -> None:
        """A stream whose connection breaks ends in error, and what had arrived stays."""
        provider.queue(broken_stream(text("one two three four five six"), after=3))
        with pytest.raises(Exception, match=r"(?i)connect|peer|read|incomplete"):
            read(build_real(kind, provider, max_retries=0), "hello", is_async)
        ((_, status, _, _, output),) = turns(rows)
        assert status == "error" and "one two" in output and "six" not in output

    def test_asks_for_tools_under_their_ids(self, rows: Rows, provider: Provider, kind: str) -> None:
        """What it asks for has the ids of the wire, and the request names its tools."""
        provider.queue(tool_calls([("look", {"word": "x"})]))

        def look(word: str) -> str:
            """Look it up."""
            return word

        answer = ask(build_real(kind, provider).bind_tools([look]), "hello")
        (asked,) = rows.events("model_turn")[0]["payload"]["output"]["tool_calls"]
        assert asked["id"] == answer.tool_calls[0]["id"]
        assert asked["function"] == {"name": "look", "arguments": '{"word": "x"}'}
        assert len(rows.events("model_call")[0]["payload"]["params"]["tools"]) == 1
