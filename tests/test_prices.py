"""What a turn cost: held to sums worked out here, from the numbers of the table alone."""

from __future__ import annotations

import builtins
import datetime
import json
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data import providers

import agenttrace
from agenttrace import prices
from agenttrace.prices import load_table, price_turn

MILLION = Decimal(1_000_000)


def price_of(provider: str, model: str, name: str, *, input_tokens: int = 0, **context: str) -> Decimal:
    """Read one price per million (or thousand) from the table's data, by its own rules for tiers."""
    found = next(one for one in providers if one.id == provider)
    info = next(one for one in found.models if one.id == model)
    listed: Any = info.prices if not isinstance(info.prices, list) else None
    if listed is None:
        today = datetime.datetime.now(datetime.UTC).date()
        for one in info.prices:
            if one.constraint is None or one.constraint.start_date <= today:
                listed = one.prices
    value = listed.__dict__[name]
    for variant in info.price_variants or ():
        if context and variant.when == context:
            value = variant.prices.__dict__.get(name, value)
    if isinstance(value, Decimal):
        return value
    at = value.base
    for tier in value.tiers:
        if input_tokens > tier.start:
            at = tier.price
    return Decimal(at)


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no genai-prices to import."""
    real = builtins.__import__

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "genai_prices":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)
    for cached in (prices._library, prices._label, prices._find):
        cached.cache_clear()
    monkeypatch.setattr(prices, "_library", prices._library.__wrapped__)


class TestAnOpenAITurn:
    MODEL = "gpt-5-mini-2025-08-07"
    USAGE = {
        "prompt_tokens": 12_345,
        "completion_tokens": 678,
        "prompt_tokens_details": {"cached_tokens": 10_240, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 512, "audio_tokens": 0},
    }
    COLUMNS = {
        "input_tokens": 12_345,
        "output_tokens": 678,
        "cache_read_tokens": 10_240,
        "reasoning_tokens": 512,
    }

    def expected(self) -> Decimal:
        """Work it out: cached input at its own price, reasoning as output."""
        at = {
            name: price_of("openai", "gpt-5-mini", name)
            for name in ("input_mtok", "cache_read_mtok", "output_mtok")
        }
        total = (12_345 - 10_240) * at["input_mtok"] + 10_240 * at["cache_read_mtok"]
        return (total + 678 * at["output_mtok"]) / MILLION

    @pytest.mark.parametrize("usage", [None, USAGE], ids=["columns", "own usage"])
    def test_counts_cached_input_once(self, usage: Any) -> None:
        """Cached tokens are part of our input_tokens: they cost their own price, not both."""
        found = price_turn(self.MODEL, "openai", self.COLUMNS, usage=usage)
        assert found is not None
        assert found.cost_usd == self.expected()

    def test_costs_half_where_it_was_served_flexibly(self) -> None:
        """The service tier that the provider names decides the price."""
        at = {
            name: price_of("openai", "gpt-5-mini", name, service_tier="flex")
            for name in ("input_mtok", "cache_read_mtok", "output_mtok")
        }
        assert at["output_mtok"] < price_of("openai", "gpt-5-mini", "output_mtok"), "a tier of its own"
        found = price_turn(self.MODEL, "openai", self.COLUMNS, usage=self.USAGE, service_tier="flex")
        total = 2_105 * at["input_mtok"] + 10_240 * at["cache_read_mtok"] + 678 * at["output_mtok"]
        assert found is not None
        assert found.cost_usd == total / MILLION

    def test_believes_the_columns_where_the_usage_says_otherwise(self) -> None:
        """Counts given by hand win over the object they came with."""
        columns = {"input_tokens": 1_000, "output_tokens": 100}
        found = price_turn(self.MODEL, "openai", columns, usage=self.USAGE)
        at_input, at_output = (
            price_of("openai", "gpt-5-mini", name) for name in ("input_mtok", "output_mtok")
        )
        assert found is not None
        assert found.cost_usd == (1_000 * at_input + 100 * at_output) / MILLION


class TestAnAnthropicTurn:
    MODEL = "claude-sonnet-4-5-20250929"

    @pytest.mark.parametrize("input_tokens", [900, 250_000], ids=["short", "above the tier"])
    def test_prices_each_sort_of_cache(self, input_tokens: int) -> None:
        """Reads, five-minute writes and one-hour writes each have a price of their own."""
        usage = {
            "input_tokens": input_tokens,
            "cache_read_input_tokens": 4_000,
            "cache_creation_input_tokens": 3_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000},
            "output_tokens": 321,
            "service_tier": "standard",
        }
        total_input = input_tokens + 7_000
        columns = {
            "input_tokens": total_input,
            "output_tokens": 321,
            "cache_read_tokens": 4_000,
            "cache_write_tokens": 3_000,
        }

        def at(name: str) -> Decimal:
            return price_of("anthropic", "claude-sonnet-4-5", name, input_tokens=total_input)

        expected = input_tokens * at("input_mtok") + 4_000 * at("cache_read_mtok")
        expected += 1_000 * at("cache_write_mtok") + 2_000 * at("cache_write_1h_mtok")
        expected += 321 * at("output_mtok")
        found = price_turn(self.MODEL, "anthropic", columns, usage=usage)
        assert found is not None
        assert found.cost_usd == expected / MILLION

    def test_prices_writes_alike_where_nothing_says_how_long_they_live(self) -> None:
        """From columns alone a cache write is one of five minutes, the provider's default."""
        columns = {"input_tokens": 3_500, "cache_write_tokens": 3_000, "output_tokens": 0}
        found = price_turn(self.MODEL, "anthropic", columns)
        at_input, at_write = (
            price_of("anthropic", "claude-sonnet-4-5", name) for name in ("input_mtok", "cache_write_mtok")
        )
        assert found is not None
        assert found.cost_usd == (500 * at_input + 3_000 * at_write) / MILLION


class TestWhatHasNoPrice:
    @pytest.mark.parametrize(
        ("model", "provider", "columns"),
        [
            ("a-model-of-our-own", "openai", {"input_tokens": 5}),
            ("a-model-of-our-own", None, {"input_tokens": 5}),
            ("gpt-4o", "a provider of our own", {"input_tokens": 5}),
            ("gpt-4o", "openai", {}),
            ("gpt-4o", "openai", {"input_tokens": None, "output_tokens": None}),
            ("gpt-4o", "openai", {"input_tokens": 5, "cache_read_tokens": 6}),
            ("gpt-4o", "openai", {"input_tokens": -5}),
            ("gpt-4o", "openai", {"input_tokens": "five"}),
            ("", "openai", {"input_tokens": 5}),
            (None, None, {"input_tokens": 5}),
            (["gpt-4o"], "openai", {"input_tokens": 5}),
        ],
    )
    def test_is_none_and_never_zero(self, model: Any, provider: Any, columns: dict[str, Any]) -> None:
        """An unknown model or provider, no counts, or counts at odds: nobody knows what that cost."""
        assert price_turn(model, provider, columns) is None

    def test_nothing_has_one_without_the_library(self, without_library: None) -> None:
        """The extra is optional."""
        assert price_turn("gpt-4o", "openai", {"input_tokens": 5}) is None

    def test_a_thousand_made_up_models_leave_nothing_behind(self) -> None:
        """What is remembered of models has a bound."""
        for number in range(1_000):
            price_turn(f"gpt-4o-{number:04d}", None, {"input_tokens": 1})
        assert prices._find.cache_info().currsize <= prices._MODELS_REMEMBERED


class TestTheTable:
    def test_says_its_version(self) -> None:
        """Whoever reads the price can find the table that it came from."""
        table = load_table()
        found = price_turn("gpt-4o", "openai", {"input_tokens": 1})
        assert table.is_usable
        assert found is not None
        assert found.priced_by == f"genai-prices {table.version}"

    def test_is_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A release that works in another way is told by what goes wrong."""
        prices._find.cache_clear()
        monkeypatch.delattr("genai_prices.data_snapshot.DataSnapshot.find_provider_model")
        table = load_table()
        assert not table.is_usable
        assert "find_provider_model" in str(table.problem)
        assert price_turn("gpt-4o", "openai", {"input_tokens": 1}) is None

    def test_opens_no_connection_and_starts_no_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The table is what is installed; nobody is asked for a newer one."""

        def refuse(*args: Any) -> Any:
            raise AssertionError("a connection was opened")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        before = threading.active_count()
        prices._find.cache_clear()
        assert price_turn("gpt-4o", "openai", {"input_tokens": 1}) is not None
        assert threading.active_count() == before

    def test_is_the_released_one_whatever_the_program_has_fetched(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prices that a program keeps up to date by itself are not the table that we name."""
        from genai_prices import data_snapshot

        before = price_turn("gpt-4o", "openai", {"input_tokens": 1_000_000})
        prices._find.cache_clear()
        monkeypatch.setattr(
            data_snapshot, "_custom_snapshot", data_snapshot.DataSnapshot(providers=[], from_auto_update=True)
        )
        assert price_turn("gpt-4o", "openai", {"input_tokens": 1_000_000}) == before

    def test_is_not_brought_in_by_our_import(self) -> None:
        """A program that asks no model pays nothing for it."""
        code = "import sys, agenttrace, agenttrace.prices; print('genai_prices' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"


class TestAStoredTurn:
    def rows(self, database: Path) -> list[tuple[Any, ...]]:
        """Give cost and payload of the turns in a database."""
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute(
                "SELECT cost_usd, payload FROM trajectory_events WHERE kind = 'model_turn' ORDER BY id"
            ).fetchall()

    def test_has_its_cost_and_the_tables_version(self, tmp_path: Path) -> None:
        """The writer prices by the model that answered, and says by which table."""
        database = tmp_path / "traces.db"
        agenttrace.configure(database, install=())
        with (
            agenttrace.agent_scope("chat"),
            agenttrace.model_turn("an-alias", provider="openai", input=[]) as turn,
        ):
            turn.set_answered(TestAnOpenAITurn.MODEL)
            turn.set_usage(TestAnOpenAITurn.USAGE)
        agenttrace.shutdown()
        ((cost, payload),) = self.rows(database)
        assert Decimal(repr(cost)) == TestAnOpenAITurn().expected()
        assert json.loads(payload)["priced_by"] == f"genai-prices {load_table().version}"

    def test_keeps_the_cost_that_it_was_given(self, tmp_path: Path) -> None:
        """Who says what a turn cost knows better than a table."""
        database = tmp_path / "traces.db"
        agenttrace.configure(database, install=())
        with agenttrace.agent_scope("chat"):
            for given in (0.25, 0):
                with agenttrace.model_turn("gpt-4o", provider="openai") as turn:
                    turn.set_usage(input_tokens=1_000, cost_usd=given)
        agenttrace.shutdown()
        assert [(cost, "priced_by" in payload) for cost, payload in self.rows(database)] == [
            (0.25, False),
            (0.0, False),
        ]

    def test_is_null_where_nobody_knows(self, tmp_path: Path) -> None:
        """And the sums leave it out."""
        database = tmp_path / "traces.db"
        agenttrace.configure(database, install=())
        with agenttrace.agent_scope("chat"):
            with agenttrace.model_turn("a-model-of-our-own", provider="openai") as turn:
                turn.set_usage(input_tokens=1_000, output_tokens=2)
            with agenttrace.model_turn("gpt-4o", provider="openai") as turn:
                turn.set_usage(input_tokens=1_000_000)
        agenttrace.shutdown()
        (unknown, first), (known, _) = self.rows(database)
        assert unknown is None
        assert "priced_by" not in first
        with closing(sqlite3.connect(database)) as connection:
            (total,) = connection.execute("SELECT total_cost_usd FROM agent_sessions").fetchone()
        assert total == known == float(price_of("openai", "gpt-4o", "input_mtok"))

    def test_of_a_framework_around_an_sdk_counts_once(self, tmp_path: Path) -> None:
        """A turn inside a turn is that turn: one row, one cost, whoever reported the tokens."""
        database = tmp_path / "traces.db"
        agenttrace.configure(database, install=())
        with agenttrace.agent_scope("chat"):
            for both_report in (False, True):
                with agenttrace.model_turn("an-alias", input=[]) as outer:
                    with agenttrace.model_turn("an-alias", provider="openai", input=[]) as inner:
                        inner.set_answered("gpt-4o-2024-08-06")
                        inner.set_usage({"prompt_tokens": 1_000, "completion_tokens": 10})
                    if both_report:
                        outer.set_usage(input_tokens=1_000, output_tokens=10)
        agenttrace.shutdown()
        at_input, at_output = (price_of("openai", "gpt-4o", name) for name in ("input_mtok", "output_mtok"))
        once = float((1_000 * at_input + 10 * at_output) / MILLION)
        assert [cost for cost, _ in self.rows(database)] == [once, once]
        with closing(sqlite3.connect(database)) as connection:
            (total,) = connection.execute("SELECT total_cost_usd FROM agent_sessions").fetchone()
        assert total == pytest.approx(2 * once, abs=1e-12)


class TestABudget:
    def test_counts_what_a_table_says(self, tmp_path: Path) -> None:
        """A turn that nobody gave a cost counts for the budget of its conversation with its price."""
        database = tmp_path / "traces.db"
        agenttrace.configure(database, install=())
        at = price_of("openai", "gpt-4o", "input_mtok")
        with (
            agenttrace.conversation_scope(budget_usd=float(at) * 1.5),
            agenttrace.agent_scope("chat"),
        ):
            for _ in range(2):
                with agenttrace.model_turn("gpt-4o", provider="openai") as turn:
                    turn.set_usage(input_tokens=1_000_000)
        agenttrace.shutdown()
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute(
                "SELECT kind, json_extract(payload, '$.spent_usd') FROM trajectory_events"
                " WHERE kind LIKE 'budget%' ORDER BY id"
            ).fetchall()
        assert rows == [("budget_warning", float(2 * at)), ("budget_exceeded", float(2 * at))]
