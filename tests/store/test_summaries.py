"""Agents and conversations as a whole: how they stand, and what they add up to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agenttrace.store.batch import EventSink, Finish
from agenttrace.store.event_store import TraceStore
from tests.store.scenes import PROCESS_ID, Scene, process_info

Case = Callable[[Scene], str]
STATUSES: list[Case] = []


def case(function: Case) -> Case:
    """Put a history and the status of its conversation into the table."""
    STATUSES.append(function)
    return function


@case
def of_an_agent_at_work(scene: Scene) -> str:
    scene.agent()
    return "running"


@case
def of_an_agent_that_ended_ok(scene: Scene) -> str:
    scene.end(scene.agent())
    return "completed"


@case
def of_a_generator_agent_left_early(scene: Scene) -> str:
    scene.end(scene.agent(), status="stopped_early")
    return "completed"


@case
def of_an_agent_that_failed(scene: Scene) -> str:
    root = scene.agent()
    scene.end(root, scene.fail(root))
    return "failed"


@case
def of_an_agent_that_was_cancelled(scene: Scene) -> str:
    scene.end(scene.agent(), status="cancelled")
    return "cancelled"


@case
def of_an_agent_whose_process_died(scene: Scene) -> str:
    scene.end(scene.agent(), status="interrupted")
    return "interrupted"


@case
def of_a_failed_root_and_a_later_good_one(scene: Scene) -> str:
    first = scene.agent()
    scene.end(first, scene.fail(first))
    scene.end(scene.agent("again"))
    return "completed"


@case
def of_a_good_root_and_a_later_failed_one(scene: Scene) -> str:
    scene.end(scene.agent())
    last = scene.agent("again")
    scene.end(last, scene.fail(last))
    return "failed"


@case
def of_a_root_that_is_continued(scene: Scene) -> str:
    first = scene.agent()
    scene.end(first, scene.fail(first))
    scene.agent()
    return "running"


@case
def of_two_roots_of_which_the_first_still_runs(scene: Scene) -> str:
    scene.agent("slow")
    scene.end(scene.agent("quick"))
    return "running"


@case
def of_a_failed_subagent_under_a_good_root(scene: Scene) -> str:
    root = scene.agent()
    child = scene.agent("child", root)
    scene.end(child, scene.fail(child))
    scene.end(root)
    return "completed"


@case
def of_bare_events_of_a_process_at_work(scene: Scene) -> str:
    scene.add("note", None, {"text": "hello"})
    return "running"


class TestConversationStatus:
    """``agent_sessions.status`` (S1.2, S1.6)."""

    @pytest.mark.parametrize("history", STATUSES, ids=lambda history: history.__name__)
    def test_is_that_of_its_last_root(self, history: Case, sink: EventSink, store: TraceStore) -> None:
        """Each history of the table stands as the word beside it says."""
        scene = Scene()
        expected = history(scene)
        scene.store(sink)
        assert store.conversations().items[0].status == expected

    def test_is_failed_when_its_process_died_of_an_exception(
        self, sink: EventSink, store: TraceStore
    ) -> None:
        """An interrupted root is a failure when the process ended with an exception."""
        scene = Scene()
        scene.agent()
        scene.store(sink)
        sink.write([], finish=Finish(PROCESS_ID, exit="exception: ValueError"))
        assert store.conversations().items[0].status == "failed"

    def test_of_bare_events_is_completed_when_the_process_has_ended(
        self, sink: EventSink, store: TraceStore
    ) -> None:
        """A conversation without agents ends with its process."""
        scene = Scene()
        scene.add("note", None, {"text": "hello"})
        scene.store(sink)
        sink.write([], process=process_info(), finish=Finish(PROCESS_ID, exit="ok"))
        assert store.conversations().items[0].status == "completed"


class TestAgent:
    """``agents``."""

    def test_shows_who_it_is_and_what_it_did(self, sink: EventSink, store: TraceStore) -> None:
        """One row per agent: parent, runs, counts, sums, times and previews."""
        scene = Scene()
        root = scene.agent(input="audit the folder")
        child = scene.agent("reader", root)
        scene.end(scene.call(child))
        scene.fail(child)
        scene.model(child, model="m1", provider="p1", input_tokens=10, output_tokens=4, cost_usd=0.5)
        scene.model(child, model="m2", provider="p1", input_tokens=7, output_tokens=2, reasoning_tokens=1)
        scene.end(child, output="x" * 500)
        scene.end(root, output={"found": 2})
        scene.store(sink)
        lead, reader = store.agents("c1")
        assert (lead.agent_id, lead.parent_agent_id, lead.runs, lead.status) == ("lead-1", None, 1, "ok")
        assert (lead.input_preview, lead.output_preview) == ("audit the folder", '{"found":2}')
        assert (reader.parent_agent_id, reader.tool_calls, reader.failed_calls, reader.errors) == (
            "lead-1",
            2,
            1,
            1,
        )
        assert (reader.model_turns, reader.model, reader.input_tokens, reader.output_tokens) == (
            2,
            "m2",
            17,
            6,
        )
        assert (reader.cost_usd, reader.reasoning_tokens, reader.cache_read_tokens) == (0.5, 1, None)
        assert reader.output_preview == "x" * 200
        assert lead.started_at == "2023-11-14 22:13:20.001"
        assert lead.ended_at == "2023-11-14 22:13:20.013"

    def test_that_is_continued_has_two_runs(self, sink: EventSink, store: TraceStore) -> None:
        """A second ``agent_start`` with a known id is a run more, and its status that of the last."""
        scene = Scene()
        first = scene.agent()
        scene.end(first, scene.fail(first))
        scene.end(scene.agent())
        scene.store(sink)
        (lead,) = store.agents("c1")
        assert (lead.runs, lead.status, lead.error_id) == (2, "ok", None)

    def test_previews_the_head_of_what_was_cut(self, sink: EventSink, store: TraceStore) -> None:
        """A cut text shows its head; a user's own key ``head`` is no cut."""
        scene = Scene()
        scene.end(
            scene.agent(input={"$agenttrace": "cut", "bytes": 9, "head": "begins so"}), output={"head": 1}
        )
        scene.store(sink)
        (lead,) = store.agents("c1")
        assert (lead.input_preview, lead.output_preview) == ("begins so", '{"head":1}')

    def test_of_nobody_is_no_row(self, store: TraceStore) -> None:
        """An unknown conversation has no agents."""
        assert store.agents("nobody") == []


class TestConversation:
    """``agent_sessions`` (S1.6, S1.13)."""

    def test_adds_up_its_agents(self, sink: EventSink, store: TraceStore) -> None:
        """Counts and sums are those of all agents; an unknown cost is NULL and not 0."""
        scene = Scene()
        root = scene.agent()
        child = scene.agent("child", root)
        scene.model(root, input_tokens=10, output_tokens=4)
        scene.model(child, input_tokens=1, output_tokens=1)
        scene.fail(child)
        scene.end(child)
        scene.end(root)
        scene.store(sink)
        row = store.conversation("c1")
        assert row is not None
        assert (row.agents, row.total_events, row.total_tokens, row.total_cost_usd) == (2, 11, 16, None)
        assert (row.tool_calls, row.failed_calls, row.errors, row.model_turns) == (1, 1, 1, 2)
        assert (row.started_at, row.completed_at) == ("2023-11-14 22:13:20.001", "2023-11-14 22:13:20.011")
        assert (row.duration_ms, row.process_id) == (10, PROCESS_ID)

    def test_has_not_completed_while_an_agent_runs(self, sink: EventSink, store: TraceStore) -> None:
        """``completed_at`` is NULL until every agent has ended."""
        scene = Scene()
        root = scene.agent()
        scene.end(scene.agent("child", root))
        scene.store(sink)
        row = store.conversation("c1")
        assert row is not None and row.completed_at is None

    def test_without_events_is_there(self, store: TraceStore) -> None:
        """A conversation that was only described has a row with zero counts."""
        store.describe("c1", task="later", metadata={"a": [1]})
        row = store.conversation("c1")
        assert row is not None
        assert (row.task, row.metadata, row.total_events, row.agents) == ("later", {"a": [1]}, 0, 0)


class TestRootsThatEndTogether:
    """The millisecond in which two root agents end does not hide that one failed."""

    @pytest.mark.parametrize("order", [("ok", "error"), ("error", "ok")])
    def test_failed(self, order: tuple[str, str], store: TraceStore) -> None:
        """Whichever was first, the conversation has failed."""
        for number, status in enumerate(order):
            name = f"root-{number}"
            for kind, given in (("agent_start", {}), ("agent_end", {"status": status})):
                store.record(
                    kind,
                    conversation_id="c",
                    agent_id=name,
                    span_id=name,
                    ts_ns=1_800_000_000_000_000_000,
                    **given,
                )
        found = store.conversation("c")
        assert found is not None and found.status == "failed"
