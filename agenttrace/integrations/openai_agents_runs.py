"""
One run of the OpenAI Agents SDK: its agents, one at a time, and the calls nobody has made yet.

The run is the agent that it starts with. An agent that control is handed to is a child of that
one, beside the others, and ends as it hands over or with the run; handed back to, the first agent
goes on. Invariants: every agent that begins here ends; a failure that ends the run is the failure
of the agent in control first. Only the run's own event loop comes here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from agenttrace.capture.agents import AgentScope, agent_scope, close_agent, emit_custom, open_agent
from agenttrace.capture.context import CURRENT, SWITCH, Operation
from agenttrace.capture.emit import encode_value
from agenttrace.capture.outer_calls import OuterCall
from agenttrace.errors import contained
from agenttrace.integrations.callers import lend_caller, mark_caller

__all__ = ["AgentRun", "Wanted", "run_here"]

_WANTED_LIMIT_COUNT = 256
_FRAMES_LIMIT_COUNT = 200


class Wanted(NamedTuple):
    """A call that the model has asked for."""

    call_id: str
    name: str
    arguments: Any
    kind: str
    """``tool``, ``handoff``, or ``unknown`` where nothing has that name."""


class AgentRun:
    """What is known of one ``Runner.run``, while it goes on."""

    def __init__(self, agent: Any, input: Any, metadata: dict[str, Any]) -> None:
        """
        Begin the run of *agent*, where the program stands.

        Args:
            agent: The agent that it starts with.
            input: What it is asked.
            metadata: What else to keep of the run.
        """
        self._first = agent
        self._agent = agent
        self._child: Operation | None = None
        self._wanted: dict[str, Wanted] = {}
        self._is_over = False
        self._is_elsewhere = False
        """It goes on in a task of its own, and whoever ends it stands in another place."""
        self.retrying: Any = None
        """The request that the SDK makes now, with what it tries again."""
        self.is_watched = False
        """Somebody consumes its stream, and sees how it ends."""
        self._scope: AgentScope = agent_scope(_name_of(agent), input=input, metadata=metadata or None)
        previous = CURRENT.get()
        self._scope.__enter__()
        entered = CURRENT.get()
        assert entered is not None, "an agent scope stands somewhere"
        self._root = entered
        self._previous = previous
        entered.__dict__["agents_run"] = self
        with contained("integrations.openai_agents.caller"):
            mark_caller()

    @property
    def standing(self) -> Operation:
        """The agent in control: what it asks and calls belongs to it."""
        return self._child or self._root

    def step_out(self) -> None:
        """Let the program stand where it stood, while the run goes on elsewhere."""
        self._is_elsewhere = True
        CURRENT.set(self._previous)

    # ------------------------------------------------------------- agents

    def enter(self, agent: Any, input: Any = None) -> None:
        """Note that *agent* is in control now."""
        if agent is self._agent or self._is_over:
            return
        self._close_child({"handoff": _name_of(agent)}, None)
        self._agent = agent
        if agent is not self._first and SWITCH:
            previous = CURRENT.get()
            CURRENT.set(self._root)
            try:
                self._child = open_agent(_name_of(agent), encode_value(input))
            finally:
                CURRENT.set(previous)

    def _close_child(self, output: Any, exc: BaseException | None) -> None:
        child, self._child = self._child, None
        if child is not None:
            close_agent(child, b"null" if exc is not None else encode_value(output), exc)

    def end(self, output: Any, exc: BaseException | None) -> None:
        """End the run with its *output*, or with what left it; a second time does nothing."""
        if self._is_over:
            return
        self._is_over = True
        with contained("integrations.openai_agents.end"):
            if exc is not None:
                self._blame_wanted(exc)
                self._note_guardrail(exc)
            self._close_child(output, exc)
        if exc is None:
            self._scope.set_output(output)
        before = CURRENT.get()
        CURRENT.set(self._root)
        self._scope.__exit__(None if exc is None else type(exc), exc, None)
        if self._is_elsewhere:
            CURRENT.set(before)

    def _note_guardrail(self, exc: BaseException) -> None:
        """Say which guardrail it was; the SDK's exception names its class alone."""
        result = getattr(exc, "guardrail_result", None) or exc
        guardrail, output = getattr(result, "guardrail", None), getattr(result, "output", None)
        operation = self.standing
        if guardrail is None or operation.agent is None or not operation.recorded or not SWITCH:
            return
        told = {"name": str(guardrail.get_name()), "output_info": getattr(output, "output_info", None)}
        emit_custom("guardrail_tripped", operation.agent, told, operation)

    # ------------------------------------------------------------- calls

    def want(self, calls: list[Wanted]) -> None:
        """Note what the model wants to be called; what it wanted before has had its chance."""
        self._wanted = {call.call_id: call for call in calls[:_WANTED_LIMIT_COUNT]}

    def take(self, call_id: str) -> None:
        """Note that a call is made."""
        self._wanted.pop(call_id, None)

    def hand_over(self, agent: Any) -> None:
        """Record the call that hands control to *agent*, and let that one be in control."""
        asked = next((wanted for wanted in self._wanted.values() if wanted.kind == "handoff"), None)
        if asked is not None:
            self.take(asked.call_id)
            with self._call_of(asked) as call:
                call.set_result({"assistant": _name_of(agent)}, is_error=False)
        giver = self.standing
        if giver.agent is not None and giver.recorded and SWITCH:
            emit_custom("handoff", giver.agent, {"to": _name_of(agent)}, giver)
        self.enter(agent, None if asked is None else asked.arguments or None)

    def _call_of(self, wanted: Wanted) -> OuterCall:
        return OuterCall(wanted.name, wanted.arguments, call_id=wanted.call_id, parent=self.standing)

    def _blame_wanted(self, exc: BaseException) -> None:
        """Record the call that was never made because of *exc*: of no tool there is, or a failed handoff."""
        blamed = None
        if type(exc).__name__ == "ModelBehaviorError":
            text = str(exc)
            blamed = _first(self._wanted, lambda one: one.kind == "unknown" and one.name in text)
        if blamed is None and _passes_through(exc, "execute_handoffs"):
            blamed = _first(self._wanted, lambda one: one.kind == "handoff")
        if blamed is not None:
            call = self._call_of(blamed)
            call.__enter__()
            lend_caller()
            call.__exit__(type(exc), exc, exc.__traceback__)


def run_here() -> AgentRun | None:
    """Give the run whose own code the program stands in; None inside a tool of it, and elsewhere."""
    operation = CURRENT.get()
    found = None if operation is None else operation.__dict__.get("agents_run")
    return found if isinstance(found, AgentRun) and not found._is_over else None


def _first(wanted: dict[str, Wanted], wish: Callable[[Wanted], bool]) -> Wanted | None:
    return next(filter(wish, wanted.values()), None)


def _passes_through(exc: BaseException, function_name: str) -> bool:
    """Tell whether *exc* came up through a function of that name."""
    traceback = exc.__traceback__
    for _ in range(_FRAMES_LIMIT_COUNT):
        if traceback is None:
            break
        if traceback.tb_frame.f_code.co_name == function_name:
            return True
        traceback = traceback.tb_next
    return False


def _name_of(agent: Any) -> str:
    return str(getattr(agent, "name", None) or type(agent).__name__)
