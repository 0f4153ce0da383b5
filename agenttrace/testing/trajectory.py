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
from agenttrace.testing.recorder import MemoryRecorder

__all__ = ["AgentRun", "Call", "Trajectory"]

_NOTHING = (
    "nothing was recorded while this trajectory was open, so there is nothing to assert about. "
    "Decorate the tools with @agenttrace.traced_tool, or run the agent inside agenttrace.agent_scope(...); "
    "call trajectory.allow_empty() first if a run without events is what you expect."
)

_SWITCHED_OFF = "Tracing was switched off while it ran: the program called agenttrace.disable()."


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call; an attempt that was repeated with equal arguments is part of the same call."""

    name: str
    agent: str
    """Name of the agent that made it."""
    arguments: Any
    """By parameter name; a mark stands where the tool does not capture them."""
    result: Any
    """What it returned, as JSON has it; None when it failed or still runs."""
    status: str
    """``ok``, ``error``, ``cancelled``, ``stopped_early`` or ``running``."""
    error: str | None
    """The message of its last failure, also when a later attempt went well."""
    error_type: str | None
    """Name of that exception's class."""
    attempts: int
    failed_attempts: int
    duration_ms: float | None
    """Of all attempts together, waiting included; None while it runs."""
    call_id: str | None
    span_id: str | None


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
    trajectory: Trajectory

    def tools(self) -> list[str]:
        """Give the names of the tools that it called, in order."""
        return self.trajectory.tools(agent=self.agent_id)

    def calls(self, name: str | None = None) -> list[Call]:
        """Give its calls, of tool *name* or of all, in order."""
        return self.trajectory.calls(name, agent=self.agent_id)


class Trajectory:
    """
    Read a recorder's events as a test asks for them; every read sees all events so far.

    Everything that reads raises AssertionError while nothing has been recorded, unless
    ``allow_empty`` was called.
    """

    def __init__(self, recorder: MemoryRecorder) -> None:
        self._recorder = recorder
        self._may_be_empty = False

    def allow_empty(self) -> None:
        """Accept from now on that nothing was recorded; reads then give empty lists."""
        self._may_be_empty = True

    @property
    def events(self) -> list[Event]:
        """All events, each conversation's in the order of time."""
        events = self._recorder.events()
        if not events and not self._may_be_empty:
            raise AssertionError(_NOTHING if self._recorder.was_on() else f"{_NOTHING} {_SWITCHED_OFF}")
        return events

    @property
    def agents(self) -> list[str]:
        """Names of the agents in the order they started; a name stands twice when two ran."""
        return [node.name for _, node in self._nodes("agent")]

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

    def tools(self, agent: str | None = None) -> list[str]:
        """
        Give the names of the tools called, in the order the calls began.

        A call tried several times stands once; its ``attempts`` tell.

        Args:
            agent: Name or id of the one agent whose own calls count; None counts all.

        Raises:
            AssertionError: No agent of that name ran.
        """
        return [call.name for call in self.calls(agent=agent)]

    def calls(self, name: str | None = None, *, agent: str | None = None) -> list[Call]:
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
        results = _last_results(events)
        messages = _messages(events)
        return [
            _build_call(node, names.get(node.agent_id, node.agent_id), results, messages)
            for _, node in self._nodes("call")
            if name in (None, node.name) and agent in (None, node.agent_id, names.get(node.agent_id))
        ]

    def failures(self, fate: str | None = None) -> list[Failure]:
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
        return [failure for failure in self._recorder.failures() if fate in (None, failure.fate)]

    @property
    def tree(self) -> str:
        """The tree of all agents, calls and errors as text, as ``agenttrace show`` prints it."""
        _ = self.events
        return self._recorder.format_tree()

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


def _last_results(events: list[Event]) -> dict[str, Event]:
    """Give the last ``tool_result`` of each call, by the span of its first attempt."""
    return {
        event.retry_of or event.span_id: event
        for event in events
        if event.kind == "tool_result" and event.span_id is not None
    }


def _messages(events: list[Event]) -> dict[str, str]:
    """Give the message of each failure by its error id."""
    messages: dict[str, str] = {}
    for event in events:
        if event.kind == "error" and event.error_id is not None:
            error = parse_payload(event.payload_json).get("error")
            messages.setdefault(
                event.error_id, str(error.get("message", "")) if isinstance(error, dict) else str(error)
            )
    return messages


def _build_call(node: TreeNode, agent: str, results: dict[str, Event], messages: dict[str, str]) -> Call:
    end = results.get(node.span_id or "")
    failure = node.failures[-1] if node.failures else None
    error = messages.get(node.error_id or "") if failure is None else failure.message
    return Call(
        name=node.name,
        agent=agent,
        arguments=parse_payload(node.payload_json).get("arguments"),
        result=None if end is None else parse_payload(end.payload_json).get("output"),
        status=node.status,
        error=error,
        error_type=failure.error_type if failure is not None else node.error_type,
        attempts=node.attempts,
        failed_attempts=node.failed_attempts,
        duration_ms=node.duration_ms,
        call_id=node.call_id,
        span_id=node.span_id,
    )
