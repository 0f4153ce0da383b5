"""
What was measured, for people: a table for the terminal, Markdown, JSON, and what moved since then.

Invariant: a figure is never shown without its unit, nor a ratio without its spread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import Line, shorten

__all__ = [
    "RESULTS",
    "read_results",
    "render_changes",
    "render_machine",
    "render_markdown",
    "render_table",
    "write_results",
]

RESULTS = Path(__file__).parent / "results"


def render_machine(machine: Mapping[str, Any]) -> str:
    """Name the machine in one line, with its load: figures from a busy machine say less."""
    return (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']}, "
        f"{machine['system']}, Python {machine['python']}, SQLite {machine['sqlite']}"
    )


def _verdict(line: Line) -> str:
    return {None: "", True: "met", False: "NOT MET"}[line.met]


def _cells(line: Line) -> tuple[str, str, str, str, str]:
    spread = f"{shorten(line.spread[0])}-{shorten(line.spread[1])}" if line.spread else ""
    return (line.what, f"{shorten(line.value)} {line.unit}".strip(), spread, line.budget, _verdict(line))


_HEADS = ("what", "measured", "spread", "budget", "")


def render_table(lines: Iterable[Line]) -> str:
    """Render the lines for a terminal, grouped by benchmark."""
    kept = list(lines)
    if not kept:
        return "nothing was measured"
    rows = [_cells(line) for line in kept]
    widths = [max(len(row[column]) for row in [_HEADS, *rows]) for column in range(len(_HEADS))]
    rendered = []
    benchmark = ""
    for line, row in zip(kept, rows, strict=True):
        if line.benchmark != benchmark:
            benchmark = line.benchmark
            rendered += ["", benchmark]
        rendered.append(
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return "\n".join(rendered).lstrip("\n")


def render_markdown(lines: Iterable[Line], machine: Mapping[str, Any]) -> str:
    """Render the lines as a Markdown table under one line that names the machine."""
    named = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    rendered = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}, "
        f"SQLite {machine['sqlite']}; {named}.",
        "",
        "| benchmark | " + " | ".join(_HEADS[:-1]) + " | met |",
        "|---|---|---|---|---|---|",
    ]
    rendered += ["| " + " | ".join((line.benchmark, *_cells(line))) + " |" for line in lines]
    return "\n".join(rendered) + "\n"


def write_results(
    lines: Iterable[Line], machine: Mapping[str, Any], name: str = "latest"
) -> tuple[Path, Path]:
    """Write JSON and Markdown into ``benchmarks/results``; returns both paths."""
    kept = list(lines)
    RESULTS.mkdir(exist_ok=True)
    as_json, as_markdown = RESULTS / f"{name}.json", RESULTS / f"{name}.md"
    as_json.write_text(
        json.dumps({"machine": machine, "lines": [asdict(line) for line in kept]}, indent=1) + "\n"
    )
    as_markdown.write_text(render_markdown(kept, machine))
    return as_json, as_markdown


def read_results(path: Path) -> list[Line]:
    """
    Read what ``write_results`` wrote.

    Raises:
        ValueError: It is something else.
    """
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))["lines"]
        return [Line(**{**line, "spread": line["spread"] and tuple(line["spread"])}) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ValueError(f"{path}: no results of these benchmarks ({exc}); name a file of {RESULTS}") from exc


def render_changes(before: Iterable[Line], now: Iterable[Line]) -> str:
    """
    Say what moved: lines whose spreads lie apart, then how many stayed and which came or went.

    Figures of two runs were taken at different times, so only ratios and what stands far apart mean much.
    """
    known = {(line.benchmark, line.what): line for line in before}
    rendered, same = [], 0
    for line in now:
        old = known.pop((line.benchmark, line.what), None)
        if old is None:
            rendered.append(f"  new     {line.benchmark}: {line.what} {shorten(line.value)} {line.unit}")
        elif not _lies_apart(old, line):
            same += 1
        else:
            change = f"{line.value / old.value - 1:+.0%}" if old.value else "from 0"
            figures = f"{shorten(old.value)} -> {shorten(line.value)} {line.unit}"
            rendered.append(f"  {change:7} {line.benchmark}: {line.what} {figures}")
    rendered += [f"  gone    {benchmark}: {what}" for benchmark, what in known]
    return "\n".join([f"{len(rendered)} moved, {same} did not", *rendered])


def _lies_apart(old: Line, new: Line) -> bool:
    low, high = old.spread or (old.value, old.value)
    new_low, new_high = new.spread or (new.value, new.value)
    return new_low > high or new_high < low
