"""
``agenttrace mcp``: the questions of the command line, for coding agents, over the Model Context Protocol.
"""

from __future__ import annotations

import sys

import click

from agenttrace.cli.console import note
from agenttrace.cli.options import database_option
from agenttrace.cli.reading import name_database
from agenttrace.cli.refusal import EXIT_USAGE, Refusal

__all__ = ["command"]

_INSTALL = "agenttrace mcp needs the MCP SDK, which is not installed here: pip install 'mcp>=1.23'"


@click.command("mcp")
@database_option
def command(database: str | None) -> None:
    """
    Serve runs to coding agents, read only, over the Model Context Protocol.

    It speaks on stdin and stdout, and a client starts it: put the command `agenttrace` with the argument
    `mcp` into its configuration. The tools are why, show, search, diff, list and ps. It needs the MCP SDK,
    the extra `mcp`. Nothing that it does is recorded.
    """
    # What a coding agent asks is no run of the user's: not even where AGENTTRACE=1 is set for all.
    from agenttrace.runtime import disable, uninstall

    disable()
    uninstall()
    try:
        import mcp  # noqa: F401  (an extra; asked for first, so that nothing else can be missing below)
    except ImportError as exc:
        raise Refusal(_INSTALL, EXIT_USAGE) from exc
    from agenttrace.mcp_server.serve import serve

    if sys.stdin.isatty():
        note("waiting for a client on stdin; a coding agent starts this itself. Ctrl-D ends it.")
    try:
        serve(name_database(database))
    except KeyboardInterrupt:
        return
