"""
A tool call as a framework makes it: around its checks of name and arguments, and around the tool.

Invariants: the traced function inside is that same call, not a second one, and says what it is
called and which arguments are kept; a call that one framework makes through another is one call;
the first failure inside is the failure of the call, whatever a framework makes of it afterwards.
Nothing here raises into the program.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agenttrace.capture import context
from agenttrace.capture.calls import ToolTracer, close_call, open_call
from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Agent, Operation
from agenttrace.capture.decorator import tracer_of
from agenttrace.capture.detectors import detect_failure, type_of_returned
from agenttrace.capture.emit import emit, encode_value, object_of
from agenttrace.capture.failures import build_error, emit_returned_failure, record_failure, status_of
from agenttrace.capture.marks import error_id_of, mark_of, remember
from agenttrace.capture.scope_calls import ground_of, join_scope, leave_tool_scope
from agenttrace.errors import ReplayError, contain, contained
from agenttrace.events import new_id

if TYPE_CHECKING:
    from agenttrace.capture.substitution import Outcome

__all__ = ["OuterCall", "innermost_call"]

_NOT_SET: Any = object()
_NOT_KEPT = b'{"$agenttrace":"redacted","rule":"argument"}'
_ENDINGS = {
    "cancelled": "was cancelled",
    "stopped_early": "paused its run, as an interrupt or a request for approval does",
}
"""How a call ends that gave nothing and raised nothing that was kept."""
_WITHOUT_WORDS = "(not kept: it may repeat arguments that are redacted)"


class OuterCall:
    """
    One call, for ``with``; does nothing while tracing is off.

    Entered right inside another one of the same name, or inside a ``tool_scope``, it is that same
    call: what is said of it is said of the other, and a failure that it tells of stays one, also where
    the other framework makes a plain text of it.

    Args:
        name: As the model calls the tool.
        arguments: As the model sent them.
        call_id: The provider's id of the call.
        function: What the framework will call, if it is known; else a traced function of this name
            that runs right inside is taken for it.
        parent: Where the call belongs, if not where the program stands.
        unwrap: Gives the exception to record for one that leaves the call.
        joins_often: Every call of this name right inside is this one, and not only the first.
    """

    def __init__(
        self,
        name: str,
        arguments: Any,
        *,
        call_id: str | None = None,
        function: Any = None,
        parent: Operation | None = None,
        unwrap: Callable[[BaseException], BaseException] | None = None,
        joins_often: bool = False,
    ) -> None:
        self.name = name
        self.error_id: str | None = None
        """Of the failure that it ended with."""
        self.error_type: str | None = None
        self._arguments = arguments
        self._call_id = call_id
        self._function = function
        self._parent = parent
        self._unwrap = unwrap
        self._joins_often = joins_often
        self._around: OuterCall | None = None
        self._call: Operation | None = None
        self._scope: Operation | None = None
        """The ``tool_scope`` of the same name that this call is."""
        self._previous: Operation | None = None
        self._is_entered = False
        self._is_hiding = False
        self._result: Any = _NOT_SET
        self._output: bytes | None = None
        self._is_error: bool | None = None
        self._detector = "set_result"
        self._members: dict[str, bytes] = {}

    @property
    def operation(self) -> Operation | None:
        """The call's operation, where what runs inside stands; None while tracing is off."""
        return self._call if self._around is None else self._around.operation

    @property
    def is_joined(self) -> bool:
        """Whether it is one with the call around it."""
        return self._around is not None

    def __enter__(self) -> Self:
        if SWITCH:
            try:
                self._open()
            except Exception as exc:
                contain("capture.outer_call", exc)
        return self

    def _open(self) -> None:
        self._previous = CURRENT.get()
        around = innermost_call(self._previous)
        if around is not None and around.name == self.name and not around._is_entered:
            around._is_entered = not around._joins_often
            self._around = around
            return
        parent = self._parent or ground_of(self._previous)
        tracer = None if self._function is None else tracer_of(self._function)
        name, arguments = self.name, encode_value(self._arguments)
        if isinstance(tracer, ToolTracer):
            name = tracer.name
            if tracer.plan is None or not tracer.plan.keeps_all:
                arguments = b"null"  # the function's own decorator says what is kept of them
                self._is_hiding = True
        if around is None and parent.kind == "tool" and parent.merges and parent.name == self.name:
            self._scope = parent
            call = join_scope(parent, arguments)
        else:
            call = open_call(parent, name, encode_value(name).decode(), arguments, self._call_id)
        if arguments == b"null":
            call.payload = b""
        call.merges = tracer is not None or self._function is None
        call.__dict__["outer"] = self
        self._call = call
        CURRENT.set(call)

    def ask(self) -> Outcome | None:
        """
        Give how the recorded call ended, in a replay; None where what is called is to run.

        A traced function inside is asked for itself, where it would run.

        Raises:
            ReplayError: Nothing like it was recorded, and nothing may run.
        """
        kept, substitute = self._kept(), PIPE.substitute
        if substitute is None or kept._call is None or tracer_of(kept._function) is not None:
            return None
        outcome = substitute.outer(kept._call, kept.name, kept._arguments)
        if outcome is not None and outcome.exception is None and outcome.status in _ENDINGS:
            raise ReplayError(
                f"the recorded call of {kept.name} {_ENDINGS[outcome.status]}, which cannot be given again: "
                f"name the tool in run= (--run {kept.name}) to let it run."
            )
        return outcome

    def fail_inside(self, exc: BaseException) -> None:
        """Note that *exc* left the tool, and that the framework makes something of it for the model."""
        kept = self._kept()
        call = kept._call
        with contained("capture.outer_call"):
            if call is None or call.agent is None:
                return
            made, unwrap = exc, self._unwrap or kept._unwrap
            if unwrap is not None and mark_of(exc) is None:
                exc = unwrap(exc)
            if status_of(exc) != "error":
                return
            if call.error_id is None:  # also where the function inside was cancelled, as at a timeout
                if kept._may_repeat_arguments(call):
                    call.error_id = _emit_without_words(call, call.agent, exc)
                else:
                    call.error_id = record_failure(call, exc, call.agent)
                call.error_type = type(exc).__name__
                call.joined_failed = True
            for other in (exc, made):
                if mark_of(other) is None and call.error_id is not None:
                    remember(other, call.error_id, call.span_chain())  # the same failure, in other words

    def take_failure(self, error_id: str, error_type: str) -> None:
        """Take a failure that another process has written as the call's own."""
        call = self._kept()._call
        if call is not None and call.error_id is None:
            call.error_id, call.error_type, call.joined_failed = error_id, error_type, True

    def set_result(
        self, value: Any, *, is_error: bool | None = None, detector: str = "set_result", failure: Any = None
    ) -> None:
        """
        Keep what the framework makes of the call.

        Args:
            value: What it hands on.
            is_error: Whether it stands for a failure; None looks at *value*.
            detector: What told so.
            failure: What says why, if that is not *value* itself.
        """
        kept = self._kept()
        with contained("capture.set_result"):
            call = kept._call
            if call is None:
                return
            kept._output = encode_value(value)
            kept._result = value if failure is None else failure
            kept._is_error, kept._detector = is_error, detector
            if kept is not self and is_error:
                kept._fail_with_result(call)

    def add_member(self, name: str, value: Any) -> None:
        """Put *value* beside the output, as member *name* of the result's payload; the last one stays."""
        kept = self._kept()
        with contained("capture.set_result"):
            if kept._call is not None:
                kept._members[name] = encode_value(value)

    def _kept(self) -> OuterCall:
        """Give the call that this one is."""
        return self if self._around is None else self._around._kept()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        call = self._call
        if call is None:
            if self._around is not None and isinstance(exc, Exception):
                self.fail_inside(exc)
            return
        try:
            context.leave_scope(call, self._previous)
            self._close(call, exc)
        except Exception as failure:
            contain("capture.outer_call", failure)

    def _may_repeat_arguments(self, call: Operation) -> bool:
        """Tell whether the function, which hides some of its arguments, was not reached."""
        return self._is_hiding and call.merges

    def _close(self, call: Operation, exc: BaseException | None) -> None:
        status = "ok" if exc is None else status_of(exc)
        if exc is not None and status == "error":
            self.fail_inside(exc)
        elif exc is None:
            status = self._judge(call)
        if status == "error":
            self.error_id, self.error_type = call.error_id, call.error_type
        elif exc is not None:
            self.error_type = None if status == "stopped_early" else type(exc).__name__
        # The function's own decorator says what is kept of its result.
        output = call.joined_output or self._output or b"null"
        if status == "error" and self._may_repeat_arguments(call):
            output = _NOT_KEPT
        if self._scope is not None:
            leave_tool_scope(self._scope, call, status, output)
            return
        payload = object_of(
            is_error=b"true" if status == "error" else b"false",
            output=output,
            arguments=call.joined_arguments,
            **self._members,
        )
        close_call(call, status, payload, error_id=self.error_id, error_type=self.error_type)

    def _judge(self, call: Operation) -> str:
        """Tell how a call ended that nothing left."""
        if self._is_error is False:
            return "ok"
        if call.error_id is not None:
            return "error"
        if self._is_error is None and call.joined_output is None and self._result is not _NOT_SET:
            detected = detect_failure(self._result)
            self._is_error, self._detector = detected is not None, detected or ""
        if self._is_error:
            self._fail_with_result(call)
        return "error" if self._is_error else "ok"

    def _fail_with_result(self, call: Operation) -> None:
        if call.agent is not None and call.error_id is None:
            value = None if self._result is _NOT_SET else self._result
            if self._may_repeat_arguments(call):
                value = _WITHOUT_WORDS
            call.error_id = emit_returned_failure(call, call.agent, value, self._detector)
            call.error_type = type_of_returned(value)
            call.joined_failed = True


def _emit_without_words(call: Operation, agent: Agent, exc: BaseException) -> str:
    """Write the ``error`` row of an exception whose message may repeat what must not be kept."""
    error_id = error_id_of(exc) or new_id()
    remember(exc, error_id, call.span_chain())
    described = {**build_error(exc), "message": _WITHOUT_WORDS}
    kept = {name: value for name, value in described.items() if name not in ("cause", "leaves", "notes")}
    emit(
        "error",
        agent,
        object_of(error=encode_value(kept)),
        span_id=call.span_id,
        parent_span_id=call.parent_span_id,
        tool_name=call.name,
        error_id=error_id,
        error_type=type(exc).__name__,
    )
    return error_id


def innermost_call(operation: Operation | None = None) -> OuterCall | None:
    """Give the call that *operation*, or else the place where the program stands, is; None for another."""
    operation = operation if operation is not None else CURRENT.get()
    found = None if operation is None else operation.__dict__.get("outer")
    return found if isinstance(found, OuterCall) else None
