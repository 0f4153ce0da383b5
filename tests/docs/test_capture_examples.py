"""Every example of a page of docs is a program: it runs, and leaves the rows that the page shows."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.reading import ROOT, open_store, query, run_python

PAGES = ("capture.md", "clients.md")

_BLOCK = re.compile(
    r"^(?P<mark><!-- example(?P<needs>[^\n]*?)-->\n)?```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S
)


class Example(NamedTuple):
    """A program of the page, and what is asked of its database."""

    title: str
    needs: str
    code: str
    answers: tuple[tuple[str, str], ...]
    """Pairs of SQL and the rows that it gives, columns joined by ``|`` as the sqlite3 shell does."""


def read_examples(text: str) -> list[Example]:
    """
    Find the marked programs of a page.

    A python block under ``<!-- example -->`` is a program; each sql block after it, up to the
    next program, is asked of its database, and the text block after that holds the rows.
    ``<!-- example: python 3.12, tenacity -->`` names what it needs.
    """
    examples: list[Example] = []
    asked = ""
    for block in _BLOCK.finditer(text):
        language, body = block["language"], block["body"]
        if language == "python" and block["mark"]:
            heading = re.findall(r"^#+ (.+)$", text[: block.start()], re.M)[-1]
            examples.append(Example(heading, (block["needs"] or "").strip(" :"), body, ()))
        elif language == "sql":
            asked = body
        elif language == "text" and asked and examples:
            last = examples[-1]
            examples[-1] = last._replace(answers=(*last.answers, (asked, body)))
            asked = ""
    return examples


EXAMPLES = {page: read_examples((ROOT / "docs" / page).read_text(encoding="utf-8")) for page in PAGES}
ALL = [(page, number, example) for page, found in EXAMPLES.items() for number, example in enumerate(found)]


def missing(needs: str) -> str | None:
    """Name what an example needs and this Python has not."""
    for need in filter(None, (part.strip() for part in needs.split(","))):
        if need.startswith("python "):
            version = tuple(int(part) for part in need.split()[1].split("."))
            if sys.version_info < version:
                return need
        elif importlib.util.find_spec(need) is None:
            return need
    return None


@pytest.mark.slow
class TestCaptureExamples:
    """The pages of ``PAGES``."""

    @pytest.mark.parametrize(
        "example",
        [
            pytest.param(one, marks=pytest.mark.shared_ring) if "SIGKILL" in one.code else one
            for *_, one in ALL
        ],
        ids=[f"{page} {number} {one.title}" for page, number, one in ALL],
    )
    def test_example(self, example: Example, tmp_path: Path) -> None:
        """The program runs without an error, and its database answers as the page says."""
        lacking = missing(example.needs)
        if lacking is not None:
            pytest.skip(f"the example needs {lacking}")
        program, database = tmp_path / "example.py", tmp_path / "traces.db"
        program.write_text(example.code, encoding="utf-8")
        done = run_python(
            "import agenttrace, runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')",
            database,
            str(program),
        )
        assert done.returncode == 0, done.stderr
        open_store(database)
        assert example.answers, "an example shows what it leaves"
        for sql, expected in example.answers:
            rows = query(database, sql)
            shown = "\n".join("|".join("" if cell is None else str(cell) for cell in row) for row in rows)
            assert shown == expected.strip("\n"), sql

    @pytest.mark.parametrize("page", PAGES)
    def test_page(self, page: str) -> None:
        """Each page has examples, so that the test above cannot pass by finding none."""
        assert EXAMPLES[page]
