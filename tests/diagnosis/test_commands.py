"""What ``why`` and ``check`` print beside a claim is run, and gives the row that the claim was made from."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from agenttrace import TraceStore, TraceViewer
from agenttrace.cli.main import cli
from agenttrace.query.findings import KINDS
from tests.diagnosis.bench import Case

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("diagnosis")]

_ROWS = {
    "failed_call": {"error"},
    "swallowed_error": {"error"},
    "returned_failure": {"error"},
    "unknown_tool": {"error"},
    "retry_storm": {"error"},
    "subagent_ignored": {"error"},
    "dropped_result": {"result_dropped"},
    "truncated": {"model_turn", "model_call"},
    "loop": {"tool_call"},
    "empty_answer": {"agent_end"},
    "model_switched": {"model_switched"},
    "stalled": {"tool_result", "tool_call"},
    "outlier": {"model_turn"},
    "slow_path": {"model_turn", "tool_result", "agent_end"},
    "interrupted": {"tool_result"},
}
"""What kind of row is the proof of what kind of finding."""


def run(command: str) -> str:
    """Run a printed command as the command line would; gives what it prints."""
    words = shlex.split(command)
    assert words[0] == "agenttrace"
    done = CliRunner().invoke(cli, words[1:])
    assert done.exit_code == 0, (command, done.output)
    return done.stdout


def commands_in(text: str) -> list[str]:
    """Find the commands in what was printed, each on a line of its own or at its end."""
    found = [
        line[line.index("agenttrace show ") :] for line in text.splitlines() if "agenttrace show " in line
    ]
    return [each.strip() for each in found]


class TestWhy:
    """Every finding of every run."""

    def test_proofs(self, recorded: tuple[Path, list[Case]], monkeypatch: pytest.MonkeyPatch) -> None:
        """The row that is shown first is of the operation, or failure, that the finding is about."""
        database, cases = recorded
        monkeypatch.setenv("COLUMNS", "80")
        proved: Counter[str] = Counter()
        with TraceStore(database) as store:
            viewer = TraceViewer(store)
            for case in cases:
                said = CliRunner().invoke(cli, ["why", case.conversation_id, "--json", "--db", str(database)])
                for finding in json.loads(said.stdout)["findings"]:
                    shown = run(finding["command"])
                    row = viewer.event(finding["rows"][0])
                    assert row.conversation_id == case.conversation_id
                    assert row.kind in _ROWS[finding["kind"]], finding
                    assert f"#{row.id}" in shown and row.kind in shown
                    is_about = row.span_id == finding["span_id"] or (
                        finding["error_id"] is not None and row.error_id == finding["error_id"]
                    )
                    # What a plain tool raised is a row of its agent; the call was rebuilt later.
                    ends = {viewer.event(each).span_id for each in finding["rows"]}
                    assert is_about or row.call_id is not None or finding["span_id"] in ends, finding
                    proved[finding["kind"]] += 1
        assert set(proved) == set(KINDS), proved

    def test_printed(self, recorded: tuple[Path, list[Case]], monkeypatch: pytest.MonkeyPatch) -> None:
        """What is printed for people runs, too, and shows a row of the run, or the run."""
        database, cases = recorded
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("AGENTTRACE_DB", str(database))
        for case in cases:
            said = CliRunner().invoke(cli, ["why", case.conversation_id])
            commands = commands_in(said.stdout)
            assert commands, said.stdout
            for command in commands:
                assert case.conversation_id in run(command)

    def test_size(self, recorded: tuple[Path, list[Case]], monkeypatch: pytest.MonkeyPatch) -> None:
        """A verdict has at most twelve lines, none wider than 80 columns but for a place."""
        database, cases = recorded
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("AGENTTRACE_DB", str(database))
        for case in cases:
            lines = CliRunner().invoke(cli, ["why", case.conversation_id]).stdout.splitlines()
            assert sum(max(1, -(-len(line) // 80)) for line in lines) <= 12, lines
            wide = [line for line in lines if len(line) > 80]
            assert all(line.startswith(("caught", "raised")) for line in wide), wide


class TestCheck:
    """``check`` over all runs."""

    def test_printed(self, recorded: tuple[Path, list[Case]], monkeypatch: pytest.MonkeyPatch) -> None:
        """Each finding has a line, and the command beneath it shows a row of that run."""
        database, cases = recorded
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("AGENTTRACE_DB", str(database))
        for case in cases:
            said = CliRunner().invoke(cli, ["check", case.conversation_id])
            commands = commands_in(said.stdout)
            assert said.exit_code == bool(commands)
            lines = said.stdout.splitlines()
            assert len(commands) == sum(line.partition(" ")[0] in KINDS for line in lines)
            assert all(case.conversation_id in run(command) for command in commands)
