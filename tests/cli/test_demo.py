"""``agenttrace demo``: a tree with the four things that go wrong, three commands to try, and a picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shell

__all__: list[str] = []


@pytest.mark.slow
class TestDemo:
    def test_ends_with_the_tree_and_what_to_try(self, shell: Shell, tmp_path: Path) -> None:
        """Two subagents, a retried call, a swallowed error, a failed call; each command runs."""
        done = shell("demo", "--svg", "tree.svg")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("(subagent)") >= 2
        assert "3 attempts, 2 failed" in done.stdout
        assert "swallowed" in done.stdout
        assert "✘" in done.stdout
        assert all(len(line) <= 80 for line in done.stdout.splitlines())
        _, _, tries = done.stdout.partition("Try next:\n")
        commands = [line.strip().partition("  ")[0] for line in tries.splitlines()]
        assert len(commands) == 3
        for command in commands:
            assert shell(*command.split()[1:]).returncode == 0
        picture = (tmp_path / "tree.svg").read_text()
        assert picture.startswith("<svg")
        assert "url(" not in picture.replace("url(#", "")

    def test_records_where_it_is_told(self, shell: Shell, tmp_path: Path, clean_environment: Path) -> None:
        """--db, and the commands to try name it."""
        done = shell("demo", "-q", "--db", "demo.db")
        assert done.returncode == 0, done.stderr
        assert "agenttrace errors --db demo.db" in done.stdout
        assert done.stderr == ""
        assert not (clean_environment / "traces.db").exists()

    def test_refuses_to_be_switched_off(self, shell: Shell) -> None:
        """AGENTTRACE=0: one line, exit code 2."""
        done = shell("demo", env={"AGENTTRACE": "0"})
        assert done.returncode == 2
        assert "AGENTTRACE=0" in done.stderr

    def test_refuses_a_folder_that_is_none(self, shell: Shell) -> None:
        """One line, exit code 2."""
        done = shell("demo", "no-such-folder")
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
