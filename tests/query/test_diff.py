"""Two runs side by side: where they part, in what they differ, and what is no difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import TraceStore, TraceViewer, agent_scope, conversation_scope, model_turn, traced_tool
from agenttrace.query.diff import RunDiff
from agenttrace.query.lines import ASCII, render_plain
from agenttrace.query.render_diff import render_diff

Faults = dict[str, Any]


ANSWERS: dict[str, Any] = {}
"""How many hits a query has, or what it fails with; 3 hits where nothing is said."""


@traced_tool
def search(query: str) -> Any:
    answer = ANSWERS.get(query, 3)
    if isinstance(answer, Exception):
        raise answer
    return {"hits": [query] * answer}


@traced_tool
def write(path: str, text: str) -> int:
    return len(text)


def run(**faults: Any) -> None:
    """Let a small agent do its work, with what is said otherwise."""
    ANSWERS.clear()
    ANSWERS.update(faults.get("answers", {}))
    with agent_scope("lead", input="compare fruit") as lead:
        with model_turn(faults.get("model", "gpt-5"), input=[{"role": "user", "content": "compare"}]) as turn:
            turn.set_output(faults.get("words", "I will search"))
        for query in faults.get("queries", ("apples", "pears")):
            with agent_scope("search", input=query) as searcher:
                try:
                    searcher.set_output(search(query))
                except TimeoutError:
                    searcher.set_output(None)
        for text in faults.get("texts", ("fruit",)):
            write("out.md", text)
        lead.set_output("done")


@pytest.fixture
def compare(tmp_path: Path) -> Callable[[Faults, Faults], RunDiff]:
    """Record two runs and compare them."""

    def compare_runs(a: Faults, b: Faults) -> RunDiff:
        path = tmp_path / "t.db"
        agenttrace.configure(path, install=())
        try:
            with conversation_scope("a"):
                run(**a)
            with conversation_scope("b"):
                run(**b)
        finally:
            agenttrace.shutdown()
        with TraceStore(path) as store:
            return TraceViewer(store).diff("a", "b")

    return compare_runs


def kinds(diff: RunDiff) -> list[tuple[str, str]]:
    return [(each.kind, each.agent) for each in diff.differences]


class TestDiff:
    """What ``TraceViewer.diff`` gives."""

    def test_of_the_same_run_twice_is_empty(self, compare: Callable[[Faults, Faults], RunDiff]) -> None:
        """Ids, times and durations are no difference."""
        diff = compare({}, {})
        assert diff.is_same and diff.first is None
        assert diff.same_count == 7  # the run itself, a turn, two subagents with a call each, a call
        assert (diff.a.calls, diff.a.turns, diff.a.agents, diff.a.failed) == (3, 1, 3, 0)

    @pytest.mark.parametrize(
        ("faults", "kind", "agent"),
        [
            ({"answers": {"pears": TimeoutError("slow")}}, "outcome", "lead/search#2"),
            ({"answers": {"apples": 2}}, "result", "lead/search"),
            ({"texts": ("fruits",)}, "arguments", "lead"),
            ({"texts": ()}, "only in A", "lead"),
            ({"texts": ("fruit", "more")}, "only in B", "lead"),
            ({"model": "gpt-5-mini"}, "model", "lead"),
            ({"queries": ("apples",)}, "only in A", "lead"),
            ({"words": "Let me search"}, "answer", "lead"),
        ],
    )
    def test_names_where_they_part(
        self, compare: Callable[[Faults, Faults], RunDiff], faults: Faults, kind: str, agent: str
    ) -> None:
        """The first thing that is not the same, before all that followed from it."""
        diff = compare({}, faults)
        assert not diff.is_same and diff.first is not None
        assert (diff.first.kind, diff.first.agent) == (kind, agent)
        assert diff.first in diff.differences

    def test_tells_what_followed(self, compare: Callable[[Faults, Faults], RunDiff]) -> None:
        """A failed call stands before the agent that then gave nothing."""
        diff = compare({}, {"answers": {"pears": TimeoutError("slow")}})
        assert kinds(diff) == [("outcome", "lead/search#2"), ("result", "lead")]
        failed = next(each for each in diff.differences if each.kind == "outcome")
        assert failed.b is not None and failed.b.error == "TimeoutError: slow"

    def test_puts_words_behind_deeds(self, compare: Callable[[Faults, Faults], RunDiff]) -> None:
        """That a model words its answer otherwise is not where two runs part, if they part anywhere else."""
        diff = compare({}, {"words": "Let me search", "texts": ("fruits",)})
        assert diff.first is not None and diff.first.kind == "arguments"
        assert ("answer", "lead") in kinds(diff)

    def test_of_no_conversation_is_refused(self, viewer: TraceViewer) -> None:
        """An unknown id raises as everywhere."""
        with pytest.raises(agenttrace.errors.NotFound):
            viewer.diff("nothing", "nothing")


class TestRendering:
    """What a terminal shows."""

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_fits(self, compare: Callable[[Faults, Faults], RunDiff], width: int) -> None:
        """No line is wider than the terminal, whatever was called with what."""
        hostile = "x\x1b[31m" * 500 + "\n" + "界" * 300
        diff = compare({}, {"texts": (hostile, "b"), "answers": {"apples": TimeoutError(hostile)}})
        text = render_plain(render_diff(diff, width, ASCII))
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) <= width
        assert "they part here" in text

    def test_says_that_nothing_differs(self, compare: Callable[[Faults, Faults], RunDiff]) -> None:
        """And how much was compared."""
        assert "all 7 steps are the same" in render_plain(render_diff(compare({}, {}), 80, ASCII))

    def test_counts_what_it_leaves_out(self, compare: Callable[[Faults, Faults], RunDiff]) -> None:
        """What is beyond the limit is counted, with the option that shows it."""
        diff = compare({"texts": tuple("abcdef")}, {"texts": ()})
        text = render_plain(render_diff(diff, 80, ASCII, limit=2))
        assert "3 more: -n 5" in text
