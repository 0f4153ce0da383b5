"""
Put the peers side by side: ``python -m benchmarks.peers [--all] [--docs]``.

Prints one table: microseconds per call on the caller's thread, processor time
per call until stored or sent, memory, calls that are left after SIGKILL, import
time. ``--docs`` puts it into README.md and docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import Sample, describe_machine, sample
from benchmarks.peers.collector import Collector, collector_scope
from benchmarks.peers.environments import PEERS, Peer, PeerMissing, ensure_environment
from benchmarks.report import render_machine

__all__ = ["KILLED_CALLS", "Outcome", "compare", "render"]

_ROOT = Path(__file__).resolve().parent.parent.parent
_BEGIN, _END = "<!-- peers: begin -->", "<!-- peers: end -->"
KILLED_CALLS = 300
"""Finished calls before the process is killed."""
BUDGETS = {"langfuse": 1 / 30, "logfire": 1 / 30}
"""At most which share of a peer's time on the caller's thread a call may take."""
_PATIENCE_S = 60.0
"""How long a peer may take over one round; it is killed then, and the table says so."""
_ARRIVAL_S = 3.0
"""How long after the kill something may still arrive at the collector."""


@dataclass(slots=True)
class Outcome:
    """What was measured of one peer; None where it could not be."""

    peer: Peer
    version: str = ""
    wall_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    rss_mib: float | None = None
    kept: int | None = None
    import_ms: list[float] = field(default_factory=list)
    problem: str = ""


def _only_benchmarks(folder: Path) -> Path:
    """Give a folder that holds nothing but this package: the installed agenttrace is what is measured."""
    path = folder / "path"
    path.mkdir(exist_ok=True)
    link = path / "benchmarks"
    if not link.exists():
        link.symlink_to(_ROOT / "benchmarks")
    return path


def _environment(folder: Path, collector: Collector) -> dict[str, str]:
    ours = (
        "AGENTTRACE",
        "OTEL_",
        "LANGSMITH",
        "LANGCHAIN",
        "LANGFUSE",
        "LOGFIRE",
        "MLFLOW",
        "WANDB",
        "WEAVE",
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **clean,
        "BENCHMARK_FOLDER": str(folder),
        "BENCHMARK_COLLECTOR": collector.address,
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "PYTHONPATH": str(_only_benchmarks(folder)),
    }


class _Running:
    """A child that measures on request."""

    def __init__(self, python: Path, name: str, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.peers.child", name, "measure"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=environment["BENCHMARK_FOLDER"],
                env=dict(environment),
            )

    def ask(self, loops: int) -> dict[str, float]:
        import json

        assert self._process.stdin is not None and self._process.stdout is not None
        watch = threading.Timer(_PATIENCE_S, self._process.kill)
        watch.start()
        try:
            self._process.stdin.write(f"{loops}\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                if line.startswith("{"):  # some peers greet on standard output
                    return dict(json.loads(line))
        except BrokenPipeError:
            pass
        finally:
            watch.cancel()
        said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [
            f"no answer within {_PATIENCE_S:.0f} s"
        ]
        raise PeerMissing(f"does not run: {said[-1][:120]}")

    def close(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


def _measure_import(python: Path, statement: str, environment: Mapping[str, str]) -> float:
    code = f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    done = subprocess.run(
        [str(python), "-c", code],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return float(done.stdout.splitlines()[-1]) * 1000


def _count_after_kill(python: Path, peer: Peer, folder: Path, collector: Collector) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    environment = _environment(folder, collector)
    before = collector.count()
    child = subprocess.Popen(
        [str(python), "-m", "benchmarks.peers.child", peer.name, "die", str(KILLED_CALLS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env=environment,
    )
    assert child.stdout is not None
    watch = threading.Timer(_PATIENCE_S, child.kill)
    watch.start()
    called = any(line.strip() == "called" for line in child.stdout)
    watch.cancel()
    child.send_signal(signal.SIGKILL)
    child.wait()
    if not called:
        raise PeerMissing(f"does not make {KILLED_CALLS} calls within {_PATIENCE_S:.0f} s")
    counted = subprocess.run(
        [str(python), "-m", "benchmarks.peers.instrumented", peer.name],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    kept = int(counted.stdout.splitlines()[-1]) if counted.returncode == 0 else 0
    if kept >= 0:
        return kept
    until = time.monotonic() + _ARRIVAL_S
    while time.monotonic() < until and collector.count() - before < KILLED_CALLS:
        time.sleep(0.1)
    return collector.count() - before


def _read_version(python: Path, peer: Peer) -> str:
    if not peer.packages:
        return ""
    name = "agenttrace-toolkit" if peer.name == "agenttrace" else peer.packages[0]
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    return done.stdout.strip()


@contextmanager
def _workspace() -> Iterator[tuple[Path, Collector]]:
    with tempfile.TemporaryDirectory(prefix="agenttrace-peers-") as folder, collector_scope() as collector:
        yield Path(folder), collector


def compare(peers: tuple[Peer, ...], venvs: Path, rounds: int = 5, loops: int = 2000) -> list[Outcome]:
    """
    Measure every peer; those that take longer than 100 µs a call make fewer calls.

    Args:
        peers: Whom to compare.
        venvs: Where their virtual environments stand, or are made.
        rounds: How often the peers take turns.
        loops: Calls per round.
    """
    outcomes = [Outcome(peer) for peer in peers]
    with _workspace() as (folder, collector):
        running: dict[str, tuple[_Running, Path, int]] = {}
        for outcome in outcomes:
            peer = outcome.peer
            print(f"{peer.title} …", file=sys.stderr, flush=True)
            try:
                python = ensure_environment(peer, venvs)
                outcome.version = _read_version(python, peer)
                place = folder / peer.name
                place.mkdir()
                environment = _environment(place, collector)
                outcome.import_ms = [_measure_import(python, peer.statement, environment) for _ in range(3)]
                if peer.name != "bare":
                    outcome.kept = _count_after_kill(python, peer, folder / f"{peer.name}-killed", collector)
                child = _Running(python, peer.name, environment, folder / f"{peer.name}.log")
                first = child.ask(500)["wall_ns"]
                running[peer.name] = (child, python, loops if first < 100_000 else 500)
            except (PeerMissing, subprocess.SubprocessError, OSError, ValueError) as failure:
                outcome.problem = str(failure) or type(failure).__name__
        try:
            for number in range(rounds):
                shift = number % len(outcomes)
                for outcome in outcomes[shift:] + outcomes[:shift]:
                    if outcome.problem:
                        continue
                    child, _, count = running[outcome.peer.name]
                    try:
                        answer = child.ask(count)
                    except PeerMissing as failure:
                        outcome.problem = str(failure)
                        continue
                    outcome.wall_us.append(answer["wall_ns"] / 1000)
                    outcome.cpu_us.append(answer["cpu_ns"] / 1000)
                    outcome.rss_mib = answer["rss_bytes"] / 2**20
        finally:
            for child, _, _ in running.values():
                child.close()
    return outcomes


def _figure(figure: Sample, bare: float) -> str:
    return (
        f"{max(0.0, figure.median - bare):.1f} ({max(0.0, figure.low - bare):.1f}-{figure.high - bare:.1f})"
    )


def render(outcomes: list[Outcome], machine: Mapping[str, object]) -> str:
    """Render the table as Markdown; figures are over the undecorated call, with their quartiles."""
    bare = next((outcome for outcome in outcomes if outcome.peer.name == "bare" and outcome.wall_us), None)
    wall_bare = sample(bare.wall_us).median if bare else 0.0
    cpu_bare = sample(bare.cpu_us).median if bare else 0.0
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}.",
        "",
        "| recorder | µs a call, caller's thread | processor µs a call, until stored or sent | memory, MiB "
        f"| kept of {KILLED_CALLS} calls after SIGKILL | import, ms | stored |",
        "|---|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        title = f"{outcome.peer.title} {outcome.version}".strip()
        if outcome.problem:
            lines.append(f"| {title} | {outcome.problem} | | | | | |")
            continue
        if outcome.peer.name == "bare":
            cells = [f"{wall_bare:.2f}", f"{cpu_bare:.2f}"]
        else:
            cells = [_figure(sample(outcome.wall_us), wall_bare), _figure(sample(outcome.cpu_us), cpu_bare)]
        cells += [
            f"{outcome.rss_mib:.0f}" if outcome.rss_mib is not None else "",
            "" if outcome.kept is None else str(outcome.kept),
            f"{sample(outcome.import_ms).median:.0f}",
            outcome.peer.stored,
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    budgets = _render_budgets({outcome.peer.name: outcome for outcome in outcomes}, wall_bare)
    return "\n".join([*lines, *budgets]) + "\n"


def _render_budgets(outcomes: Mapping[str, Outcome], bare: float) -> list[str]:
    """Say of each budget whether it is met; the ratio is taken within each round."""
    ours = outcomes.get("agenttrace")
    lines = []
    for name, limit in BUDGETS.items():
        theirs = outcomes.get(name)
        if ours is None or theirs is None or ours.problem or theirs.problem:
            continue
        rounds = zip(ours.wall_us, theirs.wall_us, strict=True)
        ratio = sample([(mine - bare) / (other - bare) for mine, other in rounds])
        verdict = "met" if ratio.median <= limit else "NOT MET"
        share, least, most = (f"1/{1 / value:.0f}" for value in (ratio.median, ratio.high, ratio.low))
        lines.append(
            f"A call of ours takes {share} ({least} to {most}) of one of {theirs.peer.title};"
            f" budget 1/{1 / limit:.0f}: {verdict}."
        )
    return ["", *lines] if lines else []


def _put_into(page: Path, table: str) -> None:
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{page}: the marks {_BEGIN} and {_END} are gone; put them around the table")
    page.write_text(f"{before}{begin}\n{table}{end}{after}", encoding="utf-8")


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__.partition("\n\n")[0]
    )
    parser.add_argument("--all", action="store_true", help="also LangSmith, MLflow, Weave and OpenInference")
    parser.add_argument("--only", metavar="NAME,…", help="only these, and the undecorated call")
    parser.add_argument("--venvs", type=Path, default=_ROOT / ".peers", help="where the environments stand")
    parser.add_argument(
        "--docs", action="store_true", help="put the table into README and docs/performance.md"
    )
    options = parser.parse_args()
    chosen = tuple(peer for peer in PEERS if peer.short or options.all)
    if options.only:
        names = {"bare", *options.only.split(",")}
        unknown = names - {peer.name for peer in PEERS}
        if unknown:
            parser.error(
                f"no such peer: {', '.join(sorted(unknown))}; known: {', '.join(p.name for p in PEERS)}"
            )
        chosen = tuple(peer for peer in PEERS if peer.name in names)
    machine = describe_machine()
    table = render(compare(chosen, options.venvs), machine)
    print(render_machine(machine))
    print(table)
    results = _ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "peers.md").write_text(table, encoding="utf-8")
    if options.docs:
        for page in (_ROOT / "README.md", _ROOT / "docs" / "performance.md"):
            _put_into(page, table)


if __name__ == "__main__":
    _main()
