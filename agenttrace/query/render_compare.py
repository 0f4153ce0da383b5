"""
Groups of runs in a table for a terminal, and in Markdown.

Pure. Invariant: the name of a group is never cut where the terminal can hold it: where a table would be
too wide, the name has a line of its own above its numbers. Nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agenttrace.query.compare import Comparison, Group
from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line, line_width
from agenttrace.query.table import Column, render_table
from agenttrace.query.text import fit, pluralize, render_cost, render_duration, sanitize

__all__ = ["NO_KEY", "render_comparison", "render_markdown"]

NO_KEY = "(none)"
_RIGHT = ("RUNS", "OK", "95 %", "ERRORS", "RETRIES", "LOST", "P50", "P95", "TOKENS", "COST")
_INDENT = "  "


def render_comparison(
    comparison: Comparison, width: int, glyphs: Glyphs = UNICODE, limit: int | None = None
) -> Iterator[Line]:
    """
    Render groups of runs, the best first.

    Args:
        comparison: What ``TraceViewer.compare`` gave.
        width: Cells of a line.
        glyphs: What may be drawn with.
        limit: Groups at most; all, when left out.
    """
    groups = comparison.groups[:limit]
    counted = f"{pluralize(comparison.runs, comparison.unit)} in {pluralize(len(comparison.groups), 'group')}"
    yield fit_line((Span(sanitize(f"{counted} by {comparison.by}"), "agent"),), width, glyphs.ellipsis)
    yield ()
    columns = [
        Column(sanitize(comparison.by).upper(), "agent"),
        *(Column(title, right=True) for title in _titles(comparison)),
    ]
    rows = [[_name(group), *_cells(group)] for group in groups]
    for gap in (2, 1):
        lines = list(render_table(columns, rows, width=0, glyphs=glyphs, gap=gap))
        if max(map(line_width, lines)) <= width:
            yield from lines
            break
    else:
        yield from _render_apart(columns, rows, width, glyphs)
    if len(groups) < len(comparison.groups):
        left = pluralize(len(comparison.groups) - len(groups), "more group")
        yield fit_line(
            (Span(f"{glyphs.ellipsis} {left}: -n {len(comparison.groups)}", "dim"),), width, glyphs.ellipsis
        )
    yield ()
    for text in _explain(comparison):
        yield fit_line((Span(text, "dim"),), width, glyphs.ellipsis)


def _render_apart(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, glyphs: Glyphs
) -> Iterator[Line]:
    """Give each name a line of its own, above its numbers."""
    head, *numbers = render_table(columns[1:], [row[1:] for row in rows], width=0, glyphs=glyphs, gap=1)
    yield fit_line((Span(_INDENT), *head), width, glyphs.ellipsis)
    for row, line in zip(rows, numbers, strict=True):
        yield (Span(fit(sanitize(row[0]), width, glyphs.ellipsis), "agent"),)
        yield fit_line((Span(_INDENT), *line), width, glyphs.ellipsis)


def render_markdown(comparison: Comparison) -> str:
    """Render the same as a table in Markdown; what stands in a name cannot leave its cell."""
    titles = (comparison.by, *(title.lower() for title in _titles(comparison)))
    lines = [_row(titles), "|---|" + "---:|" * (len(titles) - 1)]
    lines += [_row((_name(group), *_cells(group))) for group in comparison.groups]
    return "\n".join([*lines, "", *_explain(comparison)]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(cell: str) -> str:
    """Write what Markdown would take for markup as it is meant."""
    text = sanitize(cell)
    for char in "\\|`*_<>[]":
        text = text.replace(char, "\\" + char)
    return text


def _name(group: Group) -> str:
    return NO_KEY if group.key is None else group.key


def _titles(comparison: Comparison) -> tuple[str, ...]:
    return ("AGENTS" if comparison.unit == "agent" else _RIGHT[0], *_RIGHT[1:])


def _cells(group: Group) -> list[str]:
    return [
        f"{group.runs:,}",
        _share(group.ok_share),
        "?" if group.ok_low is None or group.ok_high is None else _interval(group.ok_low, group.ok_high),
        _mean(group.errors, group.runs),
        _mean(group.retries, group.runs),
        _mean(group.swallowed, group.runs),
        render_duration(group.duration_p50_ms),
        render_duration(group.duration_p95_ms),
        f"{round(group.tokens / group.runs):,}",
        "?" if group.cost_usd is None else render_cost(group.cost_usd / group.runs),
    ]


def _share(share: float | None) -> str:
    return "?" if share is None else f"{_percent(share)} %"


def _interval(low: float, high: float) -> str:
    return f"{_percent(low)}-{_percent(high)}"


def _percent(share: float) -> int:
    """Give per cent; only what is all, or nothing, is 100 or 0."""
    rounded = round(share * 100)
    return min(99, rounded) if share < 1 and rounded == 100 else max(1, rounded) if share > 0 else rounded


def _mean(count: int, runs: int) -> str:
    mean = count / runs
    if not count:
        return "0"
    return f"{mean:.2f}" if mean < 0.1 else f"{mean:,.1f}"


def _explain(comparison: Comparison) -> Iterator[str]:
    unit = comparison.unit
    yield f"per {unit}: errors, retries, lost (errors that were swallowed), tokens and cost"
    yield "95 %: in 95 of 100 cases the true share lies in there; few runs say little"
    open_count = sum(group.runs - group.ended for group in comparison.groups)
    if open_count:
        yield f"{pluralize(open_count, unit)} not over yet: not in OK, P50 and P95"
    verdict = _judge(comparison)
    if verdict:
        yield verdict


def _judge(comparison: Comparison) -> str:
    """Say whether the first group is better than the next, or whether nobody can tell."""
    judged = [group for group in comparison.groups if group.ok_low is not None]
    if len(judged) < 2:
        return ""
    first, second = judged[:2]
    if (first.ok_low or 0.0) > (second.ok_high or 0.0):
        return "the first ends well more often than the next one: their intervals do not overlap"
    return "the first two cannot be told apart by their shares: the intervals overlap"
