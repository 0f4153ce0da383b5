"""
The half of ``TraceViewer`` that looks at many runs at once.

Invariant: each question is asked of one state of the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agenttrace.query.reading import Reader
from agenttrace.query.timeline import Moment

if TYPE_CHECKING:
    from agenttrace.query.compare import Comparison
    from agenttrace.query.patterns import Patterns

__all__ = ["ViewerMany"]


class ViewerMany:
    """What is asked of many runs; who inherits says where to read."""

    reader: Reader

    def compare(
        self,
        by: str = "model",
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        agent: str | None = None,
        task: str | None = None,
    ) -> Comparison:
        """
        Compare many runs in groups: how often they end well, what they take and what they cost.

        Args:
            by: ``model``, ``agent_name``, ``root_agent``, ``task`` or ``metadata.KEY``.
            since: Only runs that began then or later.
            until: Only runs that began then or earlier.
            agent: Only runs in which this agent (its name or its id) took part; by ``agent_name`` only it.
            task: Only runs whose task contains this text.

        Raises:
            ConfigError: They cannot be grouped by that.
        """
        from agenttrace.query.compare import build_comparison  # late: each question loads what it needs
        from agenttrace.query.runs import RunFilter

        with self.reader.snapshot():
            return build_comparison(self.reader, by, RunFilter(since, until, agent, task))

    def patterns(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        agent: str | None = None,
        task: str | None = None,
    ) -> Patterns:
        """
        Group runs by the shape of what they did, and find how those that failed begin alike.

        Args:
            since: Only runs that began then or later.
            until: Only runs that began then or earlier.
            agent: Only runs in which this agent (its name or its id) took part.
            task: Only runs whose task contains this text.
        """
        from agenttrace.query.patterns import find_patterns  # late, as above
        from agenttrace.query.runs import RunFilter

        with self.reader.snapshot():
            return find_patterns(self.reader, RunFilter(since, until, agent, task))
