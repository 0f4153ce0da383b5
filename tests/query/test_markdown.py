"""Markdown for tickets: nothing of a payload is markup, a link, HTML or a mention."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.query.render_markdown import code_span, markdown_event, markdown_timeline, markdown_tree
from agenttrace.query.text import sanitize
from agenttrace.query.tree import build_tree
from tests.query.factory import Story
from tests.query.test_render import HOSTILE
from tests.query.test_tree import events_of

__all__: list[str] = []

NASTY = f"@everyone <img src=x> [a](http://x) `tick` ``two`` |bar| {HOSTILE} **bold** #1"


def without_code(text: str) -> str:
    """Take code spans out, as a reader of Markdown would, and escapes."""
    return re.sub(r"\\.", "", re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", text))


class TestCodeSpan:
    @given(st.text())
    def test_holds_any_text_as_it_is(self, text: str) -> None:
        """The fence is longer than any run of backticks inside, so that the text cannot close it."""
        span = code_span(text)
        if not text:
            assert span == ""
            return
        found = re.fullmatch(r"(`+)( ?)(.*?)\2\1", span)
        assert found is not None
        assert sanitize(text) in span
        fence = found.group(1)
        assert max(map(len, re.findall("`+", sanitize(text))), default=0) < len(fence)

    @given(st.text())
    def test_of_a_cell_has_no_bare_bar(self, text: str) -> None:
        """A bar would end the cell, also in code."""
        assert not re.search(r"(?<!\\)\|", code_span(text, is_cell=True))


class TestHostileText:
    @pytest.fixture
    def story(self) -> Story:
        """Tell of an agent that put markup wherever it could."""
        story = Story()
        agent = story.start(NASTY, given=NASTY)
        story.turn(agent, NASTY)
        story.call(
            agent,
            NASTY,
            {NASTY: NASTY},
            error=(NASTY, NASTY),
            handled_at={"file": NASTY, "line": 1},
        )
        story.add("note", agent, {"text": NASTY})
        return story

    def test_is_code_everywhere(self, story: Story) -> None:
        """Outside of code spans stands nothing that would be a mention, a tag, a link or a cell."""
        events = events_of(story)
        tree = build_tree(events, fates={"c0ff000000000001": "swallowed"})
        tree_text = "\n".join(markdown_tree(tree))
        table = list(markdown_timeline(events))
        for text in (tree_text, *table[2:]):
            bare = without_code(text)
            for markup in ("@", "<", "](", "\x1b", "\u202e", "bold"):
                assert markup not in bare, text
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1

    def test_of_an_event_stays_in_its_block(self, story: Story) -> None:
        """A payload with a fence in it gets a longer one."""
        story.add("note", None, {"text": "```\n# out\n```"}, agent_id="a")
        lines = list(markdown_event(events_of(story)[-1]))
        assert lines[-1].startswith("````") or "```" not in "".join(lines[lines.index("````json") + 1 : -1])


class TestTree:
    def test_is_folded_as_on_a_terminal(self) -> None:
        """Thousands of calls are some hundred lines, with what was folded said."""
        story = Story()
        agent = story.start("a")
        for number in range(3000):
            story.call(agent, f"tool_{number % 2}")
        lines = list(markdown_tree(build_tree(events_of(story))))
        assert len(lines) < 300
        assert any("calls folded" in line for line in lines)
        assert len(list(markdown_tree(build_tree(events_of(story)), full=True))) == 3001
