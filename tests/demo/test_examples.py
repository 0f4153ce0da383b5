"""The examples: each does what its header says that ``agenttrace show`` prints."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agenttrace import TraceStore

_EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, database: Path, **environment: str) -> str:
    """Run one example in a process of its own; gives what it printed."""
    done = subprocess.run(
        [sys.executable, str(_EXAMPLES / name)],
        env={
            **os.environ,
            "AGENTTRACE_DB": str(database),
            "PYTHONPATH": str(_EXAMPLES.parent),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def record_example(
    name: str, database: Path
) -> tuple[list[str], list[tuple[str, str, int]], list[tuple[str, str]]]:
    """Run one example traced; gives its agents, its calls and the fates of its failures."""
    run_example(name, database, AGENTTRACE="1")
    with TraceStore(str(database)) as store:
        [conversation] = store.conversations().items
        agents = [agent.agent_name or "" for agent in store.agents(conversation.id)]
        calls = [(call.tool_name or "", call.status, call.attempts) for call in store.tool_traces()]
        failures = [(failure.error_type or "", failure.fate) for failure in store.failures()]
    return agents, calls, failures


@pytest.mark.slow
class TestExamples:
    def test_my_agent_swallows_an_error_in_its_subagent(self, tmp_path: Path) -> None:
        """A good call, a failed one, and a weather report that is a guess."""
        agents, calls, failures = record_example("my_agent.py", tmp_path / "t.db")
        assert agents == ["planner", "weather"]
        assert calls == [("search", "ok", 1), ("search", "error", 1)]
        assert failures == [("TimeoutError", "swallowed")]

    def test_gather_drops_the_failure_of_a_subagent(self, tmp_path: Path) -> None:
        """Three readers, one failure, dropped by the editor."""
        agents, calls, failures = record_example("gather_drops_a_failure.py", tmp_path / "t.db")
        assert agents == ["editor", "reader", "reader", "reader"]
        assert sorted(status for _, status, _ in calls) == ["error", "ok", "ok"]
        assert failures == [("LookupError", "swallowed")]

    def test_threads_keep_their_agents(self, tmp_path: Path) -> None:
        """Two calls in each of three threads."""
        agents, calls, failures = record_example("threads.py", tmp_path / "t.db")
        assert (agents[0], set(agents[1:])) == ("counter", {"counter-a", "counter-b", "counter-c"})
        assert calls == [("count_words", "ok", 1)] * 6
        assert failures == []

    def test_retry_by_hand_is_one_call(self, tmp_path: Path) -> None:
        """Three attempts, of which the failures are retried ones."""
        agents, calls, failures = record_example("retry_by_hand.py", tmp_path / "t.db")
        assert agents == ["booker"]
        assert calls == [("book_table", "ok", 3)]
        assert failures == [("ConnectionError", "retried")] * 2

    @pytest.mark.parametrize("path", sorted(_EXAMPLES.glob("*.py")), ids=lambda path: path.name)
    def test_do_the_same_untraced_and_make_no_file(self, path: Path, tmp_path: Path) -> None:
        """Off by default; the output does not change."""
        off = run_example(path.name, tmp_path / "off.db")
        assert list(tmp_path.iterdir()) == []
        assert off == run_example(path.name, tmp_path / "on.db", AGENTTRACE="1")

    @pytest.mark.parametrize("path", sorted(_EXAMPLES.glob("*.py")), ids=lambda path: path.name)
    def test_say_what_show_prints(self, path: Path) -> None:
        """Each begins with how to run it and what to see."""
        header = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert f"AGENTTRACE=1 python examples/{path.name}" in header
        assert "`agenttrace show` prints" in header
