"""
Run the benchmarks, print one table, and write it to ``benchmarks/results``.

``python -m benchmarks`` takes under two minutes; names run only those
(``python -m benchmarks off import``). The exit code is 0 whatever the budgets say:
a timing never fails anything.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from benchmarks.harness import Line, describe_machine, render_machine, render_table, write_results

__all__ = ["SHORT", "run"]

SHORT = ("off", "on", "cpu", "import", "encode", "writer")
"""What runs when nothing is named, in this order."""


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
    parser.add_argument("names", nargs="*", choices=[*SHORT, []], help="which ones; default: all")
    names = parser.parse_args().names or list(SHORT)
    machine = describe_machine()
    lines = run(names)
    print(render_machine(machine))
    print(render_table(lines))
    for path in write_results(lines, machine):
        print(path)
    missed = [line for line in lines if line.met is False]
    print(f"{sum(line.met is True for line in lines)} budgets met, {len(missed)} not met")


if __name__ == "__main__":
    _main()
