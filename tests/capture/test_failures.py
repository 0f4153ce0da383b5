"""Which failure is this: one exception is one failure, however many operations it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from typing import Any

import pytest

from agenttrace import agent_scope, record_exception, suppressed, tool_scope, traced_tool
from agenttrace.capture.failures import build_error, error_id_of
from tests.capture.conftest import Published


class Boom(Exception):
    pass


@traced_tool
def fail(exc: BaseException) -> None:
    raise exc


@traced_tool
def outer(exc: BaseException) -> None:
    fail(exc)


class TestIdentity:
    """The design's "Errors"."""

    def test_three_nested_operations(self, published: Published) -> None:
        """One error row, by the innermost; all three close with its id."""
        with pytest.raises(Boom), agent_scope("a"):
            outer(Boom("x"))
        (error,) = published("error")
        assert error.tool_name == "fail" and error.span_id == published("tool_call")[1].span_id
        ends = published("tool_result") + published("agent_end")
        assert [end.error_id for end in ends] == [error.error_id] * 3
        assert {(end.status, end.error_type) for end in ends} == {("error", "Boom")}

    def test_cause(self, published: Published) -> None:
        """``raise X from e`` is a failure of its own that names the recorded cause."""

        @traced_tool
        def wrap() -> None:
            try:
                fail(Boom("low"))
            except Boom as exc:
                raise RuntimeError("high") from exc

        with pytest.raises(RuntimeError):
            wrap()
        low, high = published("error")
        assert high.cause_error_id == low.error_id != high.error_id
        assert high.payload["error"]["cause"]["message"] == "low"

    def test_cause_that_left_no_operation(self, published: Published) -> None:
        """A cause without a row stands in the payload alone."""

        @traced_tool
        def wrap() -> None:
            try:
                raise KeyError("k")
            except KeyError as exc:
                raise RuntimeError("high") from exc

        with pytest.raises(RuntimeError):
            wrap()
        (error,) = published("error")
        assert not hasattr(error, "cause_error_id")
        assert error.payload["error"]["cause"]["type"] == "KeyError"

    def test_group_leaves(self, published: Published) -> None:
        """A group names its leaves, with the ids of those that have rows."""

        async def main() -> None:
            async with agent_scope("a"), asyncio.TaskGroup() as group:
                group.create_task(asyncio.to_thread(fail, Boom("one")))

        with pytest.raises(ExceptionGroup):
            asyncio.run(main())
        first, group = published("error")
        (leaf,) = group.payload["error"]["leaves"]
        assert (leaf["type"], leaf["message"], leaf["error_id"]) == ("Boom", "one", first.error_id)
        assert published("agent_end")[0].error_id == group.error_id

    def test_same_object_elsewhere(self, published: Published) -> None:
        """The same object leaving an operation that does not enclose the first is a new row, one failure."""
        error = Boom("shared")
        with agent_scope("a"):
            for _ in range(2):
                with contextlib.suppress(Boom), tool_scope("t"):
                    raise error
        first, second = published("error")
        assert first.span_id != second.span_id and first.error_id == second.error_id

    def test_identity_passes_through_pickling(self, published: Published) -> None:
        """A failure from another process is the same failure here, in the operation that encloses it."""
        with pytest.raises(Boom), agent_scope("a"):
            try:
                fail(Boom("far"))
            except Boom as exc:
                raise pickle.loads(pickle.dumps(exc)) from None
        assert len(published("error")) == 1

    def test_frames(self, published: Published) -> None:
        """Frames stand outermost first, without those of the tracer."""
        with pytest.raises(Boom):
            outer(Boom("x"))
        frames = published("error")[0].payload["error"]["frames"]
        assert [frame["function"] for frame in frames] == ["fail"]
        assert frames[0]["file"] == __file__ and frames[0]["line"] > 0

    def test_frames_of_arguments_that_do_not_fit(self, published: Published) -> None:
        """The call itself raises, above every line of the tool: the line that made it is named."""

        @traced_tool
        def narrow(at: str) -> None:
            pass

        with agent_scope("a"), pytest.raises(TypeError):
            narrow(where="x")  # type: ignore[call-arg]
        (error,) = published("error")
        (frame,) = error.payload["error"]["frames"]
        assert frame["file"] == __file__
        assert frame["function"].endswith("test_frames_of_arguments_that_do_not_fit")

    def test_frames_of_a_deep_recursion_are_bounded(self) -> None:
        """At most fifty frames, the first and the last."""

        def down(depth: int) -> None:
            if depth == 0:
                raise Boom("deep")
            down(depth - 1)

        with pytest.raises(Boom) as caught:
            down(500)
        frames = build_error(caught.value)["frames"]
        assert len(frames) <= 50 and frames[0]["function"].startswith("TestIdentity.test_frames")

    @pytest.mark.parametrize("where", ["str", "repr", "dict", "slots"])
    def test_hostile_exception(self, where: str, published: Published) -> None:
        """An exception that breaks when it is looked at is recorded all the same."""

        class Hostile(Exception):
            if where == "slots":
                __slots__ = ("x",)

            def __str__(self) -> str:
                if where == "str":
                    raise RuntimeError("no text")
                return "text"

            def __repr__(self) -> str:
                raise RuntimeError("no repr")

            def __getattribute__(self, name: str) -> Any:
                if where == "dict" and name in ("__dict__", "args"):
                    raise RuntimeError("no attribute")
                return super().__getattribute__(name)

        error = Hostile("x")
        with pytest.raises(Hostile) as caught:
            fail(error)
        assert caught.value is error
        assert published("error")[0].error_type == "Hostile"

    def test_long_message(self, published: Published) -> None:
        """A message of any size is bounded on the caller's thread."""
        with pytest.raises(Boom):
            fail(Boom("x" * 10_000_000))
        with pytest.raises(Boom):
            fail(Boom(["y" * 1000] * 10_000))
        assert max(len(body) for body in published.bodies) < 400_000

    def test_cyclic_chain(self) -> None:
        """Causes in a circle end."""
        one, two = Boom("one"), Boom("two")
        one.__cause__, two.__cause__ = two, one
        assert build_error(one)["cause"]["message"] == "two"


class TestHandled:
    """Exceptions that the program says it caught."""

    def test_record_exception(self, published: Published) -> None:
        """One handled error row, with the place that handled it."""
        with agent_scope("a"):
            try:
                raise Boom("caught")
            except Boom as exc:
                record_exception(exc)
        (error,) = published("error")
        assert error.payload["handled"] is True
        assert error.payload["handled_at"]["file"] == __file__
        assert error.payload["handled_at"]["function"].endswith("test_record_exception")
        assert published("agent_end")[0].status == "ok"

    def test_record_exception_of_a_failure_with_a_row(self, published: Published) -> None:
        """A failure that left a tool gets a ``handled`` event, no second error."""
        with agent_scope("a"):
            try:
                fail(Boom("x"))
            except Boom as exc:
                record_exception(exc)
        (error,), (handled,) = published("error"), published("handled")
        assert handled.error_id == error.error_id
        assert handled.payload["handled_at"]["line"] > 0

    def test_suppressed(self, published: Published) -> None:
        """``suppressed`` suppresses what contextlib's does, and records it."""
        with agent_scope("a"):
            with suppressed(KeyError, Boom):
                raise Boom("gone")
            with pytest.raises(ValueError), suppressed(Boom):
                raise ValueError("passes")
            with suppressed(Boom):
                pass
        (error,) = published("error")
        assert error.error_type == "Boom" and error.payload["handled"] is True
        assert error.payload["handled_at"]["function"].endswith("test_suppressed")

    def test_suppressed_off(self) -> None:
        """With tracing off it is ``contextlib.suppress``."""
        with suppressed(Boom):
            raise Boom("gone")

    def test_recorded_then_raised(self, published: Published) -> None:
        """An exception recorded as passing on is no second failure when it leaves."""
        with pytest.raises(Boom), agent_scope("a"):
            try:
                raise Boom("x")
            except Boom as exc:
                record_exception(exc, handled=False)
                raise
        (error,) = published("error")
        assert published("agent_end")[0].error_id == error.error_id

    def test_nothing_when_off(self) -> None:
        """With tracing off an exception gets no mark."""
        error = Boom("x")
        record_exception(error)
        with pytest.raises(Boom):
            fail(error)
        assert error_id_of(error) is None
