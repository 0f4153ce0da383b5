"""
``agenttrace compare``: many runs side by side, in groups.
"""

from __future__ import annotations

from dataclasses import asdict

import click

from agenttrace.cli.console import build_console, choose_glyphs, note, print_json, print_lines
from agenttrace.cli.options import (
    database_option,
    json_option,
    limit_option,
    parse_moments,
    run_filter_options,
)
from agenttrace.cli.reading import open_viewer
from agenttrace.query.render_compare import render_comparison, render_markdown

__all__ = ["command"]


@click.command("compare")
@click.option(
    "--by",
    default="model",
    show_default=True,
    metavar="WHAT",
    help="model, agent_name, root_agent, task or metadata.KEY.",
)
@run_filter_options
@limit_option(50, "groups in the table")
@click.option("--markdown", is_flag=True, help="Print a table in Markdown.")
@json_option
@database_option
def command(
    by: str,
    since_ms: int | None,
    until_ms: int | None,
    agent: str | None,
    task: str | None,
    limit: int,
    markdown: bool,
    as_json: bool,
    database: str | None,
) -> None:
    """
    Compare many runs in groups: how often they end well, and what they take.

    A run stands in one group: by model in that of all the models that answered in it, by metadata.KEY in
    that of the value. By agent_name agents are compared, each with what it did itself. The best group
    comes first, by what is sure of its share: few runs say little. Errors, retries, lost (swallowed)
    errors, tokens and cost are means; --json has the sums too.
    """
    since, until = parse_moments(since_ms, until_ms)
    with open_viewer(database) as viewer:
        comparison = viewer.compare(by, since=since, until=until, agent=agent, task=task)
    if as_json:
        print_json({**asdict(comparison), "runs": comparison.runs})
    elif not comparison.groups:
        note("no run fits." if since or until or agent or task else "no conversation is recorded yet.")
    elif markdown:
        click.echo(render_markdown(comparison), nl=False)
    else:
        console = build_console()
        print_lines(console, render_comparison(comparison, console.width, choose_glyphs(), limit))
