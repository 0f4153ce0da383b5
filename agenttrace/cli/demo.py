"""
``agenttrace demo``: a small agent at work, then the tree of what it did.
"""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import click

from agenttrace import config
from agenttrace.cli.console import build_console, note, print_lines
from agenttrace.cli.options import database_option
from agenttrace.cli.reading import name_database, open_viewer
from agenttrace.cli.refusal import EXIT_USAGE, Refusal
from agenttrace.cli.show import print_tree
from agenttrace.query.lines import Span

__all__ = ["command"]

_SVG_WIDTH = 88
_FONT_FACE = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


@click.command("demo")
@click.argument("folder", required=False, metavar="[FOLDER]")
@click.option("--live", is_flag=True, help="Let a real model plan; needs a key and its SDK.")
@click.option("--svg", metavar="FILE", help="Save the tree as a picture, too.")
@click.option("-q", "--quiet", is_flag=True, help="Do not tell of each step.")
@database_option
def command(folder: str | None, live: bool, svg: str | None, quiet: bool, database: str | None) -> None:
    """
    Let a small agent audit a folder, and show what it did.

    FOLDER is only read; without it a part of Python's own standard library is audited. No key is
    needed: a small fixed policy plans. With --live and ANTHROPIC_API_KEY or OPENAI_API_KEY set, that
    model plans.
    """
    if config.env_switch() is False:
        raise Refusal("AGENTTRACE=0 stands in the environment; the demo has to record.", EXIT_USAGE)
    from agenttrace.demo import run_demo  # late: the demo brings its tools along

    target = name_database(database)
    conversation_id = run_demo(folder, live=live, database=target, on_progress=None if quiet else note)
    option = "" if database is None else f" --db {shlex.quote(database)}"
    with open_viewer(target) as viewer:
        console = build_console()
        print_tree(viewer, conversation_id, console)
        if svg is not None:
            picture = build_console(io.StringIO(), record=True, width=_SVG_WIDTH)
            print_tree(viewer, conversation_id, picture)
            drawing = picture.export_svg(title="agenttrace show last")
            try:
                # Without rich's @font-face rules: a picture should not load fonts from the network.
                Path(svg).write_text(_FONT_FACE.sub("", drawing), encoding="utf-8")
            except OSError as exc:
                raise Refusal(f"--svg {svg}: {exc.strerror or exc}", EXIT_USAGE) from exc
            note(f"the picture is in {svg}")
    tries = {
        f"agenttrace errors{option}": "what failed, and what became of it",
        f"agenttrace show last --timeline{option}": "every event in order",
        f"agenttrace sql{option}": "the tables, and queries to copy",
    }
    widest = max(map(len, tries))
    lines = [(Span(f"  {what:<{widest}}  ", "agent"), Span(why, "dim")) for what, why in tries.items()]
    print_lines(console, [(), (Span("Try next:"),), *lines])
