"""
One request of a model SDK and its answer: the turn that tells of it, from whichever side it ends.

Shared by the SDKs that are made alike (``openai``, ``anthropic``). Invariants: whoever sees the end
first tells it, and the others nothing; an answer that nobody takes any more ends with the objects
that hold it. Nothing here raises into the program.
"""

from __future__ import annotations

import atexit
import sys
import weakref
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from agenttrace.capture.turns import ModelTurn
from agenttrace.capture.user_code import OWN, UserCode
from agenttrace.errors import contained
from agenttrace.integrations.sdk_bytes import BodyBytes, parse_whole
from agenttrace.integrations.sdk_reading import Answer, Api, Asked, field_of

if TYPE_CHECKING:
    from agenttrace.capture.turn_replay import Replayed

__all__ = ["Answer", "Api", "Asked", "Exchange", "field_of", "find_caller"]

_FRAMES_LIMIT_COUNT = 200


class Exchange:
    """One request and its answer; its streams hold this object, and it holds none of them."""

    __slots__ = (
        "__weakref__",
        "answer",
        "asked",
        "body",
        "handled",
        "is_pulling",
        "is_streamed",
        "name",
        "replayed",
        "response",
        "turn",
    )

    def __init__(self, name: str, answer: Answer, is_streamed: bool, turn: ModelTurn) -> None:
        self.name = name
        """The SDK's."""
        self.turn: ModelTurn | None = turn
        """Open, until somebody has ended it."""
        self.answer = answer
        self.is_streamed = is_streamed
        """The request asks for events."""
        self.handled = sys.exception()
        """What the program was handling as it made the request, until that returns."""
        self.response: Any = None
        """The HTTP response, until the request returns."""
        self.body: BodyBytes | None = None
        """Keeps the bytes of a body that the program reads itself."""
        self.is_pulling = False
        """A read goes on, and says itself how it ends."""
        self.asked: tuple[Api, Any] | None = None
        """Where the request goes to, and its body; kept in a replay alone."""
        self.replayed: Replayed | None = None
        """What a replay gives in the place of the provider's answers."""

    # ------------------------------------------------------------- in a replay

    def ask_replay(self, *, is_async: bool) -> None:
        """
        Ask the replay that goes on what to answer.

        Raises:
            ReplayError: Nothing like the request was recorded, or nothing of it can be given.
        """
        turn = self.turn
        self.replayed = None if turn is None else turn.ask()
        if self.replayed is not None:
            from agenttrace.integrations.sdk_replay import refuse_unanswerable  # late: a replay's alone

            refuse_unanswerable(self.replayed, is_async)

    async def wait_as_recorded(self) -> None:
        """Wait, where the recorded request was cancelled while it waited."""
        if self.replayed is not None:
            from agenttrace.integrations.sdk_replay import wait_as_recorded  # late: a replay's alone

            await wait_as_recorded(self.replayed, self.is_streamed)

    def answer_replayed(self, client: Any, request: Any) -> None:
        """Have *request*, which the SDK is about to send, answered by the replay, if that has an answer."""
        if self.replayed is not None and self.asked is not None:
            from agenttrace.integrations.sdk_replay import prepare_answer  # late: a replay's alone

            prepare_answer(client, request, self.replayed, *self.asked, self.is_streamed)

    # ------------------------------------------------------------- as the request ends

    def fail(self, exc: BaseException) -> None:
        """End the turn with what left the request; a complete answer may have come all the same."""
        self.handled = None
        with contained("integrations.sdk.fail"):
            response, self.response = self.response, None
            if response is not None and response.is_closed and not self.is_streamed:
                self._read_response(response)
        self.finish(exc)

    def go_on(self, result: Any, is_open: bool) -> None:
        """
        Let the program go on, with the answer in its hands.

        Args:
            result: What it got.
            is_open: The answer, or a part of it, is still to come.
        """
        turn = self.turn
        if turn is None:
            return
        turn.leave()
        response, self.response, self.handled = self.response, None, None
        if is_open:
            _note_open(self)
            return
        with contained("integrations.sdk.answer"):
            if response is None:
                self._read(result, turn)  # somebody else made it: there was no request
            elif response.is_closed:
                self._read_response(response)
        self.finish(None)

    def _read_response(self, response: Any) -> None:
        """Read the body of a response that the SDK has read already."""
        for value in parse_whole(bytes(response.content)):
            self._read(value, self.turn)

    def _read(self, value: Any, turn: ModelTurn | None) -> None:
        dump = getattr(value, "model_dump", None)
        body = dump(mode="json", by_alias=True, exclude_unset=True, warnings=False) if dump else value
        if isinstance(body, Mapping):
            self.answer.read(body)
        elif isinstance(body, str) and turn is not None:
            turn.set_output(body)

    # ------------------------------------------------------------- while the answer comes

    def take(self, event: Any) -> None:
        """Take one event of the stream."""
        turn = self.turn
        if turn is not None:
            with contained("integrations.sdk.event"):
                piece = self.answer.add(event)
                turn.note_chunk()
                if piece:
                    turn.delta(piece)

    def take_bytes(self, chunk: bytes) -> None:
        """Take bytes of a body that the program reads itself."""
        body = self.body
        if body is not None:
            with contained("integrations.sdk.bytes"):
                for event in body.feed(chunk):
                    self.take(event)

    def finish(self, exc: BaseException | None) -> None:
        """Tell what has come, and end the turn; once."""
        turn, self.turn = self.turn, None
        if turn is None:
            return
        with contained("integrations.sdk.finish"):
            body, self.body = self.body, None
            if body is not None:
                for event in body.rest():
                    if self.is_streamed:
                        self.answer.add(event)
                    else:
                        self._read(event, turn)
        with contained("integrations.sdk.finish"):
            if exc is not None:
                turn.note_caller(find_caller())
            self.answer.tell(turn)
        turn.close(exc)

    def stop(self) -> None:
        """End the turn where nobody reads any more; while a read goes on, that one tells the end."""
        if self.turn is None or self.is_pulling:
            return
        if self.body is not None:
            self.finish(None if self.body.is_complete else self._ending())
        else:
            self.finish(self._ending())

    def _ending(self) -> BaseException | None:
        return None if self.answer.is_complete else GeneratorExit()

    def __del__(self) -> None:
        # Nothing is left that could take the rest: the program has dropped it unread.
        if self.turn is not None:
            self.is_pulling = False
            self.stop()


# ------------------------------------------------------------- who called, and what is left at the end

_user_code: list[UserCode] = []


def find_caller() -> dict[str, Any] | None:
    """Give ``{file, line, function}`` of the program's own line that is waiting; None where there is none."""
    if not _user_code:
        _user_code.append(UserCode())
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_FRAMES_LIMIT_COUNT):
        if frame is None:
            return None
        code = frame.f_code
        if _user_code[0].whose(code.co_filename) == OWN:
            return {"file": code.co_filename, "line": frame.f_lineno, "function": code.co_qualname}
        frame = frame.f_back
    return None


_open: weakref.WeakSet[Exchange] = weakref.WeakSet()
"""What still comes as the interpreter ends; else the database would say that it was interrupted."""
_is_registered: list[bool] = []


def _note_open(exchange: Exchange) -> None:
    _open.add(exchange)
    if not _is_registered:
        _is_registered.append(True)
        atexit.register(_end_all)  # late, so that it runs before the recorder's own


def _end_all() -> None:
    for exchange in list(_open):
        exchange.stop()
