"""How a run is at a glance: the worst first, each with a glyph and a word."""

from __future__ import annotations

import json

import pytest

from agenttrace.query.health import Health, render_health
from agenttrace.query.lines import ASCII, UNICODE, render_plain
from agenttrace.query.viewer import TraceViewer
from agenttrace.store import EventSink
from tests.query.factory import PROCESS_ID, Story

__all__: list[str] = []

WELL = {"status": "completed", "swallowed": 0, "is_at_least": False, "retries": 0, "lost": 0}


class TestRendered:
    @pytest.mark.parametrize(
        ("changes", "shown", "ascii_shown"),
        [
            ({}, "✔ ok", "ok"),
            ({"swallowed": 2}, "◐ 2 swallowed", "! 2 swallowed"),
            ({"swallowed": 100, "is_at_least": True}, "◐ 100+ swallowed", "! 100+ swallowed"),
            ({"retries": 1}, "↻ 1 retry", "~ 1 retry"),
            ({"retries": 3, "lost": 4}, "▽ 4 lost", "! 4 lost"),
            ({"status": "failed", "swallowed": 1}, "✘ failed", "FAILED"),
            ({"status": "interrupted"}, "‼ interrupted", "INTERRUPTED"),
            ({"status": "running", "retries": 2}, "● running", "running"),
            ({"status": "out of contact"}, "? out of contact", "out of contact"),
        ],
    )
    def test_is_the_worst_in_a_glyph_and_a_word(
        self, changes: dict[str, object], shown: str, ascii_shown: str
    ) -> None:
        """A completed run is not well while something lies beneath it; no meaning rests on colour."""
        health = Health(**{**WELL, **changes})  # type: ignore[arg-type]
        assert render_plain([render_health(health, UNICODE)]) == shown + "\n"
        assert render_plain([render_health(health, ASCII)]) == ascii_shown + "\n"

    def test_is_all_of_it_where_there_is_room(self) -> None:
        """Whole: the status of what did not complete, then all that lies beneath."""
        health = Health("failed", swallowed=1, is_at_least=False, retries=2, lost=3)
        text = render_plain([render_health(health, is_whole=True)])
        assert text == "✘ failed · ◐ 1 swallowed · ▽ 3 lost · ↻ 2 retries\n"


class TestRead:
    def test_counts_what_lies_beneath(self, audited: TraceViewer) -> None:
        """Swallowed failures by their fate, retries by the rollups."""
        (health,) = audited.health(audited.conversations().items)
        assert health == Health("failed", swallowed=1, is_at_least=False, retries=2, lost=0)

    def test_counts_what_its_process_lost(self, sink: EventSink, audited: TraceViewer) -> None:
        """Dropped and failed events are losses; a lost parent is none, because nothing is missing."""
        with sink.database.writing() as database:
            database.execute(
                "UPDATE processes SET dropped = ?, failed = ? WHERE process_id = ?",
                (json.dumps({"full": 3, "lost_parent": 50}), json.dumps({"error": 4}), PROCESS_ID),
            )
        (health,) = audited.health(audited.conversations().items)
        assert health.lost == 7

    def test_looks_at_a_bounded_number_of_failures(self, sink: EventSink, viewer: TraceViewer) -> None:
        """A run with thousands of failures costs no more than one with a hundred, and says so."""
        story = Story()
        agent = story.start("a")
        for number in range(150):
            story.call(agent, "t", {"n": number}, error=("E", "x"))
        story.end(agent)
        story.write(sink)
        (health,) = viewer.health(viewer.conversations().items)
        assert (health.swallowed, health.is_at_least) == (100, True)

    def test_of_nothing_is_nothing(self, viewer: TraceViewer) -> None:
        """No conversation, no question."""
        assert viewer.health(()) == []
