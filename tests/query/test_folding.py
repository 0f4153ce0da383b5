"""Trees of any size: a bounded number of lines, nothing left out uncounted, failures first."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace.query.folding import Fold, Folding
from agenttrace.query.lines import render_plain
from agenttrace.query.render_tree import render_tree
from agenttrace.query.tree import Tree, build_tree
from agenttrace.store import Event
from tests.query.factory import Story, event_of
from tests.query.test_tree import events_of

__all__: list[str] = []

_KINDS = ("agent_start", "agent_end", "tool_call", "tool_result", "model_call", "model_turn", "error", "note")
_SPANS = st.one_of(st.none(), st.sampled_from("abcdefgh"))


@st.composite
def broken_events(draw: st.DrawFn) -> list[Event]:
    """Draw events whose ids point anywhere: to nothing, to themselves, round in circles."""
    rows: list[dict[str, Any]] = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "kind": st.sampled_from(_KINDS),
                    "agent_id": st.sampled_from("xyz"),
                    "parent_agent_id": st.one_of(st.none(), st.sampled_from("xyz?")),
                    "span_id": _SPANS,
                    "parent_span_id": _SPANS,
                    "tool_name": st.sampled_from(["t", "u"]),
                    "status": st.sampled_from([None, "ok", "error"]),
                    "duration_ms": st.sampled_from([None, 0, 3.5, -1]),
                }
            ),
            max_size=40,
        )
    )
    return [event_of(number, **row) for number, row in enumerate(rows, 1)]


def shown_and_folded(tree: Tree, folding: Folding) -> tuple[list[int], list[int]]:
    """Walk what is shown; give the nodes shown, and those in folds with all below them."""
    shown: list[int] = []
    folded: list[int] = []
    waiting = list(folding.below(None))
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, Fold):
            inside = list(entry.members)
            while inside:
                at = inside.pop()
                folded.append(at)
                inside.extend(tree.nodes[at].children)
        else:
            shown.append(entry)
            waiting.extend(folding.below(entry))
    return shown, folded


class TestFolding:
    @given(broken_events(), st.integers(1, 12), st.one_of(st.none(), st.integers(1, 4)))
    @settings(max_examples=150, deadline=None)
    def test_shows_or_counts_every_operation_once(
        self, events: list[Event], limit: int, depth: int | None
    ) -> None:
        """S1.19: orphans and cycles too, whatever the room and the depth, are shown or counted, once."""
        tree = build_tree(events)
        shown, folded = shown_and_folded(tree, Folding(tree, depth=depth, limit=limit))
        both = sorted(shown + folded)
        assert len(both) == len(set(both))
        missing = set(range(len(tree.nodes))) - set(both)
        hidden = {at for at in missing if tree.nodes[at].family == "event"}
        assert missing == hidden  # kinds of events that a tree never shows, unless all are asked for

    @given(broken_events())
    @settings(max_examples=100, deadline=None)
    def test_of_everything_folds_nothing(self, events: list[Event]) -> None:
        """Asked for all, every node is shown."""
        tree = build_tree(events)
        shown, folded = shown_and_folded(tree, Folding(tree, is_open=True, limit=1))
        assert sorted(shown) == list(range(len(tree.nodes)))
        assert folded == []

    @pytest.mark.slow
    def test_keeps_to_its_lines(self) -> None:
        """10,000 unequal calls below 100 agents are drawn in some hundred lines, and all are counted."""
        story = Story()
        root = story.start("root")
        for number in range(100):
            agent = story.start(f"a{number}", root)
            for call in range(100):
                story.call(agent, f"t{call % 2}")
            story.end(agent)
        tree = build_tree(events_of(story))
        text = render_plain(render_tree(tree))
        assert len(text.splitlines()) < 2 * 250
        folded = re.findall(r"… (?:(\d+) agents?, )?([\d,]+) calls? folded \(--all\)", text)
        calls = sum(int(count.replace(",", "")) for _, count in folded)
        agents = sum(int(count or 0) for count, _ in folded)
        assert calls + len(re.findall(r"t[01]\(", text)) == 10_000
        assert agents + len(re.findall(r"a\d+ ✔", text)) == 100

    def test_shows_the_first_of_each_kind_of_failure(self) -> None:
        """Beyond the room for failures, each kind has its line, and the rest are counted by type."""
        story = Story()
        agent = story.start("a")
        for number in range(3000):
            story.call(agent, "often" if number % 2 else "fine", error=("E", "x") if number % 2 else None)
            if number == 2000:
                story.call(agent, "once", error=("Rare", "y"))
        text = render_plain(render_tree(build_tree(events_of(story)), width=100))
        assert "Rare: y" in text
        counted = sum(int(count.replace(",", "")) for count in re.findall(r"failures?: E ([\d,]+)", text))
        assert counted + text.count("E: x") == 1500

    def test_below_a_depth_names_what_failed(self) -> None:
        """``--depth 1`` shows the roots, what is below them in numbers, and the types of its failures."""
        story = Story()
        agent = story.start("a")
        story.call(agent, "t")
        story.call(agent, "u", error=("KeyError", "x"))
        tree = build_tree(events_of(story))
        lines = render_plain(render_tree(tree, depth=1)).splitlines()
        assert lines == ["a ● running", "└─ … 2 calls below (--all) · ✘ 1 failure: KeyError 1"]
        assert render_plain(render_tree(tree, depth=2)) == render_plain(render_tree(tree))

    @pytest.mark.slow
    def test_of_a_long_chain_of_failures_takes_no_square(self) -> None:
        """20,000 calls within each other, all failed: each looks no further up than there is room."""
        count = 20_000
        events = [
            event_of(
                number + 1,
                kind="tool_result",
                tool_name="again",
                span_id=f"s{number}",
                parent_span_id=f"s{number - 1}" if number else None,
                status="error",
                error_type="RecursionError",
            )
            for number in range(count)
        ]
        tree = build_tree(events)
        shown, folded = shown_and_folded(tree, Folding(tree))
        assert len(shown) + len(folded) == len(tree.nodes) == count + 1
        assert len(shown) <= 250
