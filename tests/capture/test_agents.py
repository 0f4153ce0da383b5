"""Agents, conversations and model turns: identity, nesting, concurrency."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import agenttrace
from agenttrace import (
    agent_scope,
    bind,
    conversation_scope,
    current,
    drop_result,
    extract,
    inject,
    model_turn,
    record,
    traced_agent,
    traced_tool,
)
from agenttrace.errors import LOSSES, ConfigError
from tests.capture.conftest import Published


@traced_tool
def ping(label: str) -> str:
    return label


def parents(published: Published) -> dict[str, tuple[str, str | None]]:
    """Label of each ping to its agent's name and parent."""
    return {
        call.payload["arguments"]["label"]: (call.agent_name, call.parent_agent_id)
        for call in published("tool_call")
    }


class TestAgentScope:
    """S0.12, S0.20: addressable agents under the root's conversation."""

    def test_children_keep_the_conversation(self, published: Published) -> None:
        """Every descendant has the root's conversation and its dispatcher as parent."""
        with agent_scope("root") as root, agent_scope("child") as child, agent_scope("grandchild") as leaf:
            ping("x")
        assert root.conversation_id == child.conversation_id == leaf.conversation_id
        assert (root.parent_agent_id, child.parent_agent_id, leaf.parent_agent_id) == (
            None,
            root.agent_id,
            child.agent_id,
        )
        assert parents(published)["x"] == ("grandchild", child.agent_id)
        assert [event.status for event in published("agent_end")] == ["ok"] * 3

    def test_ids(self, published: Published) -> None:
        """Default ids are slug and six hex, new on each entry; given ones come back."""
        with agent_scope("Code Reviewer!") as first, agent_scope("Code Reviewer!") as second:
            assert first.agent_id != second.agent_id
            assert first.agent_id.startswith("code-reviewer-") and len(first.agent_id) == 20
        with agent_scope("x", agent_id="mine", conversation_id="talk") as given:
            assert (given.agent_id, given.conversation_id) == ("mine", "talk")

    def test_input_output_metadata(self, published: Published) -> None:
        """What goes in and comes out stands in start and end."""
        with agent_scope("a", input={"q": 1}, metadata={"v": 2}, model="m1") as agent:
            agent.set_output("answer")
        start, end = published("agent_start")[0], published("agent_end")[0]
        assert start.payload == {"input": {"q": 1}, "metadata": {"v": 2}} and start.model == "m1"
        assert end.payload == {"output": "answer", "is_error": False}

    def test_failed_output(self, published: Published) -> None:
        """An output that is an error makes the run a failed one."""
        with agent_scope("a") as agent:
            agent.set_output({"error": "gave up"}, is_error=True)
        (end,), (error,) = published("agent_end"), published("error")
        assert end.status == "error" and end.error_id == error.error_id
        assert error.payload["error"]["message"] == "gave up"

    def test_off_gives_working_ids(self) -> None:
        """S0.18: with tracing off the handle has ids, given and made, and children agree."""
        assert not agenttrace.is_enabled()
        with agent_scope("a", agent_id="mine") as outer, agent_scope("b") as inner:
            assert outer.agent_id == "mine" and inner.parent_agent_id == "mine"
            assert inner.agent_id.startswith("b-")
            assert inner.conversation_id == outer.conversation_id
            outer.set_output(1)
            outer.set_model("m")
            outer.record("note", {})
            outer.snapshot({})
            with model_turn("m") as turn:
                turn.delta("x")
                turn.set_output("x")
                turn.set_usage(input_tokens=1)
        assert current() is None

    def test_handle_before_entry(self) -> None:
        """Ids asked for too early raise with the remedy."""
        with pytest.raises(RuntimeError, match="with agent_scope"):
            _ = agent_scope("a").agent_id

    def test_current(self, published: Published) -> None:
        """``current`` tells where the code stands, and None outside."""
        assert current() is None
        with conversation_scope("talk"):
            scope = current()
            assert scope is not None and (scope.conversation_id, scope.agent_id) == ("talk", None)
            with agent_scope("a") as agent:
                inner = current()
                assert inner is not None and inner.agent_id == agent.agent_id
        assert current() is None

    def test_own_events(self, published: Published) -> None:
        """S1.22: any kind of the open vocabulary is accepted, a wrong one only in no strict mode."""
        with agent_scope("a") as agent:
            agent.record("budget_warning", {"left": 1})
            record("my.kind", 5)
            agent.snapshot({"step": 1})
            with pytest.raises(ValueError, match="event kind"):
                record("Not a kind")
        assert published("budget_warning")[0].payload == {"left": 1}
        assert published("my.kind")[0].payload == {"value": 5}
        assert published("snapshot")[0].payload == {"state": {"step": 1}}

    def test_scope_in_a_generator(self, published: Published, caplog: pytest.LogCaptureFixture) -> None:
        """Strict mode says when a scope leaks to a generator's consumer, and not for a context manager."""

        def leaking() -> Iterator[int]:
            with agent_scope("leaky"):
                yield 1

        @contextlib.contextmanager
        def manager() -> Iterator[int]:
            with agent_scope("tidy"):
                yield 1

        with manager():
            pass
        assert "held open" not in caplog.text
        list(leaking())
        assert "held open in the generator" in caplog.text and "traced_agent" in caplog.text

    def test_decorator(self, published: Published) -> None:
        """``traced_agent`` takes the arguments as input, the return value as output."""

        @traced_agent
        async def helper(task: str) -> str:
            await asyncio.sleep(0)
            return ping(task)

        with agent_scope("root"):
            asyncio.run(helper("x"))
        assert published.agent("helper").payload == {"input": {"task": "x"}}
        assert published("agent_end")[0].payload["output"] == "x"
        assert parents(published)["x"][0] == "helper"


class TestImplicit:
    """A traced tool outside any scope is recorded under the root agent ``main``."""

    def test_one_conversation_per_process(self, published: Published) -> None:
        """All such calls share one conversation and one agent."""
        ping("a")
        ping("b")
        calls = published("tool_call")
        assert {call.agent_name for call in calls} == {"main"}
        assert len({(call.conversation_id, call.agent_id) for call in calls}) == 1
        assert published.kinds.count("agent_start") == 1

    def test_inside_a_conversation(self, published: Published) -> None:
        """In a conversation scope ``main`` belongs to it, and ends with it."""
        with conversation_scope("talk", task="greet", metadata={"user": 7}):
            ping("a")
        assert published("tool_call")[0].conversation_id == "talk"
        assert published("agent_end")[0].agent_name == "main"
        assert published("$conversation")[0].payload == {"task": "greet", "metadata": {"user": 7}}

    def test_lost_parent(self, published: Published) -> None:
        """A thread that lost its scope is counted."""
        with agent_scope("a"):
            thread = threading.Thread(target=ping, args=("x",))
            thread.start()
            thread.join()
        assert LOSSES["lost_parent"] >= 1


class TestConcurrency:
    """Concurrent tools keep the right agent and parent."""

    def test_gather_and_task_group(self, published: Published) -> None:
        """Under gather and TaskGroup each call lands in the agent of its own task."""

        async def worker(name: str) -> None:
            async with agent_scope(name):
                for number in range(3):
                    await asyncio.sleep(0)
                    ping(f"{name}{number}")

        async def main() -> str:
            async with agent_scope("root") as root:
                await asyncio.gather(*(worker(name) for name in "abc"))
                async with asyncio.TaskGroup() as group:
                    for name in "def":
                        group.create_task(worker(name))
            return root.agent_id

        root_id = asyncio.run(main())
        found = parents(published)
        assert len(found) == 18
        assert all(agent == (label[0], root_id) for label, agent in found.items())

    def test_threads_and_pools(self, published: Published) -> None:
        """With ``install("threads")`` threads, pools, run_in_executor and to_thread carry the scope."""
        agenttrace.install("threads")

        async def through_asyncio() -> None:
            await asyncio.get_running_loop().run_in_executor(None, ping, "executor")
            await asyncio.to_thread(ping, "to_thread")

        class Worker(threading.Thread):
            def run(self) -> None:
                ping("subclass")

        with ThreadPoolExecutor(1) as pool:
            with agent_scope("a"):
                threads: list[threading.Thread] = [threading.Thread(target=ping, args=("thread",)), Worker()]
                for thread in threads:
                    thread.start()
                    thread.join()
                pool.submit(ping, "pool").result()
                asyncio.run(through_asyncio())
            with agent_scope("b"):
                pool.submit(ping, "same thread, other agent").result()
            pool.submit(ping, "outside").result()
        found = {label: agent for label, (agent, _) in parents(published).items()}
        assert found == {
            "thread": "a",
            "subclass": "a",
            "pool": "a",
            "executor": "a",
            "to_thread": "a",
            "same thread, other agent": "b",
            "outside": "main",
        }

    def test_uninstall_puts_everything_back(self) -> None:
        """After ``uninstall`` the patched attributes are the former objects."""
        before = (threading.Thread.start, ThreadPoolExecutor.submit, threading.Thread._bootstrap_inner)  # type: ignore[attr-defined]
        agenttrace.install("auto")
        agenttrace.install("threads")
        assert threading.Thread.start is not before[0]
        agenttrace.uninstall()
        assert before == (
            threading.Thread.start,
            ThreadPoolExecutor.submit,
            threading.Thread._bootstrap_inner,  # type: ignore[attr-defined]
        )

    def test_unknown_integration(self) -> None:
        """An unknown name raises with the known ones."""
        with pytest.raises(ConfigError, match="threads"):
            agenttrace.install("thread")

    def test_bind(self, published: Published) -> None:
        """A bound callable runs in the scope it was bound in, also a coroutine function."""

        async def later() -> None:
            ping("async")

        with agent_scope("a"):
            call, call_async = bind(ping), bind(later)
        call("sync")
        asyncio.run(call_async())
        assert {agent for agent, _ in parents(published).values()} == {"a"}

    def test_inject_extract(self, published: Published) -> None:
        """Ids travel in headers; the receiver's calls land under the sender's agent."""
        with conversation_scope("a talk with spaces & signs"), agent_scope("a") as agent:
            carrier: dict[str, str] = {}
            assert inject(carrier) == carrier
        with extract({name.upper(): value for name, value in carrier.items()}):
            ping("far")
        call = published("tool_call")[0]
        assert (call.conversation_id, call.agent_id) == ("a talk with spaces & signs", agent.agent_id)
        assert call.parent_span_id == published.agent("a").span_id

    @pytest.mark.parametrize(
        "carrier", [{}, {"agenttrace": "rubbish"}, {"traceparent": "00-xyz"}, {"agenttrace": "a=" * 9999}]
    )
    def test_rubbish_carrier(self, carrier: dict[str, str], published: Published) -> None:
        """A carrier without our ids changes nothing."""
        with extract(carrier):
            assert current() is None

    def test_foreign_traceparent(self, published: Published) -> None:
        """A bare W3C traceparent gives the conversation and the parent span."""
        with extract({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}):
            scope = current()
        assert scope is not None and (scope.conversation_id, scope.span_id) == ("a" * 32, "b" * 16)


class TestModelTurn:
    """S0.11, S1.23: turn boundaries, usage, switches, aborted streams."""

    def test_turn(self, published: Published) -> None:
        """A turn is a pair of rows, numbered per agent, with usage columns and the provider's own usage."""
        with agent_scope("a"):
            for _ in range(2):
                with model_turn("claude", provider="anthropic", input=[{"role": "user"}]) as turn:
                    turn.set_output("hi", finish_reason="stop", response_id="r1")
                    turn.set_usage(
                        {
                            "input_tokens": 10,
                            "cache_read_input_tokens": 5,
                            "cache_creation_input_tokens": 2,
                            "output_tokens": 3,
                        },
                        cost_usd=0.5,
                    )
        call, end = published("model_call")[0], published("model_turn")[1]
        assert call.payload == {"input": [{"role": "user"}]} and call.turn_in_run == 1
        assert (end.turn_in_run, end.model, end.provider, end.status) == (2, "claude", "anthropic", "ok")
        assert (end.input_tokens, end.cache_read_tokens, end.cache_write_tokens) == (17, 5, 2)
        assert (end.output_tokens, end.cost_usd) == (3, 0.5)
        assert end.payload["usage"]["input_tokens"] == 10
        assert (end.payload["finish_reason"], end.payload["response_id"]) == ("stop", "r1")

    def test_openai_usage(self, published: Published) -> None:
        """OpenAI's counts include the cached ones already."""

        class Details:
            cached_tokens = 4
            reasoning_tokens = 2

        class Usage:
            prompt_tokens = 10
            completion_tokens = 6
            prompt_tokens_details = completion_tokens_details = Details()

        with model_turn("gpt") as turn:
            turn.set_usage(Usage())
        end = published("model_turn")[0]
        counts = (end.input_tokens, end.cache_read_tokens, end.output_tokens, end.reasoning_tokens)
        assert counts == (10, 4, 6, 2)

    def test_switch(self, published: Published) -> None:
        """Another model within an agent is recorded once, with both names."""
        with agent_scope("a", model="m1") as agent:
            for model in ("m1", "m2", "m2"):
                with model_turn(model):
                    pass
            agent.set_model("m3", provider="p", reason="cheaper")
        first, second = published("model_switched")
        assert (first.payload["from_model"], first.payload["to_model"]) == ("m1", "m2")
        assert second.payload == {"from_model": "m2", "to_model": "m3", "reason": "cheaper"}

    def test_aborted_stream_keeps_what_arrived(self, published: Published) -> None:
        """An exception in the middle leaves the text so far, and the failure."""
        with pytest.raises(ConnectionError), model_turn("m") as turn:
            turn.delta("half an ")
            turn.delta("answer")
            raise ConnectionError("reset")
        (end,) = published("model_turn")
        assert end.status == "error" and end.payload["output"] == "half an answer"
        assert "".join(delta.payload["text"] for delta in published("model_delta")) == "half an answer"
        assert end.payload["first_chunk_ms"] >= 0

    def test_many_deltas_are_bounded(self, published: Published) -> None:
        """S0.21: partial output is visible, in a bounded number of rows."""
        with model_turn("m") as turn:
            for _ in range(300_000):
                turn.delta("word ")
        assert 2 <= len(published("model_delta")) <= 200

    def test_wrong_count_name(self, published: Published) -> None:
        """An unknown count is refused in strict mode."""
        with model_turn("m") as turn, pytest.raises(TypeError, match="input_tokens"):
            turn.set_usage(tokens=3)

    def test_dropped_result(self, published: Published) -> None:
        """S0.21: a result kept from the model is an event."""
        with agent_scope("a"):
            drop_result("c1", "too long")
        (event,) = published("result_dropped")
        assert event.call_id == "c1" and event.payload == {"reason": "too long"}
