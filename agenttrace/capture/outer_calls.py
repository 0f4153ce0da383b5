"""
A tool call as a framework makes it: around its checks of name and arguments, and around the tool.

Invariants: the traced function inside is that same call, not a second one, and says what it is
called and which arguments are kept; a call that one framework makes through another is one call; a
failure that left the function inside is the failure of the call, whatever the framework makes of
it. Nothing here raises into the program.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from agenttrace.capture import context
from agenttrace.capture.calls import ToolTracer, close_call, open_call
from agenttrace.capture.context import CURRENT, SWITCH, Operation
from agenttrace.capture.decorator import tracer_of
from agenttrace.capture.detectors import detect_failure, type_of_returned
from agenttrace.capture.emit import announce_agent, encode_value, object_of
from agenttrace.capture.failures import emit_returned_failure, record_failure, status_of
from agenttrace.capture.marks import mark_of, remember
from agenttrace.errors import contain, contained

__all__ = ["OuterCall", "innermost_call"]

_NOT_SET: Any = object()


class OuterCall:
    """
    One call, for ``with``; does nothing while tracing is off.

    Args:
        name: As the model calls the tool.
        arguments: As the model sent them.
        call_id: The provider's id of the call.
        function: What the framework will call, if it is known.
        parent: Where the call belongs, if not where the program stands.
        unwrap: Gives the exception to record for one that leaves the call.
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
    ) -> None:
        self.name = name
        self.error_id: str | None = None
        """Of the failure it ended with."""
        self.error_type: str | None = None
        self._arguments = arguments
        self._call_id = call_id
        self._function = function
        self._parent = parent
        self._unwrap = unwrap
        self._around: OuterCall | None = None
        self._call: Operation | None = None
        self._previous: Operation | None = None
        self._is_entered = False
        self._result: Any = _NOT_SET
        self._output: bytes | None = None
        self._is_error: bool | None = None
        self._detector = "set_result"

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
            around._is_entered = True
            self._around = around
            return
        tracer = None if self._function is None else tracer_of(self._function)
        name, arguments = self.name, encode_value(self._arguments)
        parent = self._parent or context.enclosing_agent(announce_agent)
        if isinstance(tracer, ToolTracer):
            name = tracer.name
            if tracer.plan is None or not tracer.plan.keeps_all:
                arguments = b"null"  # the function's own decorator says what is kept of them
        call = open_call(parent, name, encode_value(name).decode(), arguments, self._call_id)
        if arguments == b"null":
            call.payload = b""
        call.merges = tracer is not None
        call.__dict__["outer"] = self
        self._call = call
        CURRENT.set(call)

    def fail_inside(self, exc: BaseException) -> None:
        """Note that *exc* left the tool, and that the framework makes a text for the model of it."""
        if self._around is not None:
            self._around.fail_inside(exc)
            return
        call = self._call
        with contained("capture.outer_call"):
            if call is not None and call.agent is not None and not call.joined_failed:
                made, exc = exc, self._unwrap(exc) if self._unwrap is not None else exc
                if status_of(exc) == "error":
                    call.error_id = record_failure(call, exc, call.agent)
                    call.error_type = type(exc).__name__
                    call.joined_failed = True
                    if made is not exc and mark_of(made) is None:
                        remember(made, call.error_id, call.span_chain())  # the same failure, in other words

    def take_failure(self, error_id: str, error_type: str) -> None:
        """Take a failure that another process has written as the call's own."""
        call = self._around._call if self._around is not None else self._call
        if call is not None and not call.joined_failed:
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
        kept = self._around or self
        with contained("capture.set_result"):
            if kept._call is not None:
                kept._output = encode_value(value)
            kept._result = value if failure is None else failure
            kept._is_error, kept._detector = is_error, detector

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        call = self._call
        if call is None:
            if self._around is not None and isinstance(exc, Exception):
                self._around._unwrap = self._around._unwrap or self._unwrap
                self._around.fail_inside(exc)
            return
        try:
            context.leave_scope(call, self._previous)
            self._close(call, exc)
        except Exception as failure:
            contain("capture.outer_call", failure)

    def _close(self, call: Operation, exc: BaseException | None) -> None:
        agent = call.agent
        assert agent is not None, "a call has an agent"
        status, output = "ok", self._output
        if exc is not None and (status_of(exc) != "error" or not call.joined_failed):
            status = status_of(exc)
            if status == "error":
                self.fail_inside(exc)
            self.error_id, self.error_type = call.error_id, call.error_type or type(exc).__name__
        elif call.joined_failed and self._is_error is not False:
            status = "error"
            self.error_id, self.error_type = call.error_id, call.error_type
        else:
            detected = self._detector if self._is_error else None
            if self._is_error is None and call.joined_output is None and self._result is not _NOT_SET:
                detected = detect_failure(self._result)
            if detected is not None:
                status = "error"
                self.error_id = emit_returned_failure(call, agent, self._result, detected)
                self.error_type = type_of_returned(self._result)
        if (status == "error" and call.joined_failed) or (status == "ok" and call.joined_output is not None):
            output = call.joined_output
        payload = object_of(
            is_error=b"true" if status == "error" else b"false",
            output=output or b"null",
            arguments=call.joined_arguments,
        )
        close_call(call, status, payload, error_id=self.error_id, error_type=self.error_type)


def innermost_call(operation: Operation | None = None) -> OuterCall | None:
    """Give the call that *operation*, or else the place where the program stands, is; None for another."""
    operation = operation if operation is not None else CURRENT.get()
    found = None if operation is None else operation.__dict__.get("outer")
    return found if isinstance(found, OuterCall) else None
