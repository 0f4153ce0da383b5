"""Every kind of finding on the page about diagnosis is shown by a program, and is found as the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from agenttrace.query.findings import KINDS
from agenttrace.query.thresholds import Thresholds
from tests.cli.conftest import Shell, shell
from tests.reading import ROOT, run_python

__all__ = ["shell"]

_PAGE = (ROOT / "docs" / "diagnosis.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(
    r"<!-- example -->\n```python\n(?P<code>.*?)^```\n\n```text\n(?P<said>.*?)^```$", re.M | re.S
)
_HEAD = re.search(r"begin like this:\n\n```python\n(.*?)```", _PAGE, re.S)
_BY_DESIGN = {"failed_call": 1, "unknown_tool": 1, "interrupted": 9}
"""Exit codes of the programs that show how a program ends in a failure."""


class Example(NamedTuple):
    """A program, and what ``agenttrace check`` says of it."""

    kind: str
    code: str
    said: str


def read_examples() -> list[Example]:
    """Find the programs, each under the heading of its kind."""
    return [
        Example(re.findall(r"^### (\w+)$", _PAGE[: found.start()], re.M)[-1], found["code"], found["said"])
        for found in _EXAMPLE.finditer(_PAGE)
    ]


EXAMPLES = read_examples()


class TestPage:
    """docs/diagnosis.md."""

    def test_kinds(self) -> None:
        """Every kind has one example, and there is no other."""
        assert sorted(example.kind for example in EXAMPLES) == sorted(KINDS)

    def test_thresholds(self) -> None:
        """What the page calls by the name of a threshold is one."""
        named = re.findall(r"`(\w+_(?:factor|attempts|calls|rounds|count|ms))`", _PAGE)
        assert named and set(named) <= set(Thresholds.__slots__)


@pytest.mark.slow
class TestExamples:
    """The programs of the page."""

    @pytest.mark.parametrize(
        "example",
        [
            pytest.param(one, marks=pytest.mark.shared_ring) if one.kind == "interrupted" else one
            for one in EXAMPLES
        ],
        ids=[example.kind for example in EXAMPLES],
    )
    def test_example(self, example: Example, tmp_path: Path, shell: Shell) -> None:
        """The program ends as it should, and ``agenttrace check`` prints what the page shows."""
        assert _HEAD is not None
        program, database = tmp_path / "example.py", tmp_path / "traces.db"
        program.write_text(f"{_HEAD[1]}\n{example.code}", encoding="utf-8")
        done = run_python(
            "import agenttrace, runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')",
            database,
            str(program),
        )
        assert done.returncode == _BY_DESIGN.get(example.kind, 0), done.stderr
        said = shell("check", "last", env={"AGENTTRACE_DB": str(database), "COLUMNS": "118"})
        assert said.returncode == 1, said.stderr
        assert said.stdout == example.said
        assert said.stdout.startswith(example.kind)
