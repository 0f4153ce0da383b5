"""Faults of every kind are named, and healthy runs are left alone; the whole bench has more seeds."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from agenttrace import TraceStore, TraceViewer
from agenttrace.cli.main import cli
from agenttrace.query.findings import KINDS
from agenttrace.query.thresholds import Thresholds
from tests.diagnosis.bench import Case, measure, record
from tests.diagnosis.faults import FAULTS

SEEDS = range(1000, 1004)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Case]]:
    """Record the runs of a few seeds, once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("bench")
        patch.setenv("AGENTTRACE_RING_DIR", str(folder))
        database = folder / "traces.db"
        return database, record(database, SEEDS)


@pytest.mark.shared_ring  # one of the faults is a kill
class TestBench:
    """Seeds 1000 and on, which no threshold was chosen by."""

    def test_figures(self, recorded: tuple[Path, list[Case]]) -> None:
        """The goals of the whole bench hold for its first seeds, too."""
        figures = measure(*recorded)
        print(figures.render())
        assert figures.top_1 >= 0.85, figures.wrong
        assert figures.top_3 >= 0.97, figures.wrong
        assert figures.healthy_with_findings == 0, figures.wrong

    def test_kinds(self) -> None:
        """Every kind of finding has a fault that is put in, and no fault is of another kind."""
        assert set(FAULTS) == set(KINDS)

    def test_commands(self, recorded: tuple[Path, list[Case]], monkeypatch: pytest.MonkeyPatch) -> None:
        """Each command that ``why`` prints runs, and shows a row of the operation or agent it speaks of."""
        database, cases = recorded
        monkeypatch.setenv("COLUMNS", "80")
        runner = CliRunner()
        shown = 0
        with TraceStore(database) as store:
            viewer = TraceViewer(store)
            for case in cases:
                said = runner.invoke(cli, ["why", case.conversation_id, "--db", str(database)])
                assert said.exit_code == 0, said.output
                findings = {each.rows[0]: each for each in viewer.diagnose(case.conversation_id).findings}
                for line in said.stdout.splitlines():
                    if "agenttrace show " not in line:
                        continue
                    words = shlex.split(line[line.index("agenttrace show ") :])
                    done = runner.invoke(cli, words[1:])
                    assert done.exit_code == 0, done.output
                    if "--event" not in words:
                        assert case.conversation_id in done.stdout
                        continue
                    row = viewer.event(words[words.index("--event") + 1])
                    finding = findings.get(row.id) or next(
                        each for each in findings.values() if row.id in each.rows
                    )
                    assert row.conversation_id == case.conversation_id
                    assert f"#{row.id}" in done.stdout or str(row.id) in done.stdout
                    if finding.error_id is not None and row.kind == "error":
                        assert row.error_id == finding.error_id
                    shown += 1
        assert shown >= len(cases) / 2

    def test_size(self, recorded: tuple[Path, list[Case]], monkeypatch: pytest.MonkeyPatch) -> None:
        """A verdict has at most twelve lines, none wider than 80 columns but for a place or a command."""
        database, cases = recorded
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("AGENTTRACE_DB", str(database))
        for case in cases:
            lines = CliRunner().invoke(cli, ["why", case.conversation_id]).stdout.splitlines()
            assert sum(max(1, -(-len(line) // 80)) for line in lines) <= 12, lines
            wide = [line for line in lines if len(line) > 80]
            assert all(line.startswith(("caught", "raised")) for line in wide), wide

    def test_same_again(self, recorded: tuple[Path, list[Case]]) -> None:
        """The same rows give the same diagnosis."""
        database, cases = recorded
        with TraceStore(database) as one, TraceStore(database) as other:
            for case in cases[:20]:
                first = TraceViewer(one).diagnose(case.conversation_id)
                assert first == TraceViewer(other).diagnose(case.conversation_id)

    def test_thresholds(self, recorded: tuple[Path, list[Case]]) -> None:
        """Whoever wants more certainty, or more attempts, sets it."""
        database, cases = recorded
        with TraceStore(database) as store:
            viewer = TraceViewer(store)
            for case in cases:
                certain = viewer.diagnose(case.conversation_id, Thresholds(min_confidence=0.99))
                assert certain.findings == ()
            storm = next(case for case in cases if case.kind == "retry_storm")
            patient = viewer.diagnose(storm.conversation_id, Thresholds(retry_attempts=100))
            assert all(each.kind != "retry_storm" for each in patient.findings)
