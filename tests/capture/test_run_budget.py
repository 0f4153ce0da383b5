"""S1.22: the budget of a conversation warns, and stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

import agenttrace
from agenttrace import agent_scope, conversation_scope, model_turn
from agenttrace.capture import run_budget
from agenttrace.errors import LOSSES, ConfigError
from agenttrace.testing import memory_recorder
from tests.capture.conftest import Published

KINDS = ("budget_warning", "budget_exceeded", "iteration_limit")


def turn(cost_usd: Any = None) -> None:
    with model_turn("m") as one:
        if cost_usd is not None:
            one.set_usage(cost_usd=cost_usd)


def told(published: Published) -> list[tuple[str, str, Any]]:
    """Give what the budgets said: kind, agent, and the figure that crossed."""
    return [
        (event.kind, event.agent_name, event.payload.get("spent_usd"))
        for event in published.events
        if event.kind in KINDS
    ]


class TestMoney:
    def test_warning_then_exceeded(self, published: Published) -> None:
        """At 80 % a warning, above the whole the other, each once, with figures, after the turn's row."""
        with conversation_scope(budget_usd=1.0), agent_scope("lead"):
            for cost in (0.5, 0.3, 0.2, 0.1, 0.1):
                turn(cost)
        assert told(published) == [("budget_warning", "lead", 0.8), ("budget_exceeded", "lead", 1.1)]
        (warning,) = published("budget_warning")
        assert warning.payload == {"spent_usd": 0.8, "turns": 2, "budget_usd": 1.0}
        assert warning.parent_span_id == published.agent("lead").span_id
        kinds = published.kinds
        assert kinds.index("budget_warning") == 1 + [n for n, k in enumerate(kinds) if k == "model_turn"][1]

    def test_one_turn_that_crosses_both(self, published: Published) -> None:
        """A turn beyond the whole budget leaves both, the warning first."""
        with conversation_scope(budget_usd=1), agent_scope("lead"):
            turn(5)
        assert told(published) == [("budget_warning", "lead", 5.0), ("budget_exceeded", "lead", 5.0)]

    def test_exactly_spent(self, published: Published) -> None:
        """Three turns of 0.1 are a budget of 0.3, and not more."""
        with conversation_scope(budget_usd=0.3), agent_scope("lead"):
            for _ in range(3):
                turn(0.1)
        assert [kind for kind, *_ in told(published)] == ["budget_warning"]

    def test_nothing_may_be_spent(self, published: Published) -> None:
        """With a budget of 0 the first cost exceeds, and a turn without cost does not."""
        with conversation_scope(budget_usd=0), agent_scope("lead"):
            turn()
            turn(0.0)
            assert told(published) == []
            turn(0.01)
        assert [kind for kind, *_ in told(published)] == ["budget_warning", "budget_exceeded"]

    def test_names_the_agent_that_crossed(self, published: Published) -> None:
        """All agents count together; the event stands in the one whose turn it was."""
        with conversation_scope(budget_usd=1), agent_scope("lead"):
            turn(0.5)
            with agent_scope("child"):
                turn(0.4)
            turn(0.4)
        assert told(published) == [("budget_warning", "child", 0.9), ("budget_exceeded", "lead", 1.3)]

    def test_failed_turn_counts(self, published: Published) -> None:
        """What a turn cost before it failed was spent."""
        with conversation_scope(budget_usd=1), agent_scope("lead"):
            with contextlib.suppress(OSError), model_turn("m") as one:
                one.set_usage(cost_usd=2)
                raise OSError("connection lost")
        assert len(told(published)) == 2

    @pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0])
    def test_unusable_cost(self, cost: float, published: Published) -> None:
        """A cost that is none is counted as a loss; the turn counts all the same."""
        with conversation_scope(budget_usd=1, max_turns=0), agent_scope("lead"):
            turn(cost)
        assert [kind for kind, *_ in told(published)] == ["iteration_limit"]
        assert LOSSES["capture.cost_unusable"] == 1


class TestTurns:
    def test_first_beyond(self, published: Published) -> None:
        """The limit itself is allowed; the first turn beyond it tells, once."""
        with conversation_scope(max_turns=3), agent_scope("lead"):
            for _ in range(3):
                turn()
            assert told(published) == []
            for _ in range(3):
                turn()
        (event,) = published("iteration_limit")
        assert event.payload == {"spent_usd": 0.0, "turns": 4, "max_turns": 3}
        assert len(published("model_turn")) == 6

    def test_without_an_agent(self, published: Published) -> None:
        """Turns right inside the conversation are those of its agent ``main``."""
        with conversation_scope(max_turns=0):
            turn()
        assert told(published) == [("iteration_limit", "main", 0.0)]


class TestWhatCounts:
    def test_threads(self, published: Published) -> None:
        """Turns of many threads at once are each counted, and each line is crossed once."""
        with conversation_scope(budget_usd=10, max_turns=799), agent_scope("lead"):
            with ThreadPoolExecutor(8) as pool:
                contexts = [contextvars.copy_context() for _ in range(8)]
                for context in contexts:
                    pool.submit(context.run, lambda: [turn(0.0125) for _ in range(100)])
            assert [kind for kind, *_ in told(published)] == ["budget_warning", "iteration_limit"]
            assert published("budget_warning")[0].payload["turns"] == 640
            turn(0.0125)
        assert published("budget_exceeded")[0].payload == {
            "spent_usd": 10.0125,
            "turns": 801,
            "budget_usd": 10.0,
            "max_turns": 799,
        }

    def test_tasks(self, published: Published) -> None:
        """Tasks of several agents count together."""

        async def work(name: str) -> None:
            async with agent_scope(name):
                for _ in range(5):
                    turn()
                    await asyncio.sleep(0)

        async def main() -> None:
            async with conversation_scope(max_turns=9):
                await asyncio.gather(work("one"), work("two"))

        asyncio.run(main())
        assert published("iteration_limit")[0].payload["turns"] == 10

    def test_by_name_alone(self, published: Published) -> None:
        """An agent that joins the conversation by its id counts, wherever it was started."""

        def work() -> None:
            with agent_scope("far", conversation_id="chat"):
                turn()

        with conversation_scope("chat", max_turns=0):
            thread = threading.Thread(target=contextvars.Context().run, args=[work])
            thread.start()
            thread.join()
        assert told(published) == [("iteration_limit", "far", 0.0)]

    def test_another_conversation(self, published: Published) -> None:
        """An agent in a conversation of its own does not count."""
        with conversation_scope(max_turns=0), agent_scope("other", conversation_id="elsewhere"):
            turn()
        assert told(published) == []

    def test_continued(self, published: Published) -> None:
        """Each block counts what ends in it: a conversation that goes on begins anew."""
        for _ in range(2):
            with conversation_scope("chat", max_turns=2), agent_scope("lead"):
                turn()
                turn()
        assert told(published) == []

    def test_after_the_block(self, published: Published) -> None:
        """A turn that ends after the block does not count, and nothing is kept of the block."""
        with conversation_scope("chat", max_turns=0), agent_scope("lead"):
            late = model_turn("m")
            late.__enter__()
        late.__exit__(None, None, None)
        assert told(published) == [] and run_budget._open == {}

    def test_nested(self, published: Published) -> None:
        """Two blocks of one conversation each have their own limit."""
        with conversation_scope("chat", max_turns=1), agent_scope("lead"):
            turn()
            with conversation_scope("chat", max_turns=0), agent_scope("inner"):
                turn()
        assert [(event.agent_name, event.payload["max_turns"]) for event in published("iteration_limit")] == [
            ("inner", 1),
            ("inner", 0),
        ]

    def test_any_order(self, published: Published) -> None:
        """Whatever turns cost, and in whatever order they end, the lines are crossed where the sum says."""
        seed = 20261121
        print(f"seed {seed}")
        chance = random.Random(seed)
        for round_number in range(50):
            published.bodies.clear()
            costs = [Decimal(chance.randrange(0, 40)) / 100 for _ in range(chance.randrange(1, 15))]
            budget = Decimal(chance.randrange(1, 300)) / 100
            sums = [sum(costs[: n + 1]) for n in range(len(costs))]
            with conversation_scope(budget_usd=float(budget)), agent_scope("lead"):
                for cost in costs:
                    turn(float(cost))
            expected = {
                "budget_warning": next((s for s in sums if s and s >= budget * Decimal("0.8")), None),
                "budget_exceeded": next((s for s in sums if s > budget), None),
            }
            found = {kind: Decimal(repr(spent)) for kind, _, spent in told(published)}
            assert found == {k: s for k, s in expected.items() if s is not None}, (
                round_number,
                costs,
                budget,
            )


class TestBadLimits:
    """What was asked for wrongly is refused at the call."""

    @pytest.mark.parametrize(
        "budget", [-1, -0.01, float("nan"), float("inf"), True, "1", [1], Decimal("NaN")]
    )
    @pytest.mark.parametrize("enabled", [False, True])
    def test_budget(self, budget: Any, enabled: bool) -> None:
        """The message names the argument, its value and what is allowed, with tracing on and off."""
        with memory_recorder() if enabled else contextlib.nullcontext():
            with pytest.raises(ConfigError, match=r"budget_usd=.*give US dollars"):
                conversation_scope(budget_usd=budget)

    @pytest.mark.parametrize("turns", [-1, 1.0, True, "3", float("nan")])
    def test_turns(self, turns: Any) -> None:
        """So for turns, which are whole."""
        with pytest.raises(ConfigError, match=r"max_turns=.*whole number"):
            conversation_scope(max_turns=turns)

    @pytest.mark.parametrize("budget", [0, 1, 0.5, Decimal("0.5"), None])
    def test_good(self, budget: Any) -> None:
        """Numbers of any usual kind are taken."""
        with conversation_scope(budget_usd=budget, max_turns=0) as conversation:
            assert conversation.conversation_id


class TestSafety:
    def test_off(self) -> None:
        """With tracing off nothing is counted or recorded."""
        with conversation_scope("chat", max_turns=0), agent_scope("lead"):
            turn(5)
            assert run_budget._open["chat"][0].turns == 0
        assert run_budget._open == {} and not agenttrace.is_enabled()

    def test_interrupted_count(self, published: Published) -> None:
        """A signal handler that takes a turn amid another one's count does not wait for ever."""
        done: list[bool] = []
        former = signal.signal(signal.SIGUSR1, lambda *_: (turn(1), done.append(True)))
        try:
            with conversation_scope(budget_usd=1), agent_scope("lead"), run_budget._lock:
                os.kill(os.getpid(), signal.SIGUSR1)
                while not done:
                    pass
        finally:
            signal.signal(signal.SIGUSR1, former)
        assert done == [True]

    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_forked_while_counting(self, published: Published) -> None:
        """A child forked while another thread counts can count itself."""
        holding, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with run_budget._lock:
                holding.set()
                go_on.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        holding.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            ended = run_budget._lock.acquire(timeout=5)
            os._exit(0 if ended else 1)
        go_on.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
