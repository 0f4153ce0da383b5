"""Subagents that run at once: each gets its own, in whatever order they come."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agenttrace import agent_scope, bind, replay, traced_tool
from tests.cassette.recording import EXECUTED, executed, record

_STATE = {"made": 0}


@traced_tool
async def plan() -> str:
    executed("plan")
    return "read, then rate"


@traced_tool
async def claim() -> int:
    executed("claim")
    _STATE["made"] += 1
    return _STATE["made"]


@traced_tool
async def read(page: str) -> str:
    executed("read")
    return f"{page} says {len(page) * _STATE['made']}"


@traced_tool
async def rate(text: str) -> int:
    executed("rate")
    if text.startswith("p3"):
        raise ValueError(f"unrated: {text}")
    return len(text)


@traced_tool
def weigh(name: str) -> int:
    executed("weigh")
    _STATE["made"] += 1
    return _STATE["made"]


Jitter = Callable[[], Awaitable[None]]


def make_jitter(seed: int) -> Jitter:
    """Give something to await that takes a drawn number of turns of the loop."""
    draws = random.Random(seed)

    async def jitter() -> None:
        for _ in range(draws.randrange(6)):
            await asyncio.sleep(0)

    return jitter


async def asked_by_input(number: int, jitter: Jitter) -> Any:
    """What it does is told by its input; all of it is asked anew."""
    await jitter()
    with agent_scope("worker", input={"page": f"p{number}"}):
        await jitter()
        first = await claim()
        await jitter()
        return first, await claim()


async def known_by_what_it_asks(number: int, jitter: Jitter) -> Any:
    """No input; the first question is the same for all, the second is its own."""
    await jitter()
    with agent_scope("worker"):
        await plan()
        await jitter()
        text = await read(f"p{number}")
        await jitter()
        try:
            return text, await rate(text)
        except ValueError as exc:
            return text, str(exc)


async def with_helpers(number: int, jitter: Jitter) -> Any:
    """Each has two helpers of one name, which run at once too."""
    await jitter()
    with agent_scope("worker"):

        async def help_out(which: int) -> str:
            await jitter()
            with agent_scope("helper"):
                await jitter()
                return await read(f"p{number}-{which}")

        return await asyncio.gather(help_out(1), help_out(2))


async def deciding_by_answers(number: int, jitter: Jitter) -> Any:
    """The same first question with answers of their own, which decide what is asked next."""
    with agent_scope("worker"):
        mine = await claim()
        await jitter()
        return await read("p" * mine)


PROGRAMS = [asked_by_input, known_by_what_it_asks, with_helpers, deciding_by_answers]


class TestSiblings:
    """Five of one path and name."""

    @pytest.mark.parametrize("worker", PROGRAMS, ids=lambda worker: worker.__name__)
    def test_get_the_same_answers_in_20_shuffled_schedules(self, worker: Any) -> None:
        """The answers depend on what is asked, and not on when."""

        async def lead(seed: int) -> list[Any]:
            jitter = make_jitter(seed)
            with agent_scope("lead"):
                return await asyncio.gather(*(worker(number, jitter) for number in range(5)))

        cassette, outcome = record(lambda: asyncio.run(lead(0)))
        assert not isinstance(outcome, Exception)
        for seed in range(1, 21):
            print("seed", seed)
            with replay(cassette) as playing:
                assert asyncio.run(lead(seed)) == outcome
            assert playing.unused() == []
        assert not EXECUTED

    def test_come_back_in_the_order_of_then(self) -> None:
        """Who acts on the first of several answers gets the same first one, in every schedule."""
        draws = random.Random(5)

        @traced_tool
        async def wait(number: int) -> int:
            executed("wait")
            for _ in range(draws.randrange(40)):
                await asyncio.sleep(0)
            return number

        async def worker(number: int) -> list[int]:
            with agent_scope("worker", input=number):
                return [await wait(number), await wait(number + 100)]

        async def lead() -> list[Any]:
            with agent_scope("lead"):
                order = []
                for done in asyncio.as_completed([worker(number) for number in range(8)]):
                    order.append(await done)
                tasks = [asyncio.ensure_future(wait(number)) for number in range(20, 28)]
                done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                order.append(sorted(task.result() for task in done)[:1])
                await asyncio.gather(*rest)
                return order

        cassette, outcome = record(lambda: asyncio.run(lead()))
        assert outcome[:8] != sorted(outcome[:8])
        for _ in range(5):
            with replay(cassette):
                assert asyncio.run(lead()) == outcome
        assert not EXECUTED

    def test_are_told_apart_in_threads(self) -> None:
        """So are agents in the threads of a pool, in drawn orders."""

        def work(number: int, gates: list[threading.Event], order: list[int]) -> list[int]:
            gates[order.index(number)].wait(10)
            try:
                with agent_scope("worker", input=number):
                    return [weigh(f"n{number}"), weigh("same")]
            finally:
                if order.index(number) + 1 < len(gates):
                    gates[order.index(number) + 1].set()

        def lead(seed: int) -> list[Any]:
            order = random.Random(seed).sample(range(5), 5)
            gates = [threading.Event() for _ in order]
            gates[0].set()
            with agent_scope("lead"), ThreadPoolExecutor(5) as pool:
                given = [pool.submit(bind(work), number, gates, order) for number in range(5)]
                return [each.result() for each in given]

        cassette, outcome = record(lambda: lead(0))
        for seed in range(1, 21):
            print("seed", seed)
            with replay(cassette):
                assert lead(seed) == outcome
        assert not EXECUTED

    def test_may_come_one_after_the_other(self) -> None:
        """The third run of a name in a loop is the third that was recorded."""

        def lead() -> list[int]:
            given = []
            with agent_scope("lead"):
                for _ in range(3):
                    with agent_scope("worker"):
                        given.append(weigh("it"))
            return given

        cassette, outcome = record(lead)
        with replay(cassette):
            assert lead() == outcome
        assert len(set(outcome)) == 3 and not EXECUTED

    def test_keep_apart_what_a_tool_called_inside_itself(self) -> None:
        """A call inside a tool is not given to an equal one of the agent itself."""

        @traced_tool
        def both() -> list[int]:
            return [weigh("x"), weigh("x")]

        def lead() -> list[Any]:
            with agent_scope("lead"):
                return [both(), weigh("x")]

        cassette, outcome = record(lead)
        with replay(cassette) as playing:
            assert lead() == outcome
        assert playing.unused() == [] and not EXECUTED
        with replay(cassette, run=["both"]) as playing:
            assert lead() == outcome
        assert (playing.replayed, playing.ran, playing.unused()) == (3, 1, []) and not EXECUTED
