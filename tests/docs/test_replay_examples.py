"""Every example on the page about replaying is run, and prints what the page shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.reading import ROOT, run_python

_PAGE = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(
    r"<!-- example -->\n```python\n(?P<code>.*?)^```\n\n```text\n(?P<said>.*?)^```$", re.M | re.S
)
_HEAD = re.search(r"begin like this:\n\n```python\n(.*?)```", _PAGE, re.S)


class Example(NamedTuple):
    """A program, and what it prints."""

    heading: str
    code: str
    said: str


EXAMPLES = [
    Example(re.findall(r"^## (.+)$", _PAGE[: found.start()], re.M)[-1], *found.groups())
    for found in _EXAMPLE.finditer(_PAGE)
]


class TestPage:
    """docs/replay.md."""

    def test_has_examples(self) -> None:
        """Every example that is marked is one that is found, with what it prints."""
        assert EXAMPLES and len(EXAMPLES) == _PAGE.count("<!-- example -->")

    def test_names_the_arguments(self) -> None:
        """The table has each argument of ``replay``."""
        import inspect

        from agenttrace import replay

        named = re.findall(r"^\| `(\w+)` \|", _PAGE, re.M)
        assert named == list(inspect.signature(replay).parameters)


@pytest.mark.slow
class TestExamples:
    """The programs of the page."""

    @pytest.mark.parametrize("example", EXAMPLES, ids=[example.heading for example in EXAMPLES])
    def test_example(self, example: Example, tmp_path: Path) -> None:
        """The program ends, and prints what the page shows."""
        assert _HEAD is not None
        program, database = tmp_path / "example.py", tmp_path / "traces.db"
        program.write_text(f"{_HEAD[1]}\n{example.code}", encoding="utf-8")
        done = run_python(
            "import os, runpy, sys; os.chdir(sys.argv[2]); runpy.run_path(sys.argv[1], run_name='__main__')",
            database,
            str(program),
            str(tmp_path),
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == example.said
