"""
What a run did, in the words of a test: tools, calls, agents, failures, the tree.

Owns the reading side of ``memory_recorder``. Invariant: an assertion about a run of
which nothing was recorded fails, instead of passing because there was nothing to
contradict it; so does one about an agent that never ran. Cost: one pass over the
events per read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agenttrace.events import FATES
from agenttrace.query.tree import Tree, TreeNode, parse_payload
from agenttrace.store.rows import Event, Failure
from agenttrace.testing.calls import Call, build_call, collect_messages, collect_results
from agenttrace.testing.failing_path import Marks, mark_failures, render_path
from agenttrace.testing.recorded import Recorded
from agenttrace.testing.recorder import MemoryRecorder

__all__ = ["AgentRun", "Readings"]

_NOTHING = (
    "nothing was recorded while this trajectory was open, so there is nothing to assert about. "
    "Decorate the tools with @agenttrace.traced_tool, or run the agent inside agenttrace.agent_scope(...); "
    "call trajectory.allow_empty() first if a run without events is what you expect."
)

_SWITCHED_OFF = "Tracing was switched off while it ran: the program called agenttrace.disable()."


@dataclass(frozen=True, slots=True)
class AgentRun:
    """One agent of the run."""

    name: str
    agent_id: str
    parent: str | None
    """Name of the agent that started it; None at a root."""
    status: str
    input: Any
    output: Any
    trajectory: Readings

    def tools(self) -> Recorded[str]:
        """Give the names of the tools that it called, in order."""
        return self.trajectory.tools(agent=self.agent_id)

    def calls(self, name: str | None = None) -> Recorded[Call]:
        """Give its calls, of tool *name* or of all, in order."""
        return self.trajectory.calls(name, agent=self.agent_id)


class Readings:
    """
    Read a recorder's events as a test asks for them; every read sees all events so far.

    Everything that reads raises AssertionError while nothing has been recorded, unless
    ``allow_empty`` was called.
    """

    def __init__(self, recorder: MemoryRecorder) -> None:
        self._recorder = recorder
        self.may_be_empty = False
        """``allow_empty`` was called."""
        self.compared: tuple[str, Marks] | None = None
        """The last comparison of a list of ours that failed: pytest's words for it, and where."""

    def allow_empty(self) -> None:
        """Accept from now on that nothing was recorded; reads then give empty lists."""
        self.may_be_empty = True

    @property
    def events(self) -> list[Event]:
        """All events, each conversation's in the order of time."""
        events = self._recorder.events()
        if not events and not self.may_be_empty:
            raise AssertionError(_NOTHING if self._recorder.was_on() else f"{_NOTHING} {_SWITCHED_OFF}")
        return events

    @property
    def agents(self) -> Recorded[str]:
        """Names of the agents in the order they started; a name stands twice when two ran."""
        nodes = [node for _, node in self._nodes("agent")]
        return Recorded([node.name for node in nodes], self, [node.row_id for node in nodes])

    def agent(self, name: str, index: int | None = None) -> AgentRun:
        """
        Give the run of the agent *name*.

        Args:
            name: Its name or its id.
            index: Which one, in the order they started, when several have the name.

        Raises:
            AssertionError: No agent of that name ran, or several did and *index* is not given.
        """
        found = [run for run in self._agent_runs() if name in (run.name, run.agent_id)]
        if not found:
            raise AssertionError(self._describe_unknown(name))
        if index is None and len(found) > 1:
            raise AssertionError(f"{len(found)} agents are named {name!r}; say which: agent({name!r}, 0)")
        try:
            return found[index or 0]
        except IndexError:
            raise AssertionError(f"only {len(found)} agents are named {name!r}, index {index}") from None

    def tools(self, agent: str | None = None) -> Recorded[str]:
        """
        Give the names of the tools called, in the order the calls began.

        A call tried several times stands once; its ``attempts`` tell.

        Args:
            agent: Name or id of the one agent whose own calls count; None counts all.

        Raises:
            AssertionError: No agent of that name ran.
        """
        calls = self.calls(agent=agent)
        return Recorded([call.name for call in calls], self, calls.rows)

    def calls(self, name: str | None = None, *, agent: str | None = None) -> Recorded[Call]:
        """
        Give the tool calls in the order they began.

        Args:
            name: Only of this tool; [] when it was never called.
            agent: Only of the agent with this name or id.

        Raises:
            AssertionError: No agent of that name ran.
        """
        events = self.events
        names = {node.agent_id: node.name for _, node in self._nodes("agent")}
        if agent is not None and names and not any(agent in pair for pair in names.items()):
            raise AssertionError(self._describe_unknown(agent))
        results = collect_results(events)
        messages = collect_messages(events)
        found = [
            node
            for _, node in self._nodes("call")
            if name in (None, node.name) and agent in (None, node.agent_id, names.get(node.agent_id))
        ]
        calls = [
            build_call(node, names.get(node.agent_id, node.agent_id), results, messages) for node in found
        ]
        return Recorded(calls, self, [node.row_id for node in found])

    def failures(self, fate: str | None = None) -> Recorded[Failure]:
        """
        Give the failures, each once, in the order they happened.

        Args:
            fate: Only those with this fate: retried, reported, swallowed, escaped or open.

        Raises:
            ValueError: There is no such fate.
        """
        if fate is not None and fate not in FATES:
            raise ValueError(f"{fate!r} is no fate; they are {', '.join(FATES)}")
        _ = self.events
        found = [failure for failure in self._recorder.failures() if fate in (None, failure.fate)]
        nodes = {
            each.row_id: node.row_id for tree in self.trees() for node in tree.nodes for each in node.failures
        }
        return Recorded(found, self, [nodes.get(failure.id, failure.id) for failure in found])

    @property
    def tree(self) -> str:
        """The tree of all agents, calls and errors as text, as ``agenttrace show`` prints it."""
        _ = self.events
        return self._recorder.format_tree()

    def render_path(self, marks: Marks | None = None, *, width: int = 80) -> str:
        """Render the part of the tree that leads to what is marked; to the failures, without marks."""
        trees = self.trees()
        return render_path(trees, mark_failures(trees) if marks is None else marks, width=width)

    def trees(self) -> list[Tree]:
        """Give the tree of each conversation; [] when nothing was recorded."""
        return self._recorder.trees()

    def conversation_ids(self) -> list[str]:
        """Give the ids of the conversations in the order they began."""
        return self._recorder.conversation_ids()

    def _nodes(self, family: str) -> list[tuple[Tree, TreeNode]]:
        _ = self.events
        nodes = [
            (tree, node) for tree in self._recorder.trees() for node in tree.nodes if node.family == family
        ]
        return sorted(nodes, key=lambda pair: (pair[1].start_ns, pair[1].row_id))

    def _agent_runs(self) -> Iterator[AgentRun]:
        events = self.events
        outputs = {event.span_id: event for event in events if event.kind == "agent_end"}
        for tree, node in self._nodes("agent"):
            above = node.parent
            while above is not None and tree.nodes[above].family != "agent":
                above = tree.nodes[above].parent
            end = outputs.get(node.span_id)
            yield AgentRun(
                name=node.name,
                agent_id=node.agent_id,
                parent=None if above is None else tree.nodes[above].name,
                status=node.status,
                input=parse_payload(node.payload_json).get("input"),
                output=None if end is None else parse_payload(end.payload_json).get("output"),
                trajectory=self,
            )

    def _describe_unknown(self, name: str) -> str:
        known = list(dict.fromkeys(self.agents))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"no agent {name!r} ran; these did: {', '.join(known) or 'none'}{hint}"
