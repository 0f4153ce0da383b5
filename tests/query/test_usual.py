"""What is open beside what is usual: the p95 of its own like, from a bounded number of rows."""

from __future__ import annotations

from typing import Any

import pytest

from agenttrace import clock
from agenttrace.query import usual
from agenttrace.query.thresholds import Thresholds
from agenttrace.query.usual import Usual, read_usual
from agenttrace.query.viewer import TraceViewer
from agenttrace.store import EventSink
from tests.query.factory import Story

__all__: list[str] = []


@pytest.fixture
def busy(sink: EventSink, viewer: TraceViewer) -> TraceViewer:
    """Give a database with 20 calls of 1 to 20 ms, 10 turns of 500, and three operations open for 12 s."""
    past = Story("past", start_ms=clock.now_ms() - 600_000)
    agent = past.start("worker")
    for number in range(20):
        past.call(agent, "search", ms=1 + number)
    for _ in range(10):
        past.turn(agent, "planner-1")
    past.end(agent)
    past.write(sink)
    now = Story("now", start_ms=clock.now_ms() - 12_000, process_id="b" * 16)
    agent = now.start("worker")
    now.open_call(agent, "search")
    now.open_call(agent, "new_tool")
    now.write(sink, ended=False)
    return viewer


class TestUsual:
    def test_is_the_p95_of_the_newest_of_its_like(self, busy: TraceViewer) -> None:
        """Calls of a tool, turns of a model: by their own durations."""
        assert read_usual(busy.reader, "tool_call", "search") == Usual(20, 20.0)
        assert read_usual(busy.reader, "model_call", "planner-1") == Usual(10, 500.0)

    def test_of_agents_is_that_of_their_runs(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Runs of an agent of that name that are over; a run that goes on is none."""
        for number in range(8):
            story = Story(f"run-{number}", process_id=f"{number:016x}")
            agent = story.start("worker")
            story.wait(100 * number)
            story.end(agent)
            story.write(sink)
        found = read_usual(viewer.reader, "agent_start", "worker")
        assert found is not None
        assert (found.count, found.p95_ms) == (8, 701)

    def test_is_nothing_without_a_past(self, busy: TraceViewer) -> None:
        """Fewer than ``history_count`` earlier ones say nothing, and a name that is not known neither."""
        assert read_usual(busy.reader, "tool_call", "new_tool") is None
        assert read_usual(busy.reader, "agent_start", "worker") is None
        assert read_usual(busy.reader, "tool_call", None) is None
        assert read_usual(busy.reader, "tool_call", "search", Thresholds(history_count=21)) is None

    @pytest.mark.parametrize(
        ("sql", "plan"),
        [
            (usual._TOOL, "idx_events_duration (tool_name=?)"),
            (usual._MODEL, "INTEGER PRIMARY KEY (rowid>?)"),
            (usual._AGENT, "idx_conversations_created"),
        ],
    )
    def test_reads_a_bounded_range(self, busy: TraceViewer, sql: str, plan: str) -> None:
        """No look-up reads or sorts all events: each walks an index until it has enough."""
        values: list[Any] = ["x", 5] if sql != usual._AGENT else [5, "x"]
        rows = busy.reader.rows(f"EXPLAIN QUERY PLAN {sql}", values)
        text = " | ".join(row[3] for row in rows)
        assert plan in text
        assert "TEMP B-TREE" not in text
        assert "SCAN trajectory_events" not in text


class TestOpen:
    def test_is_compared_and_judged(self, busy: TraceViewer) -> None:
        """12 s where 20 ms are usual is stalled; what has no past is not."""
        by_name = {each.operation.name: each for each in busy.compare_open()}
        search = by_name["search"]
        assert search.is_stalled
        assert search.usual == Usual(20, 20.0)
        assert search.times_usual is not None and search.times_usual >= 600
        fresh = by_name["new_tool"]
        assert (fresh.is_stalled, fresh.usual, fresh.times_usual) == (False, None, None)
        assert fresh.open_for_ms >= 11_990  # two clocks are read

    def test_is_stalled_by_the_thresholds_that_are_set(self, busy: TraceViewer) -> None:
        """Both the factor and the least time decide."""
        patient = busy.compare_open(thresholds=Thresholds(stall_min_ms=1e9))
        generous = busy.compare_open(thresholds=Thresholds(stall_factor=1e9))
        assert not any(each.is_stalled for each in (*patient, *generous))
