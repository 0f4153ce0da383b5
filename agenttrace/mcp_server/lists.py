"""
The tools that list: runs, hits of a search, what is open.

Invariant: a list that is cut has a cursor, and the pages one after another give everything once.
"""

from __future__ import annotations

from typing import Any

from agenttrace import clock
from agenttrace.errors import ConfigError
from agenttrace.mcp_server.answers import Answer, build_answer, count_fitting, shorten, write_data_line
from agenttrace.query.find import Hit
from agenttrace.query.quoting import quote_name
from agenttrace.query.reading import parse_cursor, render_cursor
from agenttrace.query.text import pluralize, render_duration
from agenttrace.query.viewer import TraceViewer
from agenttrace.store.rows import ConversationRow, OpenOperation

__all__ = ["answer_list", "answer_ps", "answer_search"]

_FOUND_LIMIT = 1_000
_OPEN_LIMIT = 1_000
_WHAT = {"agent_start": "agent", "tool_call": "call", "model_call": "model"}


def answer_list(viewer: TraceViewer, given: dict[str, Any]) -> Answer:
    """List runs, newest first."""

    def read(limit: int) -> Any:
        return viewer.conversations(limit, given["cursor"], status=given["status"])

    def write(row: ConversationRow) -> str:
        head = (
            f"- {quote_name(row.id)}: {quote_name(viewer.status(row))}, {row.started_at[:19]} UTC,"
            f" {render_duration(row.duration_ms)}, {pluralize(row.agents, 'agent')},"
            f" {pluralize(row.tool_calls or 0, 'call')}, {pluralize(row.errors or 0, 'error')}"
        )
        return write_data_line(head, row.task) if row.task else head

    def to_data(row: ConversationRow) -> dict[str, Any]:
        return {
            "id": shorten(row.id),
            "status": viewer.status(row),
            "task": shorten(row.task),
            "started_at": row.started_at,
            "duration_ms": row.duration_ms,
            "agents": row.agents,
            "tool_calls": row.tool_calls,
            "errors": row.errors,
            "total_tokens": row.total_tokens,
        }

    page = read(given["limit"])
    count = count_fitting(page.items, write, to_data, given["max_tokens"])
    if count < len(page.items):
        page = read(count)
    lines = [write(row) for row in page.items] or ["none is recorded, or none fits"]
    if page.next_cursor is not None:
        lines.append(f'there are more: list(cursor="{page.next_cursor}")')
    data = {"conversations": [to_data(row) for row in page.items], "next_cursor": page.next_cursor}
    return build_answer("# Runs, newest first", lines, data)


def answer_search(viewer: TraceViewer, given: dict[str, Any]) -> Answer:
    """Find events by their words."""
    cursor, limit = given["cursor"], given["limit"]
    (first,) = parse_cursor(cursor, 1) if cursor is not None else (0,)
    first = first if isinstance(first, int) and 0 <= first <= _FOUND_LIMIT else 0
    conversation = given["conversation"]
    hits = viewer.find(
        given["query"],
        None if conversation is None else viewer.resolve(conversation).conversation_id,
        agent_id=given["agent"],
        tool_name=given["tool"],
        kinds=() if given["kind"] is None else (given["kind"],),
        status=given["status"],
        limit=min(_FOUND_LIMIT, first + limit + 1),
    )[first:]

    def write(hit: Hit) -> str:
        event = hit.event
        names = [quote_name(name) for name in (event.tool_name, event.status, event.error_type) if name]
        head = " ".join([f"- #{event.id} {quote_name(event.kind)}", *names])
        agent = quote_name(event.agent_name or event.agent_id)
        head += f" of agent {agent} in {quote_name(event.conversation_id)}"
        return write_data_line(head, hit.snippet) if hit.snippet else head

    def to_data(hit: Hit) -> dict[str, Any]:
        event = hit.event
        return {
            "event": event.id,
            "kind": shorten(event.kind),
            "conversation": shorten(event.conversation_id),
            "agent": shorten(event.agent_name or event.agent_id),
            "tool": shorten(event.tool_name),
            "status": shorten(event.status),
            "error_type": shorten(event.error_type),
            "snippet": shorten(hit.snippet),
        }

    shown = hits[: count_fitting(hits[:limit], write, to_data, given["max_tokens"])]
    lines = [write(hit) for hit in shown] or [
        "nothing fits; fewer words, or a beginning as in time*, find more"
    ]
    next_cursor = None
    if len(hits) > len(shown) and first + len(shown) < _FOUND_LIMIT:
        next_cursor = render_cursor([first + len(shown)])
        lines.append(f'there are more: the same search with cursor="{next_cursor}"')
    if shown:
        lines.append('one of them, whole: show(event="N")')
    data = {"hits": [to_data(hit) for hit in shown], "next_cursor": next_cursor}
    return build_answer("# Events with these words, the best first", lines, data)


def answer_ps(viewer: TraceViewer, given: dict[str, Any]) -> Answer:
    """List what has started and not ended."""
    operations = viewer.open_operations(_OPEN_LIMIT)
    now_ms = clock.now_ms()

    def write(item: tuple[OpenOperation, str]) -> str:
        row, state = item
        what = _WHAT.get(row.kind, quote_name(row.kind))
        lasted = render_duration(max(0, now_ms - row.ts_ms))
        return (
            f"- {what} {quote_name(row.name or '?')} #{row.id}: {state} for {lasted},"
            f" of agent {quote_name(row.agent_name or row.agent_id)} in {quote_name(row.conversation_id)},"
            f" pid {row.pid or '?'} on {quote_name(row.host or '?')}"
        )

    def to_data(item: tuple[OpenOperation, str]) -> dict[str, Any]:
        row, state = item
        return {
            "event": row.id,
            "what": _WHAT.get(row.kind, "operation"),
            "name": shorten(row.name),
            "agent": shorten(row.agent_name or row.agent_id),
            "conversation": shorten(row.conversation_id),
            "state": state,
            "open_for_ms": max(0, now_ms - row.ts_ms),
            "pid": row.pid,
            "host": shorten(row.host),
        }

    def place(item: tuple[OpenOperation, str]) -> tuple[int, str]:
        return item[0].ts_ns, item[0].span_id

    waiting = sorted(operations, key=place)
    if given["cursor"] is not None:
        reached = _read_place(given["cursor"])
        waiting = [item for item in waiting if place(item) > reached]
    shown = waiting[: count_fitting(waiting, write, to_data, given["max_tokens"])]
    lines = [write(item) for item in shown] or ["nothing is open"]
    next_cursor = render_cursor(place(shown[-1])) if len(shown) < len(waiting) else None
    if next_cursor is not None:
        lines.append(f'there are more: ps(cursor="{next_cursor}")')
    data = {"operations": [to_data(item) for item in shown], "next_cursor": next_cursor}
    return build_answer("# What is open now", lines, data)


def _read_place(cursor: str) -> tuple[int, str]:
    ts_ns, span_id = parse_cursor(cursor, 2)
    if not isinstance(ts_ns, int) or not isinstance(span_id, str):
        raise ConfigError(f"cursor={cursor!r}: hand in the next_cursor of an answer of ps.")
    return ts_ns, span_id
