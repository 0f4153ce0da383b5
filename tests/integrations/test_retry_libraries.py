"""tenacity and stamina as programs use them: nothing changes but the record."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stamina
import tenacity
from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_none

import agenttrace
from agenttrace import agent_scope, attempt, traced_tool
from agenttrace.testing import memory_recorder

LIMIT_COUNT = 4


def rows(recorder: Any, sql: str) -> list[tuple[Any, ...]]:
    return list(recorder.store.query(sql)[1])


class Flaky:
    """Fail as often as each key says."""

    def __init__(self, fails: dict[Any, int]) -> None:
        self.left = dict(fails)

    def __call__(self, key: Any) -> str:
        if self.left[key] > 0:
            self.left[key] -= 1
            raise OSError(f"{key} is not ready")
        return f"{key} is ready"


class TestToolsInside:
    """A retried function that is no tool: its tools are calls of their own, with the attempt's number."""

    def run(self, name: str, pair: Any) -> None:
        if name == "tenacity":
            tenacity.retry(stop=stop_after_attempt(LIMIT_COUNT), wait=wait_none())(pair)()
        elif name == "stamina":
            stamina.retry(on=OSError, attempts=LIMIT_COUNT, wait_initial=0, wait_jitter=0)(pair)()
        elif name == "tenacity blocks":
            for one in Retrying(stop=stop_after_attempt(LIMIT_COUNT), wait=wait_none()):
                with one:
                    pair()
        else:
            for _ in range(LIMIT_COUNT):
                try:
                    with attempt(limit_count=LIMIT_COUNT):
                        pair()
                    break
                except OSError:
                    pass

    @pytest.mark.parametrize("name", ["tenacity", "stamina", "tenacity blocks", "attempt"])
    def test_are_numbered(self, name: str) -> None:
        """Each attempt calls both tools again; of the one that failed, the attempts are one row."""
        flaky = Flaky({"a": 0, "b": 2})

        @traced_tool
        def fetch(key: str) -> str:
            return flaky(key)

        with memory_recorder() as recorder, agent_scope("lead"):
            agenttrace.install("tenacity", "stamina")
            self.run(name, lambda: (fetch("a"), fetch("b")))
            agenttrace.flush()
            calls = rows(
                recorder,
                "SELECT json_extract(payload, '$.arguments.key'), attempt FROM trajectory_events"
                " WHERE kind = 'tool_call' ORDER BY seq",
            )
            traces = rows(
                recorder, "SELECT tool_input, attempts, failed_attempts, status FROM tool_traces ORDER BY id"
            )
            fates = rows(recorder, "SELECT fate FROM failures")
        assert [(key, number or 1) for key, number in calls] == [
            (key, number) for number in (1, 2, 3) for key in ("a", "b")
        ]
        whole = (
            '{"key":"a"}',
            1,
            0,
            "ok",
        )  # it went well each time: three calls, of which none repeats a failure
        assert traces == [whole, ('{"key":"b"}', 3, 2, "ok"), whole, whole]
        assert fates == [("retried",), ("retried",)]


class TestSharedFunction:
    """One decorated function in many threads and tasks at once keeps every call's attempts apart."""

    @staticmethod
    def check(recorder: Any, fails: dict[str, int]) -> None:
        found = rows(
            recorder,
            "SELECT json_extract(tool_input, '$.key'), agent_name, attempts, failed_attempts, status"
            " FROM tool_traces",
        )
        expected = [
            (key, key.partition("-")[0], min(count + 1, LIMIT_COUNT), min(count, LIMIT_COUNT))
            for key, count in fails.items()
        ]
        assert sorted(row[:4] for row in found) == sorted(expected)
        for key, _, attempts, failed, status in found:
            assert (status == "error") == (failed == attempts), key
        assert rows(recorder, "SELECT count(*) FROM failures") == [
            (sum(min(count, LIMIT_COUNT) for count in fails.values()),)
        ]

    def draw(self) -> dict[str, int]:
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        source = random.Random(seed)
        return {
            f"agent{agent}-{call}": source.randrange(LIMIT_COUNT + 2)
            for agent in range(8)
            for call in range(8)
        }

    @pytest.mark.slow
    @pytest.mark.parametrize("above", [True, False])
    def test_threads(self, above: bool) -> None:
        """8 agents in 8 threads, 8 calls each."""
        fails = self.draw()
        flaky = Flaky(fails)
        again = tenacity.retry(stop=stop_after_attempt(LIMIT_COUNT), wait=wait_none(), reraise=True)

        def fetch(key: str) -> str:
            return flaky(key)

        tool = again(traced_tool(fetch)) if above else traced_tool(again(fetch))

        def work(agent: int) -> None:
            with agent_scope(f"agent{agent}"):
                for call in range(8):
                    try:
                        assert tool(f"agent{agent}-{call}") == f"agent{agent}-{call} is ready"
                    except OSError:
                        assert fails[f"agent{agent}-{call}"] >= LIMIT_COUNT

        with memory_recorder() as recorder:
            agenttrace.install("threads", "tenacity")
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(work, range(8)))
            agenttrace.flush()
            self.check(recorder, fails)

    @pytest.mark.slow
    @pytest.mark.parametrize("above", [True, False])
    def test_tasks(self, above: bool) -> None:
        """8 agents in 8 tasks, each with 8 calls at once."""
        fails = self.draw()
        flaky = Flaky(fails)
        again = tenacity.retry(stop=stop_after_attempt(LIMIT_COUNT), wait=wait_none(), reraise=True)

        async def fetch(key: str) -> str:
            await asyncio.sleep(0)
            return flaky(key)

        tool: Any = again(traced_tool(fetch)) if above else traced_tool(again(fetch))

        async def work(agent: int) -> None:
            async with agent_scope(f"agent{agent}"):
                keys = [f"agent{agent}-{call}" for call in range(8)]
                answers = await asyncio.gather(*map(tool, keys), return_exceptions=True)
                for key, answer in zip(keys, answers, strict=True):
                    assert (answer == f"{key} is ready") == (fails[key] < LIMIT_COUNT)

        async def main() -> None:
            await asyncio.gather(*map(work, range(8)))

        with memory_recorder() as recorder:
            agenttrace.install("tenacity")
            asyncio.run(main())
            agenttrace.flush()
            self.check(recorder, fails)


class TestTransparency:
    """With tracing on a program sees of tenacity what it sees with tracing off."""

    @staticmethod
    def observe() -> list[Any]:
        """Use what tenacity offers, and note everything that can be seen."""
        seen: list[Any] = []
        raised: list[BaseException] = []

        @traced_tool
        def fail(key: str) -> str:
            raised.append(OSError(key))
            raise raised[-1]

        def note(name: str) -> Any:
            return lambda state: seen.append(
                (name, state.attempt_number, state.args, state.outcome is not None and state.outcome.failed)
            )

        again = tenacity.retry(
            stop=stop_after_attempt(3),
            wait=tenacity.wait_fixed(7),
            sleep=lambda seconds: seen.append(("slept", seconds)),
            before=note("before"),
            after=note("after"),
            before_sleep=note("before sleep"),
        )(fail)
        try:
            again("x")
        except tenacity.RetryError as exc:
            seen.append(
                ("gave up", exc.last_attempt.attempt_number, exc.last_attempt.exception() is raised[-1])
            )
            seen.append((exc.__cause__ is raised[-1], len(raised)))
        statistics = dict(again.statistics)
        seen.append([*sorted(statistics), statistics["attempt_number"], statistics["idle_for"]])
        seen.append((again.__name__, again.retry.stop.max_attempt_number, type(again.retry).__name__))
        other = again.retry_with(stop=stop_after_attempt(1), reraise=True)
        try:
            other("y")
        except OSError as exc:
            seen.append(("reraised", exc is raised[-1], exc.__traceback__ is not None))

        numbers = iter([None, None, 5])
        asked = tenacity.retry(retry=retry_if_result(lambda value: value is None), sleep=lambda _: None)(
            traced_tool(lambda: next(numbers))
        )
        seen.append(asked())
        blocks = 0
        for one in Retrying(stop=stop_after_attempt(3), wait=wait_none(), reraise=True):
            with one:
                blocks += 1
                seen.append((one.retry_state.attempt_number, blocks))
                if blocks < 2:
                    raise OSError("again")
        return seen

    def test_is_seen_alike(self) -> None:
        """Results, exceptions, hooks, waits, statistics and states."""
        without = self.observe()
        with memory_recorder(), agent_scope("lead"):
            agenttrace.install("tenacity", "stamina")
            traced = self.observe()
        assert traced == without

    def test_uninstall(self) -> None:
        """Every attribute of the libraries is what it was."""
        owners = (
            tenacity.BaseRetrying,
            tenacity.Retrying,
            tenacity.AsyncRetrying,
            tenacity.AttemptManager,
            stamina,
        )
        before = [dict(vars(owner)) for owner in owners]
        agenttrace.install("tenacity", "stamina")
        assert [dict(vars(owner)) for owner in owners] != before
        agenttrace.uninstall()
        assert [dict(vars(owner)) for owner in owners] == before


class TestAttempt:
    """``attempt()`` counts the same with tracing on and off, and raises nothing of its own."""

    @staticmethod
    def use() -> list[Any]:
        seen: list[Any] = []
        for _ in range(5):
            try:
                with attempt(limit_count=3) as one:
                    seen.append((one.number, one.limit_count))
                    raise OSError("no")
            except OSError:
                pass
        for number in (7, 8, 2):
            try:
                with attempt(number) as one, attempt():
                    seen.append(one.number)
                    raise KeyError(number)
            except KeyError:
                pass
        handle = attempt()
        seen.append(handle.number)
        for _ in range(3):
            with handle:
                seen.append(handle.number)
        for _ in range(2):
            with attempt() as one:
                seen.append(one.number)
                continue
        return seen

    def test_counts_alike(self) -> None:
        """Past the limit, nested, used again, left by ``continue``."""
        without = self.use()
        assert without[:5] == [(1, 3), (2, 3), (3, 3), (1, 3), (2, 3)]
        with memory_recorder(), agent_scope("lead"):
            assert self.use() == without

    def test_out_of_order(self) -> None:
        """Left before it was entered, or inside out: the program goes on."""
        with memory_recorder(), agent_scope("lead"):
            attempt().__exit__(None, None, None)
            one, two = attempt(), attempt()
            one.__enter__()
            two.__enter__()
            one.__exit__(None, None, None)
            two.__exit__(None, None, None)

            @traced_tool
            def work() -> str:
                return "done"

            assert work() == "done"
