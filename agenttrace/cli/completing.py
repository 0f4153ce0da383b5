"""
What a shell may put in the place of a half-written word: selectors, agents, tools, kinds.

Invariants: nothing is printed but the words, whatever is wrong; a word that a shell would read as
more than a word is never offered, for the user's next key may run it. Cost: see ``store.names``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from agenttrace.events import KINDS
from agenttrace.query.text import fit, sanitize

__all__ = ["add_completions"]

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@/+,=~-]{0,127}")
_SELECTOR = re.compile(r"\[?SEL\b")
_HELP_CELLS = 60
_FILES = ("FILE", "PATH")
_FOLDERS = ("FOLDER", "[FOLDER]")
_SELECTORS = {
    "last": "the newest",
    "last-failed": "the newest that failed",
    "last-ok": "the newest that went well",
    "running": "what runs now",
    "last~1": "the one before the newest",
}

Complete = Callable[[click.Context, str], list[CompletionItem]]


def add_completions(command: click.Command) -> click.Command:
    """Have parameters completed that mean a conversation, an agent, a tool, a kind or a file."""
    for param in command.params:
        complete = _find(command, param)
        if complete is not None:
            setattr(param, "shell_complete", complete)  # noqa: B010  (a method that is replaced)
    return command


def _find(command: click.Command, param: click.Parameter) -> Complete | None:
    """Tell what a parameter means by how it is written in the command's help."""
    if isinstance(param.type, click.Choice | click.Path | click.File):
        return None
    if _SELECTOR.match(param.metavar or "") or (command.name == "diff" and param.name in ("a", "b")):
        return _complete_selector
    if param.metavar in _FOLDERS:
        return _complete_folder
    # Else the shell, which has asked us, would no longer complete the name of a program.
    if param.metavar in _FILES or (isinstance(param, click.Argument) and param.nargs == -1 and param.metavar):
        return _complete_file
    if param.metavar == "TOOL":
        return _complete_tool
    return {"--agent": _complete_agent, "--tool": _complete_tool, "--kind": _complete_kind}.get(
        param.opts[-1]
    )


def _database(ctx: click.Context) -> str:
    named = ctx.params.get("database")
    if isinstance(named, str):
        return named
    from agenttrace.cli.reading import name_database  # late: it may read a pyproject.toml

    return name_database(None)


def _offer(words: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    return [
        CompletionItem(word, help=fit(sanitize(told), _HELP_CELLS) or None)
        for word, told in words
        if word.startswith(incomplete) and _SAFE.fullmatch(word)
    ]


def _quietly(read: Callable[[], Iterable[tuple[str, str]]]) -> list[tuple[str, str]]:
    try:
        return list(read())
    except Exception:  # a setting that is wrong, say: the command itself will tell
        return []


def _complete_selector(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    from agenttrace.store.names import read_conversations

    found = _quietly(lambda: read_conversations(_database(ctx), incomplete))
    return _offer([*_SELECTORS.items(), *found], incomplete)


def _complete_agent(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    from agenttrace.store.names import read_agent_names

    return _offer(_quietly(lambda: [(name, "") for name in read_agent_names(_database(ctx))]), incomplete)


def _complete_tool(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    from agenttrace.store.names import read_tool_names

    return _offer(_quietly(lambda: [(name, "") for name in read_tool_names(_database(ctx))]), incomplete)


def _complete_kind(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    return _offer([(kind, "") for kind in KINDS], incomplete)


def _complete_folder(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="dir")]


def _complete_file(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]
