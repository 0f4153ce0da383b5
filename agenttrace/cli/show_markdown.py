"""
``agenttrace show --format markdown``: a run, its timeline or one event, ready for a ticket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agenttrace.cli.console import choose_glyphs, print_text
from agenttrace.query.lines import render_plain
from agenttrace.query.render_markdown import code_span, markdown_event, markdown_timeline, markdown_tree
from agenttrace.query.render_summary import render_header

if TYPE_CHECKING:
    from agenttrace.query.tree import Tree
    from agenttrace.query.viewer import TraceViewer
    from agenttrace.store.rows import Event

__all__ = ["print_event_as_markdown", "print_timeline_as_markdown", "print_tree_as_markdown"]

_HEADER_WIDTH = 10_000


def print_tree_as_markdown(viewer: TraceViewer, tree: Tree, *, full: bool, depth: int | None) -> None:
    """Print the head of a conversation, and its tree as a nested list."""
    _print_head(viewer, tree.conversation_id)
    for line in markdown_tree(tree, full=full, depth=depth, glyphs=choose_glyphs()):
        print_text(line)


def print_timeline_as_markdown(viewer: TraceViewer, conversation_id: str, events: Iterable[Event]) -> None:
    """Print the head of a conversation, and its events as a table."""
    _print_head(viewer, conversation_id)
    for line in markdown_timeline(events, viewer.fates(conversation_id), choose_glyphs()):
        print_text(line)


def print_event_as_markdown(event: Event, payload: Any = None) -> None:
    """Print one event, its columns as a table and its payload as a block."""
    for line in markdown_event(event, payload):
        print_text(line)


def _print_head(viewer: TraceViewer, conversation_id: str) -> None:
    conversation = viewer.conversation(conversation_id)
    counts = Counter(viewer.fates(conversation_id).values())
    header = render_header(
        conversation, viewer.status(conversation), counts, width=_HEADER_WIDTH, glyphs=choose_glyphs()
    )
    _, *facts = render_plain(header).splitlines()
    print_text(f"### Run {code_span(conversation_id)}")
    print_text("")
    if conversation.task:
        print_text(f"{code_span(conversation.task)}  ")
    print_text(" ".join(facts))
    print_text("")
