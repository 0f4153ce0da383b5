"""
Whether a replayed run ended as the recorded one did, and what it did otherwise.

Invariant: what was done is compared as a heap, by agent path, name, arguments and end, so that siblings
that ran in another order are no difference; what ran inside a tool that was given back is not missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from agenttrace.cassette import Cassette
from agenttrace.cassette.likeness import canonical
from agenttrace.query.text import pluralize

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer

__all__ = ["Verdict", "compare_runs"]

_SHOWN_LIMIT_COUNT = 5
_SHOWN_CHARACTERS = 80


class Verdict(NamedTuple):
    """What became of a replayed run."""

    is_same: bool
    lines: tuple[str, ...]


class _Done(NamedTuple):
    """One thing that was done, and how it ended."""

    path: str
    what: str
    given: str
    end: str
    back: str

    def render(self) -> str:
        """Name it on one line."""
        shown = f"{self.what}({self.given})" if self.given else self.what
        if len(shown) > _SHOWN_CHARACTERS:
            shown = shown[: _SHOWN_CHARACTERS - 1] + "…"
        end = self.end.partition("\n")[0]
        if len(end) > _SHOWN_CHARACTERS:
            end = end[: _SHOWN_CHARACTERS - 1] + "…"
        return f"{self.path}: {shown} {end}"


def compare_runs(viewer: TraceViewer, cassette: Cassette, recorded_id: str, replayed_id: str) -> Verdict:
    """
    Compare a replayed run with the recorded one.

    Args:
        viewer: Where both are.
        cassette: What was replayed.
        recorded_id: The conversation that was replayed.
        replayed_id: The replay's own.
    """
    ends = [viewer.status(viewer.conversation(each)) for each in (recorded_id, replayed_id)]
    own = Cassette.of(viewer.store, replayed_id)
    heaps = [Counter(_iter_done(one, each)) for one, each in ((cassette, recorded_id), (own, replayed_id))]
    only = [heaps[0] - heaps[1], heaps[1] - heaps[0]]
    lines = []
    if ends[0] != ends[1]:
        lines.append(f"ended otherwise: recorded {ends[0]}, replayed {ends[1]}.")
    for heap, who in zip(only, ("recorded", "replayed"), strict=True):
        if heap:
            lines.append(f"{pluralize(heap.total(), 'step')} only as {who}:")
            lines += [f"  {one.render()}" for one in list(heap)[:_SHOWN_LIMIT_COUNT]]
            if len(heap) > _SHOWN_LIMIT_COUNT:
                lines.append(f"  and {len(heap) - _SHOWN_LIMIT_COUNT} more")
    if not lines:
        count = pluralize(heaps[0].total(), "step")
        return Verdict(True, (f"ended as recorded: {ends[0]}, {count} the same.",))
    return Verdict(False, tuple(lines))


def _iter_done(cassette: Cassette, conversation_id: str) -> Iterator[_Done]:
    """Give what the runs of one conversation did, without what ran inside tools."""
    covered: set[int] = set()
    for at, run in enumerate(cassette.runs):
        if run.inside or run.parent in covered:
            covered.add(at)
            continue
        if run.conversation_id != conversation_id:
            continue
        path = run.title
        yield _Done(path, "the agent itself", "", run.status, canonical(run.output))
        for call in run.calls:
            if not call.inside:
                end = _render_end(call.status, call.error)
                yield _Done(path, call.tool, canonical(call.arguments), end, canonical(call.output))
        for turn in run.turns:
            if not turn.inside:
                end = _render_end(turn.status, turn.error)
                yield _Done(path, f"a turn of {turn.model}", "", end, canonical(turn.payload.get("output")))


def _render_end(status: str, error: dict[str, Any] | None) -> str:
    return status if error is None else f"{status} {error.get('type')}: {error.get('message')}"
