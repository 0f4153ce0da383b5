"""
Follow what an SDK's stream hands out: each event on its way to the program, and the end of them.

Owns the object that stands where the SDK keeps the iterator of a stream. Invariants: items, errors and
the end pass as they come, and nothing is read that the program does not read; a stream that is closed,
or dropped, before its end ends its turn with what had arrived. Cost: a call an item, and one read of its
type.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from agenttrace.capture.turns import ModelTurn
from agenttrace.errors import contained

__all__ = ["KEY", "Answer", "AsyncFollower", "Follower", "Parts", "follow_stream", "tell_answer"]

KEY = "_agenttrace_followed"
"""In the ``__dict__`` of a stream or of a raw response: who follows it."""


class Answer(NamedTuple):
    """What was answered, as far as it came; None where nothing says it."""

    output: Any
    """In the provider's own form."""
    model: str | None = None
    response_id: str | None = None
    finish_reason: str | None = None
    usage: Any = None
    """As the provider sent it."""


class Parts(Protocol):
    """An answer that arrives in events."""

    is_whole: bool
    """The last event has come, so that what follows says nothing."""

    def add(self, event: Any) -> str | None:
        """Take an event; give the piece of the answer's own text that it brings."""

    def read(self) -> Answer:
        """Give the answer, as far as it came."""


def tell_answer(turn: ModelTurn, answer: Answer) -> None:
    """Let *turn* say what was answered."""
    turn.set_answered(answer.model)
    if answer.output is not None or answer.finish_reason is not None or answer.response_id is not None:
        turn.set_output(answer.output, finish_reason=answer.finish_reason, response_id=answer.response_id)
    if answer.usage is not None:
        turn.set_usage(answer.usage)


class Follower:
    """Stands between an SDK's stream and the iterator that reads it."""

    def __init__(self, inner: Any, turn: ModelTurn, parts: Parts) -> None:
        """
        Follow *inner*.

        Args:
            inner: Gives the events.
            turn: Open, and left; ends with the events.
            parts: Puts the answer together.
        """
        self._inner = inner
        self._turn = turn
        self._parts = parts
        self._is_ended = False

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            event = self._inner.__next__()
        except StopIteration:
            self.end(None)
            raise
        except BaseException as exc:
            self.end(exc)
            raise
        self.note(event)
        return event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __del__(self) -> None:
        self.end(GeneratorExit())

    def note(self, event: Any) -> None:
        """Keep what *event* brings."""
        if self._is_ended:
            return
        with contained("integrations.sdk.event"):
            piece = self._parts.add(event)
            if piece:
                self._turn.delta(piece)
            else:
                self._turn.note_chunk()
        if self._parts.is_whole:
            self.end(None)

    def end(self, exc: BaseException | None) -> None:
        """End the turn with what has arrived; a second time does nothing."""
        if self._is_ended:
            return
        self._is_ended = True
        with contained("integrations.sdk.answer"):
            tell_answer(self._turn, self._parts.read())
        self._turn.close(exc)


class AsyncFollower(Follower):
    """The same for ``async for``."""

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        try:
            event = await self._inner.__anext__()
        except StopAsyncIteration:
            self.end(None)
            raise
        except BaseException as exc:
            self.end(exc)
            raise
        self.note(event)
        return event


def follow_stream(stream: Any, turn: ModelTurn, parts: Parts) -> None:
    """
    Follow *stream*, an SDK's own, from now on.

    Raises:
        AttributeError: It has no iterator where the SDK's streams have it.
    """
    inner = stream._iterator
    kind = AsyncFollower if hasattr(inner, "__anext__") else Follower
    follower = kind(inner, turn, parts)
    stream.__dict__["_iterator"] = stream.__dict__[KEY] = follower
