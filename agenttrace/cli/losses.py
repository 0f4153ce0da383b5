"""
What ``agenttrace doctor`` says was lost: every counter of the recording processes, in words.

Nothing is read but the rows of ``processes``, and the ends of operations in the newest
conversations, which carry how many caught exceptions were only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agenttrace.cli.checks import Check
from agenttrace.query.text import render_count, sanitize

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer

__all__ = ["check_losses"]

_CONVERSATIONS_READ = 20
_MEANINGS = {
    "lost_parent": "calls in threads that lost their scope; wrap the thread's target with agenttrace.bind",
    "full": "the ring was full for longer than the caller may wait; raise AGENTTRACE_RING_BYTES",
    "after_fork": "what was cut off by a fork",
    "late": "recorded after the end of the program had begun",
    "side_file": "an event larger than the ring could not be kept beside it; is the disk full?",
    "error": "recording an event failed; the program's log (agenttrace) says why",
    "write.no_ring": "there was no memory for a ring",
    "writer_thread": "events of the writer's own thread are never recorded",
    "scope_left_out_of_order": "scopes closed in another order than opened; a `with` held over a `yield`?",
    "capture.scope_too_long": "ids too long to hand to another process; give shorter ones",
    "capture.asked_call_given_up": "tool calls a model asked for and was not told of, beyond 512 of an agent",
    "capture.unmarkable_exception": "exceptions that take no mark; raised again, they count as new failures",
    "errors.logging": "a warning about recording could not be logged",
    "write.fork_wait": "a fork did not wait for the writer to the end",
    "database replaced": "stored events that went with a database that was removed or replaced",
    "store.gone_with_database": "recovered events that went with a database that was removed or replaced",
    "torn": "a damaged place in a ring; how many events were behind it cannot be known",
    "store.told": "model inputs that could not be read for the errors they tell of",
    "store.failure_texts": "errors whose own text could not be read",
}
_PLACES = {
    "integrations.": "something of this library could not be followed; the program's log says what",
    "capture.monitoring.": "a caught exception could not be looked at",
    "capture.caught": "a caught exception could not be written",
    "capture.": "recording failed there and the program went on; its log (agenttrace) says why",
    "runtime.": "recording failed there and the program went on; its log (agenttrace) says why",
    "write.": "the writer failed there; the program's log (agenttrace) says why",
}
_CAUGHT = {
    "more_count": (
        "caught exceptions beyond 50 of one operation were only counted",
        "the first 50 of each are listed by agenttrace errors",
    ),
    "lookup_count": (
        "expected look-ups (KeyError, AttributeError, ImportError caught where raised) were only counted",
        "AGENTTRACE_SWALLOWED=on writes them too",
    ),
    "elsewhere_count": (
        "exceptions were caught in other people's code before they left a traced call, and only counted",
        "AGENTTRACE_SWALLOWED_INCLUDE names packages to be taken for yours",
    ),
}

_CAUGHT_IN_NEWEST = f"""
SELECT json_extract(e.payload, '$.caught') FROM trajectory_events e
WHERE e.conversation_id IN (
    SELECT c.id FROM conversations c ORDER BY c.created_ms DESC LIMIT {_CONVERSATIONS_READ})
AND e.kind IN ('tool_result', 'agent_end', 'model_turn') AND instr(e.payload, '"caught":') > 0
"""


def check_losses(viewer: TraceViewer) -> Iterator[Check]:
    """Say what was dropped, what failed, and what was only counted."""
    processes = viewer.store.processes()
    died = sum(process.exit == "died" for process in processes)
    text = f"{render_count(len(processes))} recorded, {render_count(died)} of them died without saying so"
    yield Check("processes", "ok", text, {"count": len(processes), "died": died})
    for name, what, one in (
        ("dropped", "events dropped", "event dropped"),
        ("failed", "failures of recording", "failure of recording"),
    ):
        counts: Counter[str] = Counter()
        for process in processes:
            counts.update(getattr(process, name))
        if not counts:
            yield Check(name, "ok", f"no {what}", {})
        for reason, count in counts.most_common():
            meaning = _explain(reason)
            text = f"{render_count(count)} {one if count == 1 else what}: {sanitize(reason)}"
            yield Check(name, "warn", f"{text} ({meaning})" if meaning else text, {reason: count})
    yield from _check_counted(viewer)


def _explain(reason: str) -> str:
    if reason in _MEANINGS:
        return _MEANINGS[reason]
    return next((text for place, text in _PLACES.items() if reason.startswith(place)), "")


def _check_counted(viewer: TraceViewer) -> Iterator[Check]:
    import json  # late: only where there is something to read

    counts: Counter[str] = Counter()
    for (caught,) in viewer.reader.rows(_CAUGHT_IN_NEWEST):
        numbers = json.loads(caught) if isinstance(caught, str) else None
        if isinstance(numbers, dict):
            counts.update({name: n for name, n in numbers.items() if name in _CAUGHT and isinstance(n, int)})
    for name, (what, advice) in _CAUGHT.items():
        if counts[name]:
            state = "warn" if name == "more_count" else "info"
            where = f"in the newest {_CONVERSATIONS_READ} conversations"
            text = f"{render_count(counts[name])} {what}, {where}; {advice}"
            yield Check("caught", state, text, {name: counts[name]})
