"""
``agenttrace completion``: the lines that teach a shell to complete our commands and what they take.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["COMPLETE_VARIABLE", "command"]

COMPLETE_VARIABLE = "_AGENTTRACE_COMPLETE"
"""What the printed lines set when they ask; click looks for it by this name."""


@click.command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """
    Print what teaches bash, zsh or fish to complete commands and runs.

    Completed are commands, options, last and its like, the newest conversations, agents, tools and kinds.

    \b
    bash: eval "$(agenttrace completion bash)"        in ~/.bashrc
    zsh:  eval "$(agenttrace completion zsh)"         in ~/.zshrc, after compinit
    fish: agenttrace completion fish | source         in ~/.config/fish/config.fish
    """
    made = get_completion_class(shell)
    assert made is not None, "click knows the three"
    root = ctx.find_root()
    click.echo(made(root.command, {}, "agenttrace", COMPLETE_VARIABLE).source())
