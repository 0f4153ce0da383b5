"""The plain-text forms: framed timeline and indented tree (S1.18, S1.19)."""

from __future__ import annotations

from agenttrace.query.formatting import EMPTY_TEXT, format_timeline, format_tree
from tests.query.factory import audit, event_of
from tests.query.test_tree import events_of

__all__: list[str] = []


class TestTimeline:
    def test_is_framed(self) -> None:
        """S1.18: a frame of 60, time, kind, duration, three items, tokens and cost."""
        events = [
            event_of(
                1,
                kind="model_turn",
                duration_ms=1.25,
                payload={"a": "x" * 60, "b": 2, "c": 3, "d": 4},
                input_tokens=10,
                output_tokens=5,
                cost_usd=0.01234,
            )
        ]
        assert format_timeline(events).splitlines() == [
            "=" * 60,
            "Timeline: 1 events",
            "=" * 60,
            "[00:00:00.001] model_turn (1.2ms)",
            f"    a: {'x' * 50}...",
            "    b: 2",
            "    c: 3",
            "    tokens: 10 in / 5 out, cost: $0.0123",
            "=" * 60,
        ]

    def test_of_nothing_says_so(self) -> None:
        """S1.18: an empty list has its sentence."""
        assert format_timeline([]) == EMPTY_TEXT == "No traces found."

    def test_is_in_the_order_of_time(self) -> None:
        """Whatever order the list came in."""
        events = events_of(audit())
        assert format_timeline(reversed(events)) == format_timeline(events)


class TestTree:
    def test_is_indented(self) -> None:
        """S1.19: two spaces per level, two items of at most 40 characters."""
        lines = format_tree(events_of(audit())).splitlines()
        assert lines[0] == "agent: lead (567.0ms) [error] - input: audit the json package"
        assert lines[2] == "  call: list_files (3.0ms) - folder: ."
        assert lines[4] == "    call: read_file (1.0ms) - path: module_0.py"
        assert lines[-1].startswith(f"  call: publish (2.0ms) [error] - report: {'r' * 40}...")

    def test_loses_no_orphan_and_no_cycle(self) -> None:
        """S1.19: a child whose parent is elsewhere, or in a cycle, is shown."""
        events = [
            event_of(1, kind="agent_start", agent_id="a", span_id="a", parent_span_id="b"),
            event_of(2, kind="agent_start", agent_id="b", span_id="b", parent_span_id="a"),
            event_of(3, kind="agent_start", agent_id="x", span_id="x", parent_agent_id="gone"),
        ]
        assert format_tree(events).splitlines() == [
            "agent: a [running]",
            "  agent: b [running]",
            "agent: x [running]",
        ]

    def test_of_nothing_says_so(self) -> None:
        """An empty list has its sentence."""
        assert format_tree([]) == EMPTY_TEXT

    def test_is_safe(self) -> None:
        """No escape sequence of a payload is in the text."""
        event = event_of(1, kind="\x1b[1m", payload={"\x1b": "\x1b"})
        assert "\x1b" not in format_tree([event]) + format_timeline([event])
