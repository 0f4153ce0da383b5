"""Events in any order to one tree: nothing vanishes, nothing recurses, arrival does not matter."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace.query.tree import Tree, TreeNode, build_tree
from agenttrace.store import Event
from tests.query.factory import HEADER, PROCESS_ID, Story, audit, event_of

__all__: list[str] = []


def events_of(story: Story) -> list[Event]:
    """Turn a story into rows, without a database."""
    rows = []
    for number, record in enumerate(story.records, 1):
        header = record.header
        if header[0].startswith("$"):
            continue
        columns = dict(zip(HEADER, header, strict=False))
        columns["ts_ms"] = columns["ts_ns"] // 1_000_000
        rows.append(
            event_of(
                number,
                payload=record.payload.decode(),
                event_id=record.event_id,
                **columns,
                **(header[14] or {}),
            )
        )
    return rows


def shape(tree: Tree) -> list[tuple[int, str, str]]:
    """Give depth, family and name of every node."""
    return [(node.depth, node.family, node.name) for node in tree.nodes]


def node_named(tree: Tree, name: str) -> TreeNode:
    """Give the only node of that name."""
    (found,) = [node for node in tree.nodes if node.name == name]
    return found


class TestStructure:
    def test_is_agents_calls_and_turns(self) -> None:
        """Calls and turns hang below their agent, a subagent below the agent that began it."""
        tree = build_tree(events_of(audit()))
        assert shape(tree) == [
            (0, "agent", "lead"),
            (1, "turn", "planner-1"),
            (1, "call", "list_files"),
            (1, "agent", "reader"),
            *[(2, "call", "read_file")] * 7,
            (2, "call", "parse"),
            (1, "call", "fetch"),
            (1, "call", "publish"),
        ]

    def test_indexes_agree(self) -> None:
        """A node's parent lists it among its children, and stands before it."""
        tree = build_tree(events_of(audit()))
        for at, node in enumerate(tree.nodes):
            assert all(tree.nodes[child].parent == at for child in node.children)
            assert node.parent is None or node.parent < at
        assert tree.roots == (0,)

    def test_hangs_a_call_below_the_call_around_it(self) -> None:
        """A traced tool that calls another is its parent."""
        story = Story()
        agent = story.start("a")
        outer = story.open_call(agent, "outer")
        inner = story.open_call(agent, "inner", parent_span_id=outer)
        tree = build_tree(events_of(story))
        assert shape(tree) == [(0, "agent", "a"), (1, "call", "outer"), (2, "call", "inner")]
        assert tree.nodes[2].span_id == inner

    def test_shows_each_run_of_a_continued_agent(self) -> None:
        """An agent entered twice is two runs, and the second says that it resumed."""
        story = Story()
        story.end(story.start("a", agent_id="a-1"))
        again = story.start("a", agent_id="a-1")
        story.call(again, "tool")
        story.end(again)
        events = events_of(story)
        start = events[2]
        resumed = event_of(
            start.id,
            **{
                **{
                    name: getattr(start, name)
                    for name in ("kind", "agent_id", "agent_name", "span_id", "ts_ns", "event_id")
                },
                "payload": '{"resumed":true,"input":null}',
            },
        )
        events[2] = resumed
        tree = build_tree(events)
        assert shape(tree) == [(0, "agent", "a"), (0, "agent", "a"), (1, "call", "tool")]
        assert tree.nodes[1].notes == ("resumed",)

    def test_counts_what_follows_a_turn_as_of_that_turn(self) -> None:
        """A call belongs to the model turn before it, so that ``--turn`` finds it."""
        story = Story()
        agent = story.start("a")
        story.call(agent, "before")
        story.turn(agent, "m", number=1)
        story.call(agent, "after")
        story.turn(agent, "m", number=2)
        tree = build_tree(events_of(story))
        assert [node.turn for node in tree.nodes[1:]] == [None, 1, 1, 2]

    def test_of_nothing_is_empty(self) -> None:
        """No events, no nodes."""
        assert build_tree([]) == Tree("", ())

    def test_gives_a_branch(self) -> None:
        """A part of a tree is a tree of its own, with depths from 0."""
        tree = build_tree(events_of(audit())).branch(lambda node: node.name == "reader")
        assert shape(tree)[0] == (0, "agent", "reader")
        assert len(tree.nodes) == 9
        assert tree.nodes[0].children == tuple(range(1, 9))
        assert all(node.parent == 0 for node in tree.nodes[1:])


class TestOrder:
    @given(st.randoms(use_true_random=False))
    @settings(max_examples=30)
    def test_of_arrival_does_not_matter(self, chance: random.Random) -> None:
        """tree(permute(events)) == tree(events)."""
        events = events_of(audit())
        expected = build_tree(events)
        chance.shuffle(events)
        assert build_tree(events) == expected

    @given(st.sets(st.integers(0, 34), max_size=20), st.randoms(use_true_random=False))
    @settings(max_examples=100)
    def test_does_not_matter_when_rows_are_missing_either(
        self, lost: set[int], chance: random.Random
    ) -> None:
        """Whatever rows are missing, one tree comes out, the same for every order, with every call in it."""
        events = [event for at, event in enumerate(events_of(audit())) if at not in lost]
        expected = build_tree(events)
        calls = {event.span_id for event in events if event.kind in ("tool_call", "tool_result")}
        assert {node.span_id for node in expected.nodes if node.family == "call"} == calls
        chance.shuffle(events)
        assert build_tree(events) == expected

    def test_is_by_time_then_process_then_frame(self) -> None:
        """Frame numbers are numbers: 10 comes after 9, and f before 10 in hex."""
        same_ns = 1_000_000_000
        rows = [
            event_of(
                number,
                kind="tool_call",
                span_id=f"s{number}",
                tool_name=str(number),
                ts_ns=same_ns,
                event_id=event_id,
            )
            for number, event_id in enumerate(
                [f"{PROCESS_ID}-10", f"{PROCESS_ID}-f", f"{PROCESS_ID}-9", "0000000000000000-ff"], 1
            )
        ]
        assert [node.name for node in build_tree(rows).nodes if node.family == "call"] == ["4", "3", "2", "1"]


class TestMissing:
    def test_start_still_shows_the_call(self) -> None:
        """A result without its call is a call that says so."""
        node = build_tree(
            [event_of(1, kind="tool_result", span_id="s", tool_name="t", status="ok", duration_ms=2.0)]
        ).nodes[1]
        assert (node.name, node.status, node.duration_ms) == ("t", "ok", 2.0)
        assert node.notes == ("no start recorded",)

    def test_end_leaves_the_call_running(self) -> None:
        """A call without a result runs, as long as nobody knows better."""
        events = [event_of(1, kind="tool_call", span_id="s", tool_name="t")]
        assert build_tree(events).nodes[1].status == "running"
        assert build_tree(events, liveness=lambda _: "out of contact").nodes[1].status == "out of contact"

    def test_end_lasts_until_now(self) -> None:
        """A running call has lasted until now."""
        event = event_of(1, kind="tool_call", span_id="s", tool_name="t")
        assert event.ts_ns is not None
        tree = build_tree([event], now_ns=event.ts_ns + 5_000_000)
        assert tree.nodes[1].duration_ms == 5.0

    def test_agent_start_still_gathers_its_rows(self) -> None:
        """An agent known only by what it did gets a node for it (S1.19)."""
        tree = build_tree(
            [event_of(n, kind="tool_call", span_id=f"s{n}", tool_name="t", agent_name="ann") for n in (1, 2)]
        )
        assert shape(tree) == [(0, "agent", "ann"), (1, "call", "t"), (1, "call", "t")]
        assert tree.nodes[0].notes == ("no start recorded",)
        assert tree.nodes[0].status == ""

    def test_parent_leaves_the_agent_at_the_top(self) -> None:
        """A child whose parent is outside the list does not vanish (S1.19)."""
        tree = build_tree(
            [event_of(1, kind="agent_start", span_id="s", agent_name="x", parent_agent_id="gone")]
        )
        assert shape(tree) == [(0, "agent", "x")]
        assert tree.nodes[0].notes == ("parent not in this trace",)


class TestCycles:
    def test_are_cut_at_their_first_row(self) -> None:
        """Agents that are each other's parents show, the first of them at the top (S1.19)."""
        tree = build_tree(
            [
                event_of(1, kind="agent_start", agent_id="a", span_id="sa", parent_span_id="sc"),
                event_of(2, kind="agent_start", agent_id="b", span_id="sb", parent_span_id="sa"),
                event_of(3, kind="agent_start", agent_id="c", span_id="sc", parent_span_id="sb"),
            ]
        )
        assert shape(tree) == [(0, "agent", "a"), (1, "agent", "b"), (2, "agent", "c")]
        assert tree.nodes[0].notes == ("cyclic parent",)

    @given(st.lists(st.integers(0, 11), min_size=12, max_size=12))
    @settings(max_examples=200)
    def test_of_any_form_lose_nothing(self, parents: Sequence[int]) -> None:
        """Whatever points at whatever, every agent stands in the tree exactly once."""
        events = [
            event_of(
                number + 1,
                kind="agent_start",
                agent_id=f"a{number}",
                span_id=f"s{number}",
                parent_span_id=f"s{parent}",
            )
            for number, parent in enumerate(parents)
        ]
        tree = build_tree(events)
        assert sorted(node.agent_id for node in tree.nodes) == sorted(f"a{number}" for number in range(12))

    def test_do_not_come_with_depth(self) -> None:
        """A chain of 20,000 agents is a tree of that depth, and costs no stack."""
        parent: str | None = None
        events = []
        for number in range(20_000):
            events.append(
                event_of(
                    number + 1,
                    kind="agent_start",
                    agent_id=f"a{number}",
                    span_id=f"s{number}",
                    parent_span_id=parent,
                )
            )
            parent = f"s{number}"
        tree = build_tree(events)
        assert tree.nodes[-1].depth == 19_999
        assert tree == build_tree(reversed(events))


class TestAnonymousCalls:
    def test_never_share_a_result(self) -> None:
        """Two calls of one tool without any id are paired first with first (S0.9)."""
        tree = build_tree(
            [
                event_of(1, kind="tool_call", tool_name="t", payload={"arguments": {"n": 1}}),
                event_of(2, kind="tool_call", tool_name="t", payload={"arguments": {"n": 2}}),
                event_of(3, kind="tool_result", tool_name="t", duration_ms=1.0, status="ok"),
                event_of(4, kind="tool_result", tool_name="t", duration_ms=2.0, status="error"),
            ]
        )
        assert [(node.status, node.duration_ms) for node in tree.nodes[1:]] == [("ok", 1.0), ("error", 2.0)]

    def test_are_paired_by_call_id_where_there_is_one(self) -> None:
        """A result goes to the call with its id, whatever the order."""
        tree = build_tree(
            [
                event_of(1, kind="tool_call", tool_name="t", call_id="x"),
                event_of(2, kind="tool_call", tool_name="t", call_id="y"),
                event_of(3, kind="tool_result", tool_name="t", call_id="y", duration_ms=2.0),
            ]
        )
        assert [(node.call_id, node.duration_ms) for node in tree.nodes[1:]] == [("x", None), ("y", 2.0)]

    def test_take_their_status_from_the_payload(self) -> None:
        """A result without a status column fails when its payload says ``is_error`` (S0.8)."""
        for is_error, status in ((True, "error"), (False, "ok")):
            tree = build_tree(
                [event_of(1, kind="tool_result", tool_name="t", payload={"is_error": is_error})]
            )
            assert tree.nodes[1].status == status


class TestRetries:
    def test_of_one_call_are_its_attempts(self) -> None:
        """One call, a ``retry`` row per further attempt: one node."""
        node = node_named(build_tree(events_of(audit())), "fetch")
        assert (node.attempts, node.failed_attempts, node.status) == (3, 2, "ok")
        assert len(node.failures) == 2

    def test_as_calls_of_their_own_are_folded(self) -> None:
        """One closed pair per attempt, linked by ``retry_of``: one node, first start to last end."""
        story = Story()
        agent = story.start("a")
        first, _ = story.call(agent, "fetch", error=("OSError", "1"), ms=10)
        story.call(agent, "fetch", error=("OSError", "2"), ms=10, attempt=2, retry_of=first)
        third, _ = story.call(agent, "fetch", ms=10, attempt=3, retry_of=first)
        inner = story.open_call(agent, "inner", parent_span_id=third)
        tree = build_tree(events_of(story))
        assert shape(tree) == [(0, "agent", "a"), (1, "call", "fetch"), (2, "call", "inner")]
        node = tree.nodes[1]
        assert (node.attempts, node.failed_attempts, node.status) == (3, 2, "ok")
        assert node.duration_ms is not None and node.duration_ms >= 30
        assert tree.nodes[2].span_id == inner

    def test_whose_first_is_lost_stand_alone(self) -> None:
        """An attempt whose first is not in the list is shown as a call."""
        tree = build_tree(
            [event_of(1, kind="tool_call", tool_name="t", span_id="s2", retry_of="s1", attempt=2)]
        )
        assert shape(tree)[1:] == [(1, "call", "t")]


class TestFailures:
    def test_stand_where_they_were_raised(self) -> None:
        """An exception through several operations has its text at the innermost, a cross at the others."""
        tree = build_tree(events_of(audit()), fates={"c0ff000000000004": "escaped"})
        publish, lead = node_named(tree, "publish"), node_named(tree, "lead")
        (failure,) = publish.failures
        assert (failure.error_type, failure.message, failure.fate) == (
            "PermissionError",
            "read-only",
            "escaped",
        )
        assert (lead.failures, lead.status, lead.error_id) == ((), "error", failure.error_id)

    def test_say_where_they_were_caught(self) -> None:
        """A ``handled`` row gives the failure its place."""
        (failure,) = node_named(build_tree(events_of(audit())), "parse").failures
        assert failure.handled_at == "/app/audit.py:88"
        assert failure.raised_at == "/app/tools.py:12"

    def test_without_an_operation_still_show(self) -> None:
        """An ``error`` row of nobody's operation is a node of its own."""
        tree = build_tree([event_of(1, kind="error", error_type="X", payload={"error": {"message": "m"}})])
        assert shape(tree)[1:] == [(1, "event", "error")]
        assert tree.nodes[1].failures[0].message == "m"

    def test_survive_any_payload(self) -> None:
        """Whatever stands in an ``error`` payload, the failure is shown."""
        payloads: list[Any] = [
            "",
            "[]",
            "{",
            '{"error":"text"}',
            '{"error":{"message":{"$agenttrace":"cut","head":"h"}}}',
        ]
        for payload in payloads:
            tree = build_tree([event_of(1, kind="error", error_id="e", payload=payload)])
            assert len(tree.nodes[1].failures) == 1
