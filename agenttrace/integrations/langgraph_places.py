"""
The agents of a graph: one place for each node and subgraph, which keeps its agent from run to run.

A node that runs again is the same agent going on, with its turns counted up; one that runs beside
itself (``Send``) is another agent. Invariants: a place is taken by one run at a time; of a thread that
is checkpointed the places stay, so that a graph that is resumed goes on where it was, in its
conversation. At most 256 threads per checkpointer are remembered. Nodes run in threads, and nothing here
waits for a lock, which a fork could leave locked.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from agenttrace.capture import context
from agenttrace.capture.agents import close_agent
from agenttrace.capture.context import CURRENT, PIPE, Agent, Operation
from agenttrace.capture.emit import announce_agent, encode_value
from agenttrace.capture.rebuilt import end_of_agent

__all__ = ["Place", "begin_run", "place_around", "take_root"]

_THREADS_LIMIT_COUNT = 256
_CONVERSATION_LIMIT_CHARS = 200
_IN_MEMORY = frozenset(("InMemorySaver", "MemorySaver"))
"""Checkpointers whose threads end with the process: ``1`` is another thread each time."""


class Place:
    """Where one agent of a graph stands."""

    def __init__(self, agent: Agent, seed: str | None = None) -> None:
        """
        Make a place that nobody has taken.

        Args:
            agent: Whose place it is.
            seed: What the ids of the agents below are made of, so that another process makes the same
                ones; None gives them ids of their own.
        """
        self.agent = agent
        self._seed = seed
        self._is_free = [True]
        """Empty while a run has the place: taking it out is one step, in whichever thread."""
        self._children: dict[str, list[Place]] = {}
        self._numbers: dict[str, Iterator[int]] = {}
        self._last: Operation | None = None
        """The run that ended last, of those that left calls to be made by other nodes."""

    def take(self, name: str) -> Place:
        """Take a free place of *name* below this one."""
        places = self._children.setdefault(name, [])
        for place in list(places):
            if place.take_itself():
                return place
        number = next(self._numbers.setdefault(name, itertools.count()))
        seed = None if self._seed is None else f"{self._seed}/{name}/{number}"
        agent = self.agent
        made = Place(Agent(agent.conversation_id, _agent_id(name, seed), name, agent.agent_id), seed)
        made.take_itself()
        places.append(made)
        return made

    def take_itself(self) -> bool:
        """Take this place; False where a run has it."""
        try:
            return self._is_free.pop()
        except IndexError:
            return False

    def give_back(self) -> None:
        """Let the next run have it."""
        if not self._is_free:
            self._is_free.append(True)

    def end_run(self, operation: Operation, output: Any, exc: BaseException | None) -> None:
        """
        Close the run of a node, and let the next one take the place.

        What its model asked for stays to be done, by other nodes and for its next run to be told of.
        """
        agent = self.agent
        kept = agent.asked, agent.unclaimed
        agent.asked = agent.unclaimed = None
        try:
            close_agent(operation, encode_value(output), exc)
        finally:
            agent.asked, agent.unclaimed = kept
            agent.closed = False
            self._last = operation
            self.give_back()

    def end_graph(self, operation: Operation, output: Any, exc: BaseException | None) -> None:
        """
        Close the run of a graph: nothing more is done for the agents below until they begin again.

        What was asked for is forgotten then, unless the graph waits to be resumed.
        """
        is_interrupted = "interrupt" in operation.__dict__.get("passed", ())
        waiting = [self]
        while waiting:
            place = waiting.pop()
            waiting += [child for children in list(place._children.values()) for child in list(children)]
            if place is not self:
                if place._last is not None and not is_interrupted:
                    end_of_agent(place.agent, place._last)
                    place._last = None
                place.agent.closed = True
        close_agent(operation, encode_value(output), exc)
        self.give_back()


def _agent_id(name: str, seed: str | None) -> str:
    made = context.agent_id_for(name)
    return made if seed is None else made[:-6] + hashlib.sha256(seed.encode()).hexdigest()[:6]


_THREADS: WeakKeyDictionary[Any, OrderedDict[tuple[str, ...], Place]] = WeakKeyDictionary()
"""Checkpointers to the places of their threads, the longest unused first."""


def take_root(name: str, checkpointer: Any, configurable: Mapping[str, Any]) -> Place:
    """
    Take the place of a graph that is run by the program itself.

    Args:
        name: Of the graph.
        checkpointer: What keeps its state; None, True or False for none of its own.
        configurable: Of the run's config; may name its ``thread_id``.
    """
    around = CURRENT.get()
    thread_id = configurable.get("thread_id")
    if thread_id is None or isinstance(checkpointer, bool | None):
        place = _make_root(name, around, None)
    else:
        outside = () if around is None else (around.conversation_id, _agent_id_of(around) or "")
        return _take_thread((str(thread_id), name, *outside), checkpointer, around)
    place.take_itself()
    return place


def _take_thread(key: tuple[str, ...], checkpointer: Any, around: Operation | None) -> Place:
    thread_id, name = key[:2]
    lasts = type(checkpointer).__name__ not in _IN_MEMORY and around is None
    conversation_id = None
    if lasts and thread_id:
        conversation_id = thread_id[:_CONVERSATION_LIMIT_CHARS].encode("utf-8", "replace").decode()
    try:
        places = _THREADS.setdefault(checkpointer, OrderedDict())
    except TypeError:  # nothing refers to it weakly
        places = OrderedDict()
    found = places.get(key)
    if found is None or not found.take_itself():  # two runs of one thread at a time are two agents
        found = places[key] = _make_root(name, around, conversation_id)
        found.take_itself()
    with contextlib.suppress(KeyError):  # another thread was quicker
        places.move_to_end(key)
        if len(places) > _THREADS_LIMIT_COUNT:
            places.popitem(last=False)
    return found


def _make_root(name: str, around: Operation | None, conversation_id: str | None) -> Place:
    seed = None if conversation_id is None else f"{conversation_id}/{name}"
    if conversation_id is None:
        conversation_id = context.new_conversation_id() if around is None else around.conversation_id
    parent_agent_id = None if around is None else _agent_id_of(around)
    return Place(Agent(conversation_id, _agent_id(name, seed), name, parent_agent_id), seed)


def _agent_id_of(operation: Operation) -> str | None:
    return None if operation.agent is None else operation.agent.agent_id


def place_around(operation: Operation | None) -> Place | None:
    """Give the place that *operation* stands in right now; None where no graph runs it."""
    while operation is not None:
        place = operation.__dict__.get("place")
        if isinstance(place, Place):
            return place
        if operation.kind == "agent" and not operation.is_series:
            return None  # an agent of the program's own, inside a node
        operation = operation.parent
    return None


def begin_run(place: Place, given: Any, metadata: Any) -> Operation:
    """
    Begin a run of the agent of *place* where the program stands; CURRENT is not set.

    Args:
        place: As it was taken.
        given: What it is given to do.
        metadata: Of this run.
    """
    context.note_scope_opened()
    PIPE.prepare()
    parent = CURRENT.get()
    if parent is not None and parent.caught is not None:
        parent.caught.settle()
    agent = place.agent
    agent.turns, agent.closed = 0, False  # the store counts on from the runs before
    operation = Operation("agent", agent.name, agent.conversation_id, agent, parent)
    operation.__dict__["place"] = place
    announce_agent(operation, encode_value(given), encode_value(metadata))
    return operation
