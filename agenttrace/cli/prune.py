"""
``agenttrace prune``: delete finished conversations by age or size, and give the room back.
"""

from __future__ import annotations

import click

from agenttrace.cli.console import note, print_json
from agenttrace.cli.options import database_option, json_option, parse_size, parse_span
from agenttrace.cli.reading import MAKE_ONE, name_database, recover_quietly
from agenttrace.cli.refusal import EXIT_NO_DATABASE, Refusal
from agenttrace.errors import StoreMissing
from agenttrace.query.text import pluralize, render_bytes

__all__ = ["command"]

_MS_PER_DAY = 86_400_000


@click.command("prune")
@click.option(
    "--older-than",
    "older_than_ms",
    metavar="SPAN",
    callback=parse_span,
    help="Delete those whose last event is older than 12h, 30d or 4w.",
)
@click.option(
    "--max-size",
    "max_size_bytes",
    metavar="SIZE",
    callback=parse_size,
    help="Delete the oldest while the database is larger than 500MB or 2GB.",
)
@click.option("--keep-failed", is_flag=True, help="Keep those that failed or hide a failure.")
@click.option("--dry-run", is_flag=True, help="Change nothing, and say what would go.")
@click.option(
    "--always",
    "always",
    flag_value=True,
    default=None,
    help="From now on do so about once an hour, while anybody records.",
)
@click.option("--never", "always", flag_value=False, default=None, help="Do so no more.")
@json_option
@database_option
def command(
    older_than_ms: int | None,
    max_size_bytes: int | None,
    keep_failed: bool,
    dry_run: bool,
    always: bool | None,
    as_json: bool,
    database: str | None,
) -> None:
    """
    Delete old conversations, and give the room back.

    Whole conversations go, the oldest first; those that are running stay. Other processes may go on
    recording meanwhile. With --keep-failed the ones stay that failed, were interrupted, or hold a
    failure that was swallowed or escaped. --always keeps these limits in the database, and the
    processes that record to it keep to them; --never forgets them.
    """
    is_limited = older_than_ms is not None or max_size_bytes is not None
    if always is False and (is_limited or dry_run):
        raise click.UsageError("--never stands alone.")
    if always and dry_run:
        raise click.UsageError("--always and --dry-run: try it first, then set it.")
    if not is_limited and always is not False:
        raise click.UsageError("say what is too old or too large: --older-than 30d, --max-size 2GB, or both.")
    # Late: the database library is loaded by commands that need it, not by `--help`.
    from agenttrace.store.event_store import TraceStore

    target = name_database(database)
    recover_quietly(target)
    with TraceStore(target) as store:
        try:
            store.open_reader()
        except StoreMissing as exc:
            what = str(exc).partition(";")[0].rstrip(".")
            raise Refusal(f"{what}.\n{MAKE_ONE}", EXIT_NO_DATABASE) from exc
        older_than_days = None if older_than_ms is None else older_than_ms / _MS_PER_DAY
        if always is not None:
            store.prune_always(
                older_than_days=older_than_days, max_size_bytes=max_size_bytes, keep_failed=keep_failed
            )
        if always is False:
            if as_json:
                print_json({"always": False})
            else:
                click.echo("nothing is pruned any more but by `agenttrace prune`.")
            return
        pruned = store.prune(
            older_than_days=older_than_days,
            max_size_bytes=max_size_bytes,
            keep_failed=keep_failed,
            dry_run=dry_run,
        )
    if as_json:
        print_json({"dry_run": dry_run, **pruned._asdict()})
        return
    gone = f"{pluralize(pruned.conversations, 'conversation')} with {pluralize(pruned.events, 'event')}"
    if dry_run:
        click.echo(
            f"would delete {gone}, about {render_bytes(pruned.freed_bytes)}; about"
            f" {render_bytes(pruned.size_bytes)} would be left."
        )
        return
    blobs = f" and {pluralize(pruned.blobs, 'blob')}" if pruned.blobs else ""
    click.echo(
        f"deleted {gone}{blobs}: {render_bytes(pruned.freed_bytes)} given back,"
        f" {render_bytes(pruned.size_bytes)} in use."
    )
    if always:
        note("from now on the processes that record here do so about once an hour; --never ends it.")
    if max_size_bytes is not None and pruned.size_bytes > max_size_bytes:
        note(
            f"the database is still larger than {render_bytes(max_size_bytes)}: what is left is running,"
            " or kept by --keep-failed."
        )
