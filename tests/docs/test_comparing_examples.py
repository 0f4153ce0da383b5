"""Every example on the page about comparing is run, and the commands print what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.conftest import Shell, shell
from tests.reading import ROOT, run_python

__all__ = ["shell"]

_PAGE = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(
    r"<!-- example -->\n```python\n(?P<code>.*?)^```\n\n"
    r"```sh\n(?P<command>.*?)^```\n\n```text\n(?P<said>.*?)^```$",
    re.M | re.S,
)
_HEAD = re.search(r"begin like this:\n\n```python\n(.*?)```", _PAGE, re.S)
_CHANGING = re.compile(r"<?\b\d+(?:\.\d+)? m?s\b|\b[0-9a-f]{16}\b")
"""Durations, and ids that are drawn: what no two runs of a program share."""


class Example(NamedTuple):
    """A program, a command, and what that prints."""

    heading: str
    code: str
    command: str
    said: str


EXAMPLES = [
    Example(re.findall(r"^## (.+)$", _PAGE[: found.start()], re.M)[-1], *found.groups())
    for found in _EXAMPLE.finditer(_PAGE)
]


def steady(text: str) -> str:
    """Leave out what changes from run to run, and how wide the columns are because of it."""
    return re.sub(r" +", " ", _CHANGING.sub("~", text))


class TestPage:
    """docs/comparing.md."""

    def test_has_examples(self) -> None:
        """Every example that is marked is one that is found, with its command and what it prints."""
        assert EXAMPLES and len(EXAMPLES) == _PAGE.count("<!-- example -->")


@pytest.mark.slow
class TestExamples:
    """The programs of the page."""

    @pytest.mark.parametrize("example", EXAMPLES, ids=[example.heading for example in EXAMPLES])
    def test_example(self, example: Example, tmp_path: Path, shell: Shell) -> None:
        """The program ends, and the command prints what the page shows."""
        assert _HEAD is not None
        program, database = tmp_path / "example.py", tmp_path / "traces.db"
        program.write_text(f"{_HEAD[1]}\n{example.code}", encoding="utf-8")
        done = run_python(
            "import agenttrace, runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')",
            database,
            str(program),
        )
        assert done.returncode == 0, done.stderr
        name, *arguments = shlex.split(example.command)
        assert name == "agenttrace"
        said = shell(*arguments, env={"AGENTTRACE_DB": str(database)})
        assert said.returncode in (0, 1), said.stderr
        assert steady(said.stdout) == steady(example.said), said.stdout
        assert max(map(len, said.stdout.splitlines())) <= 80
