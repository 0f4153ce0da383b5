"""Following a conversation: every event once, until it ends."""

from __future__ import annotations

from agenttrace import clock
from agenttrace.cli.follow import follow
from agenttrace.query.viewer import TraceViewer
from agenttrace.store import EventSink
from agenttrace.store.event_store import TraceStore
from tests.query.factory import Story

__all__: list[str] = []


class TestFollow:
    def test_gives_what_comes_until_the_end(self) -> None:
        """Events written between two looks are given once, in the order of storage; the end ends it."""
        sink = EventSink(":memory:")
        story = Story(start_ms=clock.now_ms())
        agent = story.start("a")
        story.write(sink, ended=False)
        steps = [
            lambda: story.call(agent, "one"),
            lambda: None,
            lambda: (story.call(agent, "two"), story.end(agent)),
        ]

        def pause(_: float) -> None:
            steps.pop(0)()
            story.write(sink, ended=False)

        viewer = TraceViewer(TraceStore(sink))
        kinds = [event.kind for event in follow(viewer, "c0ffee00", recover=lambda: None, pause=pause)]
        assert kinds == ["agent_start", "tool_call", "tool_result", "tool_call", "tool_result", "agent_end"]
        assert steps == []
        sink.close()

    def test_gives_up_on_a_process_that_is_out_of_contact(self) -> None:
        """Nobody is seen to run it: what is there is given, and that is all."""
        sink = EventSink(":memory:")
        story = Story(start_ms=clock.now_ms() - 3_600_000)
        story.start("a")
        story.write(sink, ended=False)
        with sink.database.writing() as database:
            database.execute("UPDATE processes SET last_seen_ms = last_seen_ms - 3600000")
        viewer = TraceViewer(TraceStore(sink))
        assert len(list(follow(viewer, "c0ffee00", recover=lambda: None, pause=lambda _: None))) == 1
        sink.close()

    def test_looks_for_the_dead_now_and_then(self) -> None:
        """Recovery is asked for every few seconds, so that a killed program ends what is followed."""
        sink = EventSink(":memory:")
        story = Story(start_ms=clock.now_ms())
        agent = story.start("a")
        story.write(sink, ended=False)

        def recover() -> None:
            story.end(agent, "interrupted")
            story.write(sink)

        viewer = TraceViewer(TraceStore(sink))
        events = list(follow(viewer, "c0ffee00", recover=recover, pause=lambda _: None))
        assert events[-1].status == "interrupted"
        sink.close()
