"""
One request of the OpenAI Agents SDK to a model, and the turn that it is.

Invariants: the program stands in the turn only while the model runs; a request that the SDK tries
again is one turn with its attempts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agenttrace.capture.context import CURRENT, PIPE, Operation
from agenttrace.capture.marks import error_id_of
from agenttrace.capture.substitution import RecordedTurn
from agenttrace.capture.turns import ModelTurn, model_turn
from agenttrace.capture.usage import read_usage
from agenttrace.errors import contained
from agenttrace.integrations.callers import lend_caller
from agenttrace.integrations.openai import provider_of
from agenttrace.integrations.openai_agents_messages import (
    build_messages,
    build_params,
    build_plain,
    find_wanted,
)
from agenttrace.integrations.openai_agents_runs import AgentRun, run_here
from agenttrace.integrations.sdk_models import is_asked_through_sdk

__all__ = ["Request", "Retrying"]


class Retrying:
    """One request of a run, with all attempts that the SDK's own policy makes at it."""

    def __init__(self, limit_count: int | None) -> None:
        self.limit_count = limit_count
        self.request: Request | None = None
        self.failure: BaseException | None = None
        """Of the last attempt, while nobody knows whether another follows."""

    def end(self, exc: BaseException | None) -> None:
        """End the turn as the request has ended; one that was answered has ended."""
        if self.request is not None:
            self.request.turn.close(exc if exc is not None else self.failure)


class Request:
    """One call of a model: what it was given, and the turn that it is."""

    def __init__(self, model: Any, given: dict[str, Any]) -> None:
        self.is_answered = False
        """The whole answer has come."""
        self.retrying: Retrying | None = None
        self._run: AgentRun | None = None
        self._operation: Operation | None = None
        self._items: list[Any] = []
        self._given = given
        name = getattr(model, "model", None)
        self.turn: ModelTurn = model_turn(
            str(name) if name else type(model).__name__,
            provider=_provider_of(model),
            input=build_messages(given.get("input")),
            params=build_params(given),
        )

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Stand in the turn; the first time, open it in the agent in control."""
        before = CURRENT.get()
        if self._operation is None:
            self._run = run_here()
            if self._run is not None:
                CURRENT.set(self._run.standing)
            self.turn.open()
            self._operation = CURRENT.get()
            lend_caller()
            leave = self.turn.leave
        else:
            CURRENT.set(self._operation)
            leave = _stay
        try:
            yield
        finally:
            leave()
            CURRENT.set(before)

    def ask(self, model: Any) -> RecordedTurn | None:
        """
        Give what a replay answers in the place of *model*; None where that is to be asked.

        Raises:
            ReplayError: Nothing like it was recorded, and nothing may be sent.
        """
        if PIPE.substitute is None or is_asked_through_sdk(model):
            return None
        replayed = self.turn.ask()
        return None if replayed is None else replayed.recorded

    def fail(self, exc: BaseException) -> None:
        """End the turn with *exc*; not yet where the SDK may try it again, which its own loop will tell."""
        if self.retrying is not None:
            self.retrying.failure = exc
        else:
            self.turn.close(exc)

    def try_again(self, retrying: Retrying) -> None:
        """Record that the SDK makes another attempt at the turn."""
        failure, retrying.failure = retrying.failure, None
        self._items.clear()
        if failure is not None and error_id_of(failure) is None:  # else an SDK inside has told of it
            self.turn.fail_attempt(failure, limit_count=retrying.limit_count, by="openai_agents")
        self.turn.begin_attempt()

    def look_at(self, event: Any) -> None:
        """Keep what an event of a stream tells."""
        kind = getattr(event, "type", None)
        if kind == "response.output_text.delta":
            self.turn.delta(str(event.delta))
            return
        self.turn.note_chunk()
        if kind == "response.output_item.done":
            self._items.append(event.item)
        elif kind == "response.completed":
            response = event.response
            self.is_answered = True
            # Some servers tell the items one by one, and none at the end.
            output = response.output or self._items
            self.answer(output, response.id, response.usage)

    def answer(self, output: Any, response_id: Any, usage: Any) -> None:
        """Keep the answer, and what it wants to be called."""
        with contained("integrations.openai_agents.answer"):
            items = [build_plain(item) for item in (output if isinstance(output, list) else [])]
            self.turn.set_output(items, response_id=response_id if isinstance(response_id, str) else None)
            counts = {} if usage is None else read_usage(usage, {})
            if any(counts.values()):
                # As counts: the usage object is the SDK's own; that of the provider comes from below.
                self.turn.set_usage(**counts)
            if self._run is not None:
                self._run.want(find_wanted(items, self._given))


def _provider_of(model: Any) -> str | None:
    """Say who serves *model*: what the client of the SDK's own models says; None for any other."""
    client = getattr(model, "_client", None)
    if client is None or not type(model).__module__.startswith("agents.models.openai"):
        return None
    return provider_of(client)


def _stay() -> None:
    """Leave nothing: the turn was left before."""
