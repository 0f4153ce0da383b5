"""
The calls that an agent's model asked for, until the model is told what they gave.

One ``Ledger`` per agent run, made with the first call that has an id. Invariants: an id goes to one
call at most, because taking it out of a dict is one step in whichever thread; what is kept is bounded,
and what is given up is counted; a forked child starts without one. Cost: while no asked call waits for
a traced one, ``Agent.unclaimed`` is None, and that is all that a call looks at.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from agenttrace import clock
from agenttrace.capture.context import PIPE, Agent, Operation
from agenttrace.capture.emit import encode_value
from agenttrace.encode import codec
from agenttrace.errors import count_loss

if TYPE_CHECKING:
    from agenttrace.capture.messages import RequestedCall  # late: only a model's turn reads messages

__all__ = [
    "Answer",
    "AskedCall",
    "Ledger",
    "Noted",
    "ledger_of",
    "message_of",
    "note_failure",
    "strand",
]

_CALLS_LIMIT_COUNT = 512
_BYTES_LIMIT = 4_194_304
"""How long the arguments of all that wait may be together."""
_NOTED_LIMIT_COUNT = 64
_SPANS_LIMIT_COUNT = 64
_MESSAGE_LIMIT_CHARS = 1_000
_numbers = itertools.count(1)


class Answer:
    """One answer of the model that asked for calls."""

    __slots__ = ("answered", "given_ns", "opened_ns", "parent_span_id", "span_id", "strand")

    def __init__(self, span_id: str, parent_span_id: str, answered: int = 0) -> None:
        self.span_id = span_id
        """Of the model turn; that of the call itself, where a program gave a call its id."""
        self.parent_span_id = parent_span_id
        """Of the operation that the turn ran in."""
        self.answered = answered
        """The fingerprint of the last message before it."""
        self.strand = strand()
        self.opened_ns = self.given_ns = clock.now_ns()
        """When it was read, and when its turn had ended."""


class AskedCall:
    """One call that was asked for, or that a program gave an id to."""

    __slots__ = (
        "answer",
        "arguments",
        "call_id",
        "first_span_id",
        "is_dropped",
        "is_elsewhere",
        "is_json_valid",
        "is_known",
        "is_missed",
        "key",
        "name",
        "number",
        "passed_count",
        "span_id",
        "status",
    )

    def __init__(
        self, answer: Answer, key: str, call_id: str | None, name: str, arguments: bytes = b"null"
    ) -> None:
        self.answer = answer
        self.key = key
        self.call_id = call_id
        self.name = name
        self.arguments = arguments
        self.is_json_valid = True
        self.is_known = True
        """The name is among the request's tools, as far as anybody knows."""
        self.number = next(_numbers)
        self.first_span_id: str | None = None
        self.span_id: str | None = None
        """Of the traced call that it is; of several attempts the last."""
        self.status: str | None = None
        """How that one ended; None while it runs."""
        self.is_missed = False
        """A model input came after its end, and did not speak of it."""
        self.is_elsewhere = False
        """It is made in another process, which tells of its end."""
        self.is_dropped = False
        """The program has said so."""
        self.passed_count = 0
        """Inputs that went on after its answer without a result of it."""

    def begin(self, call: Operation) -> None:
        """Note that the traced *call* is this one, or another attempt at it."""
        if self.first_span_id is None:
            self.first_span_id = call.span_id
        self.span_id, self.status = call.span_id, None


class Noted(NamedTuple):
    """A failure that has its ``error`` row."""

    error_id: str
    error_type: str
    message: str
    spans: tuple[str, ...]
    """From the operation that it left or was caught in outwards."""
    ts_ns: int


class Ledger:
    """What one agent run was asked for and has not been told the model yet."""

    __slots__ = ("calls", "epoch", "lookalikes", "noted", "size_bytes", "unclaimed")

    def __init__(self) -> None:
        self.calls: dict[str, AskedCall] = {}
        """By call id; by tool name where the provider gives no ids."""
        self.unclaimed: dict[str, AskedCall] = {}
        """Those that no traced call has taken."""
        self.lookalikes: deque[tuple[str, str, int]] = deque(maxlen=_NOTED_LIMIT_COUNT)
        """Traced calls of an asked name with other arguments: name, span, start."""
        self.noted: deque[Noted] = deque(maxlen=_NOTED_LIMIT_COUNT)
        self.size_bytes = 0
        self.epoch = PIPE.epoch

    def ask(
        self,
        agent: Agent,
        answer: Answer,
        requests: Iterable[RequestedCall],
        tools: Collection[str] | None,
        since_ns: int,
    ) -> None:
        """
        Add what an answer asks for; told of the same answer twice, the first counts.

        Args:
            tools: The names on offer, if they are known.
            since_ns: When the model was asked.
        """
        for request in requests:
            key = request.call_id or request.name
            known = self.calls.get(key)
            is_on_offer = tools is None or request.name in tools
            if known is not None and known.answer.span_id == answer.span_id:
                known.is_known = known.is_known and is_on_offer
                continue
            if known is not None and known.span_id is not None and known.answer.opened_ns >= since_ns:
                known.answer = answer  # made as the answer was still coming in
                continue
            call = AskedCall(answer, key, request.call_id, request.name, encode_value(request.arguments))
            call.is_json_valid = request.is_json_valid
            call.is_known = is_on_offer
            self._add(call)
            self.unclaimed[key] = call
            agent.unclaimed = self

    def give(self, agent: Agent, call: Operation, call_id: str) -> None:
        """Note that *call* is the one of this id: an asked call, or one that we have not seen asked for."""
        asked = self.calls.get(call_id)
        if asked is None:
            parent = call.parent_span_id or ""
            asked = AskedCall(Answer(call.span_id, parent), call_id, call_id, call.name)
            self._add(asked)
        asked.begin(call)
        if self.unclaimed.pop(call_id, None) is not None:
            self.note_claimed(agent)

    def expect(self, agent: Agent, scope: Operation, call_id: str, name: str, arguments: bytes) -> None:
        """Let the next call of the tool *name* be the one of this id, which another process was asked for."""
        call = AskedCall(Answer(scope.span_id, scope.span_id), call_id, call_id, name, arguments)
        self._add(call)
        self.unclaimed[call_id] = call
        agent.unclaimed = self

    def note_claimed(self, agent: Agent) -> None:
        """Send calls the short way again, once no asked call waits for a traced one."""
        if not self.unclaimed:
            agent.unclaimed = None
            if self.unclaimed:  # another thread has added to it meanwhile
                agent.unclaimed = self

    def find_attempt(self, first_span_id: str) -> AskedCall | None:
        """Give the asked call whose first attempt had this span."""
        return next((one for one in list(self.calls.values()) if one.first_span_id == first_span_id), None)

    def end(self, call: Operation, status: str) -> None:
        """Note how a traced call with an id ended."""
        asked = self.calls.get(call.call_id or "")
        if asked is not None and asked.span_id == call.span_id:
            asked.status = status

    def drop(self, call_id: str) -> None:
        """Note that the program said itself that the result of this call is dropped."""
        asked = self.calls.get(call_id)
        if asked is not None:
            asked.is_dropped = True

    def remove(self, asked: AskedCall) -> bool:
        """Take a call out; False where another thread was quicker, or another call has its id by now."""
        found = self.calls.pop(asked.key, None)
        if found is not asked:
            if found is not None:
                self.calls.setdefault(asked.key, found)
            return False
        self.unclaimed.pop(asked.key, None)
        self.size_bytes -= len(asked.arguments)
        return True

    def _add(self, asked: AskedCall) -> None:
        former = self.calls.get(asked.key)
        if former is not None:
            self.remove(former)  # a provider that begins its ids anew with each answer
        self.calls[asked.key] = asked
        self.size_bytes += len(asked.arguments)
        if len(self.calls) > _CALLS_LIMIT_COUNT or self.size_bytes > _BYTES_LIMIT:
            self._shrink(asked)

    def _shrink(self, kept: AskedCall) -> None:
        """Give up the oldest calls, until the rest is within its limits; never *kept*."""
        calls = list(self.calls.values())
        self.size_bytes = sum(len(one.arguments) for one in calls)  # a lost update must not stay
        for oldest in calls:
            if len(self.calls) <= _CALLS_LIMIT_COUNT and self.size_bytes <= _BYTES_LIMIT:
                break
            if oldest is not kept and self.remove(oldest):
                count_loss("capture.asked_call_given_up")


def ledger_of(agent: Agent) -> Ledger:
    """Give the agent's ledger; a new one where it has none, or one of before a fork."""
    ledger = agent.asked
    if ledger is None or ledger.epoch != PIPE.epoch:
        agent.ledgers.append(Ledger())
        ledger = agent.asked = next(one for one in agent.ledgers if one.epoch == PIPE.epoch)
    return ledger


def note_failure(
    operation: Operation | None, error_id: str, error_type: str, error: dict[str, Any] | bytes
) -> None:
    """
    Note a failure that gets its row, for the agents around it that were asked for calls.

    Args:
        operation: That it left, or was caught in.
        error: Its description, also as JSON.
    """
    noted: Noted | None = None
    seen: Ledger | None = None
    first = operation
    for _ in range(_SPANS_LIMIT_COUNT):
        if operation is None:
            return
        ledger = None if operation.agent is None else operation.agent.asked
        if ledger is not None and ledger is not seen:
            seen = ledger
            if noted is None and first is not None:
                spans = first.span_chain()
                noted = Noted(error_id, error_type, message_of(error), spans, clock.now_ns())
            if noted is not None:
                ledger.noted.append(noted)
        operation = operation.parent


def message_of(error: dict[str, Any] | bytes) -> str:
    """Give the message in an error's description; "" where it has none."""
    described = codec.loads(error) if type(error) is bytes else error
    message = described.get("message") if type(described) is dict else None
    if type(message) is dict:
        message = message.get("head")  # it was cut
    return message[:_MESSAGE_LIMIT_CHARS] if type(message) is str else ""


def strand() -> tuple[int, int]:
    """Name the thread and the task that the program goes on in."""
    loop = asyncio._get_running_loop()  # it raises nothing where there is none
    task = None if loop is None else asyncio.current_task(loop)
    return threading.get_ident(), 0 if task is None else id(task)
