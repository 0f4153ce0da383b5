"""What turns cost that real SDKs and frameworks took: to the cent, and each of them once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import agents
import anthropic
import openai
import pydantic_ai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from agenttrace import agent_scope
from tests.clients.conftest import Rows
from tests.clients.openai_asking import APIS, HTTP, MESSAGES, Asking
from tests.clients.provider import Provider
from tests.clients.provider_replies import Usage, rate_limited, text
from tests.test_prices import MILLION, price_of

USAGE = Usage(
    input_tokens=30_000,
    output_tokens=2_000,
    cache_read_tokens=20_000,
    cache_write_tokens=0,
    reasoning_tokens=1_500,
)


def costs(rows: Rows) -> list[float | None]:
    """Give the cost of each turn, and hold the conversation's to their sum."""
    found = [
        cost
        for (cost,) in rows("SELECT cost_usd FROM trajectory_events WHERE kind = 'model_turn' ORDER BY id")
    ]
    ((total,),) = rows("SELECT sum(total_cost_usd) FROM agent_sessions")
    known = [cost for cost in found if cost is not None]
    assert total == (pytest.approx(sum(known), abs=1e-9) if known else None)
    return found


def openai_cost(usage: Usage, model: str = "gpt-5-mini", **context: str) -> float:
    """Work out what OpenAI takes: cached input at its price, reasoning as output."""
    at = {
        name: price_of("openai", model, name, **context)
        for name in ("input_mtok", "cache_read_mtok", "output_mtok")
    }
    uncached = usage.input_tokens - usage.cache_read_tokens
    total = uncached * at["input_mtok"] + usage.cache_read_tokens * at["cache_read_mtok"]
    return float((total + usage.output_tokens * at["output_mtok"]) / MILLION)


def anthropic_cost(usage: Usage, model: str = "claude-sonnet-4-5") -> float:
    """Work out what Anthropic takes: reads and writes of the cache at prices of their own."""

    def at(name: str) -> Decimal:
        return price_of("anthropic", model, name, input_tokens=usage.input_tokens)

    uncached = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    total = uncached * at("input_mtok") + usage.cache_read_tokens * at("cache_read_mtok")
    total += usage.cache_write_tokens * at("cache_write_mtok") + usage.output_tokens * at("output_mtok")
    return float(total / MILLION)


class TestOpenAI:
    @pytest.mark.parametrize("form", ["plain", "streamed"])
    @pytest.mark.parametrize("api", APIS)
    def test_costs_what_its_answer_says(self, provider: Provider, rows: Rows, api: str, form: str) -> None:
        """By the dated model that answered, once for all attempts; streamed or not."""
        provider.queue(rate_limited(), text("hello", usage=USAGE, model="gpt-5-mini-2025-08-07"))
        Asking(provider, api, False).ask(form)
        assert costs(rows) == [openai_cost(USAGE)]

    def test_costs_less_at_a_cheaper_tier(self, rows: Rows) -> None:
        """The tier that the answer names, and not the one that was wished for."""
        usage = {"prompt_tokens": 30_000, "completion_tokens": 2_000, "total_tokens": 32_000}
        body: dict[str, Any] = {"id": "1", "object": "chat.completion", "created": 1, "usage": usage}
        body["choices"] = [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
        ]
        body |= {"model": "gpt-5-mini-2025-08-07", "service_tier": "flex"}
        transport = HTTP.MockTransport(lambda request: HTTP.Response(200, json=body))
        client = openai.OpenAI(api_key="k", http_client=HTTP.Client(transport=transport))
        client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES)  # type: ignore[arg-type]
        plain = Usage(30_000, 2_000)
        assert costs(rows) == [openai_cost(plain, service_tier="flex")]
        assert costs(rows)[0] < openai_cost(plain)  # type: ignore[operator]

    def test_costs_nothing_that_anybody_knows_of_where_the_model_is_unknown(
        self, provider: Provider, rows: Rows
    ) -> None:
        """NULL, and no sum is made of it."""
        provider.queue(text("hello", usage=USAGE, model="our-own"))
        Asking(provider, "chat", False).ask("plain")
        assert costs(rows) == [None]


class TestAnthropic:
    @pytest.mark.parametrize("is_streamed", [False, True])
    def test_costs_what_its_answer_says(self, provider: Provider, rows: Rows, is_streamed: bool) -> None:
        """With what was written to the cache, which its own count of input leaves out."""
        usage = Usage(30_000, 2_000, cache_read_tokens=20_000, cache_write_tokens=4_000)
        provider.queue(text("hello", usage=usage, model="claude-sonnet-4-5-20250929"))
        client = anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k")
        given: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": MESSAGES}
        if is_streamed:
            with client.messages.stream(**given) as stream:
                stream.get_final_message()
        else:
            client.messages.create(**given)
        assert costs(rows) == [anthropic_cost(usage)]


class TestAFramework:
    def test_around_openais_sdk_costs_once(self, provider: Provider, rows: Rows) -> None:
        """LangChain reports the tokens, and so does the SDK beneath it."""
        provider.queue(*[text("hello", usage=USAGE, model="gpt-5-mini-2025-08-07")] * 3)
        with agent_scope("chat"):
            for _ in range(3):
                ChatOpenAI(model="gpt-5-mini", base_url=provider.openai_url, api_key="k").invoke("hi")  # type: ignore[arg-type]
        assert costs(rows) == [openai_cost(USAGE)] * 3

    def test_around_anthropics_sdk_costs_once(self, provider: Provider, rows: Rows) -> None:
        """With the cache at its prices, whoever tells of it."""
        usage = Usage(30_000, 2_000, cache_read_tokens=20_000, cache_write_tokens=4_000)
        provider.queue(text("hello", usage=usage, model="claude-sonnet-4-5-20250929"))
        with agent_scope("chat"):
            model = ChatAnthropic(  # type: ignore[call-arg]
                model="claude-sonnet-4-5",
                base_url=provider.anthropic_url,
                api_key="k",  # type: ignore[arg-type]
            )
            model.invoke("hi")
        assert costs(rows) == [anthropic_cost(usage)]

    def test_of_pydantic_ai_costs_once(self, provider: Provider, rows: Rows) -> None:
        """With OpenAI's prices and with Anthropic's."""
        written = Usage(30_000, 2_000, cache_read_tokens=20_000, cache_write_tokens=4_000)
        provider.queue(
            text("hello", usage=USAGE, model="gpt-5-mini-2025-08-07"),
            text("hello", usage=written, model="claude-sonnet-4-5-20250929"),
        )
        by_openai = openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k")
        by_anthropic = anthropic.AsyncAnthropic(base_url=provider.anthropic_url, api_key="k")
        models: list[Any] = [
            OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(openai_client=by_openai)),
            AnthropicModel("claude-sonnet-4-5", provider=AnthropicProvider(anthropic_client=by_anthropic)),
        ]
        for model in models:
            pydantic_ai.Agent(model).run_sync("hi")
        assert costs(rows) == [openai_cost(USAGE), anthropic_cost(written)]

    def test_of_openais_agents_costs_once(self, provider: Provider, rows: Rows) -> None:
        """Over both of OpenAI's interfaces."""
        provider.queue(*[text("hello", usage=USAGE, model="gpt-5-mini-2025-08-07")] * 2)
        client = openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k")
        models: list[Any] = [
            agents.OpenAIChatCompletionsModel("gpt-5-mini", client),
            agents.OpenAIResponsesModel("gpt-5-mini", client),
        ]
        for model in models:
            agents.Runner.run_sync(agents.Agent(name="A", model=model), "hi")
        assert costs(rows) == [openai_cost(USAGE)] * 2
