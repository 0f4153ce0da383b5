"""
What stands in for tools and models while a replay goes on: the question, and the forms of its answer.

Capture asks ``PIPE.substitute`` where a tool would run or a request would leave. Invariant: while it
is None nothing here is called, and a program behaves as if this file were not there. What a substitute
raises through a stand-in (``ReplayError``) is meant for the program, and is never contained.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from agenttrace.capture.context import Operation


__all__ = ["Outcome", "RecordedTurn", "Substitute"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a recorded tool call ended, for a call around code that is not ours."""

    output: Any = None
    """What it gave, as JSON data; None where it failed."""
    is_error: bool = False
    """It failed: by raising (``exception``), or by what it gave (``output``)."""
    exception: BaseException | None = None
    """What it raised, rebuilt, with the recorded frames as its traceback; to be raised."""
    error: Mapping[str, Any] | None = None
    """The recorded description of the failure: ``{type, module, message, frames, …}``."""
    members: Mapping[str, Any] = field(default_factory=dict)
    """What stood beside the output in the recorded ``tool_result``."""
    status: str = "ok"
    """Of the recorded call; one that was cancelled or stopped early has neither output nor exception."""


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """How a recorded turn of a model ended."""

    model: str | None
    """The model that answered; the one asked where nobody said."""
    output: Any = None
    """The answer, as JSON data, in the form in which the client's integration recorded it."""
    finish_reason: str | None = None
    response_id: str | None = None
    usage: Any = None
    """As the provider sent it; None where only counts were recorded."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """``input_tokens`` and the other columns of counts that were recorded."""
    deltas: Sequence[str] = ()
    """
    The beginning of the text as it streamed in, in pieces of about 500 characters; () where nothing
    did, or little: ``output`` has the whole, and ``payload`` a ``first_chunk_ms`` where it streamed.
    """
    attempts: Sequence[Mapping[str, Any]] = ()
    """The recorded descriptions of the attempts that failed before the last one."""
    error: Mapping[str, Any] | None = None
    """The recorded description of what the turn failed with: ``{type, module, message, frames, …}``."""
    exception: BaseException | None = None
    """The same, rebuilt, with the recorded frames as its traceback; to be raised."""
    status: str = "ok"
    provider: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    """The whole payload of the recorded ``model_turn``."""


class Substitute(Protocol):
    """What gives recorded results in the place of tools and models."""

    def tool(self, call: Operation | None, wrapped: Callable[..., Any]) -> Callable[..., Any]:
        """
        Give what to call in the place of *wrapped*: a callable of the same shape, or *wrapped* itself.

        It is asked by the wrappers of every shape, right after the start is recorded.

        Args:
            call: The call as it was begun, or an agent's run, which always runs itself; None where
                its start could not be recorded.
            wrapped: The tool's own function, bound where it is a method.
        """

    def outer(self, call: Operation | None, name: str, arguments: Any) -> Outcome | None:
        """
        Give how the call of a tool that is not ours ended; None lets it run.

        Raises:
            ReplayError: Nothing like it was recorded, and nothing may run.
        """

    def turn(
        self, operation: Operation | None, model: str, provider: str | None, input: Any, params: Any
    ) -> RecordedTurn | None:
        """
        Give what a model answered; None lets the request leave.

        Args:
            operation: The turn's operation, or the one that it is asked in; None for where we stand.
            model: The model that is asked.
            provider: Who serves it.
            input: As it is given to ``model_turn``.
            params: As they are given to ``model_turn``.

        Raises:
            ReplayError: Nothing like it was recorded, and nothing may be sent.
        """

    def tool_names(self) -> Collection[str] | None:
        """Name the tools that were recorded; None where a call that was not may run."""

    def agent(self, operation: Operation, input_json: bytes) -> None:
        """Learn that a run of an agent begins, with what it was asked."""

    def scope(self, call: Operation, arguments: bytes) -> None:
        """Learn that a ``tool_scope`` is entered, whose block runs in any case."""
