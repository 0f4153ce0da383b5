"""
Which of the recorded runs are meant, where a question is asked of many.

Pure: it gives SQL conditions and their values, and reads nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from agenttrace.query.timeline import Moment, escape_like, to_ms

__all__ = ["RunFilter", "parse_json"]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Runs by when they began, by the agents in them, and by their task; without any, all runs."""

    since: Moment | None = None
    until: Moment | None = None
    agent: str | None = None
    """Name or id of an agent, root or sub, that took part."""
    task: str | None = None
    """A part of the task; ASCII letters of either case match."""

    @property
    def is_all(self) -> bool:
        """Tell whether every run is meant."""
        return self == RunFilter()

    def condition(self, run_id: str, began_ms: str, task: str) -> tuple[str, list[Any]]:
        """
        Give the SQL condition, and its values.

        Args:
            run_id: Column, or expression, of the conversation's id.
            began_ms: That of its beginning.
            task: That of its task.
        """
        conditions: list[str] = ["1"]
        values: list[Any] = []
        for moment, compare in ((self.since, ">="), (self.until, "<=")):
            if moment is not None:
                conditions.append(f"{began_ms} {compare} ?")
                values.append(to_ms(moment))
        if self.agent is not None:
            conditions.append(
                f"EXISTS (SELECT 1 FROM agent_rollups w WHERE w.conversation_id = {run_id}"
                " AND (w.agent_name = ? OR w.agent_id = ?))"
            )
            values += [self.agent, self.agent]
        if self.task is not None:
            conditions.append(f"{task} LIKE ? ESCAPE '\\'")
            values.append(f"%{escape_like(self.task)}%")
        return " AND ".join(conditions), values


def parse_json(text: str | None) -> Any:
    """Parse JSON that somebody may have written by hand; None where it is none."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
