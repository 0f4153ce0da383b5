"""A tool call as a framework makes it."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from agenttrace import agent_scope, tool_scope, traced_tool
from agenttrace.capture.context import CURRENT, SWITCH
from agenttrace.capture.outer_calls import OuterCall, innermost_call
from tests.capture.conftest import Published


@traced_tool(name="divide")
def divide(a: int, b: int) -> float:
    return a / b


@traced_tool(name="charge", redact=["key"])
def charge(amount: int, key: str) -> int:
    if amount < 0:
        raise ValueError(f"cannot charge {amount}")
    return 2 * amount


class Told(Exception):
    """What a framework makes of another exception."""


def unwrap(exc: BaseException) -> BaseException:
    """Give what a ``Told`` was made of."""
    return exc.__cause__ if isinstance(exc, Told) and exc.__cause__ is not None else exc


def ends(published: Published) -> list[tuple[Any, ...]]:
    """Give ``(tool, status, error type, output)`` of each call, as they ended."""
    return [
        (one.tool_name, one.status, one.error_type, one.payload["output"]) for one in published("tool_result")
    ]


class TestOneCall:
    """Framework and function are one call."""

    @pytest.mark.parametrize("function", [divide, None], ids=["known", "unknown"])
    def test_with_the_traced_function_inside(self, published: Published, function: Any) -> None:
        """The function's own value and failure are the call's, whatever the framework hands on."""
        with agent_scope("a"):
            with OuterCall("divide", {"a": 1, "b": 4}, call_id="c1", function=function) as call:
                call.set_result(f"the answer is {divide(1, 4)}")
            with OuterCall("divide", {"a": 1, "b": 0}, call_id="c2", function=function) as call:
                with pytest.raises(ZeroDivisionError):
                    divide(1, 0)
                call.set_result("that went wrong")
        assert [one.call_id for one in published("tool_call")] == ["c1", "c2"]
        assert ends(published) == [
            ("divide", "ok", None, 0.25),
            ("divide", "error", "ZeroDivisionError", "that went wrong"),
        ]
        assert [one.error_type for one in published("error")] == ["ZeroDivisionError"]

    def test_under_the_name_of_the_decorator(self, published: Published) -> None:
        """A framework may know it by another name; the second time that the function runs is its own call."""
        with agent_scope("a"), OuterCall("div", {"a": 1, "b": 2}, function=divide):
            divide(1, 2)
            divide(3, 4)
        assert [(name, out) for name, _, _, out in ends(published)] == [("divide", 0.75), ("divide", 0.5)]

    def test_within_another_framework_s(self, published: Published) -> None:
        """A call that one framework makes through another is one; a recursion is not."""
        with agent_scope("a"), OuterCall("f", {"n": 1}, call_id="c1") as outer:
            with OuterCall("f", {"n": 1}) as inner:
                inner.set_result("raw")
                assert inner.is_joined and inner.operation is outer.operation
            with OuterCall("f", {"n": 2}):
                pass
            outer.set_result("made of it")
        assert [one.payload["arguments"] for one in published("tool_call")] == [{"n": 1}, {"n": 2}]
        assert ends(published)[-1] == ("f", "ok", None, "made of it")

    def test_of_several_rounds(self, published: Published) -> None:
        """With joins_often every call of that name inside is it."""
        with agent_scope("a"), OuterCall("f", {}, joins_often=True):
            for _ in range(3):
                with OuterCall("f", {}):
                    pass
        assert len(published("tool_call")) == 1

    @pytest.mark.parametrize("reports", [False, True])
    def test_within_a_tool_scope(self, published: Published, reports: bool) -> None:
        """A dispatcher's scope of that name is the call, which ends by itself, with one failure."""
        with agent_scope("a"), tool_scope("f", call_id="c1") as scope:
            with OuterCall("f", {"n": 1}) as call:
                call.set_result("no", is_error=True, detector="isError")
            if reports:
                scope.set_result("it said no", is_error=True)
        (end,) = published("tool_result")
        assert (end.call_id, end.status) == ("c1", "error")
        assert end.payload["arguments"] == {"n": 1}
        (error,) = published("error")
        assert end.error_id == error.error_id
        assert error.payload["error"]["message"] == "no"

    def test_elsewhere_is_its_own(self, published: Published) -> None:
        """In a scope of another name, or with an agent between, it is a call in a call."""
        with agent_scope("a"), tool_scope("g"), OuterCall("f", {}), agent_scope("b"), OuterCall("f", {}):
            pass
        names = [one.tool_name for one in published("tool_call")]
        assert names == ["g", "f", "f"]


class TestFailure:
    """The first failure inside is the call's."""

    def test_is_what_the_framework_s_exception_was_made_of(self, published: Published) -> None:
        """The wrapper is the same failure, also where it is logged or leaves further calls."""
        with agent_scope("a"), pytest.raises(Told) as caught, OuterCall("outer", {}):
            with OuterCall("f", {}, unwrap=unwrap):
                try:
                    raise LookupError("no such word")
                except LookupError as exc:
                    raise Told("it failed") from exc
        assert isinstance(caught.value.__cause__, LookupError)
        (error,) = published("error")
        assert error.error_type == "LookupError"
        assert {(one.tool_name, one.error_id) for one in published("tool_result")} == {
            ("f", error.error_id),
            ("outer", error.error_id),
        }

    def test_stays_whatever_is_made_of_it(self, published: Published) -> None:
        """A failure that one framework saw is one, if the other makes a text or an exception of it."""
        with agent_scope("a"):
            with OuterCall("f", {}) as outer:
                with OuterCall("f", {}) as inner:
                    inner.set_result({"isError": True}, is_error=True, detector="isError", failure="no luck")
                outer.set_result("The tool said: no luck")
            with pytest.raises(Told), OuterCall("g", {}):
                with OuterCall("g", {}) as inner:
                    inner.set_result("no", is_error=True, detector="isError")
                raise Told("try again")
        assert [(one.tool_name, one.error_type) for one in published("error")] == [
            ("f", "ReturnedFailure"),
            ("g", "ReturnedFailure"),
        ]
        assert [one[1] for one in ends(published)] == ["error", "error"]

    def test_is_told_by_who_says_that_there_is_none(self, published: Published) -> None:
        """is_error=False is the last word; but an exception that leaves the call is not to be denied."""
        with agent_scope("a"):
            with OuterCall("f", {}) as call:
                call.set_result({"error": "only a word"}, is_error=False)
            with pytest.raises(KeyError), OuterCall("f", {}) as call:
                call.set_result("fine", is_error=False)
                raise KeyError("after all")
        assert [one[:3] for one in ends(published)] == [("f", "ok", None), ("f", "error", "KeyError")]
        assert [one.error_type for one in published("error")] == ["KeyError"]

    def test_of_another_process_needs_no_row(self, published: Published) -> None:
        """A failure that is written already closes the call, and is written once."""
        with agent_scope("a"), OuterCall("f", {}) as call:
            call.take_failure("0123456789abcdef", "LookupError")
            call.set_result("no", is_error=True, detector="isError")
        (end,) = published("tool_result")
        assert (end.status, end.error_id, end.error_type) == ("error", "0123456789abcdef", "LookupError")
        assert published("error") == []

    def test_after_a_cancellation_inside_is_the_framework_s(self, published: Published) -> None:
        """A function that ran out of time was cancelled; that it did is the framework's to say."""

        @traced_tool
        async def wait() -> None:
            await asyncio.Event().wait()

        async def go() -> None:
            with OuterCall("wait", {}) as call:
                task = asyncio.ensure_future(wait())
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                call.set_result("timed out", is_error=True)

        with agent_scope("a"):
            asyncio.run(go())
        (error,) = published("error")
        assert error.payload["error"]["message"] == "timed out"
        assert ends(published) == [("wait", "error", "ReturnedFailure", "timed out")]

    @pytest.mark.parametrize(
        ("exc", "status"),
        [
            (KeyboardInterrupt(), "cancelled"),
            (asyncio.CancelledError(), "cancelled"),
            (GeneratorExit(), "stopped_early"),
        ],
    )
    def test_is_no_end_of_the_program(self, published: Published, exc: BaseException, status: str) -> None:
        """What ends a program or a task is no failure."""
        with agent_scope("a"):
            call = OuterCall("f", {})
            call.__enter__()
            call.__exit__(type(exc), exc, None)
        assert [one[1] for one in ends(published)] == [status]
        assert published("error") == []


class TestRedaction:
    """Arguments that the function's decorator hides."""

    def test_holds_for_the_framework_s_call(self, published: Published) -> None:
        """What the framework was sent is not kept; the function says what is."""
        with agent_scope("a"), OuterCall("charge", {"amount": 2, "key": "hidden"}, function=charge):
            charge(2, "hidden")
        with agent_scope("a"), pytest.raises(ValueError), OuterCall("charge", {}, function=charge):
            charge(-2, "hidden")
        assert not any(b"hidden" in body for body in published.bodies)
        assert [one.payload["error"]["message"] for one in published("error")] == ["cannot charge -2"]

    @pytest.mark.parametrize("way", ["raises", "says"])
    def test_holds_for_what_repeats_them(self, published: Published, way: str) -> None:
        """Where the framework refuses the arguments, its words may repeat them, and are not kept."""
        call = OuterCall("charge", {"key": "hidden"}, function=charge)
        with agent_scope("a"):
            call.__enter__()
            if way == "raises":
                exc = ValueError("key: 'hidden' is too short")
                exc.__cause__ = TypeError("hidden")
                call.__exit__(ValueError, exc, None)
            else:
                call.set_result("key: 'hidden' is too short", is_error=True)
                call.__exit__(None, None, None)
        assert not any(b"hidden" in body for body in published.bodies)
        (error,), (end,) = published("error"), published("tool_result")
        assert error.error_id == end.error_id
        assert end.status == "error"


class TestWithoutTracing:
    """Tracing that is off, or that fails."""

    def test_does_nothing(self, published: Published) -> None:
        """Off, everything can be said, and nothing is recorded."""
        SWITCH.clear()
        with OuterCall("f", {"a": object()}) as call:
            assert innermost_call() is None
            call.set_result(1)
            call.add_member("progress", 1)
            call.fail_inside(ValueError())
            call.take_failure("0" * 16, "E")
        assert published.bodies == []
        assert CURRENT.get() is None

    def test_leaves_the_place_as_it_was(self, published: Published) -> None:
        """Whatever happens inside, the program stands where it stood."""
        with agent_scope("a"):
            before = CURRENT.get()
            for fails, joined in itertools.product([False, True], repeat=2):
                try:
                    with OuterCall("f", {}), OuterCall("f" if joined else "g", {}):
                        if fails:
                            raise KeyError("x")
                except KeyError:
                    pass
                assert CURRENT.get() is before

    def test_keeps_members_beside_the_output(self, published: Published) -> None:
        """The last value of a name stays."""
        with agent_scope("a"), OuterCall("f", {}) as call:
            call.add_member("progress", {"count": 1})
            call.add_member("progress", {"count": 2})
        (end,) = published("tool_result")
        assert end.payload == {"is_error": False, "output": None, "progress": {"count": 2}}
