"""The rows of the checklist that the viewer answers (S1.10-S1.20), each trap with a test of its own."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace.errors import ConfigError, NotFound
from agenttrace.query.folding import Folding
from agenttrace.query.formatting import EMPTY_TEXT, FORMS, format_timeline, format_tree
from agenttrace.query.order import order_key
from agenttrace.query.tree import build_tree
from agenttrace.query.viewer import TraceViewer
from agenttrace.store import Event, EventSink
from tests.query.factory import START_MS, Story, event_of
from tests.query.test_folding import broken_events

__all__: list[str] = []

_MANY = 100_000


def tell_many(sink: EventSink, count: int) -> None:
    """Store a conversation of *count* events: one agent, its calls, every hundredth of them failed."""
    story = Story("many")
    agent = story.start("worker")
    left = count - 2
    number = 0
    while left >= 3:
        fails = number % 100 == 99
        story.call(agent, f"tool_{number % 3}", {"n": number}, error=("E", "x") if fails else None)
        left -= 3 if fails else 2
        number += 1
        if number % 5000 == 0:
            story.write(sink, ended=False)
    for _ in range(left):
        story.add("note", agent, {"text": "so that it is just as many"})
    story.end(agent)
    story.write(sink)


@pytest.fixture(scope="module")
def many() -> TraceViewer:
    """Give a viewer on one conversation of 100,000 events; shared, because nothing here writes."""
    from agenttrace.store.event_store import TraceStore

    sink = EventSink(":memory:")
    tell_many(sink, _MANY)
    return TraceViewer(TraceStore(sink))


@pytest.mark.slow
class TestLongConversation:
    def test_is_read_to_its_end(self, many: TraceViewer) -> None:
        """S1.14: no first 1,000: every event once, in the order of time, one page at a time."""
        keys = [(event.id, order_key(event)) for event in many.iter_timeline("many")]
        assert len(keys) == len({row_id for row_id, _ in keys}) == _MANY
        assert [key for _, key in keys] == sorted(key for _, key in keys)

    def test_has_familiar_names_without_a_cap(self, many: TraceViewer) -> None:
        """S1.14, S1.15: the aliases stop at no thousand either."""
        assert len(many.get_session_timeline("many")) == _MANY
        summary = many.get_session_summary("many")
        assert summary.total_events == _MANY
        assert summary.event_counts["tool_call"] > 49_000
        assert summary.error_count == summary.event_counts["error"] > 400

    def test_is_one_tree_that_is_drawn_in_some_hundred_lines(self, many: TraceViewer) -> None:
        """S1.19: every call is a node, and what is drawn and what is folded add up to all."""
        tree = many.tree("many")
        calls = sum(node.family == "call" for node in tree.nodes)
        assert calls == many.summary("many").event_counts["tool_call"]
        folding = Folding(tree)
        shown = [entry for entry in folding.below(0) if isinstance(entry, int)]
        folds = [entry for entry in folding.below(0) if not isinstance(entry, int)]
        assert len(shown) + len(folds) < 600
        assert len(shown) + sum(len(fold.members) for fold in folds) == len(tree.nodes) - 1

    def test_is_searched_and_filtered_beyond_the_first_pages(self, many: TraceViewer) -> None:
        """S1.16, S1.20: what stands at the end is found, by text and by filter, with a cursor."""
        (hit,) = many.search("49001", "many").items
        assert hit.tool_name == f"tool_{49001 % 3}"
        found, cursor = 0, None
        while True:
            page = many.timeline("many", kinds=("error",), limit=100, cursor=cursor)
            found += len(page.items)
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == many.summary("many").event_counts["error"]

    def test_gives_any_event_whole(self, many: TraceViewer) -> None:
        """S1.17: the last as the first."""
        assert many.event(_MANY).kind == "agent_end"
        assert many.event(1).kind == "agent_start"

    def test_has_its_nodes_in_pages(self, many: TraceViewer) -> None:
        """S1.19: pages of the tree's nodes, parents first, joined are the tree."""
        tree = many.tree("many")
        first = many.tree_page("many", limit=30_000)
        second = many.tree_page("many", limit=30_000, cursor=first.next_cursor)
        assert (*first.items, *second.items) == tree.nodes
        assert second.next_cursor is None


class TestFilters:
    """S1.20, in pages."""

    def test_by_status_have_the_errors_themselves(self, audited: TraceViewer) -> None:
        """What ``filter_errors`` keeps of a list, ``timeline`` reads."""
        events = audited.timeline("c0ffee00").items
        assert list(audited.timeline("c0ffee00", status="error").items) == audited.filter_errors(events)

    @pytest.mark.parametrize("min_ms", [0, 0.5, 3, 400])
    def test_by_duration_drop_what_has_none(self, audited: TraceViewer, min_ms: float) -> None:
        """None and 0 are no durations."""
        events = audited.timeline("c0ffee00").items
        page = audited.timeline("c0ffee00", min_ms=min_ms)
        assert list(page.items) == audited.filter_by_duration(events, min_ms)

    def test_by_time_include_both_ends(self, audited: TraceViewer) -> None:
        """S1.11: since and until are in."""
        third = audited.timeline("c0ffee00").items[2]
        page = audited.timeline("c0ffee00", since=third.ts_ms, until=third.ts_ms)
        assert third in page.items
        assert all(event.ts_ms == third.ts_ms for event in page.items)


class TestDetail:
    def test_says_whether_raw_input_and_output_are_there(self, audited: TraceViewer) -> None:
        """S1.16: the flags of a hit."""
        events = audited.timeline("c0ffee00").items
        flags = {(event.kind, event.has_raw_input, event.has_raw_output) for event in events}
        assert ("tool_call", True, False) in flags
        assert ("tool_result", False, True) in flags
        assert event_of(1, payload="no json").has_raw_input is False

    def test_of_an_unknown_id_is_an_error_with_the_nearest(self, audited: TraceViewer) -> None:
        """S1.15, S1.17: nobody has to look for an error inside an answer."""
        with pytest.raises(NotFound):
            audited.get_trace_detail(10_000)
        with pytest.raises(NotFound):
            audited.get_session_summary("nobody")


class TestBrokenParents:
    @given(broken_events(), st.randoms(use_true_random=False))
    @settings(max_examples=150, deadline=None)
    def test_lose_no_event_in_any_form(self, events: list[Event], random: object) -> None:
        """S1.19: whatever parents are missing or go round, every node is in every form, once."""
        nodes = build_tree(events).nodes
        shuffled = list(events)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        if not nodes:
            assert format_tree(shuffled) == EMPTY_TEXT
            return
        assert len(format_tree(shuffled).splitlines()) == len(nodes)
        assert len(json.loads(format_tree(shuffled, form="json"))) == len(nodes)
        failures = sum(len(node.failures) for node in nodes)
        assert len(format_tree(shuffled, form="markdown").splitlines()) == len(nodes) + failures
        assert len(json.loads(format_timeline(shuffled, form="json"))) == len(events)
        assert len(format_timeline(shuffled, form="markdown").splitlines()) == len(events) + 2

    def test_go_round_through_a_hundred_agents(self) -> None:
        """S1.19: a cycle of any length has a first, and hangs below it."""
        events = [
            event_of(
                number + 1,
                kind="agent_start",
                agent_id=f"a{number}",
                span_id=f"s{number}",
                parent_span_id=f"s{(number + 1) % 100}",
            )
            for number in range(100)
        ]
        tree = build_tree(events)
        assert len(tree.nodes) == 100
        assert [node.notes for node in tree.nodes if node.parent is None] == [("cyclic parent",)]


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    def test_are_there_for_lists_of_events(self, audited: TraceViewer, form: str) -> None:
        """S1.18, S1.19: text, JSON and Markdown, of both."""
        events = audited.timeline("c0ffee00").items
        assert "SyntaxError" in audited.format_timeline(events, form)
        assert "SyntaxError" in audited.format_tree(events, form=form)

    @pytest.mark.parametrize("form", FORMS)
    def test_of_nothing_say_so(self, form: str) -> None:
        """S1.18: an empty list has its sentence; in JSON it is an empty list."""
        assert format_timeline([], form) == ("[]" if form == "json" else EMPTY_TEXT)
        assert format_tree([], form) == ("[]" if form == "json" else EMPTY_TEXT)

    def test_unknown_are_refused(self) -> None:
        """A form that is none is named, with those that are."""
        with pytest.raises(ConfigError, match="text, json, markdown"):
            format_tree([], "html")

    def test_carry_exact_times(self) -> None:
        """S1.18: milliseconds; and S1.11: events of one moment in one order, whatever order they came in."""
        events = [event_of(number, ts_ms=START_MS, ts_ns=START_MS * 1_000_000) for number in (3, 1, 2)]
        assert "[00:00:00.000] note" in format_timeline(events)
        assert [row["id"] for row in json.loads(format_timeline(events, "json"))] == [1, 2, 3]
