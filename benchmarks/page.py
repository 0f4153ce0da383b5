"""
The two tables of docs/performance.md: of the short set, and of what takes longer.

Invariant: a table names one machine and its versions. What was measured there before, and not this
time, stays in the table of the long set, unless it was on another machine or with other versions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import Line
from benchmarks.report import render_markdown

__all__ = ["PAGE", "put_tables"]

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def put_tables(
    page: str, lines: Iterable[Line], machine: Mapping[str, Any], short: Collection[str], order: Iterable[str]
) -> str:
    """
    Put what was measured into the text of the page.

    Args:
        page: Its text.
        lines: What was measured.
        machine: Where.
        short: The benchmarks of the short set; its table is replaced when any of them was run.
        order: Of all benchmarks.

    Raises:
        ValueError: The marks of a table are gone.
    """
    kept = list(lines)
    quick = [line for line in kept if line.benchmark in short]
    slow = [line for line in kept if line.benchmark not in short]
    if quick:
        page = _replace(page, "table", render_markdown(quick, machine))
    if slow:
        table = render_markdown(slow, machine)
        page = _replace(page, "long table", _merge(_read(page, "long table"), table, list(order)))
    return page


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"


def _read(page: str, name: str) -> str:
    begin, end = _marks(name)
    _, found, rest = page.partition(begin)
    table, closed, _ = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the marks {begin.strip()} and {end} are gone; put them around the table")
    return table


def _replace(page: str, name: str, table: str) -> str:
    begin, end = _marks(name)
    return page.replace(f"{begin}{_read(page, name)}{end}", f"{begin}{table}{end}")


def _merge(old: str, new: str, order: list[str]) -> str:
    """Keep the rows of *old* whose benchmarks are not in *new*, if both name the same machine."""
    head, rows = _take_apart(new)
    old_head, old_rows = _take_apart(old)
    if old_head == head:
        run = {_benchmark(row) for row in rows}
        rows += [row for row in old_rows if _benchmark(row) not in run]
        rows.sort(key=lambda row: order.index(_benchmark(row)) if _benchmark(row) in order else len(order))
    return "\n".join([*head, *rows]) + "\n"


def _take_apart(table: str) -> tuple[list[str], list[str]]:
    """Give the first four lines, which name the machine and the columns, and the rows."""
    lines = table.splitlines()
    return lines[:4], lines[4:]


def _benchmark(row: str) -> str:
    return row.split("|")[1].strip()
