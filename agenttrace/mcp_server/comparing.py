"""
The tool that compares two runs: where they part first, and the words of models' answers last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from agenttrace.mcp_server.answers import Answer, build_answer, count_fitting, shorten, write_data_line
from agenttrace.query.diff import Difference, RunDiff, Totals
from agenttrace.query.quoting import quote_name
from agenttrace.query.steps import Step
from agenttrace.query.text import pluralize, render_duration
from agenttrace.query.tokens import estimate_tokens
from agenttrace.query.viewer import TraceViewer

__all__ = ["answer_diff"]

_ROOM_TOKENS = 60


def answer_diff(viewer: TraceViewer, given: dict[str, Any]) -> Answer:
    """Compare two runs."""
    a, b = (viewer.resolve(given[side]).conversation_id for side in ("a", "b"))
    diff = viewer.diff(a, b)
    lines = [_write_totals("A", diff.a), _write_totals("B", diff.b)]
    data: dict[str, Any] = {"is_same": diff.is_same, "same_count": diff.same_count}
    data |= {side: _totals_to_data(totals) for side, totals in (("a", diff.a), ("b", diff.b))}
    if diff.first is None:
        lines.append(f"no difference: {pluralize(diff.same_count, 'step')} are the same")
        return build_answer("# Two runs compared", lines, {**data, "differences": [], "left_out": 0})
    ordered = _order(diff)
    room = max(_ROOM_TOKENS // 3, min(_ROOM_TOKENS, given["max_tokens"] // 30))
    spent = sum(estimate_tokens(line) + 1 for line in lines)
    count = count_fitting(
        ordered,
        lambda each: "\n".join(_write_difference(each, room)),
        lambda each: _difference_to_data(each, room),
        given["max_tokens"] - 2 * spent,
    )
    words = "only words of models' answers differ, first" if diff.first.is_minor else "they part here"
    for at, each in enumerate(ordered[:count]):
        if at == 0:
            lines.append(f"{words}:")
        elif at == 1:
            lines.append("and behind it:")
        lines += _write_difference(each, room)
    left_out = len(ordered) - count
    if left_out:
        lines.append(f"({pluralize(left_out, 'more difference')}; a larger max_tokens shows more)")
    data["differences"] = [_difference_to_data(each, room) for each in ordered[:count]]
    data["left_out"] = left_out
    return build_answer("# Two runs compared", lines, data)


def _order(diff: RunDiff) -> list[Difference]:
    """Put where they part first, and the words of answers last."""
    rest = [each for each in diff.differences if each is not diff.first]
    first = [] if diff.first is None else [diff.first]
    return [*first, *(each for each in rest if not each.is_minor), *(each for each in rest if each.is_minor)]


def _write_totals(side: str, totals: Totals) -> str:
    return (
        f"{side} {quote_name(totals.conversation_id)}: {quote_name(totals.status)},"
        f" {pluralize(totals.agents, 'agent')}, {pluralize(totals.calls, 'call')},"
        f" {pluralize(totals.turns, 'turn')}, {totals.failed:,} failed,"
        f" {totals.retries:,} retried, {render_duration(totals.duration_ms)}, {totals.tokens:,} tokens"
    )


def _totals_to_data(totals: Totals) -> dict[str, Any]:
    return {**asdict(totals), "conversation_id": shorten(totals.conversation_id)}


def _write_difference(difference: Difference, room: int) -> Iterator[str]:
    yield write_data_line(f"- {difference.kind} in agent", difference.agent, room)
    for side, step in (("A", difference.a), ("B", difference.b)):
        if step is None:
            yield f"  {side} does nothing of the kind"
            continue
        tried = f" after {pluralize(step.attempts, 'attempt')}" if step.attempts > 1 else ""
        yield write_data_line(f"  {side} #{step.row_id} does", step.title, room)
        head = f"  {side} ends {quote_name(step.status or 'open')}{tried} with"
        yield write_data_line(head, _outcome(step), room)


def _outcome(step: Step) -> str:
    return step.error or step.result or "nothing"


def _difference_to_data(difference: Difference, room: int) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": difference.kind, "agent": shorten(difference.agent, room)}
    for side, step in (("a", difference.a), ("b", difference.b)):
        data[side] = step and {
            "event": step.row_id,
            "step": shorten(step.title, room),
            "status": shorten(step.status, room),
            "outcome": shorten(_outcome(step), room),
        }
    return data
