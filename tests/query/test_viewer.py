"""TraceViewer: pages that lose nothing, searches that find what is there, ids that are answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agenttrace import clock
from agenttrace.errors import ConfigError, NotFound, StoreMissing
from agenttrace.query.aliases import ALIASES
from agenttrace.query.order import order_key
from agenttrace.query.timeline import to_ms
from agenttrace.query.viewer import TraceViewer
from agenttrace.store import Event, EventSink
from agenttrace.store.event_store import TraceStore
from tests.query.factory import PROCESS_ID, START_MS, Story, audit

__all__: list[str] = []


def read_all(viewer: TraceViewer, conversation_id: str, limit: int, **filters: Any) -> list[Event]:
    """Read every page of a timeline."""
    events: list[Event] = []
    cursor = None
    while True:
        page = viewer.timeline(conversation_id, limit=limit, cursor=cursor, **filters)
        assert len(page.items) <= limit
        events += page.items
        cursor = page.next_cursor
        if cursor is None:
            return events


class TestTimeline:
    @pytest.mark.parametrize("limit", [1, 2, 7, 34, 35, 36, 1000])
    def test_pages_give_every_event_once_in_order(self, audited: TraceViewer, limit: int) -> None:
        """Pages of any size, joined, are the whole timeline (S1.14 without its 1,000)."""
        events = read_all(audited, "c0ffee00", limit)
        assert [event.id for event in events] == list(range(1, 36))

    def test_orders_by_time_process_and_frame(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Rows of the same nanosecond come by process, then by frame number (S1.11: a tiebreak)."""
        for process_id in ("bbbbbbbb00000002", PROCESS_ID):
            story = Story(process_id=process_id)
            agent = story.start("a", agent_id=f"a-{process_id[0]}")
            at_ns = story.now_ns
            for _ in range(40):
                story.add("note", agent, {})
                story.now_ns = at_ns
            story.write(sink)
        events = read_all(viewer, "c0ffee00", 9)
        assert len(events) == 82
        assert events == sorted(events, key=order_key)

    @given(
        st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 300)), max_size=25),
        st.integers(1, 9),
    )
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_pages_agree_with_sorting(self, rows: list[tuple[int, bool, int]], limit: int) -> None:
        """Whatever times, processes and frames, pages joined are the sorted list."""
        sink = EventSink(":memory:")
        try:
            store = TraceStore(sink)
            for number, (time, other, frame) in enumerate(rows):
                process_id = "bbbbbbbb00000002" if other else PROCESS_ID
                store.record(
                    "note",
                    {"n": number},
                    conversation_id="c",
                    agent_id="a",
                    ts_ns=START_MS * 1_000_000 + time,
                    event_id=f"{process_id}-{frame:x}",
                )
            if rows:
                events = read_all(TraceViewer(store), "c", limit)
                assert events == sorted(events, key=order_key)
                assert len(events) == len(rows)
        finally:
            sink.close()

    def test_includes_rows_without_an_exact_time(self, sink: EventSink, audited: TraceViewer) -> None:
        """A row that somebody inserted by hand, without ts_ns and event_id, is in its place."""
        with sink.database.writing() as database:
            for number in range(5):
                database.execute(
                    "INSERT INTO trajectory_events (conversation_id, agent_id, seq, ts_ms, kind, payload)"
                    " VALUES ('c0ffee00', 'by-hand', ?, ?, 'note', '{}')",
                    (number, START_MS + 100 * number),
                )
        for limit in (1, 3, 100):
            events = read_all(audited, "c0ffee00", limit)
            assert len(events) == 40
            assert events == sorted(events, key=order_key)

    def test_keeps_to_one_agent_by_name_or_id(self, audited: TraceViewer) -> None:
        """An agent may be named as people do."""
        by_name = read_all(audited, "c0ffee00", 100, agent_id="reader")
        by_id = read_all(audited, "c0ffee00", 100, agent_id=by_name[0].agent_id)
        assert by_name == by_id
        assert {event.agent_name for event in by_name} == {"reader"}
        assert len(by_name) == 20

    def test_keeps_to_kinds(self, audited: TraceViewer) -> None:
        """Only the kinds asked for."""
        assert {event.kind for event in read_all(audited, "c0ffee00", 5, kinds=("error", "retry"))} == {
            "error",
            "retry",
        }

    def test_of_a_turn_is_what_came_until_the_next(self, sink: EventSink, viewer: TraceViewer) -> None:
        """A turn's events are its model call and what its agent did before the next."""
        story = Story()
        agent = story.start("a")
        story.call(agent, "zero")
        story.turn(agent, "m", number=1)
        story.call(agent, "one")
        story.turn(agent, "m", number=2)
        story.call(agent, "two")
        story.write(sink)
        tools = [event.tool_name for event in read_all(viewer, "c0ffee00", 100, turn=1)]
        assert tools == [None, None, "one", "one"]

    def test_uses_the_index_on_time(self, sink: EventSink, audited: TraceViewer) -> None:
        """A page is one range of an index, also in the middle of ten million events."""
        cursor = audited.timeline("c0ffee00", limit=5).next_cursor
        assert cursor is not None
        seen: list[str] = []
        sink.database.connection.set_trace_callback(seen.append)
        audited.timeline("c0ffee00", limit=5, cursor=cursor)
        sink.database.connection.set_trace_callback(None)
        (sql,) = [text for text in seen if "FROM trajectory_events" in text and "ORDER BY" in text]
        plan = " | ".join(row[3] for row in sink.database.execute(f"EXPLAIN QUERY PLAN {sql}"))
        assert "idx_events_time (conversation_id=? AND ts_ns>?)" in plan

    def test_refuses_a_foreign_cursor(self, audited: TraceViewer) -> None:
        """A cursor of another call, or of nobody, is refused by name."""
        for cursor in ("", "x", "W10", "é"):
            with pytest.raises(ConfigError, match="next_cursor"):
                audited.timeline("c0ffee00", cursor=cursor)

    def test_refuses_a_limit_below_one(self, audited: TraceViewer) -> None:
        """A page of nothing would never end."""
        for call in (
            audited.conversations,
            audited.failures,
            lambda limit: audited.timeline("c0ffee00", limit=limit),
        ):
            with pytest.raises(ConfigError, match="limit=0"):
                call(limit=0)


class TestUnknownIds:
    def test_are_answered_with_the_nearest(self, audited: TraceViewer) -> None:
        """A mistyped id names what it could have been (S1.15, S1.17: no error dict)."""
        for call in (audited.summary, audited.tree, audited.timeline, audited.conversation):
            with pytest.raises(NotFound, match="c0ffee00") as caught:
                call("c0ffee0")
            assert caught.value.nearest == ("c0ffee00",)

    def test_of_events_name_the_range(self, audited: TraceViewer) -> None:
        """An unknown row id says which row ids there are."""
        for wrong in (99, "#99", "no", "x-y", 10**30):
            with pytest.raises(NotFound, match="1 to 35"):
                audited.event(wrong)

    def test_in_an_empty_database_say_so(self, viewer: TraceViewer) -> None:
        """Nothing recorded is no riddle."""
        with pytest.raises(NotFound, match="No event is recorded yet"):
            viewer.event(1)
        with pytest.raises(NotFound, match="No conversation is recorded yet"):
            viewer.summary("x")

    def test_in_a_missing_database_raise_that(self, tmp_path: Path) -> None:
        """Looking makes no file."""
        path = tmp_path / "none.db"
        with pytest.raises(StoreMissing):
            TraceViewer(TraceStore(path)).conversations()
        assert not path.exists()


class TestEvent:
    def test_is_found_by_row_and_by_event_id(self, audited: TraceViewer) -> None:
        """S1.17: all columns of one event."""
        event = audited.event(5)
        assert audited.event("5") == audited.event("#5") == event
        assert event.event_id is not None
        assert audited.event(event.event_id) == event


class TestSearch:
    @pytest.fixture
    def texts(self, sink: EventSink) -> TraceViewer:
        """Give a viewer on notes with awkward texts."""
        story = Story()
        agent = story.start("a")
        for text in (
            "100% sure",
            "100 sure",
            "snake_case",
            "snakeXcase",
            "naïve café",
            "漢字",
            'say "hi"',
            "a\\b",
            "l1\nl2",
        ):
            story.add("note", agent, {"text": text})
        story.write(sink)
        return TraceViewer(TraceStore(sink))

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("100%", ["100% sure"]),
            ("snake_case", ["snake_case"]),
            ("café", ["naïve café"]),
            ("漢字", ["漢字"]),
            ('"hi"', ['say "hi"']),
            ("a\\b", ["a\\b"]),
            ("l1\nl2", ["l1\nl2"]),
            ("SNAKE_", ["snake_case"]),
            ("nothing", []),
        ],
    )
    def test_takes_the_query_as_it_is(self, texts: TraceViewer, query: str, found: list[str]) -> None:
        """%, _, quotes, backslashes, newlines and any script mean themselves (S1.11 traps)."""
        assert [event.payload["text"] for event in texts.search(query, "c0ffee00").items] == found
        assert [event.payload["text"] for event in texts.search(query).items] == found

    def test_finds_text_that_was_stored_escaped(self, sink: EventSink, viewer: TraceViewer) -> None:
        r"""Non-ASCII that somebody stored as \uXXXX is found, too."""
        store = TraceStore(sink)
        store.record_many(
            [
                {
                    "kind": "note",
                    "conversation_id": "c",
                    "agent_id": "a",
                    "payload_json": '{"text":"caf\\u00e9"}',
                }
            ]
        )
        assert len(viewer.search("café").items) == 1

    def test_finds_names_and_types(self, audited: TraceViewer) -> None:
        """Tool, agent, model and error type are searched beside the payload."""
        assert {event.tool_name for event in audited.search("list_fil").items} == {"list_files"}
        assert audited.search("PermissionErr").items[0].kind == "error"

    def test_looks_behind_a_cut(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Text that only the kept whole value has is found, and its row given."""
        story = Story()
        agent = story.start("a")
        story.add("note", agent, {"$agenttrace": "cut", "bytes": 99, "sha256": "ab" * 32})
        record = story.records[-1]
        story.records[-1] = record._replace(blob=("ab" * 32, b'{"text":"the needle"}'))
        story.write(sink)
        assert [event.kind for event in viewer.search("needle").items] == ["note"]

    def test_is_filtered_and_paged(self, audited: TraceViewer) -> None:
        """Filters hold together, and pages lose nothing."""
        found, cursor = [], None
        while True:
            page = audited.search("module", agent_id="reader", kinds=("tool_call",), limit=2, cursor=cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert [event.payload["arguments"]["path"] for event in found] == [f"module_{n}.py" for n in range(7)]

    def test_compares_times_across_zones(self, audited: TraceViewer) -> None:
        """The same moment written in two zones gives the same events (S1.11 trap)."""
        middle = datetime(2026, 1, 1, 0, 0, 0, 530_000, tzinfo=UTC)
        elsewhere = middle.astimezone(timezone(timedelta(hours=-8)))
        counts = {
            len(audited.search("", since=moment).items)
            for moment in (
                middle,
                elsewhere,
                middle.isoformat(),
                elsewhere.isoformat(),
                "2026-01-01T00:00:00.530",
                to_ms(middle),
            )
        }
        assert len(counts) == 1
        assert 0 < counts.pop() < 35
        with pytest.raises(ConfigError, match="time="):
            audited.search("", since="yesterday")


class TestConversations:
    @pytest.fixture
    def many(self, sink: EventSink) -> TraceViewer:
        """Give a viewer on seven conversations of two folders."""
        for number in range(7):
            story = Story(f"conv-{number}", start_ms=START_MS + number * 1000, process_id=f"{number:016x}")
            agent = story.start("a")
            story.end(agent, "error" if number == 3 else "ok")
            story.write(sink, cwd="/a" if number % 2 else "/b")
        return TraceViewer(TraceStore(sink))

    def test_come_newest_first_in_pages(self, many: TraceViewer) -> None:
        """S1.10, S1.13: newest first, by cursor."""
        first = many.conversations(3)
        second = many.conversations(3, first.next_cursor)
        third = many.conversations(3, second.next_cursor)
        ids = [row.id for page in (first, second, third) for row in page.items]
        assert ids == [f"conv-{number}" for number in range(6, -1, -1)]
        assert third.next_cursor is None

    def test_are_filtered_by_status_and_folder(self, many: TraceViewer) -> None:
        """``list --here`` and ``--status``."""
        assert [row.id for row in many.conversations(status="failed").items] == ["conv-3"]
        assert [row.id for row in many.conversations(cwd="/a").items] == ["conv-5", "conv-3", "conv-1"]

    def test_that_nobody_runs_are_out_of_contact(self, sink: EventSink, viewer: TraceViewer) -> None:
        """An open conversation runs while its process was seen within 30 s; then it is out of contact."""
        story = Story(start_ms=clock.now_ms())
        story.start("a")
        story.write(sink, ended=False)
        conversation = viewer.conversation("c0ffee00")
        assert viewer.status(conversation) == "running"
        assert viewer.tree("c0ffee00").nodes[0].status == "running"
        ((operation, state),) = viewer.open_operations()
        assert (operation.name, operation.pid, state) == ("a", 4242, "running")
        with sink.database.writing() as database:
            database.execute("UPDATE processes SET last_seen_ms = last_seen_ms - 31000")
        assert viewer.status(conversation) == "out of contact"
        assert viewer.tree("c0ffee00").nodes[0].status == "out of contact"
        assert viewer.open_operations()[0][1] == "out of contact"


class TestSummary:
    def test_counts_everything(self, audited: TraceViewer) -> None:
        """S1.15: duration, events, errors, tokens, cost, models, kinds."""
        summary = audited.summary("c0ffee00")
        assert summary.total_events == 35
        assert summary.event_counts["tool_call"] == 11
        assert sum(summary.event_counts.values()) == 35
        assert summary.error_count == 4
        assert summary.fates == {"retried": 2, "swallowed": 1, "escaped": 1}
        assert (summary.input_tokens, summary.output_tokens, summary.total_tokens) == (1204, 96, 1300)
        assert summary.total_cost_usd == pytest.approx(0.0123)
        assert summary.models_used == ("planner-1",)
        assert summary.duration_ms == 568
        assert summary.status == "failed"
        assert [agent.agent_name for agent in summary.agents] == ["lead", "reader"]
        assert summary.step_count == 0

    def test_has_no_cap(self, sink: EventSink, viewer: TraceViewer) -> None:
        """More than 1,000 events are counted as they are, steps among them."""
        story = Story()
        agent = story.start("a")
        for _ in range(1500):
            story.add("step_started", agent, {})
        story.write(sink)
        summary = viewer.summary("c0ffee00")
        assert (summary.total_events, summary.step_count) == (1501, 1500)


class TestFailures:
    def test_come_newest_first_once_each(self, audited: TraceViewer) -> None:
        """One row per failure, however many operations closed with it."""
        page = audited.failures()
        assert [(row.error_type, row.fate) for row in page.items] == [
            ("PermissionError", "escaped"),
            ("TimeoutError", "retried"),
            ("TimeoutError", "retried"),
            ("SyntaxError", "swallowed"),
        ]

    def test_are_filtered(self, audited: TraceViewer) -> None:
        """By conversation, agent, fate and time."""
        assert len(audited.failures("c0ffee00", agent_id="lead").items) == 3
        assert [row.error_type for row in audited.failures(fate="swallowed").items] == ["SyntaxError"]
        assert audited.failures(since=START_MS + 3_600_000).items == ()
        assert audited.failures(until=START_MS).items == ()
        with pytest.raises(ConfigError, match="retried, reported, swallowed, escaped, open"):
            audited.failures(fate="lost")

    def test_are_paged(self, audited: TraceViewer) -> None:
        """Page by page, nothing twice."""
        first = audited.failures(limit=3)
        second = audited.failures(limit=3, cursor=first.next_cursor)
        assert len({row.id for row in (*first.items, *second.items)}) == 4


class TestLists:
    def test_are_filtered(self, audited: TraceViewer) -> None:
        """S1.20: by kind, by error, by duration; none and 0 are dropped."""
        events = audited.timeline("c0ffee00").items
        assert {event.kind for event in audited.filter_by_type(events, "error")} == {"error"}
        assert {event.kind for event in audited.filter_errors(events)} == {
            "error",
            "tool_result",
            "agent_end",
        }
        assert all(event.duration_ms for event in audited.filter_by_duration(events, 0))
        assert [event.kind for event in audited.filter_by_duration(events, 400)] == [
            "model_turn",
            "agent_end",
        ]


class TestAliases:
    def test_are_the_methods_they_stand_for(self, audited: TraceViewer) -> None:
        """S1.10-S1.17: familiar names, the same answers."""
        assert [row.id for row in audited.list_sessions()] == ["c0ffee00"]
        assert audited.get_session_timeline("c0ffee00") == list(audited.timeline("c0ffee00").items)
        assert audited.get_session_summary("c0ffee00") == audited.summary("c0ffee00")
        assert audited.search_traces("module_3", "c0ffee00") == audited.search("module_3").items
        assert audited.get_trace_detail(3) == audited.event(3)

    def test_are_documented(self) -> None:
        """The table of aliases names methods, and docs/querying.md has each."""
        page = (Path(__file__).parent.parent.parent / "docs" / "querying.md").read_text(encoding="utf-8")
        for alias in ALIASES:
            assert hasattr(TraceViewer, alias)
            assert f"`{alias}`" in page


def test_the_story_is_one_database_wide(audited: TraceViewer) -> None:
    """The factory writes through the store's own door: its rollups are right."""
    assert audited.store.verify() == []
    assert audit().records
