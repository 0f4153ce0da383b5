"""``agenttrace show --for-llm`` as people and programs call it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, Shell


class TestShowForLlm:
    """A run for a language model, on stdout."""

    def test_text(self, database: Path, invoke: Invoke) -> None:
        """The text is that of ``format_for_llm``, with the database named where it was."""
        done = invoke("show", "last", "--for-llm", "--max-tokens", "800", "--db", str(database))
        assert done.exit_code == 0
        assert done.stdout.startswith("# Run c0ffee00: failed\n")
        assert re.search(rf"agenttrace show --event \d+ --db {database}\n", done.stdout)
        assert f"## How to see more (each with --db {database})\n" in done.stdout

    def test_commands_run(self, database: Path, invoke: Invoke) -> None:
        """What it says to run can be run."""
        text = invoke("show", "--for-llm").stdout
        commands = [
            line[2:].partition(" (")[0] for line in text.splitlines() if line.startswith("- agenttrace")
        ]
        assert len(commands) == 5
        for command in commands:
            for word, value in (("NAME", "reader"), ("WORDS", "invalid"), (" N ", " 3 ")):
                command = command.replace(word, value)
            assert invoke(*command.split()[1:]).exit_code == 0, command

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--json",),
            ("--timeline",),
            ("--tree",),
            ("--full",),
            ("--event", "1"),
            ("--turn", "1"),
            ("--follow",),
            ("--all",),
            ("--depth", "2"),
            ("--format", "markdown"),
        ],
    )
    def test_goes_with_little(self, database: Path, invoke: Invoke, arguments: tuple[str, ...]) -> None:
        """Another shape beside it is refused, and says what goes with it."""
        done = invoke("show", "--for-llm", *arguments)
        assert done.exit_code == 2 and "--for-llm" in done.stderr

    def test_limits(self, database: Path, invoke: Invoke) -> None:
        """A limit that is too small, or one of nothing, is refused; so is an agent that there is not."""
        assert invoke("show", "--for-llm", "--max-tokens", "10").exit_code == 2
        assert invoke("show", "--max-tokens", "1000").exit_code == 2
        done = invoke("show", "--for-llm", "--agent", "nobody")
        assert done.exit_code == 2 and "reader" in done.stderr

    @pytest.mark.slow
    def test_in_ascii(self, database: Path, shell: Shell) -> None:
        """Where the terminal has only ASCII it is as plain, without colours even when they are forced."""
        done = shell("show", "--for-llm", env={"LANG": "C", "PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"})
        assert done.returncode == 0 and done.stdout.isascii() and "\x1b" not in done.stdout
