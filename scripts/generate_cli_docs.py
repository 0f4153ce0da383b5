"""
Write docs/cli.md from the commands themselves; with --check only say whether it is current.

A test runs this, so that the page cannot fall behind.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import click

from agenttrace.cli.main import COMMANDS, cli

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"

_HEAD = """\
# Commands

This page is made from the commands themselves by `scripts/generate_cli_docs.py`.

Data goes to stdout, notes go to stderr. `NO_COLOR` switches colour off; where stdout cannot show
Unicode, ASCII is used. A reader that closes the pipe (`| head`) ends a command quietly, with exit
code 0. Text from payloads is shown, never obeyed: control characters are printed as escapes.

| exit code | meaning |
|---|---|
| 0 | fine; also when what was asked for is empty, and when `errors` lists failures |
| 1 | findings, of commands that check: `check`, `diff`, `doctor --verify` |
| 2 | usage: an unknown option, conversation, agent or event, or an ambiguous one |
| 3 | no database, or one that is corrupt or not ours |
| 4 | the database was written by a newer agenttrace |

`agenttrace run` ends as the program does. Commands that read take `--json`: one object, whose
`schema_version` goes up when a key is renamed or taken away.

A conversation (SEL) is named by its id, the start of its id, or one of these words; a leading `@`
changes nothing:

| SEL | means |
|---|---|
| `last`, `last~2` | the newest, the second before it |
| `last-ok` | the newest that completed |
| `last-failed` | the newest that failed or was interrupted; if none did, the newest with a failure |
| | that was swallowed or escaped; stderr says which it took |
| `running` | the newest that is running |
"""


def render_page() -> str:
    """Render the whole page; only from what the commands say, so that it is the same for every click."""
    parts = [_HEAD]
    root = click.Context(cli, info_name="agenttrace")
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        parts.append(_render(command, f"agenttrace {name}"))
        if isinstance(command, click.Group):
            parts += [
                _render(found, f"agenttrace {name} {inner}") for inner, found in command.commands.items()
            ]
    return "\n".join(parts)


def _render(command: click.Command, path: str) -> str:
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    options = [param for param in command.params if isinstance(param, click.Option)]
    usage = " ".join(
        [path, command.options_metavar or "", *(param.metavar or f"[{param.name}]" for param in arguments)]
    )
    if isinstance(command, click.Group):
        usage = f"{path} {'|'.join(command.commands)}"
    lines = [f"## {path}", "", f"```sh\n{usage}\n```", "", _clean(command.help), ""]
    if options:
        lines += ["| option | meaning |", "|---|---|", *map(_render_option, options), ""]
    return "\n".join(lines)


def _clean(text: str | None) -> str:
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _render_option(option: click.Option) -> str:
    names = ", ".join(sorted(option.opts, key=len))
    if isinstance(option.type, click.Choice):
        names += f" {'|'.join(option.type.choices)}"
    elif not option.is_flag:
        names += f" {option.metavar or 'TEXT'}"
    text = _clean(option.help)
    if option.show_default:
        text += f" Default: {option.default}."
    escaped = names.replace("|", "\\|")  # a bar ends a cell of a table, also inside code
    return f"| `{escaped}` | {text} |"


def main() -> int:
    """Write the page, or compare it; 1 when it is not current."""
    page = render_page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page else 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
