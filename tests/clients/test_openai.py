"""OpenAI's SDK, followed: what is left of a request, however it is made and its answer is taken."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel, ValidationError

from agenttrace import agent_scope, model_turn, traced_tool
from tests.clients.conftest import Rows
from tests.clients.openai_asking import APIS, FORMS, MESSAGES, Asking, turns_of
from tests.clients.provider import Provider
from tests.clients.provider_replies import Usage, max_tokens, refusal, text, tool_calls

WAYS = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
BOTH = pytest.mark.parametrize("api", APIS)

USAGE = Usage(input_tokens=120, output_tokens=45, cache_read_tokens=64, reasoning_tokens=32)


def words_of(api: str, output: Any) -> str:
    """Give the text of an answer in the provider's form."""
    if api == "chat":
        assert output["role"] == "assistant"
        return str(output["content"])
    (message,) = [item for item in output if item["type"] == "message"]
    return str(message["content"][0]["text"])


def calls_of(api: str, output: Any) -> list[tuple[str, str, Any]]:
    """Give ``(id, name, arguments)`` of the tools that were asked for."""
    if api == "chat":
        calls = [(call["id"], call["function"]) for call in output["tool_calls"]]
    else:
        calls = [(item["call_id"], item) for item in output if item["type"] == "function_call"]
    return [(call_id, call["name"], json.loads(call["arguments"])) for call_id, call in calls]


@WAYS
@BOTH
@pytest.mark.parametrize("form", FORMS)
class TestEveryForm:
    def test_leaves_one_turn(
        self, provider: Provider, rows: Rows, api: str, form: str, is_async: bool
    ) -> None:
        """What was asked, what was answered, by whom and for how many tokens, to the token."""
        provider.queue(text("four words of answer", usage=USAGE, model="gpt-x-2026-01-01"))
        Asking(provider, api, is_async).ask(form)
        (turn,) = turns_of(rows)
        assert (turn.asked, turn.model, turn.provider) == ("gpt-x", "gpt-x-2026-01-01", "openai")
        assert (turn.status, turn.attempt, turn.turn) == ("ok", None, 1)
        assert turn.call["input"] == MESSAGES
        assert turn.tokens == (120, 45, 64, 32)
        assert words_of(api, turn.payload["output"]) == "four words of answer"
        assert turn.payload["finish_reason"] == {"chat": "stop", "responses": "completed"}[api]
        assert turn.payload["response_id"].startswith({"chat": "chatcmpl-", "responses": "resp_"}[api])
        is_streamed = "stream" in form or form in ("helper", "lines")
        assert ("first_chunk_ms" in turn.payload) == is_streamed

    def test_tells_of_parallel_tool_calls(
        self, provider: Provider, rows: Rows, api: str, form: str, is_async: bool
    ) -> None:
        """Ids, names and arguments of all tools that the model asked for at once."""
        provider.queue(tool_calls([("add", {"a": 1, "b": [2, "three"]}), ("look", {})]))
        Asking(provider, api, is_async).ask(form)
        (turn,) = turns_of(rows)
        first, second = calls_of(api, turn.payload["output"])
        assert first[1:] == ("add", {"a": 1, "b": [2, "three"]})
        assert second[1:] == ("look", {})
        assert first[0] != second[0]
        assert turn.payload["finish_reason"] == {"chat": "tool_calls", "responses": "completed"}[api]


@BOTH
class TestWhatIsAsked:
    def test_keeps_the_parameters_in_the_providers_form(
        self, provider: Provider, rows: Rows, api: str
    ) -> None:
        """Tools, limits and instructions stand in ``params``, as they were sent."""
        tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
        flat = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": None}
        given: dict[str, Any] = {"tools": [tool if api == "chat" else flat], "temperature": 0.5}
        provider.queue(text("yes"))
        Asking(provider, api, False).ask(**given, extra_body={"seed_of_mine": 7})
        (turn,) = turns_of(rows)
        assert turn.call["params"] == {**given, "seed_of_mine": 7}
        sent = dict(provider.bodies[0])
        assert {name: sent.pop(name) for name in turn.call["params"]} == turn.call["params"]

    def test_is_no_turn_where_no_model_is_asked(self, rows: Rows, provider: Provider, api: str) -> None:
        """Other requests of the SDK are not looked at."""
        with Provider(strict=False) as other, pytest.raises(openai.BadRequestError):
            openai.OpenAI(base_url=other.openai_url, api_key="k").models.list()
        assert turns_of(rows) == []


class TestAStringAsInput:
    def test_is_kept_as_it_is(self, provider: Provider, rows: Rows) -> None:
        """``responses.create(input="…")`` is a short form of the provider's own."""
        provider.queue(text("yes"))
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        client.responses.create(model="gpt-x", input="just this", instructions="be brief")
        (turn,) = turns_of(rows)
        assert turn.call == {"input": "just this", "params": {"instructions": "be brief"}}


@WAYS
@BOTH
class TestWhyItStopped:
    @pytest.mark.parametrize("form", ["plain", "streamed"])
    def test_is_kept(self, provider: Provider, rows: Rows, api: str, form: str, is_async: bool) -> None:
        """An answer that the limit cut, and a refusal, are ended turns with their own reason."""
        provider.queue(max_tokens("half an"), refusal("I will not"))
        asking = Asking(provider, api, is_async)
        asking.ask(form)
        asking.ask(form)
        cut, refused = turns_of(rows)
        assert cut.payload["finish_reason"] == {"chat": "length", "responses": "max_output_tokens"}[api]
        assert "I will not" in json.dumps(refused.payload["output"])
        assert [cut.status, refused.status] == ["ok", "ok"]


class _Sum(BaseModel):
    total: int


@WAYS
@BOTH
class TestParse:
    def test_leaves_the_turn_of_its_request(
        self, provider: Provider, rows: Rows, api: str, is_async: bool
    ) -> None:
        """Structured output is one turn, with the text that was parsed."""
        name = "response_format" if api == "chat" else "text_format"
        provider.queue(text('{"total": 3}', usage=USAGE))
        asking = Asking(provider, api, is_async)
        given = {**asking.arguments, name: _Sum}

        async def parse(resource: Any) -> Any:
            return await resource.parse(**given)

        parsed = asking.use(lambda resource: resource.parse(**given), parse)
        found = parsed.choices[0].message.parsed if api == "chat" else parsed.output_parsed
        assert found == _Sum(total=3)
        (turn,) = turns_of(rows)
        assert words_of(api, turn.payload["output"]) == '{"total": 3}'
        assert turn.tokens == (120, 45, 64, 32)

    def test_that_fails_keeps_the_answer(
        self, provider: Provider, rows: Rows, api: str, is_async: bool
    ) -> None:
        """What the SDK could not parse was answered and paid for all the same."""
        name = "response_format" if api == "chat" else "text_format"
        provider.queue(max_tokens('{"tot', usage=USAGE))
        asking = Asking(provider, api, is_async)
        given = {**asking.arguments, name: _Sum}

        async def parse(resource: Any) -> Any:
            return await resource.parse(**given)

        with pytest.raises((openai.LengthFinishReasonError, ValidationError)) as raised:
            asking.use(lambda resource: resource.parse(**given), parse)
        (turn,) = turns_of(rows)
        assert (turn.status, turn.error_type) == ("error", raised.type.__name__)
        assert words_of(api, turn.payload["output"]) == '{"tot'
        assert turn.tokens == (120, 45, 64, 32)


class TestALoopWithTools:
    def test_gives_the_ids_of_the_model_to_the_calls(self, provider: Provider, rows: Rows) -> None:
        """Both calls of one answer carry its ids, in a program that says nothing of them."""

        @traced_tool
        def add(a: int, b: int) -> int:
            return a + b

        provider.queue(tool_calls([("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})]), text("3 and 7"))
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        messages: list[Any] = list(MESSAGES)
        with agent_scope("adder"):
            answer = client.chat.completions.create(model="gpt-x", messages=messages).choices[0].message
            messages.append(answer)
            ids = []
            for call in answer.tool_calls or []:
                assert call.type == "function"
                result = add(**json.loads(call.function.arguments))
                ids.append(call.id)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": str(result)})
            client.chat.completions.create(model="gpt-x", messages=messages)
        found = rows("SELECT call_id, tool_output FROM tool_traces ORDER BY id")
        assert found == [(ids[0], 3), (ids[1], 7)]
        assert [turn.turn for turn in turns_of(rows)] == [1, 2]

    def test_says_once_that_the_model_changed(self, provider: Provider, rows: Rows) -> None:
        """The requested names decide; a dated name that answers is no switch."""
        client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        with agent_scope("a"):
            for model in ("gpt-x", "gpt-x", "gpt-y"):
                provider.queue(text("yes", model=f"{model}-2026-01-01"))
                client.chat.completions.create(model=model, messages=MESSAGES)  # type: ignore[arg-type]
        switched = rows("SELECT payload FROM trajectory_events WHERE kind = 'model_switched'")
        assert [json.loads(payload)["to_model"] for (payload,) in switched] == ["gpt-y"]


@WAYS
@BOTH
@pytest.mark.parametrize("form", ["plain", "streamed"])
class TestInsideATurnByHand:
    def test_is_that_turn(self, provider: Provider, rows: Rows, api: str, form: str, is_async: bool) -> None:
        """A program that records its turns itself has each once, with what the SDK knows besides."""
        provider.queue(text("an answer", usage=USAGE, model="gpt-x-2026"))
        with agent_scope("a"), model_turn("gpt-x", input=["mine"]) as turn:
            Asking(provider, api, is_async).ask(form)
            turn.set_output("my own words")
        (turn_row,) = turns_of(rows)
        assert (turn_row.model, turn_row.provider, turn_row.tokens) == (
            "gpt-x-2026",
            "openai",
            (120, 45, 64, 32),
        )
        assert turn_row.payload["output"] == "my own words"
        assert turn_row.call["input"] == ["mine"]


@pytest.mark.parametrize(
    ("url", "provider_name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://my.openai.azure.com/openai", "azure"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://notopenrouter.ai/api/v1", "openai"),
        ("http://gateway.example:4000", "openai"),
    ],
)
def test_the_provider_is_told_by_the_host(url: str, provider_name: str) -> None:
    """Other providers serve other models at other prices; a gateway counts as OpenAI's."""
    from agenttrace.integrations.openai import provider_of

    assert provider_of(openai.OpenAI(base_url=url, api_key="k")) == provider_name
