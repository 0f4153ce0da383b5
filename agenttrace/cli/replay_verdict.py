"""
Whether a replayed run ended as the recorded one did, and what it did otherwise.

Invariant: steps are compared as a heap, by agent path, name, arguments and end, so that siblings that
ran in another order are no difference; what ran inside a tool that was given back is not missed.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from agenttrace.query.steps import Step, read_steps
from agenttrace.query.text import pluralize

if TYPE_CHECKING:
    from agenttrace.cassette import Cassette
    from agenttrace.query.viewer import TraceViewer

__all__ = ["Verdict", "compare_runs"]

_NUMBER = re.compile(r"#\d+")
_SHOWN_LIMIT_COUNT = 5


class Verdict(NamedTuple):
    """What became of a replayed run."""

    is_same: bool
    lines: tuple[str, ...]


def compare_runs(viewer: TraceViewer, cassette: Cassette, recorded_id: str, replayed_id: str) -> Verdict:
    """
    Compare a replayed run with the recorded one.

    Args:
        viewer: Where both are.
        cassette: What was replayed; tells what ran inside tools.
        recorded_id: The conversation that was replayed.
        replayed_id: The replay's own.
    """
    runs = [viewer.conversation(each) for each in (recorded_id, replayed_id)]
    ends = [viewer.status(run) for run in runs]
    inside = _rows_inside(cassette)
    heaps = []
    for conversation_id in (recorded_id, replayed_id):
        steps = read_steps(viewer.reader, viewer.tree(conversation_id))
        heaps.append(Counter(_key(step) for step in steps if step.row_id not in inside))
    only = [heaps[0] - heaps[1], heaps[1] - heaps[0]]
    lines = []
    if ends[0] != ends[1]:
        lines.append(f"ended otherwise: recorded {ends[0]}, replayed {ends[1]}.")
    for heap, who in zip(only, ("recorded", "replayed"), strict=True):
        if heap:
            lines.append(f"{pluralize(heap.total(), 'step')} only as {who}:")
            lines += [f"  {_render(key)}" for key in list(heap)[:_SHOWN_LIMIT_COUNT]]
            if len(heap) > _SHOWN_LIMIT_COUNT:
                lines.append(f"  and {len(heap) - _SHOWN_LIMIT_COUNT} more")
    if not lines:
        count = pluralize(heaps[0].total(), "step")
        return Verdict(True, (f"ended as recorded: {ends[0]}, {count} the same.",))
    return Verdict(False, tuple(lines))


_Key = tuple[str, str, str, str, str, str]


def _key(step: Step) -> _Key:
    name = _NUMBER.sub("", step.name) if step.family == "agent" else step.name
    agent = _NUMBER.sub("", step.agent)
    return agent, step.family, name, step.arguments, f"{step.status} {step.error}".strip(), step.result


def _render(key: _Key) -> str:
    agent, family, name, arguments, end, _ = key
    shown = f"{name}({arguments})" if family == "call" else f"{family} {name}"
    return f"{agent}: {shown if len(shown) <= 80 else shown[:79] + '…'} {end}"


def _rows_inside(cassette: Cassette) -> set[int]:
    """Give the rows of what ran inside tools: the tool is given back, and they are not asked for."""
    rows: set[int] = set()
    covered: set[int] = set()
    for at, run in enumerate(cassette.runs):
        if run.inside or run.parent in covered:
            covered.add(at)
            rows.update(run.rows)
        found = [(call.row, call.inside) for call in run.calls] + [
            (turn.row, turn.inside) for turn in run.turns
        ]
        rows.update(row for row, inside in found if row is not None and (at in covered or inside))
    return rows
