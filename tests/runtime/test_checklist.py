"""One small run, and each fact that other recorders keep of such a run, as this one stores it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import TraceStore, agent_scope, conversation_scope, model_turn, traced_tool
from agenttrace.store.rows import Event


@traced_tool
def read(path: str) -> str:
    if path.endswith(".gone"):
        raise LookupError(f"{path} is not there") from OSError("ENOENT")
    return f"text of {path}"


def run() -> None:
    """Let an agent with a subagent do its work; the subagent's model fails for good."""
    with (
        conversation_scope("chat", task="audit"),
        agent_scope("lead", model="big", provider="lab", metadata={"agent_version": "sha256:1"}) as lead,
    ):
        with model_turn("big", provider="lab", input=[{"role": "user", "content": "go"}]) as turn:
            turn.set_usage(input_tokens=11, output_tokens=7, cost_usd=0.25)
            turn.set_output("I will read")
        read("a.txt")
        try:
            read("b.gone")
        except LookupError:
            pass
        try:
            with agent_scope("helper"), model_turn("small", provider="lab", input=[]):
                raise ConnectionError("model turn failed: 529")
        except ConnectionError:
            pass
        lead.set_output("done")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Record the run, in a folder that is not there yet."""
    path = tmp_path / "new" / "traces.db"
    agenttrace.configure(path, install=())
    try:
        run()
    finally:
        agenttrace.shutdown()
    return path


@pytest.fixture
def store(database: Path) -> Iterator[TraceStore]:
    with TraceStore(database) as opened:
        yield opened


def one(store: TraceStore, sql: str, *values: Any) -> dict[str, Any]:
    """Give the only row of *sql*."""
    columns, rows = store.query(sql, values)
    [row] = rows
    return dict(zip(columns, row, strict=True))


class TestARun:
    def test_has_the_kinds_of_its_facts(self, store: TraceStore) -> None:
        """S0.5: runs of agents, calls, results, errors and turns each have a kind of their own."""
        kinds = {event.kind for event in store.events("chat")}
        assert kinds >= {"agent_start", "agent_end", "tool_call", "tool_result", "error", "model_turn"}

    def test_lies_in_a_file_with_its_indexes(self, store: TraceStore, database: Path) -> None:
        """S1.5: the folder was made, the log is a WAL. S0.3, S1.9: by conversation, agent, time and tool."""
        assert database.exists()
        assert store.query("PRAGMA journal_mode")[1] == [("wal",)]
        _, indexes = store.query("PRAGMA index_list(trajectory_events)")
        assert {"idx_trajectory_lookup", "idx_events_time", "idx_events_tool"} <= {row[1] for row in indexes}
        _, columns = store.query("PRAGMA index_info(idx_trajectory_lookup)")
        assert [row[2] for row in columns] == ["conversation_id", "agent_id", "seq"]

    def test_is_listed_by_its_conversation(self, store: TraceStore) -> None:
        """S0.24: one call gives all events of the root and of every subagent, in the order of time."""
        events = store.events("chat")
        assert {event.agent_name for event in events} == {"lead", "helper"}
        assert [event.ts_ns for event in events] == sorted(event.ts_ns for event in events)


class TestAnAgent:
    def test_says_who_it_is_and_what_it_asks(self, store: TraceStore) -> None:
        """S0.12: name, parent, the model it begins with, and what its program says of it."""
        start = next(event for event in store.events("chat") if event.kind == "agent_start")
        assert (start.agent_name, start.parent_agent_id) == ("lead", None)
        assert start.payload["metadata"] == {"agent_version": "sha256:1"}
        row = one(store, "SELECT model, provider FROM agents WHERE agent_name = 'lead'")
        assert row == {"model": "big", "provider": "lab"}

    def test_adds_up_as_it_ends(self, store: TraceStore) -> None:
        """S0.13: success, turns, tokens, calls, failed calls and its time, counted by the database."""
        row = one(store, "SELECT * FROM agents WHERE agent_name = 'lead'")
        assert (row["status"], row["model_turns"], row["input_tokens"], row["output_tokens"]) == (
            "ok",
            1,
            11,
            7,
        )
        assert (row["tool_calls"], row["failed_calls"], row["cost_usd"]) == (2, 1, 0.25)
        end = next(event for event in reversed(store.events("chat")) if event.kind == "agent_end")
        assert end.status == "ok" and end.duration_ms is not None and end.duration_ms > 0

    def test_adds_up_where_its_model_fails(self, store: TraceStore) -> None:
        """S0.10, S0.13: a turn that fails for good leaves its error, and the agent its numbers and why."""
        row = one(store, "SELECT * FROM agents WHERE agent_name = 'helper'")
        assert (row["status"], row["error_type"], row["model_turns"]) == ("error", "ConnectionError", 1)
        error = next(
            event for event in store.events("chat") if event.kind == "error" and event.agent_name == "helper"
        )
        assert error.payload["error"]["message"] == "model turn failed: 529"


class TestAnEvent:
    def test_has_what_an_entry_holds(self, store: TraceStore) -> None:
        """S1.1, S1.21: id, session, type, time, duration, parent, data, tokens, model, provider and cost."""
        names = {field.name for field in fields(Event)}
        assert names >= {
            *("id", "conversation_id", "kind", "ts_ms", "ts_ns", "duration_ms", "parent_span_id"),
            *("payload_json", "input_tokens", "output_tokens", "model", "provider", "cost_usd"),
        }
        turn = next(event for event in store.events("chat") if event.kind == "model_turn")
        assert (turn.model, turn.provider, turn.input_tokens, turn.cost_usd) == ("big", "lab", 11, 0.25)
        asked = next(event for event in store.events("chat") if event.kind == "model_call")
        assert asked.payload["input"] == [{"role": "user", "content": "go"}]  # the raw input
        assert turn.payload["output"] == "I will read"  # and the raw output

    def test_of_an_error_names_its_source(self, store: TraceStore) -> None:
        """S0.10: message and, where there is one, what it came of."""
        error = next(
            event for event in store.events("chat") if event.kind == "error" and event.tool_name == "read"
        )
        told = error.payload["error"]
        assert (told["type"], told["message"]) == ("LookupError", "b.gone is not there")
        assert "ENOENT" in json.dumps(told["cause"])
