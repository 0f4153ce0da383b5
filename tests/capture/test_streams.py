"""What a stream leaves behind, however it is consumed, and that its consumer sees no difference."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import agent_scope, current, model_turn, traced_agent, traced_tool
from agenttrace.capture.context import CURRENT
from agenttrace.errors import LOSSES
from tests.capture.conftest import Published
from tests.capture.stream_shapes import STREAMS
from tests.reading import open_store, query, run_python


class Boom(Exception):
    pass


@traced_tool
def touch(where: str) -> None:
    """Leave a call whose parent tells where it was made."""


@traced_tool
def numbers(stop: int) -> Any:
    for number in range(stop):
        touch("inside")
        yield number
    return "done"


@traced_tool
async def numbers_async(stop: int) -> Any:
    for number in range(stop):
        await asyncio.sleep(0)
        touch("inside")
        yield number


def span_of(published: Published, tool: str) -> str:
    (call,) = [call for call in published("tool_call") if call.tool_name == tool]
    return str(call.span_id)


def parents(published: Published, where: str) -> set[str]:
    """Give the parents of the touches made there."""
    return {
        call.parent_span_id
        for call in published("tool_call")
        if call.tool_name == "touch" and call.payload["arguments"] == {"where": where}
    }


def end_of(published: Published, tool: str) -> Any:
    (end,) = [end for end in published("tool_result") if end.tool_name == tool]
    return end


class TestTransparency:
    """A traced stream is the plain one, step by step."""

    @pytest.mark.parametrize("name", STREAMS)
    @pytest.mark.parametrize("decorator", [traced_tool, traced_agent])
    def test_on(self, name: str, decorator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With tracing on, in strict mode, a consumer observes the same."""
        plain = STREAMS[name](lambda function: function)
        monkeypatch.setenv("AGENTTRACE_STRICT", "1")
        agenttrace.configure(database=tmp_path / "t.db")
        with agent_scope("inside"):
            assert STREAMS[name](decorator) == plain

    @pytest.mark.parametrize("name", STREAMS)
    def test_off(self, name: str) -> None:
        """With tracing off too."""
        assert STREAMS[name](traced_tool) == STREAMS[name](lambda function: function)


class TestEnds:
    """One call from the first ``next`` to the end, whatever the end is."""

    @pytest.mark.parametrize(
        ("step", "status"),
        [
            (lambda made: list(made), "ok"),
            (lambda made: made.close(), "stopped_early"),
            (lambda made: made.throw(Boom("x")), "error"),
            (lambda made: made.throw(KeyboardInterrupt()), "cancelled"),
        ],
        ids=["exhausted", "closed", "thrown into", "interrupted"],
    )
    def test_status(self, step: Any, status: str, published: Published) -> None:
        """The end says how it came about, and what had passed until then."""
        made = numbers(3)
        next(made)
        with contextlib.suppress(Boom, KeyboardInterrupt):
            step(made)
        end = end_of(published, "numbers")
        assert end.status == status
        assert end.payload["stream"]["items_count"] == (3 if status == "ok" else 1)
        assert end.payload["stream"]["first_item_ms"] >= 0
        assert end.payload["output"] == ("done" if status == "ok" else None)

    def test_closed_with_a_value(self, published: Published) -> None:
        """A stream that answers ``close`` with a return value was stopped early all the same."""

        @traced_tool
        def give() -> Any:
            try:
                yield 1
            except GeneratorExit:
                return "farewell"

        made = give()
        next(made)
        made.close()
        assert end_of(published, "give").status == "stopped_early"
        assert not published("error")

    def test_left_early(self, published: Published) -> None:
        """``break`` lets go of the generator, which closes it at once."""
        for _ in numbers(3):
            break
        assert end_of(published, "numbers").status == "stopped_early"

    def test_collected_in_a_cycle(self, published: Published) -> None:
        """A generator in a cycle is closed by the garbage collector."""
        cycle: dict[str, Any] = {"made": numbers(3)}
        cycle["self"] = cycle
        next(cycle["made"])
        del cycle
        gc.collect()
        assert end_of(published, "numbers").status == "stopped_early"

    def test_async_left_early(self, published: Published) -> None:
        """An async generator that is let go of is closed by the loop, in the task that the loop makes."""

        async def main() -> None:
            async with agent_scope("lead"):
                async for _ in numbers_async(3):
                    break
                for _ in range(5):
                    await asyncio.sleep(0)

        asyncio.run(main())
        assert end_of(published, "numbers_async").status == "stopped_early"

    def test_async_left_to_the_end_of_the_loop(self, published: Published) -> None:
        """One that is never let go of is closed as the loop ends, once."""
        kept = []

        async def main() -> None:
            made = numbers_async(3)
            await made.__anext__()
            kept.append(made)

        asyncio.run(main())
        assert end_of(published, "numbers_async").status == "stopped_early"

    def test_cancelled(self, published: Published) -> None:
        """A consumer that is cancelled cancels the stream."""

        @traced_tool
        async def wait() -> Any:
            yield 1
            await asyncio.Event().wait()

        async def consume() -> None:
            async for _ in wait():
                pass

        async def main() -> None:
            task = asyncio.create_task(consume())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(main())
        assert end_of(published, "wait").status == "cancelled"

    def test_fails_after_items(self, published: Published) -> None:
        """An error amid the stream keeps what had come before it."""

        @traced_tool
        def give() -> Any:
            yield "one"
            raise Boom("amid")

        with pytest.raises(Boom):
            list(give())
        end = end_of(published, "give")
        assert (end.status, end.payload["stream"]["items"]) == ("error", ["one"])
        assert end.error_id == published("error")[0].error_id

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_never_started(self, asynchronous: bool, published: Published) -> None:
        """A stream that nobody asks for anything is no call."""
        made = numbers_async(3) if asynchronous else numbers(3)
        del made
        gc.collect()
        assert published.kinds == []

    @pytest.mark.slow
    def test_at_the_end_of_the_process(self, tmp_path: Path) -> None:
        """A stream that is open as the program ends has its one end on record."""
        code = (
            "from agenttrace import agent_scope, traced_tool\n"
            "@traced_tool\ndef give():\n    yield 1\n    yield 2\n"
            "with agent_scope('lead'):\n    made = give(); next(made)\n"
        )
        assert run_python(code, tmp_path / "t.db").returncode == 0
        open_store(tmp_path / "t.db")
        rows = query(tmp_path / "t.db", "SELECT status FROM trajectory_events WHERE kind = 'tool_result'")
        assert rows in ([("stopped_early",)], [("interrupted",)])


class TestScope:
    """The scope is right around every resume."""

    @pytest.mark.parametrize("where", ["here", "thread", "context", "empty context"])
    def test_resumed_elsewhere(self, where: str, published: Published) -> None:
        """In another thread or context the stream is itself, and the consumer stays who it is."""

        def ask() -> None:
            before = CURRENT.get()
            next(made)
            assert CURRENT.get() is before
            if before is not None:
                touch("between")

        with agent_scope("lead"):
            made = numbers(4)
            next(made)
        with agent_scope("other"):
            if where == "thread":
                thread = threading.Thread(target=contextvars.copy_context().run, args=[ask])
                thread.start()
                thread.join()
            elif where == "context":
                contextvars.copy_context().run(ask)
            elif where == "empty context":
                contextvars.Context().run(ask)
            else:
                ask()
        list(made)
        assert parents(published, "inside") == {span_of(published, "numbers")}
        assert parents(published, "between") <= {published.agent("other").span_id}
        assert {call.agent_name for call in published("tool_result") if call.tool_name == "numbers"} == {
            "lead"
        }

    def test_async_in_many_tasks(self, published: Published) -> None:
        """Each item may be fetched by another task, of another agent."""

        async def fetch(made: Any, name: str) -> None:
            async with agent_scope(name):
                await made.__anext__()
                touch("between")

        async def main() -> None:
            async with agent_scope("lead"):
                made = numbers_async(3)
                await made.__anext__()
            await asyncio.create_task(fetch(made, "one"))
            await asyncio.create_task(fetch(made, "two"), context=contextvars.Context())
            await made.aclose()

        asyncio.run(main())
        assert parents(published, "inside") == {span_of(published, "numbers_async")}
        assert parents(published, "between") == {
            published.agent("one").span_id,
            published.agent("two").span_id,
        }

    def test_concurrent_streams(self, published: Published) -> None:
        """Two streams consumed in turn, by two agents at once, do not mix."""

        async def consume(name: str) -> None:
            async with agent_scope(name):
                async for _ in numbers_async(3):
                    touch(name)
                    await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(consume("one"), consume("two"))

        asyncio.run(main())
        streams = {
            call.agent_name: call.span_id for call in published("tool_call") if call.tool_name != "touch"
        }
        for name in ("one", "two"):
            assert parents(published, name) == {published.agent(name).span_id}
            inside = [
                call.parent_span_id
                for call in published("tool_call")
                if call.tool_name == "touch"
                and call.agent_name == name
                and call.payload["arguments"] == {"where": "inside"}
            ]
            assert set(inside) == {streams[name]} and len(inside) == 3

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_scope_held_open_inside(self, asynchronous: bool, published: Published) -> None:
        """A scope that the body holds open across its items is the body's, and not the consumer's."""

        @traced_tool
        def stream() -> Any:
            with agent_scope("worker"):
                yield 1
                touch("inside")
            touch("after")

        @traced_tool
        async def stream_async() -> Any:
            async with agent_scope("worker"):
                yield 1
                await asyncio.sleep(0)
                touch("inside")
            touch("after")

        async def consume() -> None:
            async for _ in stream_async():
                touch("between")

        with agent_scope("lead"):
            if asynchronous:
                asyncio.run(consume())
            else:
                for _ in stream():
                    touch("between")
            touch("lead")
        name = "stream_async" if asynchronous else "stream"
        assert parents(published, "inside") == {published.agent("worker").span_id}
        assert parents(published, "after") == {span_of(published, name)}
        assert (
            parents(published, "between") == parents(published, "lead") == {published.agent("lead").span_id}
        )
        assert "scope_left_out_of_order" not in LOSSES

    def test_model_turn_inside(self, published: Published) -> None:
        """A model's deltas and the stream that hands them on are one turn, inside one call."""

        @traced_tool
        def answer() -> Any:
            with model_turn("m") as turn:
                for piece in ("one ", "two"):
                    turn.delta(piece)
                    yield piece

        with agent_scope("lead"):
            for _ in answer():
                touch("between")
        (turn,) = published("model_turn")
        assert (turn.status, turn.payload["output"]) == ("ok", "one two")
        assert turn.parent_span_id == span_of(published, "answer")
        assert parents(published, "between") == {published.agent("lead").span_id}
        assert "scope_left_out_of_order" not in LOSSES

    def test_stream_in_a_stream(self, published: Published) -> None:
        """``yield from`` and ``async for`` over a traced stream make it the inner call."""

        @traced_tool
        def outer() -> Any:
            yield from numbers(2)
            touch("outer")

        list(outer())
        (inner,) = [call for call in published("tool_call") if call.tool_name == "numbers"]
        assert inner.parent_span_id == span_of(published, "outer")
        assert parents(published, "inside") == {inner.span_id}
        assert parents(published, "outer") == {span_of(published, "outer")}
        assert end_of(published, "outer").payload["stream"]["items_count"] == 2

    def test_agent_stream(self, published: Published) -> None:
        """A traced agent may be a stream; its consumer's calls are not its own."""

        @traced_agent
        def agent() -> Any:
            yield 1
            touch("inside")
            return "answer"

        with agent_scope("lead"):
            for _ in agent():
                touch("between")
        assert parents(published, "inside") == {published.agent("agent").span_id}
        assert parents(published, "between") == {published.agent("lead").span_id}
        assert published("agent_end")[0].payload["output"] == "answer"
        assert current() is None

    def test_outlives_its_agent(self, published: Published) -> None:
        """A stream that goes on after its agent ended keeps the agent, and is marked late."""
        with agent_scope("lead") as lead:
            made = numbers(2)
            next(made)
        list(made)
        end = end_of(published, "numbers")
        assert end.agent_id == lead.agent_id and end.payload["late"] is True


class TestSample:
    """What is kept of the items."""

    def test_not_kept(self, published: Published) -> None:
        """``capture_result=False`` keeps no item either, only their number."""

        @traced_tool(capture_result=False)
        def secrets() -> Any:
            yield "hunter2"
            yield "hunter3"

        list(secrets())
        stream = end_of(published, "secrets").payload["stream"]
        assert stream["items_count"] == 2
        assert stream["items"] == [{"$agenttrace": "redacted", "rule": "capture_result"}]
        assert b"hunter" not in b"".join(published.bodies)

    def test_bounded(self, published: Published) -> None:
        """A million items and ten-megabyte items cost no room."""

        @traced_tool
        def large() -> Any:
            yield "x" * 10_000_000
            yield from range(20_000)

        assert sum(1 for _ in large()) == 20_001
        stream = end_of(published, "large").payload["stream"]
        assert stream["items_count"] == 20_001 and len(stream["items"]) == 21
        assert max(len(body) for body in published.bodies) < 100_000

    def test_as_it_passed(self, published: Published) -> None:
        """An item that is changed later is on record as it passed."""

        @traced_tool
        def same() -> Any:
            items: list[int] = []
            for number in range(2):
                items.append(number)
                yield items

        list(same())
        assert end_of(published, "same").payload["stream"]["items"] == [[0], [0, 1]]
