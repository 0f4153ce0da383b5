"""Faults of every kind are named, and healthy runs are left alone; the whole bench has more seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from agenttrace import TraceStore, TraceViewer
from agenttrace.query.findings import KINDS
from agenttrace.query.thresholds import Thresholds
from tests.diagnosis.bench import Case, measure
from tests.diagnosis.faults import FAULTS, build_faulty
from tests.diagnosis.plans import FAMILIES, build_plan

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("diagnosis")]


class TestBench:
    """Seeds 1000 and on, which no threshold was chosen by."""

    def test_figures(self, recorded: tuple[Path, list[Case]]) -> None:
        """The goals of the whole bench hold for its first seeds, too."""
        figures = measure(*recorded)
        print(figures.render())
        assert figures.top_1 >= 0.85, figures.wrong
        assert figures.top_3 >= 0.95, figures.wrong  # of 60; the whole bench has 900
        assert figures.healthy_with_findings <= 1, figures.wrong

    def test_kinds(self) -> None:
        """Every kind of finding has a fault that is put in, and no fault is of another kind."""
        assert set(FAULTS) == set(KINDS)

    def test_families(self, recorded: tuple[Path, list[Case]]) -> None:
        """Each kind is put into agents of several families, and healthy ones are of all four."""
        _, cases = recorded
        assert {case.family for case in cases if not case.kind} == set(FAMILIES)
        for kind in FAULTS:
            assert len({case.family for case in cases if case.kind == kind}) >= 2, kind

    @pytest.mark.parametrize("kind", FAULTS)
    def test_one_fault(self, kind: str) -> None:
        """A plan with a fault has one, and the same seed puts it at the same place."""
        for seed in range(40):
            plan, again = (build_faulty(seed, kind, FAMILIES[seed % 4]) for _ in range(2))
            marks = [
                mark for agent in plan.agents() for mark in (agent.fault, *(s.fault for s in agent.steps()))
            ]
            # A loop is one step that stands in several turns; a subagent is ignored because it raised.
            assert 1 <= len(set(marks) - {""}) <= 2, (seed, marks)
            assert [a.fault for a in again.agents()] == [a.fault for a in plan.agents()]

    def test_healthy_plans_have_no_fault(self) -> None:
        """And among a few hundred there is every habit that looks like a fault."""
        habits: set[str] = set()
        for seed in range(200):
            plan = build_plan(seed, FAMILIES[seed % 4])
            assert not any(
                agent.fault or any(step.fault for step in agent.steps()) for agent in plan.agents()
            )
            habits |= {step.habit for agent in plan.agents() for step in agent.steps()}
        assert {"mended", "reworded", "other_way", "retried", "fallback", "pages", "still_waiting"} <= habits

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
