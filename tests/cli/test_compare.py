"""``agenttrace compare`` as people call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, write_story
from tests.query.factory import START_MS, audit


@pytest.fixture
def runs(database: Path) -> Path:
    """Give a database with two runs."""
    write_story(database, audit("deadbeef", start_ms=START_MS + 60_000, process_id="bbbbbbbb00000001"))
    return database


class TestCompare:
    """S4.12: comparison by model and by configuration."""

    def test_table(self, runs: Path, invoke: Invoke) -> None:
        """A line for each group, at most as wide as the terminal."""
        done = invoke("compare")
        assert done.exit_code == 0
        assert "2 runs in 1 group by model" in done.stdout and "planner-1" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_as_json(self, runs: Path, invoke: Invoke) -> None:
        """Programs get the sums, and conversations to open."""
        data = json.loads(invoke("compare", "--by", "metadata.folder", "--json").stdout)
        (group,) = data["groups"]
        assert (data["by"], data["unit"], data["runs"]) == ("metadata.folder", "run", 2)
        assert (group["key"], group["ok"], group["newest_failed"]) == ("/usr/lib/python3/json", 0, "deadbeef")
        assert group["errors"] == 8 and group["swallowed"] == 2

    def test_as_markdown(self, runs: Path, invoke: Invoke) -> None:
        """A table for a page."""
        assert invoke("compare", "--by", "agent_name", "--markdown").stdout.startswith(
            "| agent\\_name | agents |"
        )

    def test_where_nothing_fits(self, runs: Path, invoke: Invoke) -> None:
        """Nothing on stdout, a word on stderr."""
        done = invoke("compare", "--since", "1ms")
        assert (done.exit_code, done.stdout) == (0, "") and "no run fits" in done.stderr

    def test_of_what_there_is_not(self, runs: Path, invoke: Invoke) -> None:
        """What runs cannot be grouped by is said, with exit code 2."""
        done = invoke("compare", "--by", "colour")
        assert done.exit_code == 2 and "metadata.KEY" in done.output
