"""
Where a run left a good one.

The good one is the last ok run of the same root agent: of those before it that completed the newest in
which nothing was swallowed, else the newest; where there is none before, of those after it. Invariants: a
later run never changes what an earlier one is compared with, where there is one before; how it was
chosen is said. Cost: one range of the newest conversations, then ``diff``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agenttrace.query.diff import Difference, RunDiff
from agenttrace.query.reading import Reader
from agenttrace.query.select import Selection, select_conversation
from agenttrace.store.rows import ConversationRow

__all__ = ["LAST_OK", "Divergence", "find_divergence", "find_last_ok"]

LAST_OK = "last-ok"

_LOOKED_AT = 5_000
_CANDIDATES = 20
_ROOT = """
SELECT r.agent_name FROM agent_rollups r WHERE r.conversation_id = ? AND r.parent_agent_id IS NULL
ORDER BY r.first_ts_ms, r.agent_id LIMIT 1
"""
_OK_RUNS = """
SELECT s.id FROM (
    SELECT c.id AS id, c.created_ms AS created_ms FROM conversations c
    WHERE (c.created_ms, c.id) {side} (?, ?) ORDER BY c.created_ms {order}, c.id {order} LIMIT ?) n
CROSS JOIN agent_sessions s ON s.id = n.id
WHERE ? IS (SELECT r.agent_name FROM agent_rollups r WHERE r.conversation_id = n.id
    AND r.parent_agent_id IS NULL ORDER BY r.first_ts_ms, r.agent_id LIMIT 1)
AND s.status = 'completed' ORDER BY n.created_ms {order}, n.id {order} LIMIT ?
"""
_SWALLOWED = "SELECT 1 FROM failures WHERE conversation_id = ? AND fate = 'swallowed' LIMIT 1"


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where a run left a good one."""

    good: str | None
    """Conversation of the good one; None where there is none."""
    how: str
    """How it was chosen, or why there is none: words that follow its id."""
    first: Difference | None
    """The first thing that is not the same; A is the good one. None where nothing differs."""
    difference_count: int
    same_count: int

    @property
    def row_id(self) -> int | None:
        """The row to look at: what this run did, or else what the good one did."""
        if self.first is None:
            return None
        step = self.first.b or self.first.a
        return None if step is None else step.row_id


def find_last_ok(reader: Reader, conversation: ConversationRow) -> Selection | None:
    """
    Find the good run to compare a run with.

    Returns:
        Its id, and how it was chosen; None where there is none.
    """
    name = reader.value(_ROOT, [conversation.id])
    of = f"run of {name}" if name else "run"
    for side, order, where in (("<", "DESC", "before it"), (">", "ASC", "after it, as none is before")):
        sql = _OK_RUNS.format(side=side, order=order)
        rows = reader.rows(sql, [conversation.ts_ms, conversation.id, _LOOKED_AT, name, _CANDIDATES])
        for (found,) in rows:
            if not reader.value(_SWALLOWED, [found]):
                which = "the last ok" if side == "<" else "the first ok"
                return Selection(str(found), f"{which} {of} {where}")
        if rows:
            return Selection(str(rows[0][0]), f"an ok {of} {where}; it swallowed errors too")
    return None


def find_divergence(
    reader: Reader, conversation: ConversationRow, against: str, diff: Callable[[str, str], RunDiff]
) -> Divergence:
    """
    Compare a run with a good one.

    Args:
        reader: Where to read; the caller holds a snapshot.
        conversation: The run.
        against: ``last-ok``, or a selector of the good one.
        diff: ``TraceViewer.diff``.

    Raises:
        NotFound: The selector means no conversation.
    """
    if against.strip().removeprefix("@") == LAST_OK:
        selection = find_last_ok(reader, conversation)
        if selection is None:
            name = reader.value(_ROOT, [conversation.id])
            who = f"run of {name}" if name else "run"
            return Divergence(None, f"there is no other {who} that completed", None, 0, 0)
    else:
        found = select_conversation(reader, against)
        selection = Selection(found.conversation_id, "the run that was named")
    found_diff = diff(selection.conversation_id, conversation.id)
    return Divergence(
        good=selection.conversation_id,
        how=selection.note or "",
        first=found_diff.first,
        difference_count=len(found_diff.differences),
        same_count=found_diff.same_count,
    )
