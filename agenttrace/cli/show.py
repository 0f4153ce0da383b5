"""
``agenttrace show``: one conversation as a tree or a timeline, or one event whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option
from agenttrace.cli.pager import page_output, pager_option
from agenttrace.cli.reading import open_viewer, select
from agenttrace.cli.refusal import EXIT_USAGE, Refusal
from agenttrace.cli.show_markdown import (
    print_event_as_markdown,
    print_tree_as_markdown,
)
from agenttrace.cli.show_timeline import AskedEvents, show_following, show_timeline
from agenttrace.events import MARK
from agenttrace.query.data import event_to_data, node_to_data
from agenttrace.query.formatting import FORMS
from agenttrace.query.lines import Span
from agenttrace.query.render_event import render_event
from agenttrace.query.render_summary import render_header
from agenttrace.query.render_tree import render_tree
from agenttrace.query.tree import Tree, TreeNode

if TYPE_CHECKING:
    from rich.console import Console

    from agenttrace.query.viewer import TraceViewer

__all__ = ["command", "print_tree"]


@click.command("show")
@click.argument("selector", metavar="[SEL]", default="last")
@click.option("--agent", metavar="A", help="Only this agent: its name or its id.")
@click.option("--turn", type=click.IntRange(min=0), metavar="N", help="Only this turn.")
@click.option("--event", "event_id", metavar="ID", help="One event with all its columns and its payload.")
@click.option("--full", is_flag=True, help="Nothing left out: every sibling, every payload whole.")
@click.option("--all", "unfolded", is_flag=True, help="The whole tree: nothing folded, no siblings counted.")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="Only so many levels of the tree.")
@click.option(
    "--bars/--no-bars", default=True, help="When each operation ran, from 70 columns on.  [default: bars]"
)
@click.option("--tree", "shape", flag_value="tree", help="As a tree.  [default]")
@click.option("--timeline", "shape", flag_value="timeline", help="As a list in the order of time.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    default="text",
    help="For a terminal, a program, or a ticket.  [default: text]",
)
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), metavar="N", help="With --timeline: events at most."
)
@click.option("--cursor", help="With --timeline: go on where the page before ended (its next_cursor).")
@click.option("--follow", is_flag=True, help="As a list, and wait for more until it ends.")
@click.option("--for-llm", is_flag=True, help="As plain text for a language model: first what went wrong.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=500),
    metavar="N",
    help="With --for-llm: tokens at most, estimated high.  [default: 4000]",
)
@pager_option
@json_option
@database_option
@click.pass_context
def command(
    ctx: click.Context,
    selector: str,
    agent: str | None,
    turn: int | None,
    event_id: str | None,
    full: bool,
    unfolded: bool,
    depth: int | None,
    bars: bool,
    shape: str | None,
    form: str,
    limit: int | None,
    cursor: str | None,
    follow: bool,
    for_llm: bool,
    max_tokens: int | None,
    as_json: bool,
    database: str | None,
) -> None:
    """
    Show one conversation as a tree or a timeline.

    SEL is an id or its start, last (the default), last~2, last-ok, last-failed or running.
    """
    as_json = as_json or form == "json"
    if (limit is not None or cursor is not None) and (shape != "timeline" or follow):
        raise Refusal("-n and --cursor go with --timeline, which gives the next_cursor.", EXIT_USAGE)
    if follow and (as_json or form == "markdown" or shape == "tree"):
        raise Refusal("--follow prints lines as they come; leave --format and --tree out.", EXIT_USAGE)
    others = (as_json, form != "text", shape, follow, full, unfolded, depth, event_id, turn is not None)
    if for_llm and any(others):
        raise Refusal("--for-llm goes with --agent and --max-tokens only.", EXIT_USAGE)
    if max_tokens is not None and not for_llm:
        raise Refusal("--max-tokens goes with --for-llm.", EXIT_USAGE)
    with open_viewer(database) as viewer:
        if event_id is not None:
            _show_event(viewer, event_id, full, "json" if as_json else form)
            return
        conversation_id = select(viewer, selector)
        if agent is not None:
            _check_agent(viewer, conversation_id, agent)
        if for_llm:
            _show_for_llm(viewer, conversation_id, agent, max_tokens or 4000, database)
        elif follow:
            show_following(ctx, viewer, conversation_id, agent, database)
        elif shape == "timeline":
            asked = AskedEvents(conversation_id, agent, turn, limit, cursor)
            show_timeline(viewer, asked, full, "json" if as_json else form)
        else:
            is_needed = as_json or form == "markdown"
            tree = _choose_tree(viewer, conversation_id, agent, turn, is_needed)
            if as_json and tree is not None:
                _print_tree_as_json(viewer, tree)
                return
            if form == "markdown" and tree is not None:
                print_tree_as_markdown(viewer, tree, full=full or unfolded, depth=depth)
                return
            print_tree(
                viewer,
                conversation_id,
                build_console(page_output()),
                tree=tree,
                full=full or unfolded,
                bars=bars,
                depth=depth,
            )


# For a language model


def _show_for_llm(
    viewer: TraceViewer, conversation_id: str, agent: str | None, max_tokens: int, database: str | None
) -> None:
    # Late: nothing else here asks what went wrong.
    from agenttrace.cli.why import name_option

    text = viewer.format_for_llm(conversation_id, max_tokens, agent=agent, database=name_option(database))
    print_lines(build_console(page_output()), [(Span(line),) for line in text.splitlines()])


# Tree


def _choose_tree(
    viewer: TraceViewer, conversation_id: str, agent: str | None, turn: int | None, is_needed: bool
) -> Tree | None:
    """Give the tree, or what of it is asked for; None where it is the whole and not needed yet."""
    if not is_needed and agent is None and turn is None:
        return None
    tree = viewer.tree(conversation_id)
    if agent is not None or turn is not None:
        tree = tree.branch(lambda node: _is_wanted(node, agent, turn))
        if not tree.nodes:
            note("nothing fits.")
    return tree


def _print_tree_as_json(viewer: TraceViewer, tree: Tree) -> None:
    conversation = viewer.conversation(tree.conversation_id)
    print_json(
        {
            "conversation": {**asdict(conversation), "status": viewer.status(conversation)},
            "nodes": [node_to_data(at, node) for at, node in enumerate(tree.nodes)],
        }
    )


def _is_wanted(node: TreeNode, agent: str | None, turn: int | None) -> bool:
    if turn is not None:
        return node.turn == turn and (agent is None or agent in (node.agent_id, node.agent_name))
    return node.family == "agent" and agent in (node.agent_id, node.name)


def print_tree(
    viewer: TraceViewer,
    conversation_id: str,
    console: Console,
    *,
    tree: Tree | None = None,
    full: bool = False,
    bars: bool = True,
    depth: int | None = None,
) -> None:
    """Print the header and the tree of a conversation."""
    glyphs = choose_glyphs(console.file)
    conversation = viewer.conversation(conversation_id)
    fates = viewer.fates(conversation_id)
    status = viewer.status(conversation)
    counts = Counter(fates.values())
    print_lines(console, render_header(conversation, status, counts, width=console.width, glyphs=glyphs))
    shown = tree if tree is not None else viewer.tree(conversation_id, fates=fates)
    lines = render_tree(shown, width=console.width, glyphs=glyphs, full=full, bars=bars, depth=depth)
    print_lines(console, lines)


# One event


def _show_event(viewer: TraceViewer, event_id: str, full: bool, form: str) -> None:
    event = viewer.event(event_id)
    if form == "json":
        read_whole = viewer.payload_reader(event.conversation_id) if full else None
        print_json({"event": event_to_data(event, read_whole)})
        return
    payload = viewer.payload_reader(event.conversation_id)(event) if full else None
    if form == "markdown":
        print_event_as_markdown(event, payload)
        return
    console = build_console(page_output())
    print_lines(console, render_event(event, payload, failure=viewer.failure_of(event)))
    text = event.payload_json
    if not full and (f'"{MARK}":"ref"' in text or (f'"{MARK}"' in text and '"sha256"' in text)):
        note(f"parts of the payload stand elsewhere; whole: agenttrace show --event {event.id} --full")


def _check_agent(viewer: TraceViewer, conversation_id: str, agent: str) -> None:
    known = viewer.agents(conversation_id)
    names = {name for row in known for name in (row.agent_id, row.agent_name)}
    if agent in names:
        return
    there = ", ".join(f"{row.agent_name or row.agent_id} ({row.agent_id})" for row in known[:8])
    raise Refusal(f"no agent {agent!r} in {conversation_id}; there are {there or 'none'}.", EXIT_USAGE)
