"""
Pictures of what was measured, one for each benchmark that compares: what stands beside what, to scale.

Invariant: a picture shows figures of one unit from one run, with their spread; without matplotlib
there are none, and that is said.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from benchmarks.harness import Line, shorten
from benchmarks.report import RESULTS

__all__ = ["draw"]

_LEAST_BARS = 2
_BAR_INCHES = 0.32
_OURS, _OTHERS = "#2f6f4f", "#9aa5b1"


def draw(lines: Iterable[Line], folder: Path = RESULTS) -> list[Path]:
    """
    Write a PNG for each benchmark and unit that has at least two figures.

    Returns:
        Their paths; none where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # late: only pictures need it, and it takes half a second
    except ImportError:
        print("no pictures: matplotlib is not installed (it is in the extra `bench`)", file=sys.stderr)
        return []
    folder.mkdir(exist_ok=True)
    paths = []
    key = lambda line: (line.benchmark, line.unit)
    for (benchmark, unit), found in groupby(sorted(lines, key=key), key=key):
        bars = [line for line in found if line.spread is not None]
        if len(bars) < _LEAST_BARS:
            continue
        figure = Figure(figsize=(9, 1.2 + _BAR_INCHES * len(bars)), layout="constrained")
        axes = figure.add_subplot()
        for place, line in enumerate(reversed(bars)):
            assert line.spread is not None, "only lines with a spread are drawn"
            low, high = line.spread
            color = _OURS if "traced" in line.what or "encode" in line.what else _OTHERS
            error = [[max(0.0, line.value - low)], [max(0.0, high - line.value)]]
            axes.barh(place, line.value, color=color, xerr=error, ecolor="#444444")
            axes.annotate(f" {shorten(line.value)}", (max(line.value, high), place), va="center", fontsize=8)
        axes.set_yticks(range(len(bars)), [line.what for line in reversed(bars)], fontsize=8)
        values = [line.value for line in bars if line.value > 0]
        if values and max(values) / min(values) > 100:
            axes.set_xscale("log")
        axes.set_xlabel(unit)
        axes.set_title(benchmark)
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
        path = folder / f"{benchmark}-{_slug(unit)}.png"
        figure.savefig(path, dpi=110)
        paths.append(path)
    return paths


def _slug(unit: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in unit) or "count"
