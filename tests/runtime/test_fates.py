"""One program, the same errors and fates on every Python."""

from __future__ import annotations

from pathlib import Path

from tests.reading import query, run_python

PROGRAM = """
import asyncio, contextlib
from agenttrace import agent_scope, model_turn, record_exception, suppressed, traced_tool

@traced_tool
def fail(what):
    raise ValueError(f"failure number {what}")

@traced_tool
def middle(what):
    fail(what)

tries = [0]

@traced_tool
def flaky():
    tries[0] += 1
    if tries[0] < 3:
        raise OSError("service is not ready yet")
    return "ready"

async def dropped(name):
    async with agent_scope(name):
        fail(f"dropped by {name}")

async def gather_and_forget():
    async with agent_scope("gatherer") as agent:
        await asyncio.gather(dropped("child one"), dropped("child two"), return_exceptions=True)
        agent.set_output("all fine")

def nested_three():
    with agent_scope("nested"):
        middle("nested")

with contextlib.suppress(ValueError), agent_scope("escaping root"):
    nested_three()

with agent_scope("swallower") as agent:
    try:
        fail("swallowed here")
    except ValueError:
        pass
    agent.set_output("done")

with agent_scope("reporter") as agent:
    try:
        fail("told to the model")
    except ValueError as exc:
        with model_turn("m", input=[{"role": "tool", "content": str(exc)}]):
            pass

with agent_scope("retrier"):
    for _ in range(3):
        with contextlib.suppress(OSError):
            flaky()

with agent_scope("suppressor"):
    with suppressed(KeyError):
        {}["a missing key in a dictionary"]

asyncio.run(gather_and_forget())
"""

EXPECTED = [
    ("ValueError", "failure number nested", "escaped", "fail"),
    ("ValueError", "failure number swallowed here", "swallowed", "fail"),
    ("ValueError", "failure number told to the model", "reported", "fail"),
    ("OSError", "service is not ready yet", "retried", "flaky"),
    ("OSError", "service is not ready yet", "retried", "flaky"),
    ("KeyError", "'a missing key in a dictionary'", "swallowed", None),
    ("ValueError", "failure number dropped by child one", "swallowed", "fail"),
    ("ValueError", "failure number dropped by child two", "swallowed", "fail"),
]


class TestFates:
    """Found from the rows alone."""

    def test_program(self, tmp_path: Path) -> None:
        """Three nested operations are one failure; a gathered failure that is dropped is swallowed."""
        done = run_python(PROGRAM, tmp_path / "t.db")
        assert done.returncode == 0, done.stderr
        rows = query(
            tmp_path / "t.db", "SELECT error_type, message, fate, tool_name FROM failures ORDER BY id"
        )
        assert rows == EXPECTED

    def test_error_rows(self, tmp_path: Path) -> None:
        """One error row per failure, and every operation that it left closes with its id."""
        run_python(PROGRAM, tmp_path / "t.db")
        assert query(
            tmp_path / "t.db",
            "SELECT count(*), count(DISTINCT error_id) FROM trajectory_events WHERE kind='error'",
        ) == [(8, 8)]
        nested = query(
            tmp_path / "t.db",
            "SELECT kind FROM trajectory_events WHERE error_id = (SELECT error_id FROM failures"
            " WHERE message = 'failure number nested') ORDER BY id",
        )
        assert [row[0] for row in nested] == ["error", "tool_result", "tool_result", "agent_end", "agent_end"]

    def test_retry_is_one_row(self, tmp_path: Path) -> None:
        """A hand-written loop is one row of ``tool_traces`` with its attempts."""
        run_python(PROGRAM, tmp_path / "t.db")
        rows = query(
            tmp_path / "t.db",
            "SELECT attempts, failed_attempts, status FROM tool_traces WHERE tool_name = 'flaky'",
        )
        assert rows == [(3, 2, "ok")]
