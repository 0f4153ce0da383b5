"""What a model mended is told from what it went on to after a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import TraceStore, TraceViewer, agent_scope, conversation_scope, model_turn, traced_tool


@traced_tool
def read(**arguments: Any) -> str:
    if FAILS[-1]:
        raise FileNotFoundError("no such file")
    return "a page"


@traced_tool
def look(**arguments: Any) -> str:
    return read.__wrapped__(**arguments)  # type: ignore[attr-defined, no-any-return]


FAILS: list[bool] = []
TOOLS = {"read": read, "look": look}


@pytest.fixture
def database(clean_environment: Path) -> Iterator[Path]:
    """Give a database that is recorded to."""
    agenttrace.configure(clean_environment / "traces.db", install=())
    yield clean_environment / "traces.db"
    agenttrace.shutdown()


def kinds_after(database: Path, calls: list[tuple[str, dict[str, Any], bool]]) -> list[str]:
    """Make calls, a turn before each, of which those that fail are told; gives the kinds that are found."""
    with conversation_scope("run"), agent_scope("lead") as lead:
        told = "go"
        for name, arguments, fails in calls:
            with model_turn("acme", input=[{"role": "user", "content": told}]) as turn:
                turn.set_output("I read")
            FAILS.append(fails)
            try:
                told = TOOLS[name](**arguments)
            except FileNotFoundError as exc:
                told = f"FileNotFoundError: {exc}"
        with model_turn("acme", input=[{"role": "user", "content": told}]) as turn:
            turn.set_output("done")
        lead.set_output("done")
    agenttrace.flush()
    with TraceStore(database) as store:
        return [each.kind for each in TraceViewer(store).diagnose("run").findings]


OTHERS = [("look", {"path": f"notes/{number}/zebra.md"}, False) for number in range(3)]


class TestMended:
    @pytest.mark.parametrize(
        ("wrong", "right"),
        [
            ({"path": "a.py"}, {"path": "src/a.py"}),
            ({"path": "/data/rep0rt.csv"}, {"path": "/data/report.csv"}),
            ({"sql": "SELECT nmae FROM users"}, {"sql": "SELECT name FROM users WHERE active = 1"}),
            ({"city": "Pariss, France"}, {"city": "Paris"}),
            ({"month": 13}, {"month": 12}),
            ({"city": "東京都"}, {"city": "東京"}),
            ({}, {}),
        ],
    )
    def test_by_the_next_call(self, database: Path, wrong: dict[str, Any], right: dict[str, Any]) -> None:
        """The next call has most of the shorter arguments of the two."""
        assert kinds_after(database, [("read", wrong, True), ("read", right, False)]) == []

    @pytest.mark.parametrize("name", ["read", "look"])
    def test_by_a_later_call(self, database: Path, name: str) -> None:
        """Later the arguments have to be the same but for what is no letter; another tool will do."""
        right = (name, {"path": "figs and dates"}, False)
        calls = [("read", {"path": "figs_and_dates"}, True), *OTHERS, right]
        assert kinds_after(database, calls) == []

    def test_by_a_later_call_in_other_words(self, database: Path) -> None:
        """All of the shorter arguments stands in the longer ones."""
        wrong, right = {"path": "all about figs in Spain, please"}, {"path": "figs in Spain"}
        calls = [("read", wrong, True), *OTHERS, ("read", right, False)]
        assert kinds_after(database, calls) == []

    @pytest.mark.parametrize(
        "calls",
        [
            [("read", {"path": "prices of figs"}, True), *OTHERS],
            [("read", {"path": "prices of figs"}, True), *OTHERS, ("read", {"path": "trade of figs"}, False)],
            [("read", {"path": "prices of figs"}, True), ("read", {"path": "zoology"}, False)],
            [("read", {"url": "example.org/page/1"}, True), ("read", {"url": "example.org/page/2"}, False)],
            [("read", {"path": "figs and dates"}, True), ("read", {"path": "figs and dates"}, True)],
        ],
        ids=["other tools", "likewise", "other arguments", "another page", "fails again"],
    )
    def test_not(self, database: Path, calls: list[tuple[str, dict[str, Any], bool]]) -> None:
        """Another thing, another page, or another failure mends nothing."""
        assert "failed_call" in kinds_after(database, calls)
