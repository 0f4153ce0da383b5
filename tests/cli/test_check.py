"""``agenttrace check`` over several runs, with thresholds of the command line and of the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import agenttrace
from agenttrace import agent_scope, clock, conversation_scope, model_turn, traced_tool
from tests.cli.conftest import Invoke

_HOUR_NS = 3_600_000_000_000


@traced_tool
def book(seat: str) -> str:
    raise TimeoutError("no answer")


def run(name: str, attempts: int, cost_usd: float = 0.01) -> None:
    """Try to book a seat some times, and tell the model."""
    with conversation_scope(name, task=f"book {name}"), agent_scope("lead") as lead:
        for _ in range(attempts):
            try:
                book("12A")
            except TimeoutError:
                continue
        told = "TimeoutError: no answer" if attempts else "go"
        with model_turn("acme", input=[{"role": "user", "content": told}]) as turn:
            turn.set_output("so be it")
            turn.set_usage(input_tokens=10, output_tokens=2, cost_usd=cost_usd)
        lead.set_output("not booked")


@pytest.fixture
def runs(clean_environment: Path) -> Path:
    """Record a bad run two hours ago, a good one and a bad one just now."""
    agenttrace.configure(clean_environment / "traces.db", install=())
    now_ns = clock.now_ns()
    before = clock.use(lambda: now_ns - 2 * _HOUR_NS)
    try:
        run("old", 6)
        agenttrace.flush()
    finally:
        clock.use(before)
    run("good", 0)
    run("stormy", 6, cost_usd=0.5)
    agenttrace.shutdown()
    return clean_environment


class TestSeveralRuns:
    def test_since(self, runs: Path, invoke: Invoke) -> None:
        """All that began in that time are checked; each bad one is named, with its findings beneath."""
        done = invoke("check", "--since", "1h")
        assert done.exit_code == 1
        lines = done.stdout.splitlines()
        assert lines[0] == "stormy · book stormy"
        assert lines[1].startswith("retry_storm · lead · book was tried 6 times")
        assert lines[2].startswith("  agenttrace show --event ")
        assert lines[-1] == "✘ 2 runs checked, something found in 1"
        assert "old" not in done.stdout
        assert "3 runs checked, something found in 2" in invoke("check", "--since", "1d").stdout

    def test_named(self, runs: Path, invoke: Invoke) -> None:
        """Several can be named, and one that is named twice counts once."""
        done = invoke("check", "good", "stormy", "last")
        assert done.exit_code == 1 and "2 runs checked, something found in 1" in done.stdout
        done = invoke("check", "good", "good", "--kind", "loop")
        assert done.exit_code == 0 and "✔ 1 run checked, something found in 0" in done.stdout

    def test_as_json(self, runs: Path, invoke: Invoke) -> None:
        """Programs get a list; of one run alone it is that run."""
        data = json.loads(invoke("check", "--since", "1d", "--json").stdout)
        assert [each["conversation_id"] for each in data["runs"]] == ["stormy", "good", "old"]
        assert [each["is_ok"] for each in data["runs"]] == [False, True, False] and data["is_ok"] is False
        assert json.loads(invoke("check", "stormy", "--json").stdout)["conversation_id"] == "stormy"

    def test_cost_of_each(self, runs: Path, invoke: Invoke) -> None:
        """--max-cost is what one run may cost."""
        done = invoke("check", "--since", "1d", "--max-cost", "0.1", "--kind", "loop")
        assert done.exit_code == 1
        assert done.stdout.splitlines()[:2] == [
            "stormy · book stormy",
            "max-cost · the run cost $0.5000, more than $0.1000",
        ]

    def test_none(self, runs: Path, invoke: Invoke) -> None:
        """No run in that time is no failure, but is said."""
        done = invoke("check", "--since", "1ms")
        assert done.exit_code == 0 and "no run began in that time" in done.stderr

    def test_both(self, runs: Path, invoke: Invoke) -> None:
        """A run or a time, not both."""
        assert invoke("check", "good", "--since", "1h").exit_code == 2


class TestThresholds:
    def test_option(self, runs: Path, invoke: Invoke) -> None:
        """What is called a storm is said on the command line, of ``why`` too."""
        assert invoke("check", "stormy", "--kind", "retry_storm").exit_code == 1
        patient = ("--threshold", "retry_attempts=7")
        assert invoke("check", "stormy", "--kind", "retry_storm", *patient).exit_code == 0
        assert "retry_storm" in invoke("why", "stormy").stdout
        assert "retry_storm" not in invoke("why", "stormy", *patient).stdout

    def test_project(self, runs: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
        """The project's file says it for everybody, and the command line has the last word."""
        (runs / "pyproject.toml").write_text("[tool.agenttrace.diagnosis]\nretry_attempts = 7\n")
        monkeypatch.chdir(runs)
        asked = ("check", "stormy", "--kind", "retry_storm", "--db", str(runs / "traces.db"))
        assert invoke(*asked).exit_code == 0
        assert invoke(*asked, "--threshold", "retry_attempts=5").exit_code == 1

    @pytest.mark.parametrize("given", ["retry_attempts", "=3", "retry_attempts=", "storms=3", "loop_calls=x"])
    def test_mistake(self, runs: Path, invoke: Invoke, given: str) -> None:
        """A threshold that there is not, or no number, is a mistake of the command line."""
        done = invoke("check", "stormy", "--threshold", given)
        assert done.exit_code == 2 and "threshold" in done.stderr.lower()
