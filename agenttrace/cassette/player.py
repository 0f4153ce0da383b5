"""
The player: gives a program that runs again what was recorded, call by call.

It is what ``PIPE.substitute`` is during a replay. Invariants: what is asked is compared as it would
have been recorded, encoded and redacted by the same rules; a recorded call is given once; in strict
mode nothing recorded is run, and nothing else either. Cost: an encoding, a redaction and a look-up a
call, about 0.1 ms, under one lock.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

from agenttrace.capture.context import CURRENT, Operation
from agenttrace.capture.series import Attempt
from agenttrace.capture.shapes import shape_of
from agenttrace.capture.substitution import Outcome, RecordedTurn
from agenttrace.cassette.answers import build_answer, find_end
from agenttrace.cassette.cassette import Cassette, find_call_gap, find_stream_gap, find_turn_gap, render_call
from agenttrace.cassette.failures import build_exception
from agenttrace.cassette.keys import LentKeys
from agenttrace.cassette.live import LiveRuns
from agenttrace.cassette.recorded import RecordedCall, RecordedModelTurn
from agenttrace.cassette.refusing import refuse_gap, refuse_unrecorded
from agenttrace.cassette.siblings import Ask, Live, Siblings
from agenttrace.cassette.stand_ins import Answer, build_stand_in
from agenttrace.cassette.turnstile import Turnstile
from agenttrace.cassette.values import promise_of, rebuild
from agenttrace.encode import codec
from agenttrace.encode.redact import Rules
from agenttrace.errors import ReplayError

__all__ = ["MODES", "Player"]

MODES = ("strict", "fill")
_NOTES_LIMIT_COUNT = 200


class Player:
    """
    Gives back what a cassette holds.

    Args:
        cassette: What was recorded.
        mode: ``strict`` refuses what was not recorded; ``fill`` runs it.
        rules: What was redacted as it was recorded; the default rules, unless given.
        run: Names of tools that run themselves: those that only lead to others.
        is_heir: It plays in a process that was started amid the replay.
    """

    def __init__(
        self,
        cassette: Cassette,
        mode: str = "strict",
        *,
        rules: Rules | None = None,
        run: Collection[str] = (),
        is_heir: bool = False,
    ) -> None:
        if mode not in MODES:
            raise ReplayError(f"mode={mode!r}: it is {' or '.join(repr(one) for one in MODES)}.")
        if isinstance(run, str):
            raise TypeError("run takes a list of tools' names, not one text")
        self.cassette = cassette
        self.mode = mode
        self.replayed = 0
        """Calls and turns that were given back; each attempt at one counts."""
        self.ran = 0
        """Calls and turns that ran themselves, since nothing was recorded, or since they were named."""
        self.notes: list[str] = []
        """What could not be given back just as it was, each once."""
        self.refusals: list[ReplayError] = []
        """What was asked for in vain."""
        self.before_raise: Callable[[Mapping[str, Any], BaseException], object] | None = None
        """Called right before a recorded exception of a tool is raised."""
        self._siblings = Siblings(cassette.runs)
        self.to_run = frozenset(run)
        """Tools that run themselves."""
        self._turnstile = Turnstile()
        self._lock = threading.RLock()  # calls come from every thread
        self._rules = rules or Rules.default()
        self._live = LiveRuns(self._siblings, self._redact, is_heir=is_heir)
        providers = (turn.provider for run in cassette.runs for turn in run.turns)
        self.keys = LentKeys(providers if mode == "strict" else ())
        """For clients that want one; lent while the replay goes on."""

    # ------------------------------------------------------------------ what capture asks

    def agent(self, operation: Operation, input_json: bytes) -> None:
        """Learn that a run of an agent begins."""
        with self._lock:
            self._live.begin(operation, input_json)

    def conversation_of(self, operation: Operation) -> str | None:
        """Give the recorded conversation that a run belongs to; that of the cassette where nobody knows."""
        with self._lock:
            return self._live.conversation_of(operation) or self.cassette.conversation_id

    def scope(self, call: Operation, arguments: bytes) -> None:
        """Learn that a tool scope is entered: its block runs, and what is recorded of it is spoken for."""
        if arguments == b"null":
            return  # the traced tool inside brings them
        with self._lock:
            live, inside = self._live.of(call)
            found = self._siblings.take(live, Ask("call", call.name, inside, self._redact(arguments)))
            if isinstance(found, RecordedCall):
                call.__dict__["replayed"] = [found, 0]

    def tool(self, call: Operation | None, wrapped: Callable[..., Any]) -> Callable[..., Any]:
        """Give what to call in the place of a traced tool."""
        if call is not None and call.kind in ("agent", "model"):
            return wrapped  # a run runs itself; a turn is asked for as one
        shape = shape_of(wrapped)
        if call is None:
            refusal = ReplayError("a call could not be recorded, and so not be compared with what was.")
            return build_stand_in(shape, Answer(exception=self._refuse(refusal)))
        with self._lock:
            if call.name in self.to_run:
                self.ran += 1
                self._speak_for(call)
                return wrapped
            found = self._find(call)
            if isinstance(found, ReplayError):
                if self.mode == "fill":
                    self.ran += 1
                    return wrapped
                return build_stand_in(shape, self._vain(found))
            recorded, number = found
            promise = promise_of(wrapped)
            if promise.problem is not None:
                self._note(f"{recorded.tool}: {promise.problem}")

            def note(text: str) -> None:
                self._note(f"{recorded.tool}: {text}")

            answer = build_answer(
                recorded,
                number,
                make_value=lambda value: rebuild(value, promise.result, note),
                make_item=lambda value: rebuild(value, promise.item, note),
                make_error=lambda error: build_exception(error, note),
                refuse=self._refuse,
                is_stream=shape.endswith("generator"),
            )
            answer.turnstile = self._turnstile
            if number >= len(recorded.attempts):
                answer.ended = recorded.ended
            if not isinstance(call, Attempt):
                answer.attempts = [
                    (build_exception(one, note), one.get("by"), one.get("wait_ms"))
                    for one in recorded.attempts
                    if not one.get("rejected")
                ]
            self.replayed += 1
            error, is_returned = find_end(recorded, number)
            hook, exception = self.before_raise, answer.exception
            if hook is not None and exception is not None and error is not None and not is_returned:
                answer.before_raise = functools.partial(hook, error, exception)
        return build_stand_in(shape, answer)

    def outer(self, call: Operation | None, name: str, arguments: Any) -> Outcome | None:
        """
        Give how the recorded call of a tool that is not ours ended; None lets it run.

        Raises:
            ReplayError: Nothing like it was recorded, or it cannot be given back, in strict mode.
        """
        with self._lock:
            if name in self.to_run:
                self.ran += 1
                return None
            place = call if call is not None else CURRENT.get()
            if call is not None and call.kind == "tool":
                found = self._find(call, self._encode(arguments))
            else:
                live, inside = self._live.of_place(place)
                found = self._take(live, Ask("call", name, inside, self._redact(self._encode(arguments))))
            if isinstance(found, ReplayError):
                if self.mode == "fill":
                    self.ran += 1
                    return None
                raise self._refuse(found)
            recorded, number = found
            self.replayed += 1
            error, is_returned = find_end(recorded, number)
            exception = None
            if error is not None and not is_returned:
                exception = build_exception(error, lambda text: self._note(f"{name}: {text}"))
            return Outcome(
                output=recorded.output,
                is_error=error is not None or recorded.status == "error",
                exception=exception,
                error=error,
                members=recorded.members,
                status=recorded.status,
            )

    def turn(
        self, operation: Operation | None, model: str, provider: str | None, input: Any, params: Any
    ) -> RecordedTurn | None:
        """
        Give what a model answered when it was asked this; None lets the request leave.

        The turn is that of the same agent and model with the same chat; else, where a chat differs only
        in its words, the next turn of that agent and model, which is noted.

        Raises:
            ReplayError: Nothing like it was recorded, or it cannot be given back, in strict mode.
        """
        with self._lock:
            place = operation if operation is not None else CURRENT.get()
            live, inside = self._live.of_place(place)
            value = self._redact(self._encode(input))
            ask = Ask("turn", str(model), inside, value)
            found = self._siblings.take(live, ask)
            refusal: ReplayError | None = None
            if not isinstance(found, RecordedModelTurn):
                refusal = refuse_unrecorded(self._siblings, live, ask)
            elif (gap := find_turn_gap(found) or _find_break(found.status)) is not None:
                refusal = refuse_gap(live, f"a turn of {model}", gap)
            if refusal is not None:
                if self.mode == "fill":
                    self.ran += 1
                    return None
                raise self._refuse(refusal)
            assert isinstance(found, RecordedModelTurn), "else it is refused"
            if found.input != value and found.input is not None:
                where = "/".join(live.path)
                self._note(f"{where}: a turn of {model} was given by its place: its chat differs")
            self.replayed += 1
            return self._build_turn(found)

    def _build_turn(self, found: RecordedModelTurn) -> RecordedTurn:
        exception = None
        if found.status == "error" and found.error is not None:
            exception = build_exception(found.error, lambda text: self._note(f"{found.model}: {text}"))
        payload = found.payload
        return RecordedTurn(
            model=found.answered_by or found.model,
            output=payload.get("output"),
            finish_reason=payload.get("finish_reason"),
            response_id=payload.get("response_id"),
            usage=payload.get("usage"),
            counts=dict(found.counts),
            deltas=tuple(found.deltas),
            attempts=tuple(found.attempts),
            error=found.error,
            exception=exception,
            status=found.status,
            provider=found.provider,
            payload=payload,
        )

    def tool_names(self) -> Collection[str] | None:
        """Name the tools that were recorded; None where a call that was not may run."""
        if self.mode == "fill" or self.to_run:
            return None
        return {call.tool for run in self.cassette.runs for call in run.calls}

    # ------------------------------------------------------------------ afterwards

    def unused(self) -> list[str]:
        """Name what was recorded and never asked for, ``lead/search: fetch(url="…")``."""
        with self._lock:
            return [
                f"{run.title}: {_render(one)}"
                for run, one in self._siblings.unused()
                if not one.inside and not run.inside
            ]

    # ------------------------------------------------------------------ finding

    def _find(
        self, call: Operation, arguments: bytes | None = None
    ) -> tuple[RecordedCall, int] | ReplayError:
        """Find the recorded call that *call* is, and the how-manieth attempt at it; or say why not."""
        real = call.stands_for or call
        while real.stands_for is not None:
            real = real.stands_for
        state = real.__dict__.get("replayed")
        live, inside = self._live.of(real)
        if state is None:
            given = arguments if arguments is not None else _arguments_of(call, real)
            found = self._take(live, Ask("call", real.name, inside, self._redact(given)))
            if isinstance(found, ReplayError):
                return found
            state = real.__dict__["replayed"] = [found[0], 0]
        recorded, number = state
        state[1] += 1
        if state[1] == 1 and (gap := find_call_gap(recorded) or _find_break(recorded.status)) is not None:
            return refuse_gap(live, render_call(recorded), gap)  # a tool scope had spoken for it
        if not isinstance(call, Attempt):
            return recorded, len(recorded.attempts)  # who retries inside the tool is given back with it
        if number > len(recorded.attempts):
            times = len(recorded.attempts) + 1
            return refuse_gap(live, render_call(recorded), f"it was tried {times} times, and is tried again")
        return recorded, number

    def _take(self, live: Live, ask: Ask) -> tuple[RecordedCall, int] | ReplayError:
        found = self._siblings.take(live, ask)
        if not isinstance(found, RecordedCall):
            return refuse_unrecorded(self._siblings, live, ask)
        gap = find_call_gap(found) or _find_break(found.status)
        if gap is None and self.mode == "fill":
            gap = find_stream_gap(found)
        if gap is not None:
            return refuse_gap(live, render_call(found), gap)
        return found, len(found.attempts)

    def _speak_for(self, call: Operation) -> None:
        """Count what is recorded of a call that runs as asked for, so that it is not found unused."""
        real = call.stands_for or call
        if "replayed" not in real.__dict__:
            live, inside = self._live.of(real)
            given = _arguments_of(call, real)
            found = self._siblings.take(live, Ask("call", real.name, inside, self._redact(given)))
            real.__dict__["replayed"] = [found, 0]

    def _encode(self, value: Any) -> bytes:
        from agenttrace.capture.emit import encode_value

        return encode_value(value)

    def _redact(self, encoded: bytes) -> Any:
        """Give encoded data as it would stand in the record."""
        redacted = self._rules.redact_payload(b'{"arguments":' + (encoded or b"null") + b"}")
        data = codec.loads(redacted)
        return data.get("arguments", data)

    def _vain(self, refusal: ReplayError) -> Answer:
        self._refuse(refusal)
        return Answer(exception=refusal)

    def _refuse(self, refusal: ReplayError) -> ReplayError:
        self.refusals.append(refusal)
        return refusal

    def _note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < _NOTES_LIMIT_COUNT:
            self.notes.append(text)


def _render(one: RecordedCall | RecordedModelTurn) -> str:
    return render_call(one) if isinstance(one, RecordedCall) else f"a turn of {one.model}"


def _arguments_of(call: Operation, real: Operation) -> bytes:
    return real.payload or call.payload or real.joined_arguments or b"null"


def _find_break(status: str) -> str | None:
    """Say why an operation that did not end has nothing to give."""
    if status == "interrupted":
        return "the recorded run ends here: its process ended while this went on"
    if status == "open":
        return "the recorded run ends here: nothing tells how this ended"
    return None
