"""
Run the benchmarks, print one table, and write it to ``benchmarks/results``.

``python -m benchmarks`` takes under two minutes; names run only those
(``python -m benchmarks off import``), ``--full`` runs all. ``--compare OLD.json`` says what
moved since those results. ``--docs`` also puts the tables into docs/performance.md. The exit
code is 0 whatever the budgets say: a timing never fails anything.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from benchmarks.harness import Line, describe_machine
from benchmarks.page import PAGE, put_tables
from benchmarks.pictures import draw
from benchmarks.report import (
    read_results,
    render_changes,
    render_machine,
    render_table,
    write_results,
)

__all__ = ["FULL", "SHORT", "run"]

SHORT = ("off", "on", "cpu", "import", "encode", "writer", "swallowed", "history")
"""What runs when nothing is named, in this order."""
FULL = (
    *SHORT,
    *("shapes", "payloads", "concurrency", "processes", "recovery"),
    *("diff", "why", "terminal", "compare", "queries", "queries_10m", "memory", "soak"),
)
"""All of them; the last two take about 10 and 30 minutes."""


def run(names: list[str]) -> list[Line]:
    """Run the named benchmarks; one that cannot run is named on standard error and left out."""
    lines: list[Line] = []
    for name in names:
        began_s = time.perf_counter()
        try:
            lines += importlib.import_module(f"benchmarks.bench_{name}").measure()
        except Exception as failure:
            print(f"{name}: could not run: {type(failure).__name__}: {failure}", file=sys.stderr)
        else:
            print(f"{name}: {time.perf_counter() - began_s:.0f} s", file=sys.stderr)
    return lines


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n\n")[0])
    parser.add_argument("names", nargs="*", choices=[*FULL, []], help="which ones")
    parser.add_argument("--full", action="store_true", help="run all of them, about an hour")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="say what moved since these results")
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    names = options.names or list(FULL if options.full else SHORT)
    try:
        before = read_results(options.compare) if options.compare else None
    except ValueError as exc:
        parser.error(str(exc))
    machine = describe_machine()
    lines = run(names)
    print(render_machine(machine))
    print(render_table(lines))
    for path in (*write_results(lines, machine), *draw(lines)):
        print(path)
    if before is not None:
        print(render_changes(before, lines))
    if options.docs:
        page = put_tables(PAGE.read_text(encoding="utf-8"), lines, machine, SHORT, FULL)
        PAGE.write_text(page, encoding="utf-8")
        print(PAGE)
    missed = [line for line in lines if line.met is False]
    print(f"{sum(line.met is True for line in lines)} budgets met, {len(missed)} not met")


if __name__ == "__main__":
    _main()
