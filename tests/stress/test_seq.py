"""S0.14: `seq` is gapless per agent, whoever writes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import agenttrace
from agenttrace import agent_scope, traced_tool
from tests.reading import ROOT, query

THREADS, TASKS, CALLS = 8, 8, 20

WRITER = """
import sys
import agenttrace
agenttrace.configure(database=sys.argv[1], flush_interval_s=0.001)
with agenttrace.agent_scope("shared", agent_id="shared", conversation_id="talk") as agent:
    for number in range(300):
        agent.record("note", {"text": f"{sys.argv[2]} {number}"})
"""


def _gaps(database: Path) -> list[tuple[str, int, int, int]]:
    return [
        row
        for row in query(
            database,
            "SELECT agent_id, count(*), min(seq), max(seq) FROM trajectory_events"
            " GROUP BY conversation_id, agent_id",
        )
        if (row[2], row[3]) != (0, row[1] - 1)
    ]


@traced_tool
async def step(number: int) -> int:
    await asyncio.sleep(0)
    return number


@pytest.mark.stress
@pytest.mark.slow
class TestSeq:
    """Gapless from 0, in the order of causes within a process."""

    def test_threads_and_tasks(self, tmp_path: Path) -> None:
        """8 threads × 8 tasks, each an agent of its own under one root."""
        agenttrace.configure(database=tmp_path / "t.db", flush_interval_s=0.001)

        async def task(name: str) -> None:
            async with agent_scope(name):
                for number in range(CALLS):
                    await step(number)

        def thread(label: int) -> None:
            async def tasks() -> None:
                async with asyncio.TaskGroup() as group:
                    for number in range(TASKS):
                        group.create_task(task(f"t{label}-{number}"))

            asyncio.run(tasks())

        with agent_scope("root"):
            threads = [threading.Thread(target=thread, args=(number,)) for number in range(THREADS)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
        assert agenttrace.flush().pending == 0
        database = tmp_path / "t.db"
        assert _gaps(database) == []
        assert query(database, "SELECT count(*) FROM agents") == [(1 + THREADS * TASKS,)]
        wrong = query(
            database,
            "SELECT count(*) FROM (SELECT json_extract(payload, '$.arguments.number') AS n,"
            " row_number() OVER (PARTITION BY agent_id ORDER BY seq) - 1 AS place"
            " FROM trajectory_events WHERE kind = 'tool_call') WHERE n != place",
        )
        assert wrong == [(0,)]
        assert query(
            database, "SELECT count(DISTINCT parent_agent_id) FROM agents WHERE agent_name LIKE 't%-%'"
        ) == [(1,)]

    def test_processes_on_one_agent(self, tmp_path: Path) -> None:
        """4 processes write to one agent and never collide."""
        database = tmp_path / "t.db"
        children = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(database), str(number)], cwd=ROOT)
            for number in range(4)
        ]
        assert [child.wait(60) for child in children] == [0] * 4
        assert _gaps(database) == []
        assert query(database, "SELECT count(*) FROM trajectory_events WHERE kind = 'note'") == [(1200,)]
        assert query(database, "SELECT runs FROM agents") == [(4,)]
