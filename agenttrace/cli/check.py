"""
``agenttrace check``: fail a build on what went wrong in a run.
"""

from __future__ import annotations

import click

from agenttrace.cli.console import build_console, choose_glyphs, print_json, print_lines
from agenttrace.cli.options import database_option, json_option
from agenttrace.cli.reading import open_viewer, select
from agenttrace.cli.why import diagnosis_to_data, name_option
from agenttrace.query.findings import KINDS
from agenttrace.query.lines import Span, fit_line
from agenttrace.query.render_why import prove
from agenttrace.query.text import render_cost, sanitize

__all__ = ["command"]

EXIT_FOUND = 1


@click.command("check")
@click.argument("selector", metavar="[SEL]", default="last")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Only this kind; may be repeated."
)
@click.option("--max-cost", type=click.FloatRange(min=0), metavar="USD", help="What the run may cost.")
@json_option
@database_option
@click.pass_context
def command(
    ctx: click.Context,
    selector: str,
    kinds: tuple[str, ...],
    max_cost: float | None,
    as_json: bool,
    database: str | None,
) -> None:
    """
    Exit with 1 when something went wrong in a run, with 0 when nothing did.

    SEL is an id or its start, last (the default), last~2, last-ok or last-failed. Each finding is a
    line with the command that shows its row. With --max-cost a run that cost more is found, too; a run
    of which no price is known costs 0.
    """
    with open_viewer(database) as viewer:
        conversation_id = select(viewer, selector)
        diagnosis = viewer.diagnose(conversation_id)
        cost_usd = viewer.conversation(conversation_id).total_cost_usd
    found = [each for each in diagnosis.findings if not kinds or each.kind in kinds]
    is_dear = max_cost is not None and (cost_usd or 0.0) > max_cost
    option = name_option(database)
    if as_json:
        data = diagnosis_to_data(diagnosis, option)
        data["findings"] = [each for each in data["findings"] if not kinds or each["kind"] in kinds]
        print_json({**data, "cost_usd": cost_usd, "is_over_cost": is_dear, "is_ok": not (found or is_dear)})
    else:
        console, glyphs = build_console(), choose_glyphs()
        for each in found:
            said = (
                Span(each.kind, "bad"),
                Span(sanitize(f"{glyphs.dot}{each.agent}{glyphs.dot}{each.sentence}")),
            )
            print_lines(console, [fit_line(said, console.width, glyphs.ellipsis)])
            print_lines(console, [(Span(f"  {prove(each, option)}", "id"),)])
        if is_dear:
            said_cost = (
                f"the run cost {render_cost(cost_usd or 0.0)}, more than {render_cost(max_cost or 0.0)}"
            )
            print_lines(console, [(Span("max-cost", "bad"), Span(f"{glyphs.dot}{said_cost}"))])
        if not found and not is_dear:
            print_lines(console, [(Span(f"{glyphs.marks['ok']} nothing found", "ok"),)])
    if found or is_dear:
        ctx.exit(EXIT_FOUND)
