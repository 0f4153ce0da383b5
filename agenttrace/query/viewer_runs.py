"""
The half of ``TraceViewer`` that puts one run, or two, together.

Invariant: what is read of a run is one state of the database. Cost: all events of the run in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agenttrace import clock
from agenttrace.errors import ConfigError, NotFound
from agenttrace.query.reading import build_page, check_limit, parse_cursor
from agenttrace.query.select import Selection
from agenttrace.query.thresholds import Thresholds, project_thresholds
from agenttrace.query.timeline import PAYLOADS_NO_TREE_NEEDS, iter_events
from agenttrace.query.tree import Tree, TreeNode, build_tree
from agenttrace.query.viewer_events import ViewerEvents
from agenttrace.store.rows import Page

if TYPE_CHECKING:
    from agenttrace.query.diagnose import Diagnosis
    from agenttrace.query.diff import RunDiff

__all__ = ["ViewerRuns"]


class ViewerRuns(ViewerEvents):
    """The tree of a run, what went wrong in it, and where two part."""

    def tree(self, conversation_id: str, *, fates: Mapping[str, str] | None = None) -> Tree:
        """
        Put a conversation's agents, calls and turns together.

        Args:
            conversation_id: Its id.
            fates: What ``fates`` gave, when it was asked already.

        Raises:
            NotFound: There is no such conversation.
        """
        with self.reader.snapshot():
            self.conversation(conversation_id)
            if fates is None:
                fates = self.fates(conversation_id)
            events = list(
                iter_events(self.reader, conversation_id, without_payload_of=PAYLOADS_NO_TREE_NEEDS)
            )
        return build_tree(
            events,
            conversation_id=conversation_id,
            fates=fates,
            liveness=self._judge(),
            now_ns=clock.now_ns(),
        )

    def tree_page(
        self, conversation_id: str, *, limit: int = 1000, cursor: str | None = None
    ) -> Page[TreeNode]:
        """
        Give a page of the nodes of a conversation's tree, parents before children.

        The tree is put together for each page; the indexes in a node are those of the whole tree.

        Args:
            conversation_id: Its id.
            limit: How many at most.
            cursor: ``next_cursor`` of the page before; it stays good while the run goes on.

        Raises:
            NotFound: There is no such conversation.
            ConfigError: The cursor is none of ours, or of another conversation.
        """
        nodes = self.tree(conversation_id).nodes
        start = 0
        if cursor is not None:
            row_id, family = parse_cursor(cursor, 2)
            places = [at for at, node in enumerate(nodes) if (node.row_id, node.family) == (row_id, family)]
            if not places:
                raise ConfigError(f"cursor={cursor!r}: hand in the next_cursor of a page of the same call.")
            start = places[0] + 1
        rows = nodes[start : start + check_limit(limit) + 1]
        return build_page(rows, limit, lambda node: (node.row_id, node.family))

    def diff(self, a: str, b: str) -> RunDiff:
        """
        Compare two conversations: where they part, and in what they differ.

        Args:
            a: Id of the one, the good one say.
            b: Id of the other.

        Raises:
            NotFound: There is no such conversation.
        """
        from agenttrace.query.diff import build_diff  # late: each question loads what it needs

        with self.reader.snapshot():
            statuses = (self.status(self.conversation(a)), self.status(self.conversation(b)))
            tree = self.tree(a)
            return build_diff(self.reader, (tree, tree if a == b else self.tree(b)), statuses)

    def diagnose(
        self, conversation_id: str, thresholds: Thresholds | None = None, *, against: str | None = None
    ) -> Diagnosis:
        """
        Say what went wrong in a conversation, the first cause first.

        Args:
            conversation_id: Its id.
            thresholds: From where on something is a finding; when left out those of the project's
                ``[tool.agenttrace.diagnosis]``, or the defaults.
            against: Say where it left a good run, too: ``last-ok`` is the last one of the same root agent.

        Raises:
            NotFound: There is no such conversation.
            ConfigError: The project names a threshold that there is not.
        """
        from agenttrace.query.diagnose import build_diagnosis  # late: each question loads what it needs
        from agenttrace.query.loaded_run import load_run

        limits = project_thresholds() if thresholds is None else thresholds
        with self.reader.snapshot():
            conversation = self.conversation(conversation_id)
            run = load_run(self.reader, conversation, self.status(conversation), self._judge())
            diagnosis = build_diagnosis(run, limits)
            if against is None:
                return diagnosis
            from agenttrace.query.against import find_divergence  # late: as above

            divergence = find_divergence(self.reader, conversation, against, self.diff)
            return replace(diagnosis, divergence=divergence)

    def last_ok(self, conversation_id: str) -> Selection:
        """
        Find the run to compare one with: the last ok one of the same root agent, as ``note`` says.

        Args:
            conversation_id: Id of the run to compare.

        Raises:
            NotFound: There is none, or no such conversation.
        """
        from agenttrace.query.against import find_last_ok  # late: each question loads what it needs

        with self.reader.snapshot():
            found = find_last_ok(self.reader, self.conversation(conversation_id))
        if found is None:
            raise NotFound(f"last-ok: no other run of the root agent of {conversation_id} has completed.")
        return found

    def format_for_llm(self, conversation_id: str, max_tokens: int = 4000, **options: Any) -> str:
        """
        Write a conversation for a language model's context: the first cause, its proof, an outline.

        Args:
            conversation_id: Its id.
            max_tokens: Tokens at most, estimated high; 500 or more.
            options: ``agent``: outline only this one, by its id or name; and what ``render_for_llm`` takes.

        Raises:
            NotFound: There is no such conversation, or no such agent in it.
            ConfigError: *max_tokens* is too few.
        """
        from agenttrace.query.diagnose import build_diagnosis  # late: few ask for it
        from agenttrace.query.loaded_run import load_run
        from agenttrace.query.render_for_llm import render_for_llm

        with self.reader.snapshot():
            conversation = self.conversation(conversation_id)
            run = load_run(self.reader, conversation, self.status(conversation), self._judge())
            return render_for_llm(run, build_diagnosis(run), max_tokens, **options)
