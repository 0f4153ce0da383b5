"""
Question: what does ``import agenttrace`` cost a program that may never trace?

Method: new interpreters in turns, each timing one import from the inside (so that
starting Python is not counted), with the bytecode already compiled; then the list
of modules that the import brought in.

Budget: wrapt's own import plus 20 ms; no peewee, sqlite3, click or rich.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Line, main, sample

__all__ = ["measure"]

_ALLOWED_MS = 20.0
_LATE = ("peewee", "playhouse", "sqlite3", "click", "rich")

_PROGRAM = """
import json, sys, time
began_ns = time.perf_counter_ns()
import {module}
elapsed_ns = time.perf_counter_ns() - began_ns
print(json.dumps([elapsed_ns / 1e6, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""


def _import_once(module: str) -> tuple[float, list[str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AGENTTRACE")}
    clean.pop("PYTHONDONTWRITEBYTECODE", None)
    program = _PROGRAM.format(module=module)
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env=clean,
        cwd=Path(__file__).parent.parent,
    )
    elapsed_ms, modules = json.loads(done.stdout)
    return elapsed_ms, modules


def measure(rounds: int = 15) -> list[Line]:
    """Measure both imports and look at what came in."""
    figures: dict[str, list[float]] = {"wrapt": [], "agenttrace": []}
    brought: dict[str, list[str]] = {}
    for number in range(rounds + 1):
        for module, values in figures.items():
            elapsed_ms, brought[module] = _import_once(module)
            if number:
                values.append(elapsed_ms)
    lines = []
    for module, values in figures.items():
        figure = sample(values)
        lines.append(Line("import", f"import {module}", figure.median, "ms", (figure.low, figure.high)))
    above = sample(mine - wrapt for mine, wrapt in zip(figures["agenttrace"], figures["wrapt"], strict=True))
    lines.append(
        Line(
            "import",
            "import agenttrace, over wrapt's own",
            above.median,
            "ms",
            (above.low, above.high),
            f"<= {_ALLOWED_MS:g} ms",
            above.median <= _ALLOWED_MS,
        )
    )
    early = [name for name in _LATE if name in brought["agenttrace"]]
    what = f"imported before they are needed: {', '.join(early) or 'none of ' + ', '.join(_LATE)}"
    lines.append(Line("import", what, len(early), "modules", None, "0", not early))
    return lines


if __name__ == "__main__":
    main(measure)
