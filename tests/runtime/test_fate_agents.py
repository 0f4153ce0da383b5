"""Small agents, each of which ends its failure in five ways: the fate that the database tells."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from agenttrace.events import FATES
from tests.reading import ROOT, open_store, query, run_python
from tests.runtime.fate_agents import AGENTS, NEEDS_MONITORING

PROGRAM = Path(__file__).with_name("fate_agents.py")
SEES_ALL = sys.version_info >= (3, 12)
"""Python 3.12 tells of exceptions that leave no traced operation."""


class Run(NamedTuple):
    """What one agent's failures became."""

    agent: str
    fate: str
    """What it should be."""
    found: tuple[tuple[str, str, str], ...]
    """Type, message and fate of each failure of the conversation."""

    @property
    def is_right(self) -> bool:
        """There is a failure, and every one has the fate."""
        return bool(self.found) and all(fate == self.fate for _, _, fate in self.found)


def run_all(fate: str, folder: Path) -> list[Run]:
    """Run every agent with one fate, and read what was recorded."""
    database = folder / f"{fate}.db"
    done = run_python(
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = {str(PROGRAM)!r};"
        " from tests.runtime import fate_agents; fate_agents.main()",
        database,
        fate,
    )
    assert done.returncode == 0, done.stderr
    open_store(database)
    found = defaultdict(list)
    for conversation, *failure in query(
        database, "SELECT conversation_id, error_type, message, fate FROM failures ORDER BY id"
    ):
        found[conversation].append(tuple(failure))
    return [Run(name, fate, tuple(found[f"{name}.{fate}"])) for name in AGENTS]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Every agent with every fate, run once."""
    folder = tmp_path_factory.mktemp("fates")
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda fate: run_all(fate, folder), FATES)
        return [run for several in found for run in several]


def render_misses(runs: list[Run]) -> str:
    """Render a table of what came out otherwise."""
    lines = [f"{'agent':45} {'should be':10} was"]
    for run in runs:
        was = ", ".join(f"{kind} {fate}" for kind, _, fate in run.found) or "not recorded"
        lines.append(f"{run.agent:45} {run.fate:10} {was}")
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.shared_ring  # the program whose failures stay open ends without a word
class TestFateAgents:
    """``failures.fate`` of small programs as people write them."""

    def test_are_enough(self) -> None:
        """At least 60 agents, so at least 300 failures; most of them need no newer Python."""
        assert len(AGENTS) >= 60
        assert len(NEEDS_MONITORING) <= 3

    def test_fate(self, runs: list[Run]) -> None:
        """Right for 98 of 100 where caught exceptions are seen, for 95 of 100 where they are not."""
        misses = [run for run in runs if not run.is_right]
        print(f"{len(runs) - len(misses)} of {len(runs)} right\n{render_misses(misses)}")
        assert len(runs) == 5 * len(AGENTS)
        assert 1 - len(misses) / len(runs) >= (0.98 if SEES_ALL else 0.95), render_misses(misses)

    def test_of_what_the_model_was_told_is_never_swallowed(self, runs: list[Run]) -> None:
        """No failure that an agent told its model is among the swallowed."""
        wrong = [
            run
            for run in runs
            if run.fate == "reported" and any(fate == "swallowed" for *_, fate in run.found)
        ]
        assert not wrong, render_misses(wrong)

    def test_of_what_nobody_was_told_is_never_reported(self, runs: list[Run]) -> None:
        """No failure that was dropped, or left the root, passes for told."""
        silent = [run for run in runs if run.fate in ("swallowed", "escaped", "open")]
        wrong = [run for run in silent if any(fate in ("reported", "retried") for *_, fate in run.found)]
        assert not wrong, render_misses(wrong)

    def test_has_who_claimed_success(self, runs: list[Run], tmp_path: Path) -> None:
        """Every swallowed failure of these agents names an agent that ended ok after it."""
        print(json.dumps([run.agent for run in runs if run.fate == "swallowed"]))
        done = run_all("swallowed", tmp_path)
        assert done
        rows = query(
            tmp_path / "swallowed.db",
            "SELECT conversation_id, claimed_by FROM failures WHERE fate = 'swallowed'",
        )
        assert rows
        assert [row for row in rows if row[1] is None] == []
