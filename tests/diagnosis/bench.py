"""
Question: how often does ``TraceViewer.diagnose`` name the fault that was put into a healthy run?

Method: 40 healthy runs are the history; then, for each seed, every kind of fault is put into a plan of its
own, and a few plans stay healthy. Right means the same kind and the same span; for a swallowed error the
same line, too. Thresholds may be chosen by what seeds 0 to 59 show; figures are those of 1000 to 1059.
``python -m tests.diagnosis.bench`` prints them; ``--tune`` asks the other seeds. Before Python 3.12 nothing
tells of what a call catches inside itself, so that fault is put in from there on.

Budget: top-1 >= 85 %, top-3 >= 97 %, findings on healthy runs <= 2 %.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import agenttrace
from agenttrace import TraceStore, TraceViewer
from agenttrace.query.diagnose import Diagnosis
from agenttrace.query.findings import Finding
from agenttrace.write.recovery import recover
from tests.diagnosis.agents import play
from tests.diagnosis.faults import FAULTS, build_faulty
from tests.diagnosis.plans import FAMILIES, build_plan
from tests.diagnosis.sdk_model import MODELS
from tests.diagnosis.world import World

__all__ = ["Case", "Figures", "measure", "record"]

HISTORY = 60
_INSTALL = ("threads", "openai", "anthropic")
_START_NS = 1_790_000_000_000_000_000
_STEP_NS = 3_600_000_000_000
_ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Case:
    """One run, and what should be found in it."""

    conversation_id: str
    kind: str
    """"" of a healthy one."""
    seed: int
    span_id: str | None
    place: str | None
    """``file:line`` that should be named."""
    family: str

    def is_right(self, finding: Finding) -> bool:
        """Tell whether a finding is the fault that was put in."""
        if (finding.kind, finding.span_id) != (self.kind, self.span_id):
            return False
        if self.place is None or sys.version_info < (3, 12):  # which line caught it is not seen before
            return True
        return finding.handled_at is not None and finding.handled_at.endswith(f"/{self.place}")


@dataclass(slots=True)
class Figures:
    """What was found."""

    faults: int = 0
    first: int = 0
    among_three: int = 0
    healthy: int = 0
    healthy_with_findings: int = 0
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    families: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Faults, those that stand first, healthy runs and those with findings, by family."""
    wrong: list[str] = field(default_factory=list)

    @property
    def top_1(self) -> float:
        """Share of the faults that stand first."""
        return self.first / self.faults

    @property
    def top_3(self) -> float:
        """Share of the faults that are among the first three."""
        return self.among_three / self.faults

    @property
    def false_alarms(self) -> float:
        """Share of the healthy runs in which something was found."""
        return self.healthy_with_findings / self.healthy

    def add(self, case: Case, diagnosis: Diagnosis) -> None:
        """Count one run."""
        kinds = [finding.kind for finding in diagnosis.findings]
        if not case.kind:
            self.healthy += 1
            self.healthy_with_findings += bool(kinds)
            self.families[case.family, "healthy"] += 1
            self.families[case.family, "alarms"] += bool(kinds)
            self.confusion["healthy", kinds[0] if kinds else "nothing"] += 1
            if kinds:
                first = diagnosis.findings[0]
                self.wrong.append(f"{case.conversation_id} ({case.family}): {first.kind}: {first.sentence}")
            return
        right = [case.is_right(finding) for finding in diagnosis.findings]
        self.faults += 1
        self.first += right[:1] == [True]
        self.families[case.family, "faults"] += 1
        self.families[case.family, "first"] += right[:1] == [True]
        self.among_three += any(right[:3])
        found = "nothing" if not kinds else kinds[0]
        if kinds and found == case.kind and not right[0]:
            found = "elsewhere"
        self.confusion[case.kind, found] += 1
        if right[:1] != [True]:
            place = right.index(True) if True in right else None
            self.wrong.append(f"{case.conversation_id} ({case.family}): {kinds[:3]}, right at {place}")
            self.wrong += [f"    {finding.sentence} ({finding.where})" for finding in diagnosis.findings[:1]]

    def render(self) -> str:
        """Render the confusion table and the figures."""
        rows = [*FAULTS, "healthy"]
        columns = [*FAULTS, "elsewhere", "nothing"]
        names = {name: "".join(part[:3] for part in name.split("_")) for name in columns}
        lines = [f"{'put in':<18}" + "".join(f"{names[name]:>7}" for name in columns)]
        for row in rows:
            cells = "".join(f"{self.confusion[row, column] or '.':>7}" for column in columns)
            lines.append(f"{row:<18}{cells}")
        lines.append(
            f"top-1 {self.top_1:.1%}, top-3 {self.top_3:.1%} of {self.faults} faults; "
            f"findings on {self.false_alarms:.1%} of {self.healthy} healthy runs"
        )
        for family in FAMILIES:
            of = {what: self.families[family, what] for what in ("faults", "first", "healthy", "alarms")}
            lines.append(
                f"  {family:<7} {of['first']:>4} of {of['faults']:>4} faults first, "
                f"findings on {of['alarms']:>2} of {of['healthy']:>3} healthy runs"
            )
        return "\n".join(lines)


def record(
    database: Path, seeds: Iterable[int], kinds: Sequence[str] = tuple(FAULTS), healthy: int = 4
) -> list[Case]:
    """Record the history and all runs; gives what should be found in each."""
    seeds = list(seeds)
    heard: list[tuple[Case, World]] = []
    at_ns = _START_NS
    # Each client reads an empty folder: nothing here is encrypted, and the real ones take it 40 ms.
    before = os.environ.get("SSL_CERT_DIR")
    os.environ["SSL_CERT_DIR"] = str(database.parent / "no-certificates")
    agenttrace.configure(database, install=_INSTALL)
    try:
        for number in range(HISTORY):
            play(build_plan(9_000_000 + number, FAMILIES[number % 4]), f"history-{number:03d}", at_ns)
            at_ns += _STEP_NS
        for seed in seeds:
            for number in range(healthy):
                family = FAMILIES[number % 4]
                name = f"healthy-{seed}-{number}"
                play(build_plan(seed * 100 + 50 + number, family), name, at_ns)
                heard.append((Case(name, "", seed, None, None, family), World(0)))
                at_ns += _STEP_NS
            for number, kind in enumerate(kind for kind in kinds if kind != "interrupted"):
                plan = build_faulty(seed * 100 + number, kind, FAMILIES[(seed + number) % 4])
                name = f"{kind}-{seed}"
                world = play(plan, name, at_ns)
                if not world.is_met:
                    raise RuntimeError(f"{name}: the fault was never met")
                heard.append((Case(name, kind, seed, None, world.place, plan.family), world))
                at_ns += _STEP_NS
    finally:
        agenttrace.shutdown()
        agenttrace.uninstall()
        MODELS.stop()
        if before is None:
            del os.environ["SSL_CERT_DIR"]
        else:
            os.environ["SSL_CERT_DIR"] = before
    cases = [replace(case, span_id=_span_of(database, case, world)) for case, world in heard]
    if "interrupted" in kinds:
        with ThreadPoolExecutor(4) as pool:
            cases += pool.map(lambda seed: _kill(database, seed), seeds)
        _recover(database)
    return cases


def _span_of(database: Path, case: Case, world: World) -> str | None:
    """Ask which span the call, or turn, has that the program named."""
    if world.span_id is not None or not world.is_met:
        return world.span_id
    where, values = "kind = 'tool_call' AND call_id = ?", [world.call_id]
    if world.turn is not None:
        where, values = "kind = 'model_call' AND agent_id = ? AND turn = ?", list(world.turn)
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            f"SELECT DISTINCT span_id FROM trajectory_events WHERE conversation_id = ? AND {where}",
            [case.conversation_id, *values],
        ).fetchall()
    if len(rows) != 1:
        raise RuntimeError(f"{case.conversation_id}: {values} is {rows}")
    return str(rows[0][0])


def _recover(database: Path) -> None:
    """Store what the processes left that died; here, where their rings are looked for in the same folder."""
    for _ in range(5):
        left = recover(str(database), timeout_s=10.0).left
        if not left:
            return
    raise RuntimeError(f"rings that could not be recovered: {left}")


def _kill(database: Path, seed: int) -> Case:
    """Let a process of its own die in a call."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.diagnosis.bench", "--die", str(seed), str(database)],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode != 9:
        raise RuntimeError(f"seed {seed}: did not die: {done.stderr[-2000:]}")
    family = FAMILIES[seed % 4]
    return Case(f"interrupted-{seed}", "interrupted", seed, json.loads(done.stdout), None, family)


def _die(seed: int, database: str) -> None:
    plan = build_faulty(seed * 100 + 99, "interrupted", FAMILIES[seed % 4])
    agenttrace.configure(database, install=_INSTALL)
    play(plan, f"interrupted-{seed}", _START_NS + _STEP_NS * 500_000)


def measure(database: Path, cases: Iterable[Case]) -> Figures:
    """Ask for the diagnosis of every run."""
    figures = Figures()
    with TraceStore(database) as store:
        viewer = TraceViewer(store)
        for case in cases:
            figures.add(case, viewer.diagnose(case.conversation_id))
    return figures


def main() -> int:
    """Run the bench from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", action="store_true", help="seeds 0 to 59 instead of 1000 to 1059")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--wrong", action="store_true", help="say what went wrong, too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the database there")
    parser.add_argument("--die", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.die:
        _die(int(options.die[0]), options.die[1])
        return 1
    first = 0 if options.tune else 1000
    with tempfile.TemporaryDirectory() as folder:
        database = (options.keep or Path(folder)) / "traces.db"
        figures = measure(database, record(database, range(first, first + options.seeds)))
    print(figures.render())
    if options.wrong:
        print("\n".join(figures.wrong))
    return 0 if figures.top_1 >= 0.85 and figures.top_3 >= 0.97 and figures.false_alarms <= 0.02 else 1


if __name__ == "__main__":
    sys.exit(main())
