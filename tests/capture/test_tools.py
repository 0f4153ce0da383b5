"""What a traced tool leaves behind."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from agenttrace import agent_scope, current, model_turn, tool_scope, traced_tool
from tests.capture.conftest import Published


@traced_tool
def add(a: int, b: int = 2) -> int:
    return a + b


@traced_tool
def fail(message: str) -> None:
    raise ValueError(message)


class TestCall:
    """S0.7, S0.8, S3.5: one call row before the tool runs, one result row after it."""

    def test_pair(self, published: Published) -> None:
        """Call and result share a span, an agent and a conversation."""
        with agent_scope("lead") as agent:
            assert add(1) == 3
        call, result = published("tool_call")[0], published("tool_result")[0]
        assert call.span_id == result.span_id and len(call.span_id) == 16
        assert (call.tool_name, call.payload) == ("add", {"arguments": {"a": 1}})
        assert (result.status, result.payload) == ("ok", {"is_error": False, "output": 3})
        assert result.duration_ms >= 0
        assert {call.agent_id, result.agent_id} == {agent.agent_id}
        assert call.parent_span_id == published.agent("lead").span_id

    def test_call_is_published_before_the_tool_runs(self, published: Published) -> None:
        """A tool that is killed has its call on record."""
        seen: list[str] = []

        @traced_tool
        def look() -> None:
            seen.extend(published.kinds)

        with agent_scope("lead"):
            look()
        assert seen == ["agent_start", "tool_call"]

    def test_arguments_by_name_in_signature_order(self, published: Published) -> None:
        """Keywords stand where the signature has them."""

        @traced_tool
        def tool(first: int, second: int, *rest: int, third: int = 0, **named: int) -> None: ...

        tool(1, second=2, third=3, extra=4)
        tool(1, 2, 3, 4)
        first, second = (event.payload["arguments"] for event in published("tool_call"))
        assert list(first.items()) == [("first", 1), ("second", 2), ("third", 3), ("named", {"extra": 4})]
        assert second == {"first": 1, "second": 2, "rest": [3, 4]}

    def test_receiver_is_a_type_name(self, published: Published) -> None:
        """`self` and `cls` are recorded as the name of their type."""

        class Kit:
            @traced_tool
            def method(self, x: int) -> None: ...

            @traced_tool
            @classmethod
            def of_class(cls, x: int) -> None: ...

        Kit().method(1)
        Kit.of_class(2)
        assert [event.payload["arguments"] for event in published("tool_call")] == [
            {"self": "Kit", "x": 1},
            {"cls": "Kit", "x": 2},
        ]

    def test_unfitting_call_as_given(self, published: Published) -> None:
        """A call that Python refuses is recorded as it came, with its TypeError."""
        with pytest.raises(TypeError):
            add()  # type: ignore[call-arg]
        assert published("tool_call")[0].payload == {"arguments": {"args": [], "kwargs": {}}}
        assert published("tool_result")[0].error_type == "TypeError"

    def test_argument_mutated_after_the_call(self, published: Published) -> None:
        """The record shows what was passed, not what it became."""
        items = [1]

        @traced_tool
        def grow(values: list[int]) -> list[int]:
            values.append(2)
            return values

        grow(items).append(3)
        assert published("tool_call")[0].payload == {"arguments": {"values": [1]}}
        assert published("tool_result")[0].payload["output"] == [1, 2]

    def test_what_is_not_captured(self, published: Published) -> None:
        """Names, redacted arguments and results stay out; a mark stands for them."""

        @traced_tool(redact=["pin"])
        def one(pin: str, amount: int) -> None: ...

        @traced_tool(capture_arguments=["amount"], capture_result=False)
        def two(pin: str, amount: int) -> str:
            return "secret result"

        @traced_tool(capture_arguments=False)
        def three(pin: str) -> None: ...

        @traced_tool(redact=["pin"])
        def four(**named: Any) -> None: ...

        one("PIN1", 5)
        two("PIN2", 6)
        three("PIN3")
        four(pin="PIN4", other=1)
        mark = {"$agenttrace": "redacted", "rule": "argument"}
        calls = [event.payload["arguments"] for event in published("tool_call")]
        assert calls[0] == calls[1] | {"amount": 5} == {"pin": mark, "amount": 5}
        assert calls[2]["$agenttrace"] == "redacted"
        assert calls[3] == {"named": {"pin": mark, "other": 1}}
        assert b"PIN" not in b"".join(published.bodies)
        assert b"secret result" not in b"".join(published.bodies)

    def test_is_error(self, published: Published) -> None:
        """A result that stands for a failure gets an error row and status error."""

        @traced_tool(is_error=lambda value: value["code"] != 0)
        def run() -> dict[str, Any]:
            return {"code": 1, "stderr": "no such file"}

        run()
        (error,), (result,) = published("error"), published("tool_result")
        assert error.payload["returned"] == "is_error"
        assert error.payload["error"]["message"] == "no such file"
        assert result.status == "error" and result.error_id == error.error_id
        assert result.payload["output"] == {"code": 1, "stderr": "no such file"}

    def test_base_exceptions(self, published: Published) -> None:
        """Interrupt, exit and cancellation close the call with a status of their own, no error row."""

        @traced_tool
        def leave(kind: BaseException) -> None:
            raise kind

        @traced_tool
        async def wait() -> None:
            await asyncio.Event().wait()

        async def main() -> None:
            task = asyncio.create_task(wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        for kind in (KeyboardInterrupt(), SystemExit(2)):
            with pytest.raises(type(kind)):
                leave(kind)
        asyncio.run(main())
        found = [(event.status, event.error_type) for event in published("tool_result")]
        assert found == [
            ("cancelled", "KeyboardInterrupt"),
            ("cancelled", "SystemExit"),
            ("cancelled", "CancelledError"),
        ]
        assert not published("error")

    def test_duration_covers_the_tool(self, published: Published) -> None:
        """The duration is the tool's own time, in milliseconds."""

        @traced_tool
        def work() -> None:
            until = time.monotonic() + 0.01
            while time.monotonic() < until:
                pass

        work()
        assert published("tool_result")[0].duration_ms >= 10

    def test_late_call(self, published: Published) -> None:
        """A call that ends after its agent keeps its agent, and is marked late."""
        with agent_scope("lead") as agent:
            scope = tool_scope("slow")
            scope.__enter__()
        scope.__exit__(None, None, None)
        result = published("tool_result")[0]
        assert result.agent_id == agent.agent_id and result.payload["late"] is True
        assert current() is None


class TestRetryLoop:
    """Hand-written loops: one closed pair per attempt, numbered, naming the first."""

    def test_numbered(self, published: Published) -> None:
        """Equal arguments right after the error make an attempt."""
        left = [3]

        @traced_tool
        def flaky(url: str) -> str:
            left[0] -= 1
            if left[0]:
                raise OSError("busy")
            return "ok"

        with agent_scope("lead"):
            for _ in range(3):
                try:
                    flaky("u")
                    break
                except OSError:
                    continue
        calls = published("tool_call")
        assert [getattr(call, "attempt", None) for call in calls] == [None, 2, 3]
        assert {call.retry_of for call in calls[1:]} == {calls[0].span_id}
        assert [getattr(event, "attempt", None) for event in published("error")] == [1, 2]

    def test_not_a_retry(self, published: Published) -> None:
        """Other arguments, another call in between, a model turn or a success begin anew."""
        with agent_scope("lead"):
            for between in (
                lambda: None,
                lambda: add(1),
                lambda: model_turn("m").__enter__().__exit__(None, None, None),
            ):
                for message in ("x", "y"):
                    with pytest.raises(ValueError):
                        fail(message)
                    between()
            add(1)
            add(1)
        assert not [call for call in published("tool_call") if hasattr(call, "attempt")]

    def test_each_attempt_in_a_task_of_its_own(self, published: Published) -> None:
        """``wait_for`` runs each attempt in a new task; it is the same loop."""

        @traced_tool
        async def flaky() -> None:
            raise OSError("busy")

        async def main() -> None:
            async with agent_scope("lead"):
                for _ in range(2):
                    with pytest.raises(OSError):
                        await asyncio.wait_for(asyncio.create_task(flaky()), 5)

        asyncio.run(main())
        assert [getattr(call, "attempt", None) for call in published("tool_call")] == [None, 2]

    def test_side_by_side(self, published: Published) -> None:
        """Two loops beside each other are numbered apart."""

        @traced_tool
        async def flaky(url: str) -> None:
            await asyncio.sleep(0)
            raise OSError(url)

        async def loop(url: str) -> None:
            for _ in range(3):
                with pytest.raises(OSError):
                    await flaky(url)

        async def main() -> None:
            async with agent_scope("lead"):
                await asyncio.gather(loop("a"), loop("b"))

        asyncio.run(main())
        for url in "ab":
            calls = [call for call in published("tool_call") if call.payload["arguments"] == {"url": url}]
            assert [getattr(call, "attempt", None) for call in calls] == [None, 2, 3]


class TestStream:
    """A generator is one call from the first item to its end."""

    def test_sample_and_status(self, published: Published) -> None:
        """Items are counted, the first twenty kept, the return value is the output."""

        @traced_tool
        def count(stop: int) -> Any:
            yield from range(stop)
            return "done"

        list(count(30))
        result = published("tool_result")[0]
        assert result.payload["output"] == "done"
        stream = result.payload["stream"]
        assert stream["items_count"] == 30 and stream["items"][:3] == [0, 1, 2]
        assert stream["items"][-1] == {"$agenttrace": "cut", "items": 10}

    def test_nothing_before_the_first_next(self, published: Published) -> None:
        """A generator that nobody asks leaves no call."""

        @traced_tool
        def count() -> Any:
            yield 1

        made = count()
        assert not published.kinds
        next(made)
        made.close()
        assert published("tool_result")[0].status == "stopped_early"

    def test_scope_around_every_resume(self, published: Published) -> None:
        """What runs inside belongs to the stream; what the consumer does between does not."""

        @traced_tool
        def stream() -> Any:
            add(1)
            yield 1
            add(2)

        with agent_scope("lead"):
            for _ in stream():
                add(3)
        (span,) = [call.span_id for call in published("tool_call") if call.tool_name == "stream"]
        parents = {
            call.payload["arguments"].get("a"): call.parent_span_id
            for call in published("tool_call")
            if call.tool_name == "add"
        }
        assert parents[1] == parents[2] == span
        assert parents[3] == published.agent("lead").span_id


class TestToolScope:
    """One tool call by hand, and the rule that joins the traced tool inside."""

    def test_traced_tool_inside_is_the_same_call(self, published: Published) -> None:
        """A dispatcher's scope and its tool are one call, with the tool's arguments and result."""
        with agent_scope("lead"), tool_scope("add", call_id="c1"):
            add(4)
        assert published.kinds.count("tool_call") == published.kinds.count("tool_result") == 1
        result = published("tool_result")[0]
        assert result.call_id == "c1" and result.payload["output"] == 6
        assert result.payload["arguments"] == {"a": 4}

    def test_only_the_first_of_that_name(self, published: Published) -> None:
        """A second call, another name, or one deeper down is a call of its own."""

        @traced_tool
        def outer() -> int:
            return add(1)

        with tool_scope("add"):
            outer()
            add(2)
            add(3)
        names = [call.tool_name for call in published("tool_call")]
        assert names == ["add", "outer", "add", "add"]

    def test_unknown_tool(self, published: Published) -> None:
        """A hallucinated name is the call's own error."""
        tools = {"add": add}
        with pytest.raises(KeyError), tool_scope("nope", arguments={"x": 1}):
            tools["nope"](1)
        (error,), (result,) = published("error"), published("tool_result")
        assert result.status == "error" and result.error_id == error.error_id
        assert error.tool_name == "nope"

    def test_error_handed_to_the_model(self, published: Published) -> None:
        """A tool that raised inside stays failed when its text becomes the result."""
        with tool_scope("fail", arguments={"message": "x"}) as call:
            try:
                fail("x")
            except ValueError as exc:
                call.set_result(f"Error: {exc}")
        (error,), (result,) = published("error"), published("tool_result")
        assert result.status == "error" and result.error_id == error.error_id
        assert (result.payload["output"], result.error_type) == ("Error: x", "ValueError")

    def test_error_declared_fine(self, published: Published) -> None:
        """A dispatcher that says the result is no error has the last word."""
        with tool_scope("fail", arguments={"message": "x"}) as call:
            try:
                fail("x")
            except ValueError:
                call.set_result("a default", is_error=False)
        (result,) = published("tool_result")
        assert (result.status, result.error_id, result.error_type) == ("ok", None, None)

    def test_children_hang_below_the_scope(self, published: Published) -> None:
        """A call made by the joined tool names the scope's span as its parent."""

        @traced_tool
        def outer() -> int:
            return add(1)

        with tool_scope("outer"):
            outer()
        first, second = published("tool_call")
        assert second.parent_span_id == first.span_id
