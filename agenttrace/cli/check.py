"""
``agenttrace check``: fail a build on what went wrong in one run, or in all of the last minutes.

Invariant: the exit code is 1 when one of the runs has a finding that was asked for, or cost too much, and
the output names it. Cost: each run is read by itself, and forgotten before the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from agenttrace import clock
from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import database_option, json_option, since_option, threshold_option
from agenttrace.cli.reading import open_viewer, select
from agenttrace.cli.why import diagnosis_to_data, name_option, read_thresholds
from agenttrace.query.findings import KINDS
from agenttrace.query.lines import Glyphs, Line, Span, fit_line
from agenttrace.query.render_why import prove
from agenttrace.query.text import pluralize, render_cost, sanitize

if TYPE_CHECKING:
    from agenttrace.query.diagnose import Diagnosis
    from agenttrace.query.findings import Finding
    from agenttrace.query.viewer import TraceViewer

__all__ = ["command"]

EXIT_FOUND = 1
_PAGE = 200


class _Checked(NamedTuple):
    """One run, and what was found in it."""

    diagnosis: Diagnosis
    found: list[Finding]
    cost_usd: float | None
    is_dear: bool

    @property
    def is_ok(self) -> bool:
        """Whether there is nothing to fail for."""
        return not (self.found or self.is_dear)


@click.command("check")
@click.argument("selectors", metavar="[SEL]...", nargs=-1)
@since_option("runs (instead of SEL)")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Only this kind; may be repeated."
)
@click.option("--max-cost", type=click.FloatRange(min=0), metavar="USD", help="What one run may cost.")
@threshold_option
@json_option
@database_option
@click.pass_context
def command(
    ctx: click.Context,
    selectors: tuple[str, ...],
    since_ms: int | None,
    kinds: tuple[str, ...],
    max_cost: float | None,
    thresholds: Mapping[str, str],
    as_json: bool,
    database: str | None,
) -> None:
    """
    Exit with 1 when something went wrong in a run, with 0 when nothing did.

    SEL is an id or its start, last (the default), last~2, last-ok or last-failed; several may be given, and
    --since takes all of the last minutes, say. Each finding is a line with the command that shows its row.
    With --max-cost a run that cost more is found, too; a run of which no price is known costs 0.
    """
    if selectors and since_ms is not None:
        raise click.UsageError("give SEL or --since, not both.")
    option = name_option(database)
    data: list[dict[str, Any]] = []
    count = bad = 0
    is_single = since_ms is None and len(selectors) < 2
    with open_viewer(database) as viewer:
        limits = read_thresholds(thresholds)
        for conversation_id in _choose(viewer, selectors, since_ms):
            diagnosis = viewer.diagnose(conversation_id, limits)
            cost_usd = viewer.conversation(conversation_id).total_cost_usd
            found = [each for each in diagnosis.findings if not kinds or each.kind in kinds]
            is_dear = max_cost is not None and (cost_usd or 0.0) > max_cost
            checked = _Checked(diagnosis, found, cost_usd, is_dear)
            count += 1
            bad += not checked.is_ok
            if as_json:
                data.append(_to_data(checked, option))
            elif not checked.is_ok:
                _print_found(checked, max_cost, option, is_single=is_single)
    if as_json:
        print_json(data[0] if is_single else {"runs": data, "is_ok": bad == 0})
    elif is_single and not bad:
        print_lines(build_console(), [(Span(f"{choose_glyphs().marks['ok']} nothing found", "ok"),)])
    elif not is_single:
        mark = choose_glyphs().marks["error" if bad else "ok"]
        said = f"{mark} {pluralize(count, 'run')} checked, something found in {bad}"
        print_lines(build_console(), [(Span(said, "bad" if bad else "ok"),)])
    if since_ms is not None and not count:
        note("no run began in that time.")
    if bad:
        ctx.exit(EXIT_FOUND)


def _choose(viewer: TraceViewer, selectors: tuple[str, ...], since_ms: int | None) -> Iterator[str]:
    """Give the ids of the runs that are meant, each once, the newest first where a time is given."""
    if since_ms is None:
        yield from dict.fromkeys(select(viewer, each) for each in selectors or ("last",))
        return
    oldest_ms = clock.now_ns() // 1_000_000 - since_ms
    cursor: str | None = None
    while True:
        page = viewer.conversations(_PAGE, cursor)
        for row in page.items:
            if row.ts_ms < oldest_ms:
                return
            yield row.id
        cursor = page.next_cursor
        if cursor is None:
            return


def _to_data(checked: _Checked, option: str) -> dict[str, Any]:
    data = diagnosis_to_data(checked.diagnosis, option)
    rows = {each.rows for each in checked.found}
    data["findings"] = [each for each in data["findings"] if tuple(each["rows"]) in rows]
    return {
        **data,
        "cost_usd": checked.cost_usd,
        "is_over_cost": checked.is_dear,
        "is_ok": checked.is_ok,
    }


def _print_found(checked: _Checked, max_cost: float | None, option: str, *, is_single: bool) -> None:
    console, glyphs = build_console(), choose_glyphs()
    if not is_single:
        name = sanitize(checked.diagnosis.conversation_id)
        task = f"{glyphs.dot}{sanitize(checked.diagnosis.task)}" if checked.diagnosis.task else ""
        print_lines(console, [fit_line((Span(name, "id"), Span(task)), console.width, glyphs.ellipsis)])
    for line in _render_found(checked, max_cost, option, console.width, glyphs):
        print_lines(console, [line])


def _render_found(
    checked: _Checked, max_cost: float | None, option: str, width: int, glyphs: Glyphs
) -> Iterator[Line]:
    for each in checked.found:
        said = (
            Span(each.kind, "bad"),
            Span(sanitize(f"{glyphs.dot}{each.agent}{glyphs.dot}{each.sentence}")),
        )
        yield fit_line(said, width, glyphs.ellipsis)
        yield (Span(f"  {prove(each, option)}", "id"),)
    if checked.is_dear:
        cost, most = render_cost(checked.cost_usd or 0.0), render_cost(max_cost or 0.0)
        yield (Span("max-cost", "bad"), Span(f"{glyphs.dot}the run cost {cost}, more than {most}"))
