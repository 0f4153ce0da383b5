"""Selectors: exactly one conversation, or a refusal that says what it could have been."""

from __future__ import annotations

import pytest

from agenttrace import clock
from agenttrace.errors import NotFound
from agenttrace.query.viewer import TraceViewer
from agenttrace.store import EventSink
from tests.query.factory import START_MS, Story, audit

__all__: list[str] = []


def tell(sink: EventSink, conversation_id: str, status: str | None, minute: int) -> None:
    """Write a conversation that began in that minute and ended so; None leaves it open."""
    story = Story(conversation_id, start_ms=START_MS + 60_000 * minute, process_id=f"{minute:016x}")
    agent = story.start("a")
    if status is not None:
        story.end(agent, status)
    story.write(sink, ended=status is not None)


class TestLast:
    def test_is_the_newest_begun(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Newest by its beginning, counted back with ~."""
        for minute, name in enumerate(("old", "middle", "new")):
            tell(sink, name, "ok", minute)
        assert viewer.resolve("last").conversation_id == "new"
        assert viewer.resolve("@last").conversation_id == "new"
        assert viewer.resolve("last~0").conversation_id == "new"
        assert viewer.resolve("last~2").conversation_id == "old"
        with pytest.raises(NotFound, match=r"only 3 conversations.*last~2"):
            viewer.resolve("last~3")

    def test_of_nothing_says_so(self, viewer: TraceViewer) -> None:
        """An empty database has no last."""
        with pytest.raises(NotFound, match="no conversation is recorded yet"):
            viewer.resolve("last")


class TestLastOk:
    def test_is_the_newest_completed(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Failed ones are passed over."""
        tell(sink, "good", "ok", 0)
        tell(sink, "bad", "error", 1)
        assert viewer.resolve("last-ok") == ("good", None)

    def test_refuses_when_none_completed(self, sink: EventSink, viewer: TraceViewer) -> None:
        """It never takes something else."""
        tell(sink, "bad", "error", 1)
        with pytest.raises(NotFound, match="last-ok"):
            viewer.resolve("last-ok")


class TestLastFailed:
    @pytest.mark.parametrize(("status", "word"), [("error", "failed"), ("interrupted", "was interrupted")])
    def test_is_the_newest_failed_or_interrupted(
        self, sink: EventSink, viewer: TraceViewer, status: str, word: str
    ) -> None:
        """And it says which it took."""
        tell(sink, "bad", status, 0)
        tell(sink, "good", "ok", 1)
        selection = viewer.resolve("last-failed")
        assert selection.conversation_id == "bad"
        assert selection.note is not None and f"the newest that {word}" in selection.note

    def test_falls_back_to_a_swallowed_failure(self, sink: EventSink, viewer: TraceViewer) -> None:
        """Where every conversation completed, the newest in which a failure was swallowed."""
        story = Story("quiet")
        agent = story.start("a")
        story.call(agent, "t", error=("ValueError", "x"))
        story.end(agent)
        story.write(sink)
        tell(sink, "good", "ok", 5)
        selection = viewer.resolve("last-failed")
        assert selection.conversation_id == "quiet"
        assert selection.note is not None and "swallowed failure (ValueError)" in selection.note

    def test_refuses_when_all_is_well(self, sink: EventSink, viewer: TraceViewer) -> None:
        """No failure, no conversation."""
        tell(sink, "good", "ok", 0)
        with pytest.raises(NotFound, match="last-failed"):
            viewer.resolve("last-failed")


class TestRunning:
    def test_is_the_newest_open(self, sink: EventSink, viewer: TraceViewer) -> None:
        """With several, the newest, and a note."""
        minute = (clock.now_ms() - START_MS) // 60_000
        tell(sink, "one", None, minute)
        assert viewer.resolve("running") == ("one", None)
        tell(sink, "two", None, minute + 1)
        selection = viewer.resolve("running")
        assert selection.conversation_id == "two"
        assert selection.note is not None and "several" in selection.note

    def test_refuses_when_nothing_runs(self, sink: EventSink, viewer: TraceViewer) -> None:
        """All ended: nothing is running."""
        tell(sink, "done", "ok", 0)
        with pytest.raises(NotFound, match="nothing is running"):
            viewer.resolve("running")


class TestPrefix:
    def test_means_the_only_one_that_begins_so(self, sink: EventSink, viewer: TraceViewer) -> None:
        """An unambiguous start is enough; a whole id wins over longer ones that begin with it."""
        for minute, name in enumerate(("abc", "abcd", "b")):
            tell(sink, name, "ok", minute)
        assert viewer.resolve("b").conversation_id == "b"
        assert viewer.resolve("abc").conversation_id == "abc"
        assert viewer.resolve("@abcd").conversation_id == "abcd"

    def test_that_fits_several_lists_them(self, sink: EventSink, viewer: TraceViewer) -> None:
        """The candidates are named."""
        for minute in range(9):
            tell(sink, f"run-{minute}", "ok", minute)
        with pytest.raises(NotFound, match=r"run-0, run-1.*…") as caught:
            viewer.resolve("run")
        assert len(caught.value.nearest) == 6

    @pytest.mark.parametrize("word", ["", "@", "%", "_", "nope", "last~", "last~x", "\U0010ffff"])
    def test_that_fits_none_is_refused(self, sink: EventSink, viewer: TraceViewer, word: str) -> None:
        """Wildcards of SQL are letters here; an empty word means nothing."""
        audit().write(sink)
        with pytest.raises(NotFound, match="c0ffee00"):
            viewer.resolve(word)

    def test_lets_an_id_win_over_a_word(self, sink: EventSink, viewer: TraceViewer) -> None:
        """A conversation that somebody named ``last`` can be shown."""
        tell(sink, "last", "ok", 0)
        tell(sink, "newer", "ok", 1)
        assert viewer.resolve("last").conversation_id == "last"
