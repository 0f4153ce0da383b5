"""Threads, pools of threads and callbacks of futures stand where their caller stands."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import agent_scope, current


@pytest.fixture(autouse=True)
def traced(tmp_path: Path) -> None:
    agenttrace.configure(database=tmp_path / "t.db", install=("threads",))


def stand() -> str | None:
    scope = current()
    return scope and scope.agent_id


class TestThreads:
    """S0.17: each piece of work carries its caller's scope, also none."""

    def test_pool_of_many_callers(self) -> None:
        """One thread serves two agents and nobody."""
        with ThreadPoolExecutor(1) as pool:
            with agent_scope("first") as first:
                one = pool.submit(stand)
            with agent_scope("second") as second:
                two = pool.submit(stand)
            nobody = pool.submit(stand)
        assert [one.result(), two.result(), nobody.result()] == [first.agent_id, second.agent_id, None]

    def test_callback_of_a_future(self) -> None:
        """What is called when a future is done stands where it was added, not where the future was made."""
        told: list[Any] = []
        with ThreadPoolExecutor(1) as pool:
            gate = threading.Event()
            with agent_scope("first"):
                future = pool.submit(gate.wait)
            with agent_scope("second") as second:
                future.add_done_callback(lambda done: told.append((done, stand())))
            future.add_done_callback(lambda done: told.append((done, stand())))
            gate.set()
        assert told == [(future, second.agent_id), (future, None)]

    def test_refuses_as_before(self) -> None:
        """A call that does not fit is refused with the library's own words."""
        with pytest.raises(TypeError, match=r"submit\(\) missing 1 required positional argument: 'fn'"):
            ThreadPoolExecutor(1).submit()  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="add_done_callback"):
            Future().add_done_callback()  # type: ignore[call-arg]
